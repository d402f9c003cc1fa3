"""Pictures of sampling: quality over steps, and the path from noise to image."""

import numpy as np

from recipes import plots
from recipes.samples.drawing import pixels


def quality(rows, floor, path):
    """Fréchet distance of samplers over steps and over seconds: rows with "sampler", "steps", "frechet_distance" and
    "seconds_per_image"; dashed the `floor`, the distance of real images."""
    from matplotlib.figure import Figure  # here: the other pictures need no Matplotlib, which starts slowly

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, label in ((left, "steps", "steps"), (right, "seconds_per_image", "seconds per image")):
        for name, colour in zip(
            dict.fromkeys(row["sampler"] for row in rows), (plots.BLUE, plots.ORANGE, plots.GREY), strict=False
        ):
            own = sorted((row[key], row["frechet_distance"]) for row in rows if row["sampler"] == name)
            axes.plot(*zip(*own, strict=True), marker="o", color=colour, label=name)
        axes.axhline(floor, linestyle="--", color="black", linewidth=1, label="real images")
        axes.set(xlabel=label, xscale="log", ylim=(0, None))
        plots.clean(axes)
    left.set_ylabel("Fréchet distance")
    left.legend(frameon=False)
    plots.save(figure, path)


def trajectory(model, path, *, count, seed=0, labels=None, verbose=0, **sampling):
    """Makes images and draws their way from noise: a row each with the noisy image above the guess of the clean one as
    PNG, or an animation of the grid as GIF.

    Args:
        model: A `zoo.sampling.Sampling`.
        path: Where to write.
        count, seed, labels, verbose, sampling: As of its `generate`.
    """
    steps = {}

    def keep(step, noisy, guess):
        noises, guesses = steps.setdefault(step, ([], []))
        noises.extend(noisy)
        guesses.extend(guess)

    model.generate(count, labels, seed=seed, verbose=verbose, on_step=keep, **sampling)
    frames = [[pixels(np.stack(images[:count])) for images in steps[step]] for step in sorted(steps)]
    if path.suffix.lower() == ".gif":
        grids = [plots.montage(noisy) for noisy, _ in frames]
        plots.save_animation([*grids, *[grids[-1]] * 10], path, milliseconds=100)
        return
    shown = np.unique(np.linspace(0, len(frames) - 1, 11).round().astype(int))
    strip = np.concatenate([[frames[step][kind][index] for step in shown] for index in range(count) for kind in (0, 1)])
    plots.save_image(plots.montage(strip, columns=len(shown)), path)


def strips(path, *sets):
    """Rows of the first images of several sets, one below the other."""
    strip = np.concatenate([images[:16] for images in sets])
    plots.save_image(plots.montage(strip, columns=len(strip) // len(sets), scale=3), path)
