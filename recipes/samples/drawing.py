"""What drawing samples needs, whatever the model: arguments as people give them, latents, and files of images."""

import contextlib

import numpy as np

from recipes import plots
from recipes.checks import check_range
from zoo import predictor
from zoo.atomic import atomic
from zoo.samplers import levels


class Numbered:
    """Any form of a generative model; it has `labels` (names of the classes), `num_classes` (or None) and `path`."""

    def numbers(self, labels):
        """Class numbers of names or numbers given as text; None for none.

        Raises:
            ValueError: If there is no such class, or there are no classes.
        """
        if not labels:
            return None
        if self.num_classes is None:
            raise ValueError(f"{self.path} has no classes, so no label can be chosen: leave out --label")
        return predictor.class_numbers(labels, self.labels)


class Latent(Numbered):
    """Any form of a generator; it has also `latent_dim`."""

    def draw(self, count, seed, labels=None):
        """(standard normal latents float32 (count, latent_dim), labels or None); `labels` are taken in turn, by default
        all."""
        latents = np.random.default_rng(seed).standard_normal((count, self.latent_dim)).astype(np.float32)
        return latents, in_turn(labels, self.num_classes, count)


class Diffusing(Numbered):
    """Any form of a diffusion model; it has also `timesteps`, `steps` (those that a file is made for, or None) and
    `guidance_scale` (that which it was measured with, or None)."""

    def sampling(self, steps, sampler, guidance_scale):
        """How images are made, checked: defaults for None are 20 steps, or those of the file, and the guidance that it
        was measured with, or 1."""
        steps = (self.steps or 20) if steps is None else steps
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        sampling = {"steps": steps, "sampler": sampler, "guidance_scale": guidance(scale, self.num_classes)}
        self.check(**sampling)
        return sampling

    def check(self, steps, sampler="dpm_solver++", guidance_scale=1.0):
        """Refuses what this model cannot do, before anything is computed."""
        levels(self.timesteps, steps)
        guidance(guidance_scale, self.num_classes)


def guidance(scale, num_classes):
    """The guidance scale to use: what was given, else 1.

    Raises:
        ValueError: If it is negative or no number, or there are no classes to guide to.
    """
    check_range("[0, inf)", guidance_scale=scale)
    if scale is not None and scale != 1 and num_classes is None:
        raise ValueError(f"guidance_scale={scale} needs a model with classes, and this one has none")
    return 1.0 if scale is None else float(scale)


def pixels(images):
    """uint8 of images in [-1, 1]."""
    return np.round((images + 1) * 127.5).clip(0, 255).astype(np.uint8)


def in_turn(labels, num_classes, count):
    """Class numbers int32 (count,): the given ones in turn, by default all; None for a model without classes."""
    if num_classes is None:
        return None
    return np.resize(range(num_classes) if labels is None else labels, count).astype(np.int32)


def write_samples(images, labels, names, output, columns=None):
    """Writes uint8 images as a grid (.png), an animation (.gif), arrays (.npz), or one PNG each into a folder."""
    suffix = output.suffix.lower()
    with clear_errors(output):
        if suffix:
            output.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".png":
            plots.save_image(plots.montage(images, columns=columns), output)
        elif suffix == ".gif":
            frames = images.repeat(4, axis=1).repeat(4, axis=2)
            plots.save_animation([*frames, *frames[::-1]], output, milliseconds=60)
        elif suffix == ".npz":
            arrays = {"images": images} | ({} if labels is None else {"labels": labels})
            with atomic(output) as partial, open(partial, "wb") as stream:
                np.savez_compressed(stream, **arrays)
        else:
            output.mkdir(parents=True, exist_ok=True)
            for index, image in enumerate(images):
                name = "" if labels is None else f"-{names[labels[index]]}"
                plots.save_image(image, output / f"{index:05}{name.replace('/', '_')}.png")


def ending(output, accepted, hint=""):
    """The suffix of an output, ".png" by default and "" for a folder; the hint is for a GIF that is not accepted."""
    suffix = ".png" if output is None else output.suffix.lower()
    if suffix not in accepted:
        ends = " or ".join(filter(None, accepted)) + (", or be a folder" if "" in accepted else "")
        raise ValueError(f"output must end in {ends}; got {output}{hint if suffix == '.gif' else ''}")
    return suffix


@contextlib.contextmanager
def clear_errors(output):
    """Says of an error while writing where it happened."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot write to {output}: {error.strerror or error}") from None


def check_count(count, least):
    """Refuses too small a number of images."""
    if count < least:
        raise ValueError(f"count must be {least} or more, got {count}")
