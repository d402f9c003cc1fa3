"""Files as they are given on a command line: named ones, and all of a folder."""

import sys
from pathlib import Path


def read(paths, reader, *, files, kinds, what):
    """Reads files, in the order given. One that is named itself must be readable; of a folder the others are skipped.

    Args:
        paths: Files and folders.
        reader: Function of a path that gives what is in the file, or raises ValueError.
        files: Function of a folder that lists its files of this kind.
        kinds: What a folder is looked through for, in words, such as "images (PNG, JPEG)".
        what: What one file has to be, in words, such as "an image".

    Returns:
        ([(path, what the reader gave)], [names of the skipped files]).

    Raises:
        ValueError: If a folder has no such file, a named file cannot be read, or none is left.
    """
    found, skipped = [], []
    for path in map(Path, paths):
        listed = files(path) if path.is_dir() else [path]
        if not listed:
            raise ValueError(f"{path} has no {kinds}")
        for file in listed:
            try:
                found.append((file, reader(file)))
            except ValueError as error:
                if not path.is_dir():
                    raise
                skipped.append(str(file))
                print(f"skipped: {error}", file=sys.stderr)
    if not found:
        raise ValueError(f"none of the {len(skipped)} files is {what} that can be read")
    return found, skipped


def free_name(folder, path, ending, taken):
    """A name in the folder for what becomes of a file, which no other file of this call has; it is added to `taken`."""
    names = (folder / f"{Path(path).stem}{'' if n == 1 else f'-{n}'}{ending}" for n in range(1, len(taken) + 2))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name
