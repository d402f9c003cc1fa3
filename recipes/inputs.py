"""Files as they are given on a command line: named ones, and all of a folder."""

import itertools
import sys
from collections import Counter
from pathlib import Path

from recipes import runs
from recipes.data import files as image_files
from recipes.data import notes, splits, video


def each(paths, reader, *, files, kinds, what, left_out, output=None):
    """Reads files one after the other, in the order given; what cannot be read is told and does not stop the others.

    Args:
        paths: Files and folders.
        reader: Function of a path that gives what is in the file, or raises ValueError.
        files: Function of a folder that lists its files of this kind.
        kinds: What a folder is looked through for, in words, such as "images (PNG, JPEG)".
        what: What one file has to be, in words, such as "an image".
        left_out: Dictionary that gets two lists of names: "skipped", the files of folders that could not be read, and
            "failed", those that were named themselves, for which the command ends with status 1; and "left_out", how
            many files of folders have another suffix.
        output: The folder that the user named for the results, which may not be that of a file.

    Yields:
        (path, what the reader gave).

    Raises:
        ValueError: If a folder has no such file, a file is where the results go, or none could be read.
    """
    left_out |= {"skipped": [], "failed": [], "left_out": {}}
    listed, found, error = [], False, None
    for path in map(Path, paths):
        everything = files(path) if path.is_dir() else [path]
        inside = without_results(path, everything)
        if not inside:
            raise ValueError(f"{path} has no {kinds}")
        if len(inside) < len(everything):
            count = len(everything) - len(inside)
            print(f"left out of {path}: {count:,} files in folders of earlier results", file=sys.stderr)
        if path.is_dir():
            others = set(splits.walk(path)) - set(everything)
            counts = notes.left_out(path, [one for one in sorted(others) if not _ours(one)], kinds.split(" (")[0])
            left_out["left_out"] = dict(Counter(left_out["left_out"]) + Counter(counts))
        listed += [(file, not path.is_dir()) for file in inside]
    for file, _ in listed:
        if output is not None and file.exists() and file.resolve().parent == Path(output).resolve():
            raise ValueError(f"{file} is in {output}, where the results go: name another folder as --output")
    for file, named in listed:
        try:
            read = reader(file)
        except ValueError as problem:
            error = problem
            left_out["failed" if named else "skipped"].append(str(file))
            if len(listed) > 1:
                print(f"skipped: {problem}", file=sys.stderr)
            continue
        found = True
        yield file, read
    if not found:
        raise error if len(listed) == 1 else ValueError(f"none of the {len(listed)} files is {what} that can be read")


def _ours(path):
    """Whether a file is a table or card that a command itself writes beside pictures."""
    return path.name in (*runs.RESULTS, "predictions.csv", "timeline.csv")


def without_results(folder, paths):
    """Files without those of folders below `folder` that a command made: results of before are no photos."""
    below = {parent for path in paths for parent in path.parents if folder in parent.parents}
    made = {parent for parent in below if runs.has_results(parent)}
    return [path for path in paths if made.isdisjoint(path.parents)]


def read(paths, reader, **about):
    """All files of `each` at once: ([(path, what the reader gave)], what was left out)."""
    left_out = {}
    return list(each(paths, reader, **about, left_out=left_out)), left_out


def read_images(paths, reader, output):
    """As `read`, of images."""
    left_out = {}
    return list(each_image(paths, reader, left_out, output)), left_out


def each_image(paths, reader, left_out, output):
    """As `each`, of images."""
    about = {"kinds": f"images ({image_files.KINDS})", "what": "an image", "output": output}
    return each(paths, reader, files=image_files.files, left_out=left_out, **about)


def each_picture(paths, reader, left_out, output, *, cameras=False):
    """As `each`, of images and videos, which come as an open `video.Reader`; a number may be that of a camera."""

    def opened(path):
        if cameras and str(path).isdigit() and not path.exists():
            return video.Reader(int(str(path)))
        return video.Reader(path) if video.is_video(path) else reader(path)

    return each(
        paths,
        opened,
        files=lambda folder: image_files.files(folder) + video.files(folder),
        kinds=f"images or videos ({image_files.KINDS}, {video.KINDS})",
        what="an image or video",
        left_out=left_out,
        output=output,
    )


def free_name(folder, path, ending, taken, beside=()):
    """A name in the folder for what becomes of a file, which no other file of this call has; it is added to `taken`.

    What an earlier call left in a folder of results is replaced, a file in any other folder is not.

    Args:
        folder: Where it goes.
        path: The file it is made of.
        ending: What follows the stem.
        taken: Names given so far.
        beside: Endings of what is written beside it.
    """
    ours = runs.has_results(folder)
    for number in itertools.count(1):
        stem = f"{Path(path).stem}{'' if number == 1 else f'-{number}'}"
        name, *others = (folder / f"{stem}{one}" for one in (ending, *beside))
        if name not in taken and (ours or not any(file.exists() for file in (name, *others))):
            taken.add(name)
            return name
