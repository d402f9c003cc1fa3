"""Noise schedules and samplers of diffusion models, and what else a way from noise to image is made of.

A sampler is a table: one row per step, by which a compiled loop goes from noise to image.

At level k of T an image is `signal[k] * clean + noise[k] * standard normal`; level 0 is clean, level T nearly noise. A
network guesses the clean image, and a step from one level to a lower one is

    x * row[0] + clean * row[1] + clean of the step before * row[2] + standard normal * row[3]

Every sampler here has this form; they differ in the four numbers only.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Literal

import numpy as np

from zoo.kinds import Array, Sampler, Tensor

SCHEDULES = ("linear", "cosine")
SAMPLERS = ("ddpm", "ddim", "dpm_solver++")


def noise_schedule(
    schedule: Literal["linear", "cosine"] = "cosine", timesteps: int = 1000, shift: float = 1.0
) -> tuple[Array, Array]:
    """How much of the image and how much noise there is at each level.

    With beta the variance that one step adds, alpha-bar is the running product of 1 - beta. A shift multiplies noise
    over image at each level (Hoogeboom et al., "Simple diffusion", 2023).

    Args:
        schedule: "linear" (beta from 1e-4 to 0.02 over 1,000 steps, more over fewer) or "cosine".
        timesteps: Number of steps T, 1 or more (21 or more for "linear").
        shift: Above 1 more of the levels are very noisy, where the whole of an image is decided; below 1 more of them
            are nearly clean, where its details are.

    Returns:
        (signal, noise): float64 (timesteps + 1,) each, square roots of alpha-bar and of 1 - alpha-bar; level 0 is the
        clean image.

    Raises:
        ValueError: If there is no such schedule, too few steps, or `shift` is not positive.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    least = 21 if schedule == "linear" else 1
    if timesteps < least:
        raise ValueError(f"timesteps must be {least} or more for the {schedule} schedule, got {timesteps}")
    if not 0 < shift < math.inf:
        raise ValueError(f"shift must be positive, got {shift}")
    if schedule == "linear":
        beta = np.linspace(1e-4, 0.02, timesteps) * (1000 / timesteps)
    else:
        time = np.arange(timesteps + 1) / timesteps
        curve = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
        beta = np.minimum(1 - curve[1:] / curve[:-1], 0.999)
    alpha_bar = np.concatenate([[1.0], np.cumprod(1 - beta)])
    alpha_bar = alpha_bar / (alpha_bar + shift**2 * (1 - alpha_bar))
    return np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)


def levels(timesteps: int, steps: int | Tensor, xp: ModuleType = np) -> Tensor:
    """The levels to visit: integers (steps + 1,), from `timesteps` down to 0.

    They lie closer together near noise, where it is decided what an image shows, and near the clean image, where its
    edges are. So 20 steps of "dpm_solver++" end half as far from the exact way as with even distances.

    Args:
        timesteps: Levels of the schedule.
        steps: 1 to `timesteps`; with `keras.ops` also a tensor, which is not checked.
        xp: `numpy`, or `keras.ops` to compute them inside a graph.

    Raises:
        ValueError: If there are more steps than levels, or none.
    """
    if xp is np and not 1 <= steps <= timesteps:
        raise ValueError(f"steps must be 1 to {timesteps}, the timesteps of the schedule; got {steps}")
    steps = xp.cast(steps, "float32") if xp is not np else float(steps)
    share = (steps - xp.arange(steps + 1)) / steps
    bend = 0.6 * (1 - steps / timesteps)  # the more steps, the less: two never fall on one level
    exact = timesteps * (share - bend * xp.sin(2 * np.pi * share) / (2 * np.pi))
    rounded = xp.floor(exact + 0.499)  # a half goes down, whatever the precision
    return xp.cast(rounded, "int32") if xp is not np else rounded.astype(int)


def coefficients(
    signal: Tensor,
    noise: Tensor,
    sampler: Sampler = "dpm_solver++",
    eta: float = 0.0,
    xp: ModuleType = np,
) -> Tensor:
    """The table of a sampler for a way through the levels.

    "ddim" (Song et al., "Denoising diffusion implicit models", 2020) is deterministic at eta 0 and exact to first
    order; it also goes upwards, from image to noise. "ddpm" (Ho et al., "Denoising diffusion probabilistic models",
    2020) draws from the posterior given the guess, which is ddim with eta 1. "dpm_solver++" (Lu et al., "DPM-Solver++",
    2022, in its multistep form 2M with data prediction) also uses the guess of the step before and is exact to second
    order; its last step is of first order.

    Args:
        signal: (steps + 1,), share of the image at each level visited.
        noise: (steps + 1,), share of the noise; 0 at most in the last.
        sampler: One of `SAMPLERS`.
        eta: How much fresh noise "ddim" adds, in [0, 1].
        xp: `numpy`, or `keras.ops` to compute the table inside a graph.

    Returns:
        (steps, 4): the factors of x, of the guess, of the guess before and of fresh noise.

    Raises:
        ValueError: If there is no such sampler, or eta is out of range or given to another sampler than "ddim".
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if not 0 <= eta <= 1 or (eta and sampler != "ddim"):
        raise ValueError(f"eta must be in [0, 1], and 0 for other samplers than ddim; got {eta=} with {sampler}")
    eta = 1.0 if sampler == "ddpm" else eta
    signal_now, signal_next, noise_now, noise_next = signal[:-1], signal[1:], noise[:-1], noise[1:]
    zero = xp.zeros_like(noise_now)
    fresh = zero
    if eta:
        lost = 1 - (signal_now / signal_next) ** 2  # share of the signal that the noise of this step replaces
        fresh = eta * noise_next / noise_now * xp.sqrt(xp.maximum(lost, zero))
    kept = xp.sqrt(xp.maximum(noise_next**2 - fresh**2, zero)) / noise_now
    from_clean = signal_next - signal_now * kept
    extrapolation = zero
    if sampler == "dpm_solver++":
        step = xp.log(signal[1:-1] / noise[1:-1]) - xp.log(signal[:-2] / noise[:-2])
        # neither the first step, which has no guess before it, nor the last, which goes infinitely far in log SNR
        extrapolation = xp.concatenate([zero[:1], step[1:] / (2 * step[:-1]), zero[:1]])[: zero.shape[0]]
    return xp.stack([kept, from_clean * (1 + extrapolation), -from_clean * extrapolation, fresh], axis=1)


def resampled(table: Array, path: Array, signal: Array, noise: Array, times: int) -> tuple[Array, Array]:
    """The table and levels of a way that takes each step `times` times, going back by fresh noise in between.

    So what is known of an image and what is guessed grow together (Lugmayr et al., "RePaint", 2022). The way back is
    folded into the row before it.

    Args:
        table: (steps, 4), of a sampler that does not look at the step before.
        path: (steps + 1,), the levels of the table.
        signal: (timesteps + 1,), share of the image at every level.
        noise: (timesteps + 1,), share of the noise.
        times: 1 or more.

    Returns:
        (table, levels at which the network looks), of steps * times rows, less those of the last step.
    """
    rows, visited = [], []
    for row, now, after in zip(table, path[:-1], path[1:], strict=True):
        back = signal[now] / signal[after]
        jump = np.array([row[0] * back, row[1] * back, 0.0, np.hypot(row[3] * back, np.sqrt(max(0.0, 1 - back**2)))])
        repeats = times - 1 if after > 0 else 0
        rows += [jump] * repeats + [row]
        visited += [now] * (repeats + 1)
    return np.array(rows), np.array(visited)


def projection(task: str | None, given: tuple, xp: ModuleType = np) -> Callable | None:
    """Function that puts what is given into a guess of the clean image, or None.

    Args:
        task: "inpaint", with (images, missing), or "super_resolve", with (small images,); None for neither.
        given: Arrays or tensors of that task.
        xp: `numpy`, or `keras.ops` for tensors.
    """
    if task == "inpaint":
        images, missing = given
        return lambda guess: xp.where(missing > 0, guess, images)
    if task == "super_resolve":
        (small,) = given

        def project(guess):
            _, height, width, channels = guess.shape
            rows, columns = small.shape[1:3]
            blocks = (-1, rows, height // rows, columns, width // columns, channels)
            means = xp.mean(xp.reshape(guess, blocks), axis=(2, 4), keepdims=True)
            wanted = xp.reshape(small, (-1, rows, 1, columns, 1, channels))
            return xp.reshape(xp.reshape(guess, blocks) + (wanted - means), (-1, height, width, channels))

        return project
    return None


def normal(count: int, shape: tuple[int, ...], seed: int | None) -> Array:
    """Standard normal noise, NumPy float32 (count, *shape)."""
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype("float32")


def arc(first: Array, second: Array, count: int) -> Array:
    """Noises (count, height, width, channels) from one to another along an arc: halfway on the straight line there
    would be too little noise."""
    lengths = np.prod([np.linalg.norm(noise) for noise in (first, second)])
    angle = np.arccos(np.clip(np.sum(first * second) / lengths, -1, 1))
    share = np.linspace(0, 1, count).reshape(-1, 1, 1, 1)
    return (np.sin((1 - share) * angle) * first + np.sin(share * angle) * second) / max(np.sin(angle), 1e-6)
