"""Image files: which they are, and how they are opened."""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.data import notes
from recipes.data.splits import walk
from zoo import photos
from zoo.photos import KINDS  # noqa: F401 - asked for beside the files

STUBS = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}  # Pillow knows their names and needs more


@functools.cache
def suffixes():
    """The suffixes of the files that Pillow opens here."""
    Image.init()
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN.keys() - STUBS}


def is_image(path):
    """Whether a path has the suffix of an image that can be opened here."""
    return Path(path).suffix.lower() in suffixes()


def files(folder):
    """Image files below a folder, sorted, hidden ones left out; links to folders are followed."""
    return [path for path in walk(folder) if is_image(path)]


def open_image(path):
    """As `zoo.photos.open_image`; what is told is gathered."""
    return photos.open_image(path, notes.tell)


def read_image(path, channels=3):
    """Reads an image file, uint8 (height, width, channels), turned upright.

    Raises:
        ValueError: If it cannot be read, or is grey where colour is wanted.
    """
    image = open_image(path)
    if channels == 3 and image.mode in ("1", "L", "LA", "I", "F"):
        raise ValueError(f"{path} is a grey image, colour is wanted (3 channels)")
    pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(*pixels.shape[:2], channels)
