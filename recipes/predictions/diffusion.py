"""Images completed, enlarged, varied or blended by a diffusion model."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
from tyro.conf import Positional

from recipes import cards, inputs, plots, runs
from recipes.checks import check_range
from recipes.data.files import read_fitted, read_missing
from recipes.predictions.opening import Backend, is_light
from recipes.quiet import silent_start
from recipes.samples import drawing
from recipes.samples.diffusion import File
from zoo.photos import as_trained


def predict(
    paths: Positional[tuple[Path, ...]],
    *,
    task: Literal["inpaint", "super_resolve", "denoise", "interpolate"] = "inpaint",
    mask: Path | None = None,
    factor: int = 4,
    strength: float = 0.5,
    label: str | None = None,
    count: int = 4,
    steps: int = 50,
    resample: int = 4,
    guidance_scale: float = 1.0,
    invert: Literal["auto", "yes", "no"] = "auto",
    model: str = "diffusion",
    backend: Backend = "litert",
    seed: int = 0,
    output: Path | None = None,
):
    """Completes images, enlarges them, makes others like them, or the way from one to another.

    Images are brought to the size of the network. Writes one PNG per result, a sheet, and a table as JSON.

    Args:
        paths: Image files and folders of images; two files for interpolate.
        task: inpaint (fill in what the mask covers), super_resolve (invent details), denoise (back to a noise level and
            to a new image from there), interpolate (images between two).
        mask: For inpaint: an image of the same size, light where pixels are missing.
        factor: For super_resolve: how many times larger the sides become.
        strength: For denoise: how far back, in (0, 1].
        label: Class of the results, by name or number; by default it is left open.
        count: Results for each image (for interpolate: images on the way).
        steps: Steps for each result.
        resample: For inpaint and super_resolve: how often each step is taken.
        guidance_scale: Guidance towards the label; 1 is none.
        invert: Whether to turn dark ink on paper into light on black; auto does so where the border of the image is on
            the other side of grey than the border of the training images.
        model: A published model, a run folder, or a .keras or .tflite file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly.
        seed: Seed of the noise.
        output: Folder for the results; by default a new one under runs/diffusion.
    """
    if not paths:
        raise ValueError("no image given: name image files or folders of images")
    drawing.check_count(count, 2 if task == "interpolate" else 1)
    check_range(f"[0, {2**31})", seed=seed)
    if task == "inpaint" and mask is None:
        raise ValueError("inpaint needs --mask, an image that is light where pixels are missing (or another --task)")
    if task != "inpaint" and mask is not None:
        raise ValueError(f"--mask goes with --task inpaint, got task {task}")
    generator = _opened(model, backend)
    generator.check(steps, guidance_scale=guidance_scale)
    height, width, channels = shape = generator.image_shape
    if task == "super_resolve":
        if factor < 2 or height % factor or width % factor:
            raise ValueError(f"factor must be 2 or more and divide {height} and {width}, got {factor}")
        shape = (height // factor, width // factor, channels)
    labels = None if label is None else generator.numbers([label])[0]

    def read(path):
        return as_trained(read_fitted(path, shape), generator.border, invert)[0]

    found, left_out = inputs.read_images(paths, read, output)
    if task == "interpolate" and len(found) != 2:
        raise ValueError(f"interpolate needs two images, got {len(found)}")
    given = np.stack([pixels for _, pixels in found])
    images = np.float32(given) / 127.5 - 1
    options = {"steps": steps, "seed": seed, "guidance_scale": guidance_scale, "verbose": 1}
    net = generator.model
    if task == "interpolate":
        del options["seed"]
        made = net.interpolate(*images, count, labels, **options)[None]
    else:
        several = images.repeat(count, axis=0)
        if task == "inpaint":
            missing = read_missing(mask, [path for path, _ in found], shape)
            made = net.inpaint(several, missing, labels, resample=resample, **options)
            given = np.where(missing[..., None], 128, given).astype(np.uint8)
        elif task == "super_resolve":
            made = net.super_resolve(several, factor, labels, resample=resample, **options)
            given = given.repeat(factor, axis=1).repeat(factor, axis=2)
        else:
            made = net.denoise(several, strength, labels, **options)
        made = made.reshape(len(images), count, height, width, channels)
    made = drawing.pixels(made)
    folder = runs.output_folder("diffusion", "predict", output)
    rows, taken = [], set()
    for index, group in enumerate(made):
        name = "-".join(path.stem for path, _ in found) if task == "interpolate" else found[index][0].stem
        files = []
        for number, image in enumerate(group, start=1):
            target = f"{index + 1}-{name}-{task}-{number}.png"
            files.append(str(inputs.free_name(folder, target, ".png", taken)))
            plots.save_image(image, files[-1])
        rows.append({"file": str(found[index][0]), "task": task, "label": label, "results": files})
    sheet = made if task == "interpolate" else np.concatenate([given[:, None], made], axis=1)
    sheet = sheet[:16].reshape(-1, height, width, channels)
    plots.save_image(plots.montage(sheet, columns=len(sheet) // min(16, len(made)), scale=4), folder / "sheet.png")
    cards.write_text(folder / "predictions.json", json.dumps(rows, indent=1))
    print(f"{made.shape[0] * made.shape[1]} results, their sheet and a table are in {folder}")
    return {"predictions": rows, **left_out, "output": folder}


def _opened(model, backend):
    """The phone file of a model, or its Keras model."""
    if is_light(model, backend):
        return File(model)
    with silent_start():
        from recipes.diffusion import Generator
    return Generator(model)
