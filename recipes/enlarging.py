"""How good a network of super-resolution is: beside interpolation, on the luma without the border, as papers do."""

import numpy as np
from PIL import Image

from recipes import plots
from recipes.data import crops, reduction

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
PARTS = {2: "half", 3: "a third", 4: "a quarter"}


def measure(restorer, images, split, *, quality, interval, folder):
    """Figures of a `Restorer` that enlarges and of interpolation on one split, and a sheet in `folder`.

    Args:
        restorer: The model.
        images: The `recipes.data.crops.PhotoSet`.
        split: Its split.
        quality: Function (clean, restored) that gives "psnr", "ssim" and "mse" of images.
        interval: Function (clean, restored) that gives the ends of the 95 % interval of the PSNR.
        folder: Where the sheet goes.
    """
    factor = restorer.factor
    clean = reduction.whole(images.split(split)[0], factor)
    small = reduction.fixed(clean, factor)
    by_name = {
        name: [reduction.resized(one, *target.shape[:2], way) for one, target in zip(small, clean, strict=True)]
        for name, way in FILTERS.items()
    }
    by_name["restored"] = restorer(small)
    target = [luma(photo, factor) for photo in clean]
    figures = {name: quality(target, [luma(photo, factor) for photo in made]) for name, made in by_name.items()}
    _sheet({name: by_name[name] for name in ("nearest", "bicubic", "restored")} | {"clean": clean}, factor, folder)
    ends = interval(target, [luma(photo, factor) for photo in by_name["restored"]])
    restored = figures.pop("restored")
    return {"metrics": restored, "intervals": {"psnr": ends}, "baselines": figures, "curve": []}


def luma(photo, border):
    """Y of ITU-R BT.601 in its range from 16 to 235, float32 (height, width, 1), without the border; grey as it is."""
    inside = photo[border : photo.shape[0] - border, border : photo.shape[1] - border].astype(np.float32)
    if photo.shape[-1] == 1:
        return inside
    return 16 + inside @ np.float32([[65.481], [128.553], [24.966]]) / np.float32(255)


def representative(images, split, factor, side, count=200):
    """Small photos that show int8 the range of the activations."""
    photos = images.split("train" if "train" in images.splits else split)[0]
    clean = crops.centres(photos[:count], (factor * side, factor * side))
    return np.stack(reduction.fixed(list(clean), factor))


def words(images, split, factor):
    """What was measured, in words."""
    return f"{images.name}, {split}, made smaller to {PARTS[factor]} of each side; luma, without a border of {factor}"


def _sheet(columns, factor, folder, count=8, side=120):
    """Middles of photos, each twice as large as it is, so that one sees what became of the pixels."""
    shown, captions = [], []
    middles = {name: crops.centres(photos[:count], (side, side)) for name, photos in columns.items()}
    for index in range(min(count, len(columns["clean"]))):
        for name, photos in middles.items():
            shown.append(np.repeat(np.repeat(photos[index], 2, 0), 2, 1))
            captions.append(name)
    plots.sheet(shown, captions, folder / "examples.png", title=f"{factor} times as large, seen at 200 %")
