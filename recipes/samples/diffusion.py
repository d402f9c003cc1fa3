"""New images of a diffusion model, and their way from noise."""

import functools
import sys
import time
from pathlib import Path

import numpy as np

from recipes import runs
from recipes.checks import check_range
from recipes.pictures import diffusion as pictures
from recipes.predictions.opening import Backend, is_light, opened
from recipes.quiet import silent, silent_start
from recipes.samples import drawing
from zoo import pretrained
from zoo.kinds import Sampler
from zoo.samplers import normal
from zoo.sampling import ExportedDiffusion


def sample(
    *,
    model: str = "diffusion",
    backend: Backend = "litert",
    count: int = 64,
    seed: int = 0,
    label: tuple[str, ...] = (),
    steps: int | None = None,
    sampler: Sampler = "dpm_solver++",
    guidance_scale: float | None = None,
    trajectory: bool = False,
    output: Path | None = None,
):
    """Draws new images: a grid, the arrays, one file each, or the way from noise to image.

    Args:
        model: A published model, a run folder, or a .keras or .tflite file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly.
        count: How many images.
        seed: Seed of the noise: the same seed, the same images.
        label: Class of the images, by name or number, or several in turn; by default all in turn.
        steps: Steps from noise to image; by default 20, or what an exported file is made for.
        sampler: dpm_solver++, ddim or ddpm.
        guidance_scale: Above 1 for more typical images of the class; by default that of the model's card, else 1.
        trajectory: Show the way from noise to image: a row each in a PNG, or all at once in a GIF.
        output: Where to write: NAME.png for a grid, NAME.npz for the arrays images (uint8) and labels, NAME.gif with
            --trajectory, else a folder with a PNG for each; by default a grid in a new folder under runs/diffusion.
    """
    drawing.check_count(count, 1)
    check_range(f"[0, {2**31})", seed=seed)
    accepted = (".png", ".gif") if trajectory else (".png", ".npz", "")
    suffix = drawing.ending(output, accepted, " (a GIF shows the way from noise: add --trajectory)")
    if is_light(model, backend):
        generator = File(model)
    else:
        with silent_start():
            from recipes.diffusion import Generator
        generator = Generator(model)
    labels = generator.numbers(label)
    sampling = generator.sampling(steps, sampler, guidance_scale)
    output = output or runs.output_folder("diffusion", "sample") / "grid.png"
    start = time.perf_counter()
    with drawing.clear_errors(output):
        (output.parent if suffix else output).mkdir(parents=True, exist_ok=True)
        if trajectory:
            labels = drawing.in_turn(labels, generator.num_classes, count)
            about = {"count": count, "seed": seed, "labels": labels, "verbose": 1}
            pictures.trajectory(generator.model, output, **about, **sampling)
        else:
            pixels, labels = generator(count, labels, seed=seed, verbose=1, **sampling)
            drawing.write_samples(pixels, labels, generator.labels, output)
    seconds = time.perf_counter() - start
    print(
        f"{count} images of {generator.path.parent.name}/{generator.path.name}, seed {seed}, "
        f"{sampling['steps']} steps of {sampler}, {seconds:.1f} s, are in {output}"
    )
    return {
        "output": output,
        "count": count,
        "seed": seed,
        **sampling,
        "labels": None if labels is None else [generator.labels[index] for index in labels],
        "seconds": seconds,
    }


class File(drawing.Diffusing):
    """A phone file or a SavedModel, as `recipes.diffusion.Generator` is a model of any form."""

    def __init__(self, model):
        self._predictor = opened(model, "image generation")
        self.path, self.labels, about = (
            self._predictor.path,
            list(self._predictor.class_names),
            self._predictor.metadata,
        )
        if "noise" not in self._predictor.inputs:
            names = ", ".join(self._predictor.inputs)
            raise ValueError(f"{self.path} is not a diffusion model: its inputs are {names}")
        (self.at_once, *shape), _ = self._predictor.inputs["noise"]
        self.image_shape = tuple(shape)
        self.num_classes = len(self.labels) if "label" in self._predictor.inputs else None
        self.steps, self.guidance_scale = about.get("steps"), about.get("guidance_scale")
        self.timesteps = about.get("timesteps", 1000)
        self.border = about.get("border", pretrained.beside(self.path).get("dataset", {}).get("border"))

    @functools.cached_property
    def model(self):
        """Its single steps, by which everything else is made."""
        with silent():  # LiteRT tells which code it runs
            return ExportedDiffusion(self.path)

    def __call__(self, count, labels=None, *, seed, steps, sampler, guidance_scale, verbose=0):
        """(uint8 images, labels or None); `verbose` shows how many are done, where someone is looking."""
        labels = drawing.in_turn(labels, self.num_classes, count)
        if sampler != "dpm_solver++" or self.steps not in (None, steps):  # not the way that the file has inside
            options = {"sampler": sampler, "guidance_scale": guidance_scale, "seed": seed, "verbose": verbose}
            return drawing.pixels(self.model.generate(count, labels, steps=steps, **options)), labels
        noise, images = normal(count, self.image_shape, seed), []
        at_once = self.at_once or 16
        for start in range(0, count, at_once):
            part = slice(start, start + at_once)
            own = {"steps": None if self.steps else steps}
            own["guidance_scale"] = guidance_scale if self.num_classes else None
            images.append(self._predictor.images(noise[part], None if labels is None else labels[part], **own))
            if verbose and sys.stderr.isatty():
                done = min(count, start + at_once)
                print(f"\r{done:,} of {count:,} images", end="\n" if done == count else "", file=sys.stderr, flush=True)
        return np.concatenate(images), labels
