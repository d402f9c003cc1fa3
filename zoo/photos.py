"""Photos as they come in files, brought to what a network takes (NumPy and Pillow)."""

import re
import sys

import numpy as np
from PIL import Image, ImageOps

KINDS = "PNG, JPEG, BMP, GIF, WebP, TIFF and what else Pillow opens"


def _tell(path, what):
    print(f"{path} {what}", file=sys.stderr)


def open_image(path, tell=_tell):
    """Opens an image file as a PIL image of its own size: turned upright, on white where transparent, 8 bits.

    Values of more than 8 bits, and floats, are brought to 0 to 255 from the range that the file fits: 12 bits in 16, or
    floats in [0, 1], are told, as is a file with several pictures: `tell` gets the path and what is to be said of it.

    Raises:
        ValueError: If the file is not an image, or one whose values are of no range that is known.
    """
    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1) if image.format in ("GIF", "TIFF", "PNG", "WEBP") else 1
            largest = image.tag_v2.get(281) if image.format == "TIFF" else None  # MaxSampleValue
            image = _plain(ImageOps.exif_transpose(image), path, largest, tell)
            image.load()  # a file cut off in the middle is noticed here
    except FileNotFoundError:
        raise ValueError(f"there is no image {path}") from None
    except PermissionError:
        raise ValueError(f"{path} may not be read: permission denied") from None
    except Image.DecompressionBombError as error:
        size, limit = (int(number) for number in re.findall(r"\d+", str(error))[:2])
        raise ValueError(f"{path} has {size:,} pixels: at most {limit:,} are read") from None
    except _Range as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # a damaged file meets its reader anywhere: struct, zlib, EXIF, ...
        name = "this" if hasattr(path, "read") else path
        raise ValueError(f"{name} is not an image that can be read ({KINDS})") from error
    if frames > 1:
        tell(path, f"has {frames} pictures: the first one is read")
    return image


def plain(image, tell=_tell):
    """A PIL image as `open_image` gives one, but for its turn: its pixels are those of the caller.

    Raises:
        ValueError: If its values are of no range that is known.
    """
    try:
        return _plain(image, "the image", None, tell)
    except _Range as error:
        raise ValueError(str(error)) from None


def _plain(image, path, largest, tell):
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image), path, largest, tell))
    elif image.mode == "LAB":
        image = _from_lab(image)
    if image.has_transparency_data:
        grey, image = image.mode in ("1", "L", "LA"), image.convert("RGBA")
        if image.getextrema()[3][0] < 255:
            tell(path, "is transparent in part: it is read as on white paper")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L") if grey else image
    return image


class _Range(Exception):
    """Pixels of no range that is known."""


def _eight_bits(values, path, largest, tell):
    """Pixels of more than 8 bits, or floats, as uint8; `largest` is the highest value where the file says it."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise _Range(f"{path} has pixels that are no numbers (NaN or infinite)")
    if low < 0 or high > 65535:
        accepted = "0 to 255, to 4,095 or to 65,535, or 0.0 to 1.0"
        raise _Range(f"{path} has pixels from {low:g} to {high:g}: accepted are {accepted}")
    tops = (1.0, 255, 65535) if values.dtype.kind == "f" else (255, 4095, 65535)
    top = next(top for top in tops if (largest if largest and high <= largest <= 65535 else high) <= top)
    if top == 65535:
        return (np.float32(values) / 257).clip(0, 255).astype(np.uint8)
    if high:
        bits = {255: "16 bits of which 8 are used", 4095: "16 bits of which 12 are used"}
        held = "floats" if values.dtype.kind == "f" else bits[top]
        tell(path, f"holds {held}: {top:,} is read as white")
    return np.rint(np.float32(values) * (255 / top)).astype(np.uint8)


def _from_lab(image):
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, *profiles, outputMode="RGB")


def border(images):
    """Mean brightness, 0 to 255, of the outermost pixels of uint8 images (..., height, width, channels)."""
    edges = [images[..., :1, :, :], images[..., -1:, :, :], images[..., :, :1, :], images[..., :, -1:, :]]
    return float(np.mean([edge.mean() for edge in edges]))


def colourful(image):
    """Whether a PIL image has more colour than paper and ink under some light."""
    pixels = np.asarray(image.convert("RGB").resize((128, 128)), np.float32)
    return bool((pixels.max(axis=-1) - pixels.min(axis=-1)).mean() > 20)


def unlike_drawings(image):
    """Whether a PIL image looks unlike what classifiers of small grey pictures know: it is colourful, or its border is
    not even. Of MNIST's digits none do, of Fashion-MNIST's clothes 1 %, and nearly all photos."""
    grey = np.asarray(image.convert("L").resize((128, 128)), np.float32)
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return colourful(image) or bool((np.abs(edge - np.median(edge)) < 48).mean() < 0.75)


def light_on_dark(image):
    """The negative of a uint8 image, its border made black and its lightest pixel white: paper is never quite white."""
    image = 255.0 - image
    low, high = border(image), image.max()
    return (255 * (image - low) / max(high - low, 1)).clip(0, 255).astype(np.uint8)


def as_trained(image, trained_border, invert="auto"):
    """An image light on dark where the training images were: (image, whether it was turned).

    Args:
        image: uint8 (height, width, channels).
        trained_border: Mean brightness of the border of the training images, or None where it is not known.
        invert: "yes", "no", or "auto": where the image's border is on the other side of grey than theirs.
    """
    other_side = trained_border is not None and (border(image) > 127) != (trained_border > 127)
    turned = invert == "yes" or (invert == "auto" and other_side)
    return (light_on_dark(image) if turned else image), turned


def fit_one(image, input_shape, fit="pad"):
    """A PIL image as uint8 (height, width, channels): "pad" to keep its shape, "crop" or "stretch"."""
    height, width, channels = input_shape
    image = image.convert("L" if channels == 1 else "RGB")
    if fit == "crop":
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    if fit == "stretch":  # no overshoot: the darkest and lightest values stay what they are
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if image.width * height != image.height * width:
        edge = np.asarray(image.resize((16, 16)))
        edge = np.concatenate([edge[0], edge[-1], edge[:, 0], edge[:, -1]])
        side = max(image.width / width, image.height / height)
        if side * side * width * height > Image.MAX_IMAGE_PIXELS:  # long and thin: padded at its size it fills memory
            image = image.resize((max(1, round(image.width / side)), max(1, round(image.height / side))))
            side = 1.0
        size = max(1, round(side * width)), max(1, round(side * height))
        colour = np.median(edge, axis=0).astype(int)
        image = ImageOps.pad(image, size, color=int(colour) if channels == 1 else tuple(colour.tolist()))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(height, width, channels)


def turn(photo, angle):
    """A uint8 photo turned counter-clockwise by an angle in degrees about its centre, its corners black."""
    return np.asarray(Image.fromarray(photo).rotate(float(angle), Image.Resampling.BICUBIC))


def inside(photo, angle):
    """The largest part about the centre, in the same proportions, that has no black corner after a turn by `angle`."""
    height, width = photo.shape[:2]
    radians = np.radians(abs(angle))
    longer = max(height, width) / min(height, width)
    share = 1 / (np.cos(radians) + longer * np.sin(radians))
    down, across = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return photo[down : height - down, across : width - across]


def straightened(photo, angle):
    """A uint8 photo that was turned by an angle, turned back and cut to what has no black corner."""
    return inside(turn(photo, -angle), angle)
