"""Sound files: which they are, and which channel of them is heard."""

from typing import Literal

from recipes.data.splits import walk

SUFFIXES = {
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aif",
    ".aiff",
    ".aifc",
    ".au",
    ".snd",
    ".caf",
    ".w64",
    ".rf64",
}

Channel = Literal["first", "mix"]


def files(folder):
    """Sound files below a folder, sorted, hidden ones left out; links to folders are followed."""
    return [path for path in walk(folder) if path.suffix.lower() in SUFFIXES]
