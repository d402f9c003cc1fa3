"""Pictures that only one recipe draws: `recipes/pictures/NAME.py`; what several draw is in `recipes/plots.py`."""
