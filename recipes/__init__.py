"""Recipes: how each architecture of `zoo` is trained, measured and exported on real data; the command `zoo`."""
