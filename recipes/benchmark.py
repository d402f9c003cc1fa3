"""Measuring speed on a shared machine: paired, alternating runs and medians, reported as ratios."""

import time

import numpy as np


def latency(function, *, seconds=0.5, warm_up=3):
    """Median milliseconds of one call, over as many calls as fit in `seconds` (at least 5)."""
    for _ in range(warm_up):
        function()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def latencies(functions, *, rounds=5, seconds=0.2):
    """Median milliseconds of each of several functions, measured in turn so that a drifting machine hits all alike.

    Args:
        functions: Dictionary of name to function without arguments.
        rounds: How often each has its turn.
        seconds: Length of a turn.
    """
    turns = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            turns[name].append(latency(function, seconds=seconds))
    return {name: float(np.median(values)) for name, values in turns.items()}
