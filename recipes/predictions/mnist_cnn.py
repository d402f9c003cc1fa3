"""What is on small images."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from recipes import inputs, results, runs
from recipes.data.files import open_image
from recipes.predictions.opening import Backend, opened, warn_of
from zoo.photos import unlike_drawings


def predict(
    paths: Positional[tuple[Path, ...]],
    *,
    model: str = "mnist_cnn",
    backend: Backend = "litert",
    invert: Literal["auto", "yes", "no"] = "auto",
    output: Path | None = None,
):
    """Names what is on images: a table, also as CSV and JSON, and a sheet of the images as the model saw them.

    Args:
        paths: Image files and folders of images.
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly.
        invert: Whether to turn dark ink on paper into light on black; auto does so where the border of the image is on
            the other side of grey than the border of the training images.
        output: Folder for the results; by default a new one under runs/mnist_cnn.
    """
    if not paths:
        raise ValueError("no image given: name image files or folders of images")
    predictor = opened(model, "image classification", backend)
    read, left_out = inputs.read_images(paths, open_image, output)
    if predictor.channels == 1:
        warn_of(predictor, [file for file, image in read if unlike_drawings(image)])
    pixels, rows, predictions = [], [], []
    for file, image in read:
        seen, inverted = predictor.seen(image, invert)
        pixels.append(seen)
        probabilities = predictor.probabilities(seen)
        label = max(probabilities, key=probabilities.get)
        rows.append({"file": str(file), "label": label, "confidence": probabilities[label], "inverted": inverted})
        predictions.append(rows[-1] | {"probabilities": probabilities})
    folder = runs.output_folder("mnist_cnn", "predict", output)
    captions = [f"{row['label']}  {row['confidence']:.0%}\n{Path(row['file']).name[-18:]}" for row in rows[:64]]
    return results.predicted(folder, predictions, rows, left_out, pixels[:64], captions, "table and sheet")
