"""Pictures of detections: boxes, curves of precision and recall, the worst images."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from recipes import plots
from zoo.drawing import draw_boxes


def detection_curves(curves, path):
    """Precision over recall, and F1 over confidence, of each class: {name: (scores, precision, recall)}."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (scores, precision, recall) in curves.items():
        left.plot(recall, precision, linewidth=1.2, label=name)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        right.plot(scores, f1, linewidth=1.2, label=name)
    left.set(title="at IoU 0.5", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    right.set(title="at IoU 0.5", xlabel="confidence", ylabel="F1", xlim=(0, 1), ylim=(0, 1.02))
    for axes in (left, right):
        plots.clean(axes)
    if len(curves) <= 20:
        left.legend(frameon=False, fontsize=8)
    plots.save(figure, path)


def worst(files, images, targets, found, wrong, class_names, threshold, folder):
    """The images with most mistakes: what is there in white, what was found at the threshold's confidence in colours.

    Args:
        files: Names of the images.
        images: uint8 (count, height, width, 3).
        targets: One array (objects, 5) per image: left, top, right, bottom, class.
        found: One dictionary "boxes", "scores" and "classes" per image.
        wrong: Mistakes of each image.
        class_names: Names of the classes.
        threshold: Dictionary with "confidence", the least of a detection that is shown.
        folder: Where worst.png is written.
    """
    chosen = [index for index in np.argsort([-count for count in wrong], kind="stable") if wrong[index]][:8]
    shown, captions = [], []
    for index in chosen:
        sure = found[index]["scores"] >= threshold["confidence"]
        true = {"boxes": targets[index][:, :4], "classes": targets[index][:, 4].astype(int)}
        picture = draw_boxes(images[index], true, class_names, colour="#ffffff")
        shown.append(draw_boxes(picture, {name: values[sure] for name, values in found[index].items()}, class_names))
        captions.append(f"{Path(files[index]).name[-24:]}\n{wrong[index]} mistakes")
    title = f"the worst of {len(images):,} images; what is there in white"
    plots.sheet(shown, captions, folder / "worst.png", title=title, columns=4, size=3.5)
