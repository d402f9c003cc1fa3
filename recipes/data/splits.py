"""The words that people call the splits of a data set by, one table for all kinds of data, and paths below a folder:
walked, paired with each other and found by what a text calls them.
"""

import os
import re
import sys
from pathlib import Path, PureWindowsPath
from typing import Literal

Split = Literal["train", "validation", "val", "test", "all"]  # as an option; val is validation

ORDER = ("train", "validation", "test")
WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test"}
WORDS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")


def split_word(name):
    """ "train", "validation" or "test" for a word of the table in any case, else None."""
    return WORDS.get(str(name).lower())


def roots(folder, holds, *, classes=True):
    """The folders that hold the splits of a data set: {"train": [folders], ...}, all "train" where there are none.

    A folder right below counts as a split by its name, in any case and form of the table. Where another one beside it
    has no such name, it is a split only if it holds folders of its own: `bus/ train/ car/` are three classes.

    Args:
        folder: The data set.
        holds: Function of a folder: whether there is a file of the wanted kind in or below it.
        classes: Whether the folders hold one folder per class, which is then looked at as well.

    Raises:
        ValueError: If it cannot be told whether folders are classes or splits.
    """
    below = sorted(path for path in Path(folder).iterdir() if path.is_dir() and path.name[0] != "." and holds(path))
    named = [path for path in below if split_word(path.name)]
    others = [path for path in below if path not in named]
    inner = {path: {sub.name for sub in path.iterdir() if sub.is_dir() and sub.name[0] != "."} for path in below}
    if others and not all(inner[path] for path in named):
        named, others = [], below
    if named:
        found = {name: [path for path in named if split_word(path.name) == name] for name in ORDER}
        if others:
            names = ", ".join(f"{path.name}/" for path in others)
            print(f"left out of {folder}: {names}, which is no split beside {named[0].name}/", file=sys.stderr)
        return {name: paths for name, paths in found.items() if paths}
    shared = set.intersection(*inner.values()) if inner else set()
    if classes and len(below) > 1 and len(shared) > 1:
        same, names = ", ".join(sorted(shared)[:4]), ", ".join(path.name for path in below[:4])
        raise ValueError(
            f"the folders {names} of {folder} hold the same folders ({same}), so they may be splits and not classes: "
            f"accepted names of splits are {', '.join(WORDS)}"
        )
    return {"train": [Path(folder)]}


def has_test(folder):
    """Whether a folder has a test split of its own."""
    return Path(folder).is_dir() and any(split_word(path.name) == "test" for path in Path(folder).iterdir())


def split_in(name):
    """The split that a longer name speaks of (instances_val2017, obj_train_data); None if none or more than one."""
    found = {split_word(word) for word in re.findall("[^\\W\\d_]+", str(name))} - {None}
    return found.pop() if len(found) == 1 else None


def split_of(parts):
    """The split that the folders of a path speak of, the innermost first; whole words come before parts of names."""
    for word in (split_word, split_in):
        for part in reversed(parts):
            if word(part):
                return word(part)
    return None


def walk(folder):
    """All files of a folder that are not hidden; links to folders are followed, each folder is entered once."""
    start, found, waiting = os.path.realpath(folder), [], [folder] if Path(folder).is_dir() else []
    seen = {start, *map(str, Path(start).parents)}  # a link upwards is a circle
    while waiting:
        for path in sorted(waiting.pop(0).iterdir()):
            if path.name[0] == ".":
                continue
            if not path.is_dir():
                found.append(path)
            elif os.path.realpath(path) not in seen:
                seen.add(os.path.realpath(path))
                waiting.append(path)
    return sorted(found)


def folder_split(path, folder):
    """The split that a path's folders speak of, or None: a picture's own name never decides."""
    return split_of(path.relative_to(folder).parts[:-1])


KINDS = {"images", "image", "imgs", "img", "jpegimages", "labels", "label", "annotations", "annotation", "xml", "xmls"}


def _key(path, folder):
    """What a picture and its labels have in common: their folders but for images, labels and the like, and the stem."""
    return *(p for p in path.relative_to(folder).parts[:-1] if p.lower() not in KINDS), path.stem


def _tails(one, other):
    """Whether one key ends as the other, and their splits do not speak against it."""
    length = min(len(one), len(other))
    return one[-length:] == other[-length:] and len({split_of(one[:-1]), split_of(other[:-1])} - {None}) < 2


def pair(labels, pictures, folder):
    """Label file to its picture, by relative path; what stays ambiguous is refused."""
    exact, stems, pairs, owner = {}, {}, {}, {}
    for path in pictures:
        exact.setdefault(_key(path, folder), []).append(path)
        stems.setdefault(path.stem, []).append(path)
    keys = {_key(path, folder) for path in labels}
    for path in labels:
        key = _key(path, folder)
        near = exact.get(key)
        if not near:  # a picture that has labels of its own is none of these
            near = [one for one in stems.get(path.stem, ()) if _key(one, folder) not in keys]
            tails = [one for one in near if _tails(_key(one, folder), key)]
            splits = {folder_split(path, folder), None}
            near = tails or [one for one in near if len({folder_split(one, folder)} | splits) < 3]
        if not near:
            continue
        if len(near) > 1 or near[0] in owner:
            other = f"{near[0]} and {near[1]}" if len(near) > 1 else f"{near[0]}, which {owner[near[0]]} is of"
            raise ValueError(f"{path} may be of {other}: accepted are labels/X/Y.* for images/X/Y.*, the same folders")
        pairs[path], owner[near[0]] = near[0], path
    return pairs


class Finder:
    """Finds the files of a folder that a text names, by path: as it stands, else by the longest end that is found."""

    def __init__(self, paths, folder):
        self.folder, self.real, self.ends = folder, {os.path.realpath(path): path for path in paths}, {}
        for path in paths:
            parts = path.relative_to(folder).parts
            for start in range(len(parts)):
                self.ends.setdefault(parts[start:], []).append(path)

    def __call__(self, name, base, where, split=None):
        """The file or None; `split` chooses among files that fit equally well."""
        parts = tuple(
            part for part in PureWindowsPath(name.strip()).as_posix().split("/") if part not in ("", ".", "..")
        )
        plain = name.strip().replace("\\", "/")
        for root in (base, self.folder):
            path = self.real.get(os.path.realpath(root / plain))
            if path:
                return path
        for start in range(len(parts)):
            near = self.ends.get(parts[start:], [])
            same = [path for path in near if folder_split(path, self.folder) == split]
            near = same if len(same) == 1 else near
            if len(near) > 1:
                raise ValueError(f"{where} names {name}, which may be {near[0]} or {near[1]}: give its folder too")
            if near:
                return near[0]
        return None
