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


def profile(path, mode="RGB"):
    """The ICC profile of an image file, which says what colours its numbers mean; None where there is none, or one that
    is not for pixels of the mode, "RGB" or "L"."""
    with Image.open(path) as image:
        found = image.info.get("icc_profile") or b""
    return found if found[16:20] == {"RGB": b"RGB ", "L": b"GRAY"}[mode] else None


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


def read_fitted(path, input_shape, fit="pad"):
    """Reads an image file as uint8 (height, width, channels): turned upright, on white where transparent, brought to
    the shape's proportions ("pad": with the colour of its border, "crop": about its centre), and resized.

    Raises:
        ValueError: If the file is not an image.
    """
    return photos.fit_one(open_image(path), input_shape, fit)


def read_missing(mask, pictures, shape):
    """Boolean (height, width) in a network's shape, from an image as large as the pictures: True where it is light.

    Raises:
        ValueError: If it has another size than one of the pictures, or is dark everywhere.
    """
    given = open_image(mask)
    for path in pictures:
        size = open_image(path).size
        if size != given.size:
            raise ValueError(f"the mask {mask} is {given.size}, {path} is {size}: the sizes must be the same")
    missing = read_fitted(mask, (*shape[:2], 1))[..., 0] > 127
    if not missing.any():
        raise ValueError(f"the mask {mask} is dark everywhere: make it light where pixels are missing")
    return missing
