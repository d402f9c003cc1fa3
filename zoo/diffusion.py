"""A diffusion model: noise becomes an image step by step, by a U-Net that learned to take noise away.

    model = zoo.Diffusion(zoo.diffusion_unet((28, 28, 1), num_classes=10))
    model.compile("adam")
    model.fit(images, labels, batch_size=64, epochs=20)  # images in [-1, 1]
    new = model.generate(16, labels=3, steps=20, guidance_scale=1.5, seed=7)

Four things, each for itself: the network (`diffusion_unet`), the noise schedule (`noise_schedule`), the objective (what
the network is asked for, `Diffusion`) and the sampler (`zoo.samplers`).

References: Ho et al., "Denoising diffusion probabilistic models", 2020; Nichol and Dhariwal, "Improved denoising
diffusion probabilistic models", 2021 (cosine schedule); Salimans and Ho, "Progressive distillation", 2022 (objective
v); Ho and Salimans, "Classifier-free diffusion guidance", 2022; Hang et al., "Efficient diffusion training via min-SNR
weighting strategy", 2023; Lugmayr et al., "RePaint", 2022, and Wang et al., "Zero-shot image restoration using
denoising diffusion null-space model", 2022 (inpainting and super-resolution by a network trained for neither).
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Literal

import keras
import numpy as np
from keras import Model, ops

from zoo import samplers, steps
from zoo.diffusion_unet import GroupNormalization, TimeEmbedding, classes, diffusion_unet  # noqa: F401 (public here too)
from zoo.kinds import Tensor
from zoo.samplers import SCHEDULES, noise_schedule  # noqa: F401 (public here too)
from zoo.sampling import Sampling

OBJECTIVES = ("noise", "v", "x0")


@keras.saving.register_keras_serializable("zoo")
class Diffusion(Sampling, Model):
    """A network with the schedule and the objective that it is trained for, and all that it can then be used for.

    Each training step draws a level and noise for each image, the levels evenly spread over a batch, and asks the
    network for what the objective says. Averages of the weights over the steps make the images. `evaluate` looks at the
    averages with the same levels and the same noise each time.

    `fit` takes images in [-1, 1], (batch, height, width, channels), with labels (batch,) if the network has classes.

    Attributes:
        network: The network being trained.
        averages: Moving averages of its weights, from which images are made; none if `ema_decay` is 0.
        signal, noise: The schedule, (timesteps + 1,) each.

    Args:
        network: As built by `diffusion_unet`.
        schedule: "cosine" or "linear"; see `noise_schedule`.
        timesteps: Number of levels.
        shift: Above 1 for more very noisy levels; see `noise_schedule`.
        objective: What the network predicts: "noise", "x0" (the clean image) or "v", signal * noise - noise share *
            clean image.
        min_snr_gamma: Weighs each image by min(SNR, gamma) in terms of the clean image; None for the plain mean.
        label_dropout: Share of labels hidden in training, in [0, 1), so that guidance has something to compare with.
        ema_decay: Decay of the moving average per step, in [0, 1); 0 for the weights themselves. In the first steps it
            is smaller, so that the random beginning is forgotten.
        guidance_interval: (from, to), shares of the levels, in [0, 1], at which guidance above 1 applies. Near noise it
            costs variety (Kynkäänniemi et al., "Applying guidance in a limited interval", 2024).
        seed: Seed of levels, noise and hidden labels in training.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        schedule: Literal["linear", "cosine"] = "cosine",
        timesteps: int = 1000,
        shift: float = 1.0,
        objective: Literal["noise", "v", "x0"] = "v",
        min_snr_gamma: float | None = None,
        label_dropout: float = 0.1,
        ema_decay: float = 0.999,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        seed: int | None = None,
        name: str = "diffusion",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
        if not 0 <= label_dropout < 1 or not 0 <= ema_decay < 1:
            raise ValueError(f"label_dropout and ema_decay must be in [0, 1), got {label_dropout=}, {ema_decay=}")
        if min_snr_gamma is not None and not min_snr_gamma > 0:
            raise ValueError(f"min_snr_gamma must be None or positive, got {min_snr_gamma}")
        low, high = guidance_interval
        if not 0 <= low < high <= 1:
            raise ValueError(f"guidance_interval must be two rising shares in [0, 1], got {tuple(guidance_interval)}")
        self.network = network
        self.schedule = schedule
        self.timesteps = timesteps
        self.shift = shift
        self.objective = objective
        self.min_snr_gamma = min_snr_gamma
        self.label_dropout = label_dropout
        self.ema_decay = ema_decay
        self.guidance_interval = (low, high)
        self.seed = seed
        self.signal, self.noise = noise_schedule(schedule, timesteps, shift)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.loop_seed = keras.random.SeedGenerator(0)  # stands for a number in the compiled loop
        self.image_shape = tuple(network.inputs[0].shape[1:])
        self.num_classes = classes(network)
        self.averages = steps.add_averages(self, network) if ema_decay else []
        self._loops = steps.Compiled()
        self.built = True

    # training ---------------------------------------------------------------------------------------------------------

    def train_step(self, *arguments):
        """The step of Keras, with labels as an input, and the averages after it; on JAX (state, data), else (data)."""
        *state, data = arguments
        result = super().train_step(*state, self._inputs(data))
        if not state:
            self._update_averages()
            return result
        logs, state = result
        return logs, steps.stateless(self, state, self._update_averages)[1]

    def test_step(self, *arguments):
        *state, data = arguments
        return super().test_step(*state, self._inputs(data))

    def call(self, inputs, training=False):
        """What the network says of images with noise, and what it should have said.

        Args:
            inputs: Clean images, or (images, labels).
            training: Whether levels, noise and hidden labels are drawn anew, and the network's own weights looked at;
                if not, all are the same in each call, and the averages are looked at.

        Returns:
            A dictionary of "prediction" and "target" (batch, height, width, channels) and "weight" (batch,).
        """
        images, labels = inputs if isinstance(inputs, (tuple, list)) else (inputs, None)
        images = ops.cast(images, "float32")
        level, noise, hidden = self.draw(ops.shape(images)[0], training)
        if labels is not None:
            labels = ops.where(hidden, self.num_classes, ops.cast(labels, "int32"))
        signal_share, noise_share = self._shares(level)
        noisy = signal_share * images + noise_share * noise
        prediction = self._predict(None if training else self._state(), noisy, level, labels, training=training)
        target = {"noise": noise, "x0": images, "v": signal_share * noise - noise_share * images}[self.objective]
        return {"prediction": prediction, "target": target, "weight": self._weight(level)}

    def draw(self, count: int | Tensor, training: bool = True) -> tuple[Tensor, ...]:
        """What a training step leaves to chance, for each of `count` images; always the same outside training.

        Returns:
            (level, noise, hidden): int32 (count,) from 1 to `timesteps`, evenly spread over the batch from a random
            start; float32 (count, height, width, channels); and bool (count,), whether the label is hidden.
        """
        seed = self.seed_generator if training else 0

        def draw_all(total):
            start = keras.random.uniform((), seed=seed) if training else 0.5
            place = (ops.cast(ops.arange(total), "float32") + start) / ops.cast(total, "float32")
            level = ops.minimum(1 + ops.cast(ops.floor(place * self.timesteps), "int32"), self.timesteps)
            noise = keras.random.normal((total, *self.image_shape), seed=seed)
            hidden = keras.random.uniform((total,), seed=seed) < (self.label_dropout if training else 0.0)
            return level, noise, hidden

        return steps.own_share(draw_all, count)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        error = ops.mean(ops.square(y_pred["prediction"] - y_pred["target"]), axis=(1, 2, 3))
        return ops.mean(y_pred["weight"] * error) / steps.replica()[0]

    def averaged(self) -> keras.Model:
        """A copy to use, save or share: its network has the averaged weights, and there are no averages besides."""
        return self.with_network(steps.averaged_copy(self.averages or self.network.weights, self.network))

    def with_network(self, network: keras.Model) -> "Diffusion":
        """The same schedule and objective with another trained network, without averages besides its weights."""
        return type(self)(network, **{**self._settings(), "ema_decay": 0.0})

    def _inputs(self, data):
        """Keras takes what the network looks at from x, so labels go there."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        if (labels is None) != (self.num_classes is None):
            raise ValueError(
                f"the network has {self.num_classes} classes, the data has {'no' if labels is None else 'its'} labels"
            )
        return (images,) if labels is None else ((images, labels),)

    def _weight(self, level):
        if self.min_snr_gamma is None:
            return ops.ones_like(ops.cast(level, "float32"))
        ratio = (self.signal[1:] / self.noise[1:]) ** 2
        per_unit = {"noise": ratio, "x0": 1.0, "v": ratio + 1}[self.objective]  # of the clean image's squared error
        weight = np.minimum(ratio, self.min_snr_gamma) / per_unit
        return ops.take(ops.convert_to_tensor(weight, "float32"), level - 1)

    def _update_averages(self):
        if self.averages:
            steps.update_averages(self.averages, self.network, self.ema_decay, self.optimizer.iterations)

    # the network as a denoiser ----------------------------------------------------------------------------------------

    def _state(self):
        if self.averages:
            return steps.averaged_state(self.averages, self.network)
        return (
            [variable.value for variable in self.network.trainable_variables],
            [variable.value for variable in self.network.non_trainable_variables],
        )

    def _shares(self, level):
        """(signal, noise) of a level each, (batch, 1, 1, 1)."""
        tables = (ops.convert_to_tensor(table, "float32") for table in (self.signal, self.noise))
        return tuple(ops.reshape(ops.take(table, level), (-1, 1, 1, 1)) for table in tables)

    def _predict(self, state, noisy, level, labels, training=False):
        inputs = [noisy, ops.cast(level, "float32") / self.timesteps]
        if self.num_classes:
            inputs.append(ops.full_like(level, self.num_classes) if labels is None else ops.cast(labels, "int32"))
        if state is None:
            return self.network(inputs, training=training)
        return self.network.stateless_call(*state, inputs, training=False)[0]

    def clean(
        self,
        noisy: Tensor,
        level: Tensor,
        labels: Tensor | None = None,
        guidance_scale: float | None = None,
        *,
        state: list | None = None,
    ) -> Tensor:
        """The network's guess of the clean images behind noisy ones, clipped to [-1, 1].

        Args:
            noisy: float32 (batch, height, width, channels).
            level: int32 (batch,), 1 to `timesteps`.
            labels: int32 (batch,), or None for no class.
            guidance_scale: None for the plain guess; else unguided + scale * (guided - unguided), the scale being at
                most 1 outside `guidance_interval`.
            state: Values of the network's weights; by default the averages.
        """
        state = state or self._state()
        if guidance_scale is None or labels is None:
            prediction = self._predict(state, noisy, level, labels)
        else:
            both = (ops.concatenate([tensor, tensor]) for tensor in (noisy, level))
            labels = ops.concatenate([ops.cast(labels, "int32"), ops.full_like(level, self.num_classes)])
            guided, plain = ops.split(self._predict(state, *both, labels), 2)
            scale = ops.where(self._in_interval(level), guidance_scale, ops.minimum(guidance_scale, 1.0))
            prediction = plain + ops.reshape(scale, (-1, 1, 1, 1)) * (guided - plain)
        signal_share, noise_share = self._shares(level)
        guess = {
            "noise": lambda: (noisy - noise_share * prediction) / signal_share,
            "x0": lambda: prediction,
            "v": lambda: signal_share * noisy - noise_share * prediction,
        }[self.objective]()
        return ops.clip(guess, -1.0, 1.0)

    def _in_interval(self, level):
        """Whether guidance applies at levels: tensor or NumPy array."""
        low, high = (round(share * self.timesteps, 6) for share in self.guidance_interval)
        return (level >= math.ceil(low)) & (level <= math.floor(high))

    def loop(
        self,
        image: Tensor,
        labels: Tensor | None,
        table: Tensor,
        levels: Tensor,
        first: int | Tensor,
        last: int | Tensor,
        *,
        guidance_scale: float | Tensor | None = None,
        state: list | None = None,
        project: Callable | None = None,
        seed: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Goes through rows `first` to `last` of a sampler's table; for use inside a compiled function.

        Args:
            image: (noisy images, guess of the step before), float32 (batch, height, width, channels) each.
            labels: int32 (batch,), or None.
            table: float32 (steps, 4), from `zoo.samplers.coefficients`.
            levels: int32 (steps,), the level of each row.
            first, last: Rows, as int32.
            guidance_scale: See `clean`.
            state: Values of the network's weights; by default the averages.
            project: Function of the guess that puts what is known of the image into it.
            seed: int32, seed of fresh noise; None for a sampler that draws none.

        Returns:
            (images, guess of the last step).
        """
        count = ops.shape(image[0])[0]

        def body(step, noisy, before):
            row = ops.take(table, step, axis=0)
            level = ops.broadcast_to(ops.take(levels, step), (count,))
            guess = self.clean(noisy, level, labels, guidance_scale, state=state)
            guess = guess if project is None else project(guess)
            noisy = row[0] * noisy + row[1] * guess + row[2] * before
            if seed is not None:
                # the seed of this step, on either backend: a draw without a state
                value = ops.cast(ops.stack([seed, step]), self.loop_seed.state.dtype)
                with keras.StatelessScope(state_mapping=[(self.loop_seed.state, value)]):
                    noisy = noisy + row[3] * keras.random.normal(ops.shape(noisy), seed=self.loop_seed)
            return step + 1, noisy, guess

        return ops.while_loop(lambda step, *_: step < last, body, (first, *image))[1:]

    def in_graph(
        self, noise: Tensor, steps: int | Tensor, label: Tensor | None = None, guidance_scale: Tensor | None = None
    ) -> Tensor:
        """Images from noise by "dpm_solver++" in uint8, as tensors: what is exported.

        Args:
            noise: float32 (batch, height, width, channels), standard normal.
            steps: Number of steps, or an int32 tensor (), brought into 1 to `timesteps`.
            label: int32 (batch,), where `num_classes` means none; or None.
            guidance_scale: See `clean`.

        Returns:
            uint8 (batch, height, width, channels).
        """
        if isinstance(steps, int):
            path = samplers.levels(self.timesteps, steps)
            shares = self.signal[path], self.noise[path]
            table = ops.convert_to_tensor(samplers.coefficients(*shares), "float32")
            path = ops.convert_to_tensor(path, "int32")
        else:
            steps = ops.clip(steps, 1, self.timesteps)
            path = samplers.levels(self.timesteps, steps, xp=ops)
            tables = (ops.convert_to_tensor(share, "float32") for share in (self.signal, self.noise))
            table = samplers.coefficients(*(ops.take(share, path) for share in tables), xp=ops)
        start = (noise, ops.zeros_like(noise))
        image, _ = self.loop(start, label, table, path, 0, steps, guidance_scale=guidance_scale)
        return ops.cast(ops.round(ops.clip((image + 1.0) * 127.5, 0.0, 255.0)), "uint8")

    # use: the methods of `Sampling` ----------------------------------------------------------------------------------

    def _along(self, start, labels, table, visited, *, task, known, guidance_scale, seed, batch_size, verbose, on_step):
        count, rows = len(start), len(table)
        batches = math.ceil(count / batch_size)
        size = math.ceil(count / batches)
        chunk = 1 if on_step else max(1, rows // 20) if verbose else rows
        bar = keras.utils.Progbar(batches * rows, verbose=verbose, unit_name="step")
        state = keras.tree.map_structure(ops.convert_to_tensor, self._state())
        fresh = bool((table[:, 3] > 0).any())
        guided = self._in_interval(visited) if guidance_scale > 1 else np.full(rows, guidance_scale not in (0, 1))
        parts = np.unique([*range(0, rows, chunk), *np.flatnonzero(np.diff(guided)) + 1, rows])
        if guidance_scale == 0:
            labels = None
        table, visited = ops.convert_to_tensor(table, "float32"), ops.convert_to_tensor(visited, "int32")
        guidance = ops.convert_to_tensor(guidance_scale, "float32")
        start_seed = np.random.default_rng(seed).integers(2**30)
        results = []
        for batch in range(batches):
            # the last batch is filled up, so that there is one shape to compile for
            chosen = np.minimum(np.arange(batch * size, (batch + 1) * size), count - 1)
            noisy = ops.convert_to_tensor(start[chosen], "float32")
            image = (noisy, ops.zeros_like(noisy))
            label = None if labels is None else ops.convert_to_tensor(labels[chosen], "int32")
            given = tuple(ops.convert_to_tensor(array[chosen], "float32") for array in known)
            number = ops.convert_to_tensor(start_seed + batch, "int32")
            for first, last in itertools.pairwise(parts):
                run = self._compiled(bool(guided[first]), fresh, task)  # a network without guidance takes half the time
                ends = (ops.convert_to_tensor(end, "int32") for end in (first, last))
                image = run(state, image, label, given, table, visited, *ends, guidance, number)
                bar.update(batch * rows + last)
                if on_step:
                    on_step(last, *(ops.convert_to_numpy(tensor) for tensor in image))
            results.append(ops.convert_to_numpy(image[0]))
        return np.concatenate(results)[:count]

    def _compiled(self, *kind):
        """The loop as a compiled function, made once for each kind."""
        # a partial, because TensorFlow adds up the tracings of one piece of code, and warns at five
        return self._loops.get(kind, functools.partial(self._run, *kind))

    def _run(self, guided, fresh, task, state, image, label, given, table, levels, first, last, guidance, seed):
        return self.loop(
            image,
            label,
            table,
            levels,
            first,
            last,
            guidance_scale=guidance if guided else None,
            state=state,
            project=samplers.projection(task, given, xp=ops),
            seed=seed if fresh else None,
        )

    # saving -----------------------------------------------------------------------------------------------------------

    def _settings(self):
        names = ("schedule", "timesteps", "shift", "objective", "min_snr_gamma", "label_dropout", "ema_decay")
        return {name: getattr(self, name) for name in (*names, "guidance_interval", "seed", "name")}

    def get_config(self):
        return {**self._settings(), "network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{**config, "network": keras.saving.deserialize_keras_object(config["network"])})

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["seed_generator_state"] = ops.convert_to_numpy(self.seed_generator.state)  # Keras leaves it out

    def load_own_variables(self, store):
        stored = {key: store[key] for key in store.keys()}  # noqa: SIM118 (a group of HDF5)
        self.seed_generator.state.assign(stored.pop("seed_generator_state"))
        super().load_own_variables(stored)
