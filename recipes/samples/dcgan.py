"""New images of a generator, and the ways between them."""

import itertools
from pathlib import Path

import numpy as np

from recipes import runs
from recipes.checks import check_range
from recipes.predictions.opening import Backend, is_light, opened
from recipes.quiet import silent_start
from recipes.samples import drawing


def sample(
    *,
    model: str = "dcgan",
    backend: Backend = "litert",
    count: int = 64,
    seed: int = 0,
    label: tuple[str, ...] = (),
    interpolate: int | None = None,
    output: Path | None = None,
):
    """Draws new images: a grid, the arrays, one file each, or the way from one image to the next.

    Args:
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly.
        count: How many images.
        seed: Seed of the latents: the same seed, the same images.
        label: Class of the images, by name or number, or several in turn; by default all in turn.
        interpolate: Images on the way from each latent to the next: a row each in a PNG, or a GIF.
        output: Where to write: NAME.png for a grid, NAME.npz for the arrays images (uint8) and labels, NAME.gif with
            --interpolate, else a folder with a PNG for each; by default a grid in a new folder under runs/dcgan.
    """
    drawing.check_count(count, 1 if interpolate is None else 2)
    if interpolate is not None and interpolate < 2:
        raise ValueError(f"interpolate must be 2 or more images, got {interpolate}")
    check_range(f"[0, {2**31})", seed=seed)
    accepted = (".png", ".npz", "") if interpolate is None else (".png", ".npz", ".gif", "")
    drawing.ending(output, accepted, " (a GIF shows the way between images: add --interpolate 16)")
    sampler = _opened(model, backend)
    latents, labels = sampler.draw(count, seed, sampler.numbers(label))
    if interpolate is not None:
        latents = between(latents, interpolate)
        labels = None if labels is None else labels[:-1].repeat(interpolate)
    pixels = sampler(latents, labels)
    output = output or runs.output_folder("dcgan", "sample") / "grid.png"
    drawing.write_samples(pixels, labels, sampler.labels, output, columns=interpolate)
    print(f"{len(pixels)} images of {sampler.path.parent.name}/{sampler.path.name}, seed {seed}, are in {output}")
    return {
        "output": output,
        "count": len(pixels),
        "seed": seed,
        "labels": None if labels is None else [sampler.labels[index] for index in labels],
    }


class _File(drawing.Latent):
    """A phone file, an ONNX file or a SavedModel of a generator, as `recipes.dcgan.Sampler` is one of any form."""

    def __init__(self, model):
        predictor = opened(model, "image generation")
        if "latent" not in predictor.inputs:
            raise ValueError(f"{predictor.path} is not a generator: its inputs are {', '.join(predictor.inputs)}")
        self.path, self.labels, self.images = predictor.path, list(predictor.class_names), predictor.images
        ((_, self.latent_dim), _) = predictor.inputs["latent"]
        self.num_classes = len(self.labels) if "label" in predictor.inputs else None

    def __call__(self, latents, labels=None):
        return self.images(latents, labels)


def _opened(model, backend):
    if is_light(model, backend):
        return _File(model)
    with silent_start():
        from recipes.dcgan import Sampler
    return Sampler(model)


def between(latents, steps):
    """Spherical ways between successive latents (count, latent_dim): straight ones lead through unlikely lengths."""
    ways = []
    for start, end in itertools.pairwise(latents):
        cosine = start @ end / (np.linalg.norm(start) * np.linalg.norm(end))
        angle = np.arccos(np.clip(cosine, -1, 1))
        t = np.linspace(0, 1, steps)[:, None]
        ways.append((np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / max(np.sin(angle), 1e-6))
    return np.concatenate(ways).astype(np.float32)
