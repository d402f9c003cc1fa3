"""What is on photos."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from recipes import inputs, results, runs
from recipes.checks import check_positive
from recipes.data.files import open_image
from recipes.predictions.opening import Backend, opened
from recipes.quiet import silent_start


def predict(
    paths: Positional[tuple[Path, ...]],
    *,
    model: str = "imagenet",
    backend: Backend = "litert",
    top: int = 5,
    test_time_augmentation: Literal["none", "flip"] = "none",
    output: Path | None = None,
):
    """Names what is on photos: a table of the likeliest classes, also as CSV and JSON, and a sheet.

    Args:
        paths: Image files and folders of images.
        model: imagenet (its 1,000 classes; a Keras model, which starts slowly), a published model, a run folder, or a
            .keras, .tflite, .onnx file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly.
        top: How many of the likeliest classes to give.
        test_time_augmentation: flip also asks the model about the mirror image, and takes the mean.
        output: Folder for the results; by default a new one under runs/image_classifier.
    """
    check_positive(top=top)
    if not paths:
        raise ValueError("no image given: name image files or folders of images")
    seen, probabilities = _opened(model, backend)
    read, left_out = inputs.read_images(paths, lambda path: seen(open_image(path)), output)
    predictions, rows = [], []
    for file, pixels in read:
        values = probabilities(pixels)
        if test_time_augmentation == "flip":
            mirrored = probabilities(pixels[:, ::-1])
            values = {name: (value + mirrored[name]) / 2 for name, value in values.items()}
        best = dict(sorted(values.items(), key=lambda pair: -pair[1])[:top])
        label, confidence = next(iter(best.items()))
        predictions.append({"file": str(file), "label": label, "confidence": confidence, "probabilities": best})
        others = ", ".join(f"{name} {value:.0%}" for name, value in list(best.items())[1:])
        rows.append({"file": str(file), "label": label, "confidence": confidence, "others": others})
    folder = runs.output_folder("image_classifier", "predict", output)
    captions = [f"{row['label'][:22]}  {row['confidence']:.0%}\n{Path(row['file']).name[-18:]}" for row in rows[:64]]
    pixels = [pixels for _, pixels in read[:64]]
    return results.predicted(folder, predictions, rows, left_out, pixels, captions, "table and sheet")


def _opened(model, backend):
    """(function of a PIL image to what the model sees of it, function of that to the probability of each class)."""
    if model != "imagenet":
        predictor = opened(model, "image classification", backend)
        return lambda image: predictor.seen(image, "no")[0], predictor.probabilities
    with silent_start():
        from recipes.image_classifier import Classifier
        from zoo.photos import fit_one
    classifier = Classifier(model)

    def probabilities(pixels):
        (values,) = classifier(pixels[None])
        return dict(zip(classifier.labels, map(float, values), strict=True))

    return lambda image: fit_one(image, classifier.input_shape), probabilities
