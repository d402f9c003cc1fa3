"""Photos without their cast, or straightened."""

from pathlib import Path
from typing import Literal

from PIL import ImageOps
from tyro.conf import Positional

from recipes import inputs, plots, results, runs
from recipes.data.files import open_image, profile
from recipes.predictions.opening import Backend, opened
from zoo.atomic import atomic


def predict(
    paths: Positional[tuple[Path, ...]],
    *,
    model: str = "alexnet",
    backend: Backend = "litert",
    test_time_augmentation: Literal["none", "flip"] = "none",
    output: Path | None = None,
):
    """Takes the cast off photos, or straightens them, at their full size; the numbers also as CSV and JSON.

    Args:
        paths: Photos and folders of photos.
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly.
        test_time_augmentation: flip also asks the model about the mirror image, and takes the mean.
        output: Folder for the results; by default a new one under runs/alexnet.
    """
    if not paths:
        raise ValueError("no photo given: name image files or folders of images")
    predictor = opened(model, "image regression", backend)
    found, left_out = inputs.read_images(paths, lambda path: open_image(path).convert("RGB"), output)
    folder, kind = runs.output_folder("alexnet", "predict", output), predictor.metadata["target"]["kind"]
    rows, shown, captions, taken = [], [], [], set()
    for path, photo in found:
        values = predictor.numbers(photo)
        if test_time_augmentation == "flip":
            mirrored, sign = predictor.numbers(ImageOps.mirror(photo)), -1 if kind == "angle" else 1
            values = {name: (value + sign * mirrored[name]) / 2 for name, value in values.items()}
        result = predictor.corrected(photo, values)
        jpeg = path.suffix.lower() in (".jpg", ".jpeg")
        target = inputs.free_name(folder, path.with_stem(f"{path.stem}-corrected"), ".jpg" if jpeg else ".png", taken)
        options = {"format": "JPEG", "quality": 95, "subsampling": 0} if jpeg else {"format": "PNG"}
        with atomic(target) as partial:
            result.save(partial, icc_profile=profile(path), **options)
        row = {"file": str(path), **values}
        rows.append(row | {"corrected": str(target), "width": result.width, "height": result.height})
        if len(shown) < 64:
            shown += [plots.thumbnail(photo), plots.thumbnail(result)]
            captions += [path.name[-18:], results.numbers(values.values(), kind)]
    return results.predicted(folder, rows, rows, left_out, shown, captions, "table, sheet and photos")
