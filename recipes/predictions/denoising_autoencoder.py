"""Images without their noise."""

from pathlib import Path

import numpy as np
from PIL import Image
from tyro.conf import Positional

from recipes import inputs, plots, results, runs
from recipes.data.files import open_image
from recipes.predictions.opening import Backend, is_light, opened, warn_of
from recipes.quiet import silent_start
from zoo.photos import colourful


def predict(
    paths: Positional[tuple[Path, ...]],
    *,
    model: str = "denoising_autoencoder",
    backend: Backend = "litert",
    clean: Path | None = None,
    output: Path | None = None,
):
    """Restores images of any size, tile by tile: writes NAME-restored.png, a table as CSV and JSON, and a sheet.

    Args:
        paths: Image files and folders of images.
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly.
        clean: The image as it was without noise, where there is one: PSNR and SSIM before and after.
        output: Folder for the results; by default a new one under runs/denoising_autoencoder.
    """
    if not paths:
        raise ValueError("no image given: name image files or folders of images")
    restore, stride, channels, known = _opened(model, backend)
    found, left_out = inputs.read_images(paths, lambda path: _large_enough(path, stride))
    if channels == 1:
        warn_of(known, [path for path, image in found if image.shape[-1] == 3 and colourful(Image.fromarray(image))])
    original = None if clean is None else _read_clean(clean, found)
    folder = runs.output_folder("denoising_autoencoder", "predict", output)
    rows, shown, captions, taken = [], [], [], set()
    for path, image in found:
        restored = restore(image)
        # the number of a second x.png comes last: x-restored-2.png
        target = inputs.free_name(folder, f"{path.stem}-restored.png", ".png", taken)
        plots.save_image(restored, target)
        row = {"file": str(path), "restored": str(target), "width": image.shape[1], "height": image.shape[0]}
        row["change"] = float(np.sqrt(np.mean((restored / 255 - image / 255) ** 2)))
        if original is not None:
            row |= _compared(original, image, restored)
        rows.append(row)
        if len(shown) < 64:
            shown += [plots.thumbnail(image), plots.thumbnail(restored)]
            captions += [path.name[-18:], "restored"]
    return results.predicted(folder, rows, rows, left_out, shown, captions, "table, sheet and restored images")


def _opened(model, backend):
    """(function of a uint8 image to the restored one, smallest side, channels of the network, what knows)."""
    if is_light(model, backend):
        predictor = opened(model, "image denoising")

        def restore(image):
            restored = np.asarray(predictor.restored(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)))
            return restored.reshape(image.shape)

        return restore, predictor.metadata.get("stride", 1), predictor.channels, predictor
    with silent_start():
        from recipes.denoising_autoencoder import Restorer
    restorer = Restorer(model)
    return restorer.any_size, restorer.stride, restorer.input_shape[-1], restorer


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


def _read_clean(path, found):
    """The clean image of the one noisy image, in the same number of channels."""
    if len(found) != 1:
        raise ValueError(f"--clean belongs to one image, got {len(found)}")
    file, image = found[0]
    clean = _pixels(path, grey=image.shape[-1] == 1)
    if clean.shape[:2] != image.shape[:2]:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (clean, image)]
        raise ValueError(f"the clean image {path} has {sizes[0]} pixels, {file} has {sizes[1]}: they must be equal")
    return clean


def _pixels(path, grey=None):
    """An image file in its own size, uint8 (height, width, 1 or 3)."""
    image = open_image(path)
    grey = image.mode in ("1", "L", "LA", "F") if grey is None else grey
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)
