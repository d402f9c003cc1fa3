"""What a detector finds in images, videos and from cameras."""

import time
from pathlib import Path

import numpy as np
from PIL import Image
from tyro.conf import Positional

from recipes import films, inputs, plots, results, runs
from recipes.checks import check_positive, check_range, chosen
from recipes.data import video
from recipes.data.files import open_image, profile
from recipes.predictions.opening import Backend, is_light, opened
from recipes.quiet import silent, silent_start
from zoo.drawing import draw_boxes
from zoo.suppression import IOU


def predict(
    paths: Positional[tuple[str, ...]] = (),
    *,
    model: str = "yolo_everyday",
    backend: Backend = "litert",
    confidence: float = 0.25,
    iou: float = IOU,
    classes: tuple[str, ...] = (),
    seconds: float | None = None,
    every: int = 1,
    track: bool = False,
    output: Path | None = None,
):
    """Finds things in images, videos and from cameras: what and where is drawn, and written as JSON and CSV.

    Boxes are left, top, right and bottom in pixels of the image as it came. Each image gets a picture NAME.png, each
    video and camera a NAME.mp4.

    Args:
        paths: Images, folders of images, videos (MP4, MOV, AVI, MKV, WebM) and numbers of cameras.
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly.
        confidence: Least confidence of a detection.
        iou: Overlap above which two boxes of a class mean the same thing.
        classes: Classes to look for; by default all.
        seconds: Length of a video or camera to look at, at most; a camera is looked at until Ctrl-C else.
        every: Frames of a video from one that is looked at to the next; those between show what was found last.
        track: Whether objects of a video keep a number from frame to frame (ByteTrack); tracks.csv lists them.
        output: Folder for the results; by default a new one under runs/yolo.
    """
    check_range("[0, 1]", confidence=confidence, iou=iou)
    check_positive(seconds=seconds, every=every)
    if not paths:
        raise ValueError("no image given: name images, folders of them, videos, or the number of a camera")
    labels, look = _opened(model, backend)
    classes = chosen(classes, labels)
    if unknown := [name for name in classes if name not in labels]:
        raise ValueError(f"the model knows no class {unknown[0]!r}: there are {', '.join(labels)}")
    wanted = np.array([not classes or name in classes for name in labels])

    def find(image, least=confidence):
        found = look(image, confidence=least, iou_threshold=iou)
        kept = wanted[found["classes"]]
        return {name: values[kept] for name, values in found.items()}

    with silent():
        find(Image.new("RGB", (64, 64)))  # what is compiled once is no measure of the speed
    folder, rows, predictions, left_out, taken = None, [], [], {}, set()
    begun = time.perf_counter()
    for path, source in inputs.each_picture(paths, open_image, left_out, output, cameras=True):
        if folder is None:
            folder = runs.output_folder("yolo", "predict", output)
            print(f"the model finds {', '.join(classes or labels)}")
        if isinstance(source, video.Reader):
            options = {"confidence": confidence, "seconds": seconds, "every": every, "track": track}
            predictions.append(films.annotate(path, source, find, labels, folder, taken, **options))
            listed = predictions[-1]["detections"]
        else:
            found = find(source)
            target = inputs.free_name(folder, path, ".png", taken)
            plots.save_image(draw_boxes(np.asarray(source.convert("RGB")), found, labels), target, profile(path))
            listed = [films.named(found, labels)]
            size = [source.width, source.height]
            predictions.append({"file": str(path), "size": size, "detections": listed[0], "picture": str(target)})
        numbers, times = (predictions[-1].get(key, [0]) for key in ("frame_numbers", "seconds"))
        for number, seconds_in, one in zip(numbers, times, listed, strict=True):
            rows += [{"file": str(path), "frame": number, "seconds": seconds_in, **row} for row in one]
    frames = sum(one.get("frames", 1) for one in predictions)
    looked = sum(map(len, (one.get("frame_numbers", [0]) for one in predictions)))
    rate = frames / max(time.perf_counter() - begun, 1e-9)
    columns = ("file", "frame", "seconds", "class", "confidence", "left", "top", "right", "bottom")
    results.write_predictions(folder, predictions, rows, (*columns, "track") if track else columns)
    followed = [{"file": one["file"], **row} for one in predictions for row in one.get("tracks", [])]
    if track:
        results.write_table(folder / "tracks.csv", followed, ("file", *films.COLUMNS))
    table, name = (followed, "tracks.csv") if followed else (rows, "predictions.csv")
    if table:
        print(results.table(table[:40]))
    if len(table) > 40:
        print(f"... and {len(table) - 40:,} more in {name}")
    if followed:
        print(f"\nfollowed: {films.counted(followed)}")
    if not rows:
        print(f"nothing found at confidence {confidence:g}: the model finds {', '.join(classes or labels)}")
    print(
        f"\ndetections: {len(rows):,}, images: {f'{looked:,} of {frames:,}' if looked < frames else f'{frames:,}'}, "
        f"{rate:.1f} per second with reading and drawing; "
        f"pictures and tables are in {folder}"
    )
    left_out["problems"] = [one["problem"] for one in predictions if one.get("problem")]
    return {"predictions": predictions, **left_out, "output": folder}


def _opened(model, backend):
    """(names of the classes, function of a PIL image, `confidence` and `iou_threshold` to arrays)."""
    if is_light(model, backend):
        predictor = opened(model, "object detection")
        return list(predictor.class_names), predictor.on_image
    with silent_start():
        from recipes.yolo import Finder
    finder = Finder(model)
    return finder.labels, finder.on_image
