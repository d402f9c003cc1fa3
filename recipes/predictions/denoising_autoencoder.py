"""Images without their noise, or enlarged."""

import contextlib
import sys
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from tyro.conf import Positional

from recipes import cards, inputs, plots, results, runs
from recipes.data.files import files, open_image, profile
from recipes.predictions.opening import Backend, is_light, opened, warn_of
from recipes.quiet import silent_start
from zoo.photos import colourful
from zoo.tiles import Augmentation, by_views


def predict(
    paths: Positional[tuple[Path, ...]],
    *,
    task: Literal["denoise", "super_resolve"] = "denoise",
    model: str | None = None,
    backend: Backend = "litert",
    test_time_augmentation: Augmentation = "none",
    clean: Path | None = None,
    output: Path | None = None,
):
    """Restores or enlarges images of any size, tile by tile: writes NAME-restored.png or NAME-x2.png, a table as CSV
    and JSON, and a sheet.

    Args:
        paths: Image files and folders of images.
        task: denoise, or super_resolve to enlarge.
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder; by default
            denoising_photos where any image is coloured or has more than 100 pixels a side, else
            denoising_autoencoder, of digits; to enlarge, super_resolution.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly.
        test_time_augmentation: flip takes the mean over the image and its mirror image, rotate over all eight mirror
            images and quarter turns: better, and as many times slower.
        clean: The image as it was without noise, where there is one: PSNR and SSIM before and after.
        output: Folder for the results; by default a new one under runs/denoising_autoencoder.
    """
    if not paths:
        raise ValueError("no image given: name image files or folders of images")
    chosen, photo = model or "super_resolution", None
    if model is None and task == "denoise":
        chosen, photo = _suited(paths)
    restore, known = _opened(chosen, backend, task, test_time_augmentation)
    suffix, folder, left_out = "restored" if known.factor == 1 else f"x{known.factor}", None, {}
    found = inputs.each_image(paths, lambda path: _large_enough(path, known.stride), left_out, output)
    original = None
    if clean is not None:
        found = list(found)
        original = _read_clean(clean, found, known.factor)
    rows, shown, captions, taken, foreign = [], [], [], set(), []
    for path, image in found:
        if folder is None:
            folder = runs.output_folder("denoising_autoencoder", "predict", output)
            if photo:
                print(f"{photo} looks like a photo: {chosen} is taken (or say --model)", file=sys.stderr)
        if known.channels == 1 and image.shape[-1] == 3 and colourful(Image.fromarray(image)):
            foreign.append(path)
        restored = restore(image, _progress(path))
        # the number of a second x.png comes last: x-restored-2.png
        target = inputs.free_name(folder, f"{path.stem}-{suffix}.png", ".png", taken)
        plots.save_image(restored, target, profile(path, "L" if restored.shape[-1] == 1 else "RGB"))
        row = {"file": str(path), "restored": str(target), "width": restored.shape[1], "height": restored.shape[0]}
        if known.factor == 1:
            row["change"] = _change(image, restored)
        if original is not None:
            row |= _compared(original, image, restored)
        rows.append(row)
        if len(shown) < 64:
            shown += [plots.thumbnail(image), plots.thumbnail(restored)]
            captions += [path.name[-18:], suffix]
    warn_of(known, foreign)
    return results.predicted(folder, rows, rows, left_out, shown, captions, "table, sheet and restored images")


def _suited(paths):
    """(the published model for what the images show, the file that looks like a photo where it is the one for these)"""
    for path in paths:
        for file in inputs.without_results(path, files(path)) if path.is_dir() else [path]:
            with contextlib.suppress(ValueError, OSError):  # said when it is read
                with Image.open(file) as image:
                    large = max(image.size) > 100
                if large or colourful(open_image(file)):
                    return "denoising_photos", file
    return "denoising_autoencoder", None


def _opened(model, backend, task, augmentation):
    """(function of a uint8 image and a progress function to the restored image, the opened model)."""
    if is_light(model, backend):
        predictor = opened(model, cards.RESTORATION[task])
        predictor.stride, predictor.factor = (predictor.metadata.get(name, 1) for name in ("stride", "factor"))

        def one(image, progress):
            picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
            restored = np.asarray(predictor.restored(picture, progress))
            return restored.reshape(*restored.shape[:2], image.shape[-1])

        def restore(image, progress):
            return by_views(one, image, augmentation, progress)

        return restore, predictor
    with silent_start():
        from recipes.denoising_autoencoder import Restorer
    restorer = Restorer(model, test_time_augmentation=augmentation)
    if restorer.task != cards.RESTORATION[task]:
        raise ValueError(f"{model} is not for {cards.RESTORATION[task]}: it is for {restorer.task}")
    return restorer.any_size, restorer


def _progress(path):
    """A function that shows how many tiles of a large photo are done, where someone is looking."""

    def show(done, count):
        if count >= 16 and sys.stderr.isatty():
            end = "\n" if done == count else ""
            print(f"\r{path.name}: {done:,} of {count:,} tiles", end=end, file=sys.stderr, flush=True)

    return show


def _change(before, after):
    """Root of the mean squared difference in [0, 1]; row by row, since a large photo has no room for its float64."""
    total = sum(
        float(np.sum((one.astype(np.float32) - other) ** 2, dtype=np.float64))
        for one, other in zip(before, after, strict=True)
    )
    return float(np.sqrt(total / before.size) / 255)


def _compared(original, before, after):
    """PSNR and SSIM of an image before and after, against the clean one."""
    with silent_start():
        from recipes.denoising_autoencoder import quality
    first, second = quality(original[None], before[None]), quality(original[None], after[None])
    return {
        f"{name}_{when}": found[name]
        for name in ("psnr", "ssim")
        for when, found in (("before", first), ("after", second))
    }


def _large_enough(path, stride):
    """An image file whose sides have the pixels that the model makes sense of."""
    image = _pixels(path)
    if min(image.shape[:2]) < stride:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise ValueError(f"{path} has {size} pixels, less than the stride {stride} of the model")
    return image


def _read_clean(path, found, factor):
    """The clean image of the one noisy image, of the same size and number of channels."""
    if factor > 1:
        raise ValueError("--clean is for denoising: what zoo evaluate measures is photos made smaller")
    if len(found) != 1:
        raise ValueError(f"--clean belongs to one image, got {len(found)}")
    file, image = found[0]
    clean = _pixels(path)
    if clean.shape[-1] != image.shape[-1]:
        kinds = ["grey" if pixels.shape[-1] == 1 else "coloured" for pixels in (clean, image)]
        raise ValueError(f"the clean image {path} is {kinds[0]}, {file} is {kinds[1]}: they must be alike")
    if clean.shape[:2] != image.shape[:2]:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (clean, image)]
        raise ValueError(f"the clean image {path} has {sizes[0]} pixels, {file} has {sizes[1]}: they must be equal")
    return clean


def _pixels(path):
    """An image file in its own size, uint8 (height, width, 1 or 3)."""
    image = open_image(path)
    grey = image.mode in ("1", "L", "LA", "F")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)
