"""Files that are whole or not there."""

import contextlib
import os
import shutil
from pathlib import Path


@contextlib.contextmanager
def atomic(path):
    """Gives a temporary name beside `path`, and moves what was written there to `path` if nothing failed.

    Raises:
        ValueError: If `path` is a folder with anything but a SavedModel in it, which is not ours to replace, or its
            folder is not there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} to write {path.name} into")
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise ValueError(f"{path} is a folder with other things in it: give another name")
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        if path.is_dir():
            former = path.with_name(f".former-{os.getpid()}-{path.name}")
            path.rename(former)
            try:
                partial.rename(path)
            except OSError:
                former.rename(path)
                raise
            shutil.rmtree(former)
        else:
            partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
