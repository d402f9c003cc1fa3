"""What a reader has to say of files: how it read one that could be read in two ways, and what it left out."""

import contextlib
import sys
import threading
from collections import Counter

QUIET = {"thumbs.db", "desktop.ini", "__macosx"}  # what systems leave behind and nobody misses
_gathered, _lock = [], threading.Lock()


def tell(path, what):
    """Says something of a file; inside `gathered`, once for all files of which the same is to be said."""
    with _lock:
        if _gathered:
            _gathered[-1].setdefault(what, []).append(str(path))
            return
    print(f"{path} {what}", file=sys.stderr)


@contextlib.contextmanager
def gathered():
    """Holds back what is told of files inside, and says it at the end: a line for each thing, with how many files."""
    found = {}
    _gathered.append(found)
    try:
        yield
    finally:
        _gathered.remove(found)
        for what, paths in found.items():
            more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
            print(f"{paths[0]}{more} {what}", file=sys.stderr)


def left_out(folder, paths, kind):
    """Counts files that no reader here takes by their suffix, and says so in a line.

    Args:
        folder: Where they are.
        paths: The files.
        kind: What they are not, in words, such as "images".

    Returns:
        Dictionary of suffix to number.
    """
    paths = [path for path in paths if path.name.lower() not in QUIET]
    counts = dict(sorted(Counter(path.suffix.lower() or path.name for path in paths).items()))
    if counts:
        named = ", ".join(f"{suffix} {count:,}" for suffix, count in counts.items())
        print(f"left out of {folder}: {len(paths):,} files that are no {kind} read here ({named})", file=sys.stderr)
    return counts
