"""From a photo to an answer: published models and exported files, without TensorFlow or Keras.

    import zoo
    answer = zoo.predict("yolo_scenes", "photo.jpg")
    answer.detections[0].class_name, answer.detections[0].box
    answer.plot().save("boxes.png")

What a photo or sound has to go through on its way to the network, and what the answer means, is read from the file
itself.
"""

import contextlib
import dataclasses
import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from zoo import exported, photos, pretrained, tiles, waveforms
from zoo.drawing import COLOURS, draw_boxes, montage
from zoo.kinds import Array, File, Photo, Shape, Sound
from zoo.letterbox import letterboxed
from zoo.suppression import IOU, of_file

UNLIKE = "this looks like a photo, not like what the model was trained on"


@dataclasses.dataclass(frozen=True)
class Detection:
    """One object.

    Attributes:
        class_name: What it is.
        confidence: How sure the model is, in [0, 1].
        box: Left, top, right and bottom side in pixels of the photo.
    """

    class_name: str
    confidence: float
    box: tuple


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says of one photo; what there is besides the photo depends on the task.

    Attributes:
        photo: The photo as it was read (PIL, RGB).
    """

    photo: Image.Image

    def to_dict(self) -> dict:
        """The answer without pictures, as JSON takes it."""
        hidden = ("photo", "mask", "image", "images", "colours")
        return {one.name: _plain(getattr(self, one.name)) for one in dataclasses.fields(self) if one.name not in hidden}

    def plot(self) -> Image.Image:
        """The answer as a picture (PIL)."""
        return self.image if hasattr(self, "image") else self.photo


@dataclasses.dataclass(frozen=True)
class Detections(Answer):
    """Objects and where they are.

    Attributes:
        detections: `Detection` objects, the surest first.
        class_names: All that the model can find.
    """

    detections: tuple = ()
    class_names: tuple = ()

    def plot(self) -> Image.Image:
        """The photo with boxes, each with its class and confidence."""
        found = {
            "boxes": [one.box for one in self.detections],
            "scores": [one.confidence for one in self.detections],
            "classes": [self.class_names.index(one.class_name) for one in self.detections],
        }
        return Image.fromarray(draw_boxes(np.asarray(self.photo), found, self.class_names))


@dataclasses.dataclass(frozen=True)
class Label(Answer):
    """The class of a picture.

    Attributes:
        label: The most likely class.
        confidence: Its probability.
        probabilities: Dictionary of class to probability.
        inverted: Whether the picture was turned to its negative, since the model learnt from light on dark.
    """

    label: str = ""
    confidence: float = 0.0
    probabilities: dict = dataclasses.field(default_factory=dict)
    inverted: bool = False


@dataclasses.dataclass(frozen=True)
class Mask(Answer):
    """The class of every pixel.

    Attributes:
        mask: uint8 (height, width), numbers of classes, of the photo's size.
        class_names: Names of the classes.
        share: Dictionary of class to its share of the photo.
        colours: One (red, green, blue) per class.
    """

    mask: np.ndarray = None
    class_names: tuple = ()
    share: dict = dataclasses.field(default_factory=dict)
    colours: tuple = ()

    def plot(self, opacity: float = 0.5) -> Image.Image:
        """The photo under the colours of its classes."""
        colours = np.uint8(self.colours)[self.mask]
        return Image.fromarray(np.uint8((1 - opacity) * np.asarray(self.photo) + opacity * colours))


@dataclasses.dataclass(frozen=True)
class Restored(Answer):
    """A photo without its noise, or enlarged.

    Attributes:
        image: The restored photo (PIL), of the photo's size or a multiple of it.
    """

    image: Image.Image = None


@dataclasses.dataclass(frozen=True)
class Corrected(Answer):
    """A photo without its colour cast.

    Attributes:
        cast: Dictionary of channel to how far it was shifted, of 255 (or by what factor, for a model of gains).
        image: The corrected photo (PIL).
    """

    cast: dict = dataclasses.field(default_factory=dict)
    image: Image.Image = None


@dataclasses.dataclass(frozen=True)
class Straightened(Answer):
    """A photo that is no longer tilted.

    Attributes:
        angle: Degrees by which it was turned counter-clockwise.
        image: The photo turned back, cut to what has no black corner (PIL).
    """

    angle: float = 0.0
    image: Image.Image = None


@dataclasses.dataclass(frozen=True)
class Moment:
    """What is heard in one window of a sound.

    Attributes:
        start: Its beginning in seconds.
        end: Its end.
        label: The most likely class.
        confidence: Its probability.
        probabilities: Dictionary of class to probability.
    """

    start: float
    end: float
    label: str
    confidence: float
    probabilities: dict


@dataclasses.dataclass(frozen=True)
class Heard(Answer):
    """The class of a sound, and what is heard when. It has no photo.

    Attributes:
        label: The most likely class, of the loudest window.
        confidence: Its probability.
        probabilities: Dictionary of class to probability.
        seconds: Length of the sound.
        timeline: A `Moment` for each window, half a window apart.
    """

    label: str = ""
    confidence: float = 0.0
    probabilities: dict = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    timeline: tuple = ()

    def plot(self) -> Image.Image:
        """The timeline as a picture: a row for each class, time to the right, the darker the surer."""
        names, row, left = list(self.probabilities), 22, 130
        columns = np.array([[one.probabilities[name] for one in self.timeline] for name in names])
        width = max(8, min(60, 900 // max(1, len(self.timeline))))
        cells = Image.fromarray(np.uint8(np.rint(255 * (1 - columns))))
        cells = cells.resize((width * columns.shape[1], row * len(names)), Image.Resampling.NEAREST)
        picture = Image.new("RGB", (left + cells.width + 10, cells.height + 28), "white")
        picture.paste(cells, (left, 4))
        pen = ImageDraw.Draw(picture)
        for index, name in enumerate(names):
            pen.text((6, 4 + row * index + 4), name[:20], fill="black")
        pen.text((left, cells.height + 10), f"0 to {self.seconds:.1f} seconds", fill="black")
        return picture


@dataclasses.dataclass(frozen=True)
class Generated(Answer):
    """New images. They have no photo.

    Attributes:
        images: uint8 (count, height, width, channels).
        labels: Name of the class asked for, one per image, or an empty tuple.
    """

    images: np.ndarray = None
    labels: tuple = ()

    def plot(self) -> Image.Image:
        """The images in a grid that is about as wide as it is high."""
        grid = montage(self.images)
        return Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid)


class Predictor:
    """A model that takes photos or sounds, or generates images: its file is opened once.

    Args:
        model: Name of a published model (its phone file is taken), a folder with a `model.tflite` or `model.keras`, a
            `.tflite`, `.onnx` or `.keras` file, or the folder of a SavedModel.
        backend: "litert" runs exported files; "keras" the Keras model of a name or folder, with all that a file does
            before and after it, and needs TensorFlow. By default "keras" for a `.keras` file or a folder that has no
            other.
        threads: Threads of a `.tflite` file.
        confidence: Of a detector: least confidence of what it gives, in [0, 1].
        iou_threshold: Of a detector: overlap above which two boxes of a class mean the same object, in [0, 1].

    Attributes:
        task: What the model does, such as "object detection".
        class_names: Names of its classes, or an empty tuple.
        metadata: What the file says of itself.
        knows: What it was trained on, in words, or "".

    Raises:
        ValueError: If there is no such model, or its task is unknown, or an argument is out of range.
    """

    def __init__(
        self,
        model: File,
        *,
        backend: Literal["litert", "keras", None] = None,
        threads: int = 1,
        confidence: float = 0.25,
        iou_threshold: float = IOU,
    ):
        for name, value in (("confidence", confidence), ("iou_threshold", iou_threshold)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        if backend not in (None, "litert", "keras"):
            raise ValueError(f'backend must be "litert" or "keras", got {backend!r}')
        self.path = _file(model, backend)
        if self.path.suffix == ".keras":
            from zoo.export.live import running

            self._model = running(self.path)
        else:
            self._model = _opened(self.path, threads)
        self.metadata, self.class_names = self._model.metadata, tuple(self._model.labels)
        self.task = self.metadata.get("task", "")
        self.confidence, self.iou_threshold = confidence, iou_threshold
        self.knows = pretrained.beside(self.path).get("knows") or ", ".join(self.class_names)
        self._warned = False
        answers = {
            "object detection": self._detections,
            "image classification": self._label,
            "semantic segmentation": self._mask,
            "image denoising": self._restored,
            "image super-resolution": self._restored,
            "image regression": self._corrected,
            "sound classification": self._heard,
            "image generation": None,
        }
        if self.task not in answers:
            raise ValueError(f"a Predictor does {', '.join(answers)}; {model} is for {self.task or 'an unknown task'}")
        self.generates = self.task == "image generation"
        self._answer = answers[self.task]
        (self._shape, _) = self._model.inputs.get("image", ((), ""))

    def __call__(self, photo: Photo | Sound) -> Answer:
        """The answer to one photo or sound.

        Args:
            photo: Path of an image file, an open file, its bytes, a PIL image, or an array (height, width), (height,
                width, 1) or (height, width, 3): uint8, or float in [0, 1]. For a sound model the path of a sound file,
                an open one, its bytes, or (samples, samples per second), where the samples are int16, or float in
                [-1, 1], (any number,) or (any number, channels).

        Returns:
            `Detections`, `Label`, `Mask`, `Restored`, `Corrected`, `Straightened` or `Heard`.

        Raises:
            ValueError: If it is nothing of that kind.
        """
        if self.generates:
            raise ValueError(f"{self.path} takes no photos: it makes images by generate(count)")
        return self._answer(photo if self.task == "sound classification" else as_photo(photo))

    def generate(
        self,
        count: int = 16,
        labels: Sequence[str | int] | None = None,
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> Generated:
        """New images of a generative model; those of `zoo sample` with that seed.

        Args:
            count: How many, 1 or more.
            labels: Classes by name or number, in turn; None takes all in turn.
            seed: Seed of the noise that they are made of.
            steps: Steps of a diffusion model; None takes those that its file is made for, or 20.
            guidance_scale: How much it heeds the label; None takes what it was measured with.

        Returns:
            `Generated`.

        Raises:
            ValueError: If the model generates nothing, or an argument is out of range.
        """
        if not self.generates:
            raise ValueError(f"{self.path} generates nothing: it is for {self.task}")
        if count < 1:
            raise ValueError(f"count must be 1 or more, got {count}")
        shape = self.inputs.get("noise", self.inputs.get("latent"))[0][1:]
        noise = np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)
        numbers = None
        if "label" in self.inputs:
            numbers = class_numbers(labels, self.class_names) if labels else range(len(self.class_names))
            numbers = np.resize(numbers, count).astype(np.int32)
        elif labels:
            raise ValueError(f"{self.path} has no classes, got labels={labels!r}")
        images = self.images(noise, numbers, steps=steps, guidance_scale=guidance_scale)
        return Generated(None, images, tuple(self.class_names[index] for index in (() if numbers is None else numbers)))

    @property
    def inputs(self) -> dict[str, tuple[Shape, str]]:
        """Name to (shape, dtype) of what the file takes."""
        return self._model.inputs

    def images(
        self,
        noise: Array,
        numbers: Array | None = None,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> Array:
        """The images, uint8 (count, height, width, channels), that a generative model makes of noise or latents.

        Args:
            noise: float32 (count, ...), standard normal.
            numbers: int32 (count,) of the classes, for a model with classes.
            steps, guidance_scale: See `generate`.
        """
        if guidance_scale is not None and not 0 <= guidance_scale < math.inf:
            raise ValueError(f"guidance_scale must be 0 or more, got {guidance_scale}")
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be 1 or more, got {steps}")
        values = {"noise" if "noise" in self.inputs else "latent": noise}
        if numbers is not None:
            values["label"] = numbers
        usual = {"steps": (np.int32, 20), "guidance_scale": (np.float32, 1.0)}
        for (name, (kind, default)), given in zip(usual.items(), (steps, guidance_scale), strict=True):
            own = self.metadata.get(name)
            if name in self.inputs:
                values[name] = kind((own or default) if given is None else given)
            elif given not in (None, own):
                raise ValueError(f"{self.path} has {name} {own} inside, got {name}={given}")
        return self._model(**values)["image"]

    def batch(self, photos: Iterable[Photo | Sound], *, progress: bool = False) -> list[Answer]:
        """The answers to many photos, in their order; `progress` shows on standard error how far it is."""
        return list(self.stream(_shown(list(photos)) if progress else photos))

    def stream(self, photos: Iterable[Photo | Sound] | File | int) -> Iterator[Answer]:
        """The answers to photos or frames one by one, as they come: of any iterable, of a video (its path) or of a
        camera (its number, 0 for the first)."""
        if isinstance(photos, str | Path | int):
            from zoo.films import Reader

            with Reader(photos) as frames:
                yield from map(self, frames)
        else:
            yield from map(self, photos)

    def on_image(self, image: Image.Image, *, confidence: float = 0.25, iou_threshold: float = IOU) -> dict[str, Array]:
        """What a detector finds on a PIL image as arrays, for code that goes on with them: a dictionary of "boxes"
        (count, 4) in pixels of the image, "scores" (count,) and "classes" (count,)."""
        if self.task != "object detection":
            raise ValueError(f"{self.path} finds no objects: it is for {self.task}")
        size = self._shape[1:3]
        pixels, undo = letterboxed(image, size)
        outputs = self._model(image=pixels[None])
        found = of_file(outputs, size, confidence=confidence, iou_threshold=iou_threshold)
        return found | {"boxes": undo(found["boxes"])}

    def _detections(self, photo):
        image = photo.convert("RGB")
        found = self.on_image(image, confidence=self.confidence, iou_threshold=self.iou_threshold)
        rows = zip(found["classes"], found["scores"], found["boxes"], strict=True)
        objects = tuple(
            Detection(self.class_names[int(label)], float(score), tuple(map(float, box))) for label, score, box in rows
        )
        return Detections(image, objects, self.class_names)

    def _warn(self, foreign, what):
        """Says once, on standard error, that what it was given looks like nothing that the model knows."""
        if foreign and self.knows and not self._warned:
            self._warned = True
            print(f"{what}: the model knows {self.knows}", file=sys.stderr)

    @property
    def channels(self) -> int:
        """Channels of the images that the network takes, 1 or 3."""
        return self._shape[-1]

    def seen(self, image: Image.Image, invert: Literal["auto", "yes", "no"] = "auto") -> tuple[Array, bool]:
        """A PIL image as a classifier sees it: uint8 (height, width, channels), and whether it was turned to its
        negative; `invert` "yes" and "no" decide that."""
        pixels, inverted = photos.as_trained(
            photos.fit_one(image, self._shape[1:]), self.metadata.get("border"), invert
        )
        return pixels, bool(inverted)

    def probabilities(self, pixels: Array) -> dict[str, float]:
        """Dictionary of class to probability of what `seen` gave."""
        (values,) = self._model(image=pixels[None])["probabilities"]
        return self._named(values)

    def _named(self, values):
        names = self.class_names or map(str, range(len(values)))
        return dict(zip(names, map(float, values), strict=True))

    def _label(self, photo):
        self._warn(self.channels == 1 and photos.unlike_drawings(photo), UNLIKE)
        pixels, inverted = self.seen(photo)
        probabilities = self.probabilities(pixels)
        label = max(probabilities, key=probabilities.get)
        return Label(photo.convert("RGB"), label, probabilities[label], probabilities, inverted)

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """One (red, green, blue) per class of a U-Net."""
        count = max(2, self.metadata["num_classes"])
        own = self.metadata.get("colours")
        return tuple(map(tuple, own or [ImageColor.getrgb(COLOURS[label % len(COLOURS)]) for label in range(count)]))

    @property
    def piece_shape(self) -> Shape:
        """(height, width, channels) of the image that the file takes, 256 x 256 of a large photo for example."""
        return tuple(self._shape[1:])

    def on_piece(self, piece: Array) -> Array:
        """What a U-Net says of a piece of a photo: of uint8 `piece_shape` float32 (height, width, classes, 2 or
        more)."""
        return tiles.of_file(self._model(image=piece[None]), self.metadata["num_classes"])

    @property
    def longest(self) -> int:
        """Longer side, in pixels, of the images that a U-Net was trained on, as the card beside it says, else 0."""
        return max(pretrained.beside(self.path).get("image", {}).get("size", (0,)))

    def _mask(self, photo):
        *window, channels = self.piece_shape

        def probabilities(image):
            return tiles.by_windows(self.on_piece, image, tuple(window), 0.25)

        mask = tiles.classes(probabilities, _pixels(photo, channels), self.longest)  # as large as in training
        names = self.class_names or tuple(map(str, range(len(self.colours))))
        shares = np.bincount(mask.ravel(), minlength=len(names)) / mask.size
        return Mask(photo.convert("RGB"), mask, names, dict(zip(names, map(float, shares), strict=True)), self.colours)

    def restored(self, photo: Image.Image, progress: Callable[[int, int], None] | None = None) -> Image.Image:
        """A PIL image of any size without its noise, or enlarged, a PIL image; `progress` is called with the number of
        tiles done and of all."""
        return self._restored(photo, progress).image

    def _restored(self, photo, progress=None):
        *tile, channels = self._shape[1:]
        self._warn(channels == 1 and photos.colourful(photo), UNLIKE)
        grey = photo.mode in ("1", "L", "LA", "I", "F")
        pixels = _pixels(photo, 1 if grey else 3)

        def restore(pieces):
            return self._model(image=pieces)["restored"]

        def whole(image):
            about = {"factor": self.metadata.get("factor", 1), "progress": progress}
            return tiles.by_tiles(restore, image, tuple(tile), self.metadata.get("overlaps", 4), **about)

        result = tiles.by_channels(whole, pixels, channels)
        return Restored(photo.convert("RGB"), Image.fromarray(result[..., 0] if grey else result))

    @property
    def samples(self) -> int:
        """Samples of the waveforms that a sound model takes."""
        return self._model.inputs["waveform"][0][1]

    def on_waveforms(self, pieces: Array) -> Array:
        """What a sound model says of int16 waveforms (count, `samples`): float32 (count, classes)."""
        (_, dtype) = self._model.inputs["waveform"]
        pieces = pieces / np.float32(32768) if dtype == "float32" else pieces.astype(dtype)
        return self._model(waveform=pieces)["probabilities"]

    def _heard(self, sound):
        about = self.metadata["sound"]
        mono = as_sound(sound, about["sample_rate"], about["channel"])
        (whole,) = map(self._named, self.on_waveforms(waveforms.fit(mono, self.samples)))
        rate, window = about["sample_rate"], about["seconds"]
        times, pieces = waveforms.timeline(mono, rate, self.samples, window, window / 2)
        timeline = tuple(
            Moment(start, end, max(row, key=row.get), max(row.values()), row)
            for (start, end), row in zip(times, map(self._named, self.on_waveforms(pieces)), strict=True)
        )
        label = max(whole, key=whole.get)
        self._warn(whole[label] < 0.5, f"{whole[label]:.0%} sure that this is {label}")
        return Heard(None, label, whole[label], whole, len(mono) / rate, timeline)

    def numbers(self, photo: Image.Image) -> dict[str, float]:
        """What a model of colour casts or angles finds in a PIL image, by name: red, green and blue, or angle."""
        target = self.metadata["target"]
        output, fit = ("angle", "crop") if target["kind"] == "angle" else ("cast", "stretch")
        (values,) = self._model(image=photos.fit_one(photo.convert("RGB"), self._shape[1:], fit)[None])[output]
        return dict(zip(target["outputs"], map(float, values), strict=True))

    def corrected(self, photo: Image.Image, numbers: dict[str, float]) -> Image.Image:
        """A PIL image without the cast that `numbers` are, or turned back by their angle."""
        from zoo.color import correct_color

        kind, pixels, values = self.metadata["target"]["kind"], np.asarray(photo.convert("RGB")), [*numbers.values()]
        found = photos.straightened(pixels, *values) if kind == "angle" else correct_color(pixels, values, kind)
        return Image.fromarray(found)

    def _corrected(self, photo):
        image, numbers = photo.convert("RGB"), self.numbers(photo)
        corrected = self.corrected(photo, numbers)
        if "angle" in numbers:
            return Straightened(image, numbers["angle"], corrected)
        return Corrected(image, numbers, corrected)


def predict(model: File, photo: Photo | Sound, **options: Any) -> Answer:
    """The answer of a model to one photo; for many photos open a `Predictor` once.

    Args:
        model: See `Predictor`.
        photo: See `Predictor.__call__`.
        **options: Other arguments of `Predictor`.

    Returns:
        `Detections`, `Label`, `Mask`, `Restored`, `Corrected`, `Straightened` or `Heard`.

    Raises:
        ValueError: See there.
    """
    return Predictor(model, **options)(photo)


def class_numbers(labels: Sequence[str | int], names: Sequence[str]) -> list[int]:
    """Numbers of classes, from their names or numbers; a name counts before a number.

    Raises:
        ValueError: If there is no such class.
    """
    numbers = {str(number): number for number in range(len(names))}
    numbers |= {name: number for number, name in enumerate(names)}
    for label in labels:
        if str(label) not in numbers:
            raise ValueError(f"there is no label {str(label)!r}; accepted: {', '.join(names)}")
    return [numbers[str(label)] for label in labels]


def as_sound(sound: Sound, sample_rate: int, channel: Literal["first", "mix"] = "first") -> Array:
    """A sound of any form as float32 (samples,) in [-1, 1] at a rate; see `Predictor.__call__`."""
    if isinstance(sound, bytes | bytearray):
        sound = io.BytesIO(sound)
    if isinstance(sound, str | Path) or hasattr(sound, "read"):
        return waveforms.read(sound, sample_rate, channel)
    if not isinstance(sound, tuple | list) or len(sound) != 2:
        accepted = "a path, an open file, bytes, or (samples, samples per second)"
        raise ValueError(f"a sound is {accepted}, got {type(sound).__name__}")
    samples, rate = np.asarray(sound[0]), sound[1]
    if samples.dtype.kind != "f" and samples.dtype != np.int16:
        raise ValueError(f"samples are int16, or float in [-1, 1], got {samples.dtype}")
    if not isinstance(rate, Real):
        raise ValueError(f"a sound is (samples, samples per second), got {type(rate).__name__} for the second")
    if samples.ndim not in (1, 2) or not samples.size or not np.isfinite(samples).all():
        raise ValueError(f"samples are (any number,) or (any number, channels), all finite, got {samples.shape}")
    if samples.dtype.kind == "f" and np.abs(samples).max() > 1:
        peak = float(np.abs(samples).max())
        raise ValueError(f"float samples are in [-1, 1], got up to {peak:g}: give int16 for -32,768 to 32,767")
    waveforms.check_rate("the sound", rate)
    samples = np.float32(samples) / (32768 if samples.dtype == np.int16 else 1)
    mono = waveforms.one_channel(samples.reshape(len(samples), -1), channel)
    return waveforms.resample(mono, int(rate), sample_rate)


def as_photo(photo: Photo) -> Image.Image:
    """A photo of any form as a PIL image; see `Predictor.__call__`."""
    if isinstance(photo, Image.Image):
        return photos.plain(photo)
    if isinstance(photo, bytes | bytearray):
        photo = io.BytesIO(photo)
    if isinstance(photo, str | Path) or hasattr(photo, "read"):
        return photos.open_image(photo)
    array = np.asarray(photo) if hasattr(photo, "__array__") else None
    if array is None:
        raise ValueError(f"a photo is a path, an open file, bytes, a PIL image or an array, got {type(photo).__name__}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise ValueError(f"an array of a photo is (height, width) or (height, width, 1 or 3), got {array.shape}")
    if array.dtype.kind == "f":
        low, high = (float(array.min()), float(array.max()))
        if not (low >= 0 and high <= 1):
            raise ValueError(f"a float photo is in [0, 1], got {low:g} to {high:g}: give uint8 for 0 to 255")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"an array of a photo is uint8, or float in [0, 1], got {array.dtype}")
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def _file(model, backend):
    """The file that a name or path means to a backend."""
    path = pretrained.find(model, "model.keras" if backend == "keras" else "model.tflite")
    if backend is None and path.is_dir():
        path = pretrained.find(model)
    if backend is not None and (path.suffix == ".keras") != (backend == "keras"):
        raise ValueError(f"the backend {backend} does not run {path}: leave it out")
    return path


def _opened(path, threads):
    """An exported file, by the signature that answers."""
    try:
        return exported.load(path, threads=threads)
    except ValueError:
        with contextlib.suppress(ValueError):  # a diffusion model has no other
            return exported.load(path, endpoint="generate", threads=threads)
        raise


def _pixels(photo, channels):
    image = photo.convert("L" if channels == 1 else "RGB")
    return np.asarray(image).reshape(image.height, image.width, channels)


def _plain(value):
    if dataclasses.is_dataclass(value):
        return {name: _plain(one) for name, one in vars(value).items()}
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


def _shown(photos):
    for number, photo in enumerate(photos, start=1):
        yield photo
        print(f"\r{number:,} of {len(photos):,} photos", end="\n" if number == len(photos) else "", file=sys.stderr)
