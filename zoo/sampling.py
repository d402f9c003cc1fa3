"""What can be made by something that takes noise out of images: new ones, and old ones completed, enlarged, varied.

`zoo.Diffusion` does it by its network, `ExportedDiffusion` by an exported file, without TensorFlow or Keras:

    model = zoo.sampling.ExportedDiffusion("saved_models/diffusion/model.tflite")
    completed = model.inpaint(images, masks, labels=3, seed=7)  # images in [-1, 1]
"""

import math
import sys

import numpy as np

from zoo import exported, pretrained, samplers
from zoo.kinds import Array, File, Labels, Sampler


class Sampling:
    """The ways from noise to an image. Whoever has them has also

    Attributes:
        image_shape: (height, width, channels).
        num_classes: Number of classes, or None.
        timesteps: Levels of the schedule.
        signal, noise: The schedule, (timesteps + 1,) each; see `zoo.samplers`.

    and a method `_along` that goes through the rows of a table.
    """

    def generate(
        self,
        count: int | None = None,
        labels: Labels | None = None,
        *,
        steps: int = 20,
        sampler: Sampler = "dpm_solver++",
        seed: int | None = None,
        **options,
    ) -> Array:
        """Makes new images.

        Args:
            count: How many, 1 or more; by default as many as there are labels.
            labels: Class of each image, (count,), or one for all; None takes the classes in turn.
            steps: Steps from noise to image, 1 to `timesteps`.
            sampler: "dpm_solver++" (20 steps are plenty), "ddim" or "ddpm" (needs hundreds); see `zoo.samplers`.
            seed: Seed of the noise: the same seed, the same images, the first ones also of a larger count. (What "ddpm"
                and eta above 0 draw on the way also depends on `batch_size` and the backend.) None draws anew.
            options: guidance_scale: 1 for the images of the class as they are, above 1 for more typical ones, 0 to
                ignore the class. eta: fresh noise of "ddim", in [0, 1]. batch_size: images made at a time, which bounds
                the memory; 128. verbose: 1 for a progress bar. on_step: function called after each step with the number
                of steps done, the noisy images of the batch and the guessed clean ones.

        Returns:
            NumPy float32 (count, height, width, channels) in [-1, 1].

        Raises:
            ValueError: If an argument is out of range, or there are labels or guidance without classes.
        """
        count = np.size(labels) if count is None else count
        if count < 1:
            raise ValueError(f"count must be 1 or more, got {count}")
        if labels is None and self.num_classes:
            labels = np.arange(count) % self.num_classes
        return self._from_noise(count, labels, steps, sampler, seed, **options)

    def inpaint(
        self,
        images: Array,
        masks: Array,
        labels: Labels | None = None,
        *,
        steps: int = 50,
        resample: int = 4,
        sampler: Sampler = "ddpm",
        seed: int | None = None,
        **options,
    ) -> Array:
        """Fills in missing parts of images; the rest stays as it is.

        The known pixels stand in every guess of the clean image, and each step is taken several times (RePaint).

        Args:
            images: (count, height, width, channels) in [-1, 1]; what stands in the missing parts does not matter.
            masks: (count, height, width) or (height, width), nonzero where a pixel is missing.
            labels: Class of each image, or one for all; None if it is not known.
            steps: Steps from noise to image, 1 to `timesteps`.
            resample: How often each step is taken, 1 or more.
            sampler: "ddpm", or "ddim"; "dpm_solver++" only with resample 1.
            seed: Seed of all noise.
            options: As of `generate`.

        Returns:
            NumPy float32 of the images' shape in [-1, 1].

        Raises:
            ValueError: If an argument is out of range, or the masks do not fit the images.
        """
        images = self._checked(images)
        masks = np.asarray(masks) != 0
        masks = masks[None] if masks.ndim == 2 else masks
        masks = masks[..., None] if masks.ndim == 3 else masks
        if masks.shape[1:] != (*images.shape[1:3], 1) or len(masks) not in (1, len(images)):
            raise ValueError(f"masks {masks.shape[:3]} do not fit images {images.shape[:3]} (count, height, width)")
        masks = np.broadcast_to(masks, (*images.shape[:3], 1)).astype("float32")
        options |= {"resample": resample, "known": (images, masks)}
        return self._from_noise(len(images), labels, steps, sampler, seed, **options)

    def super_resolve(
        self,
        images: Array,
        factor: int = 4,
        labels: Labels | None = None,
        *,
        steps: int = 50,
        resample: int = 4,
        sampler: Sampler = "ddpm",
        seed: int | None = None,
        **options,
    ) -> Array:
        """Invents the details of small images.

        Every guess of the clean image is corrected so that its blocks have the means of the given pixels. That needs
        no network trained for it, works with any factor, and never contradicts the input; the price is that each call
        goes through the steps of a whole generation.

        Args:
            images: (count, height / factor, width / factor, channels) in [-1, 1]: means of blocks of the wanted images.
            factor: How many times larger the sides become, a divisor of the network's, 2 or more.
            labels: Class of each image, or one for all; None if it is not known.
            steps, resample, sampler, seed, options: As of `inpaint`.

        Returns:
            NumPy float32 (count, height, width, channels) in [-1, 1].

        Raises:
            ValueError: If an argument is out of range.
        """
        height, width, channels = self.image_shape
        if factor < 2 or height % factor or width % factor:
            raise ValueError(f"factor must be 2 or more and divide {height} and {width}, got {factor}")
        images = self._checked(images, (height // factor, width // factor, channels))
        options |= {"resample": resample, "known": (images,)}
        return self._from_noise(len(images), labels, steps, sampler, seed, **options)

    def denoise(
        self,
        images: Array,
        strength: float,
        labels: Labels | None = None,
        *,
        steps: int = 20,
        sampler: Sampler = "dpm_solver++",
        seed: int | None = None,
        **options,
    ) -> Array:
        """Image to image: goes back to a noise level, and from there to a new image.

        Args:
            images: (count, height, width, channels) in [-1, 1].
            strength: How far back, in (0, 1]: the share of the schedule; at 1 nothing of the image is left.
            labels: Class of each new image, or one for all; None to leave it open.
            steps: Steps from there, at most `strength * timesteps`.
            sampler, seed, options: As of `generate`.

        Returns:
            NumPy float32 of the images' shape in [-1, 1].

        Raises:
            ValueError: If an argument is out of range.
        """
        images = self._checked(images)
        if not 0 < strength <= 1:
            raise ValueError(f"strength must be above 0 and at most 1, got {strength}")
        level = max(1, round(strength * self.timesteps))
        path = samplers.levels(level, steps)
        start = self.signal[level] * images + self.noise[level] * samplers.normal(len(images), self.image_shape, seed)
        return self._sample(start, labels, path, sampler, seed=seed, **options)

    def interpolate(
        self, first: Array, second: Array, count: int = 8, labels: int | None = None, *, steps: int = 50, **options
    ) -> Array:
        """The way from one image to another: both are turned into noise by "ddim" upwards, and what is between made.

        Args:
            first, second: (height, width, channels) in [-1, 1].
            count: Images on the way, 2 or more; the ends are the images as the model has them.
            labels: Class of each image of the way, or one for all; None to leave it open.
            steps: Steps up, and again down.
            options: guidance_scale (on the way down), batch_size, verbose, on_step, as of `generate`.

        Returns:
            NumPy float32 (count, height, width, channels) in [-1, 1].

        Raises:
            ValueError: If an argument is out of range.
        """
        if count < 2:
            raise ValueError(f"count must be 2 or more, got {count}")
        ends = self._checked(np.stack([first, second]))
        down = samplers.levels(self.timesteps, steps)
        # a clean image says nothing of its noise: the way up starts at level 1, where there is nearly none
        up = np.unique(np.maximum(down, 1))
        noises = self._sample(self.signal[1] * ends, None, up, "ddim", clip=False)
        return self._sample(samplers.arc(*noises, count), labels, down, "ddim", **options)

    def _from_noise(self, count, labels, steps, sampler, seed, **options):
        """The whole way, for `count` images."""
        path = samplers.levels(self.timesteps, steps)
        start = samplers.normal(count, self.image_shape, seed)
        return self._sample(start, labels, path, sampler, seed=seed, **options)

    def _sample(
        self,
        start,
        labels,
        path,
        sampler,
        *,
        seed=None,
        guidance_scale=1.0,
        eta=0.0,
        resample=1,
        known=(),
        clip=True,
        batch_size=128,
        verbose=0,
        on_step=None,
    ):
        """From noisy images at level `path[0]` along the path; (count, height, width, channels) as NumPy float32."""
        labels = self._checked_labels(labels, len(start))
        if not 0 <= guidance_scale < math.inf:
            raise ValueError(f"guidance_scale must be 0 or more, got {guidance_scale}")
        if guidance_scale != 1 and labels is None:
            reason = "this network has no classes" if self.num_classes is None else "there are no labels"
            raise ValueError(f"guidance_scale={guidance_scale} needs labels to guide to, and {reason}")
        if batch_size < 1 or resample < 1:
            raise ValueError(f"batch_size and resample must be 1 or more, got {batch_size=}, {resample=}")
        if resample > 1 and sampler == "dpm_solver++":
            raise ValueError("dpm_solver++ looks at the step before, so it cannot resample: take ddpm, or resample=1")
        table, visited = samplers.coefficients(self.signal[path], self.noise[path], sampler, eta), path[:-1]
        if resample > 1:
            table, visited = samplers.resampled(table, path, self.signal, self.noise, resample)
        task = {0: None, 1: "super_resolve", 2: "inpaint"}[len(known)]
        about = {"task": task, "known": known, "guidance_scale": guidance_scale, "seed": seed}
        about |= {"batch_size": batch_size, "verbose": verbose, "on_step": on_step}
        result = self._along(start, labels, table, visited, **about)
        return np.clip(result, -1, 1) if clip else result

    def _checked(self, images, shape=None):
        images, shape = np.asarray(images, "float32"), shape or self.image_shape
        if images.shape[1:] != tuple(shape) or not len(images):
            raise ValueError(f"images must be (count, {', '.join(map(str, shape))}), got {images.shape}")
        if not np.abs(images).max() <= 1.001:
            raise ValueError(f"images must be in [-1, 1], got {images.min():.4g} to {images.max():.4g}")
        return images

    def _checked_labels(self, labels, count):
        if labels is None:
            return None
        if self.num_classes is None:
            raise ValueError("this network has no classes: labels cannot be chosen")
        labels = np.asarray(labels)
        if labels.ndim > 1 or labels.size not in (1, count):
            raise ValueError(f"labels must be one, or one for each of the {count} images, got {labels.size}")
        if labels.min() < 0 or labels.max() >= self.num_classes:
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise ValueError(f"a label must be 0 to {self.num_classes - 1}, got {wrong}")
        return np.broadcast_to(labels.ravel(), (count,)).astype("int32")


class ExportedDiffusion(Sampling):
    """A diffusion model as a `.tflite` file or SavedModel folder, by its signature "denoise".

    The file says how many images it takes at a time, so `batch_size` changes nothing.

    Args:
        path: The file or folder.
        threads: Threads of a `.tflite` file.

    Attributes:
        labels: Names of the classes, or an empty list.
        metadata: What the file says of itself.

    Raises:
        ValueError: If it is no diffusion model, or neither it nor the card beside it says which schedule it has.
    """

    def __init__(self, path: File, *, threads: int = 1):
        self._denoise = exported.load(path, endpoint="denoise", threads=threads)
        self.labels, self.metadata = self._denoise.labels, self._denoise.metadata
        self.image_shape = tuple(self._denoise.inputs["image"][0][1:])
        self.num_classes = len(self.labels) if "label" in self._denoise.inputs else None
        schedule = self.metadata.get("schedule") or _trained_with(pretrained.beside(path))
        if schedule is None:
            raise ValueError(f"{path} does not say its noise schedule: export it again, or put its card beside it")
        self.timesteps = self.metadata["timesteps"]
        self.signal, self.noise = samplers.noise_schedule(schedule["name"], self.timesteps, schedule["shift"])

    def _along(self, start, labels, table, visited, *, task, known, guidance_scale, seed, verbose, on_step, **_):
        project = samplers.projection(task, known) or (lambda guess: guess)
        # one generator each, so that the first images are those also of a larger count
        draws = [np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(len(start))]
        given = {}
        if self.num_classes:
            given["label"] = np.full(len(start), self.num_classes, np.int32) if labels is None else labels
            given["guidance_scale"] = np.float32(guidance_scale)
        image, before = start.astype(np.float32), np.zeros_like(start, np.float32)
        shown = verbose and sys.stderr.isatty()
        for step, (row, level) in enumerate(zip(np.float32(table), visited, strict=True), start=1):
            levels = np.full(len(image), level, np.int32)
            guess = project(self._denoise(image=image, level=levels, **given)["clean"])
            image = row[0] * image + row[1] * guess + row[2] * before
            if row[3]:
                image += row[3] * np.stack([draw.standard_normal(self.image_shape, np.float32) for draw in draws])
            before = guess
            if on_step:
                on_step(step, image, guess)
            if shown:
                print(f"\rstep {step:,} of {len(table):,}", end="", file=sys.stderr, flush=True)
        if shown:
            print(file=sys.stderr)
        return image


def _trained_with(card):
    """The schedule that a card says its model was trained with, or None."""
    arguments = card.get("training", {}).get("arguments", {})
    return {"name": arguments["schedule"], "shift": arguments["shift"]} if "schedule" in arguments else None
