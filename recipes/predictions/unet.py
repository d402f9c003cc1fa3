"""The class of each pixel of photos and videos."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from tyro.conf import Positional

from recipes import inputs, plots, results, runs, segmentation
from recipes.checks import check_positive, check_range
from recipes.data import video
from recipes.data.files import read_image
from recipes.pictures import class_colours
from recipes.predictions.opening import Backend, is_light, opened
from recipes.quiet import silent_start

TASK = "semantic segmentation"


def predict(
    paths: Positional[tuple[Path, ...]],
    *,
    model: str = "unet",
    backend: Backend = "litert",
    resolution: int | None = None,
    window: tuple[int, int] | None = None,
    overlap: float = 0.25,
    test_time_augmentation: Literal["none", "flip"] = "none",
    opacity: float = 0.5,
    output: Path | None = None,
):
    """Segments photos and videos of any size: an overlay of each, for photos the mask as indexed PNG, for videos an
    annotated MP4, and the area of each class as CSV and JSON.

    Args:
        paths: Image files, video files, and folders of them.
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly and takes
            pieces of any size.
        resolution: Longer side, in pixels, at which the model sees an image; the mask is brought back to the image's
            size. By default that of the images that the model was trained on, where an image is larger.
        window: Height and width of the pieces that the model sees one after the other; by default the whole image, or
            512 by 512 of a large one.
        overlap: Share of a piece that the next one sees again.
        test_time_augmentation: flip also asks the model about the mirror image, and takes the mean.
        opacity: How much the colours of the classes cover the image, 0 to 1.
        output: Folder for the results; by default a new one under runs/unet.
    """
    check_positive(resolution=resolution)
    check_range("[0, 1]", opacity=opacity)
    if not paths:
        raise ValueError("no image given: name image files, video files or folders of them")
    segmenter, trained = _opened(model, backend, window, overlap, test_time_augmentation == "flip")
    longest = resolution or trained
    folder, rows, left_out, taken = None, [], {}, set()
    for path, source in inputs.each_picture(paths, lambda path: read_image(path, segmenter.channels), left_out, output):
        folder = folder or runs.output_folder("unet", "predict", output)
        work = _segment_video if isinstance(source, video.Reader) else _segment_photo
        rows.append(work(segmenter, path, source, longest, resolution, opacity, folder, taken))
    class_colours.legend(segmenter.labels, segmenter.colours, folder / "legend.png")
    head = ("file", "width", "height", "frames", "frames_per_second", "overlay")
    table = [{key: row[key] for key in head} | row["area"] for row in rows]
    results.write_predictions(folder, rows, table)
    shown = [{"file": row["file"], **{name: f"{share:.1%}" for name, share in row["area"].items()}} for row in rows]
    print(results.table(shown))
    for row in rows:
        if row["frames"]:
            print(f"{row['file']}: {row['frames']:,} frames, {row['frames_per_second']:.1f} per second")
    print(f"\noverlays, masks and tables are in {folder}")
    return {"predictions": rows, **left_out, "output": folder}


class _File(segmentation.Sliding):
    """A phone file, an ONNX file or a SavedModel of a U-Net."""

    def __init__(self, model, window, overlap, flip):
        predictor = opened(model, TASK)
        self.path, self.piece = predictor.path, predictor.on_piece
        *size, channels = predictor.piece_shape
        colours = predictor.colours
        self.look(predictor.class_names or range(len(colours)), colours, channels, 1)
        self.slide(tuple(size), window, overlap, flip)
        self.longest = predictor.longest


def _opened(model, backend, window, overlap, flip):
    """(the model, longer side of the images that it was trained on, in pixels, or 0)."""
    if is_light(model, "keras" if window else backend):  # a phone file has pieces of its own size
        segmenter = _File(model, window, overlap, flip)
        return segmenter, segmenter.longest
    with silent_start():
        from recipes.unet import Segmenter
    segmenter = Segmenter(model, window=window, overlap=overlap, flip=flip)
    return segmenter, max(segmenter.card.get("image", {}).get("size", (0, 0)))


def _segment_photo(segmenter, path, image, longest, resolution, opacity, folder, taken):
    mask = segmenter.any_size(image, longest, up=bool(resolution))
    overlay = inputs.free_name(folder, path, "-overlay.png", taken, beside=("-mask.png",))
    plots.save_image(segmenter.overlay(image, mask, opacity), overlay)
    indexed = overlay.with_name(overlay.name.replace("-overlay", "-mask"))
    class_colours.save_indexed(mask, segmenter.colours, indexed)
    return {
        "file": str(path),
        "width": image.shape[1],
        "height": image.shape[0],
        "frames": 0,
        "frames_per_second": None,
        "overlay": str(overlay),
        "mask": str(indexed),
        "area": segmenter.area(np.bincount(mask.ravel(), minlength=256)),
    }


def _segment_video(segmenter, path, reader, longest, resolution, opacity, folder, taken):
    overlay = inputs.free_name(folder, path, "-overlay.mp4", taken)
    counts = np.zeros(256, np.int64)

    def draw(frame, rate):
        pixels = frame if segmenter.channels == 3 else np.asarray(Image.fromarray(frame).convert("L"))[..., None]
        mask = segmenter.any_size(pixels, longest, up=bool(resolution))
        np.add(counts, np.bincount(mask.ravel(), minlength=256), out=counts)
        return class_colours.with_text(segmenter.overlay(frame, mask, opacity), f"{rate:.1f} frames/s")

    with reader:
        number, rate, _ = video.annotate(reader, overlay, draw)
    return {
        "file": str(path),
        "width": reader.size[0],
        "height": reader.size[1],
        "frames": number,
        "frames_per_second": rate,
        "overlay": str(overlay),
        "mask": None,
        "area": segmenter.area(counts),
        "problem": reader.problem,
    }
