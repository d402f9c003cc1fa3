"""Arguments as people give them: what is out of range is refused in one line."""


def named(arguments, *names):
    """Some of the arguments of a function, to be checked."""
    return {name: arguments[name] for name in names}


def check_positive(**values):
    """Refuses an argument that is given and not positive."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def check_range(interval, **values):
    """Refuses an argument that is given and outside an interval, such as "[0, 1)" or "(0, inf)"."""
    low, high = map(float, interval[1:-1].split(","))
    for name, value in values.items():
        if value is None:
            continue
        above = value >= low if interval[0] == "[" else value > low
        below = value <= high if interval[-1] == "]" else value < high
        if not (above and below):
            raise ValueError(f"{name} must be in {interval}, got {value}")


def chosen(names, known):
    """Names of classes as people give them, one by one or with commas between them."""
    return tuple(part for name in names for part in ([name] if name in known else name.split(",")))
