"""Pictures of sounds: waveform, spectrum, spectrogram, timeline."""

import numpy as np

from recipes import plots


def coloured(image):
    """A picture of one value in [0, 1] per pixel, (height, width), in colours: uint8 (height, width, 3)."""
    from matplotlib import colormaps

    return np.uint8(255 * colormaps["magma"](image)[..., :3])


def spectrogram(image, seconds, frequencies, path):
    """A spectrogram (bins, frames) in [0, 1] with axes; `frequencies` are those of its rows from below, in hertz."""
    figure = plots.figure_of(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    figure.colorbar(_spectrogram(axes, image, seconds, frequencies), label="1 is the loudest point, 0 is 45 dB below")
    plots.save(figure, path)


def sound(waveform, rate, path, *, title, spectrum, peaks, spectrogram, seen, frequencies, heat=None, timeline=None):
    """All that is to be seen of a sound, on one page.

    Args:
        waveform: (samples, channels) in [-1, 1].
        rate: Samples per second.
        path: Where to write the picture.
        title: Headline.
        spectrum: (hertz, decibels) of the whole.
        peaks: Its strongest frequencies, dictionaries with "hertz" and "decibels".
        spectrogram: The whole as an image (bins, frames) in [0, 1], low frequencies below.
        seen: The window that was classified, likewise.
        frequencies: Hertz of the rows of both, from below.
        heat: Where the class was seen, (any, any) in [0, 1], laid over the window; None leaves it out.
        timeline: (rows with "start" and "end", probabilities (count, classes), class names), or None.
    """
    seconds, channels = len(waveform) / rate, waveform.shape[1]
    figure = plots.figure_of(figsize=(11, 2 * channels + 6 + 3 * bool(timeline)), layout="constrained")
    figure.suptitle(title, parse_math=False)
    panels = [[f"channel {n + 1}"] * 2 for n in range(channels)] + [["spectrum", "seen"], ["spectrogram"] * 2]
    heights = [1] * channels + [1.6, 1.6]
    if timeline:
        panels, heights = [*panels, ["timeline"] * 2], [*heights, 1.6]
    axes = figure.subplot_mosaic(panels, height_ratios=heights)
    for n in range(channels):
        panel = axes[f"channel {n + 1}"]
        step = 1 + len(waveform) // 20_000  # of a long sound the lowest and highest sample of each stretch
        parts = np.pad(waveform[:, n], (0, -len(waveform) % step), mode="edge").reshape(-1, step)
        levels = np.stack([parts.min(axis=1), parts.max(axis=1)], axis=1).ravel() if step > 1 else parts[:, 0]
        panel.plot(np.linspace(0, seconds, len(levels)), levels, color=plots.BLUE, linewidth=0.6)
        panel.set(title=f"channel {n + 1}", xlabel="seconds", xlim=(0, seconds))
        plots.clean(panel)
    panel = axes["spectrum"]
    panel.plot(*spectrum, color=plots.BLUE, linewidth=0.8)
    for rank, peak in enumerate(peaks, start=1):
        panel.plot(peak["hertz"], peak["decibels"], "o", color=plots.ORANGE, markersize=4)
        panel.annotate(str(rank), (peak["hertz"], peak["decibels"]), (2, 3), textcoords="offset points", fontsize=8)
    names = "\n".join(f"{rank}  {peak['hertz']:,.0f} Hz" for rank, peak in enumerate(peaks, start=1))
    panel.text(0.98, 0.97, names, transform=panel.transAxes, ha="right", va="top", fontsize=9)
    panel.set(title="spectrum", xlabel="hertz", ylabel="decibels", ylim=(max(spectrum[1]) - 80, max(spectrum[1]) + 25))
    plots.clean(panel)
    _spectrogram(axes["spectrogram"], spectrogram, seconds, frequencies)
    panel = axes["seen"]
    panel.imshow(seen, cmap="gray", aspect="auto", vmin=0, vmax=1, extent=(0, 1, 0, 1))
    panel.set(xticks=[], yticks=[], title="what the model saw")
    if heat is not None:
        panel.imshow(heat, cmap="inferno", aspect="auto", alpha=0.45, extent=(0, 1, 0, 1), interpolation="bilinear")
        panel.set(title="what the model saw, and where it looked")
    if timeline:
        rows, levels, names = timeline
        middles = np.array([(row["start"] + row["end"]) / 2 for row in rows])
        edges = np.concatenate([[0], (middles[1:] + middles[:-1]) / 2, [seconds]])
        panel = axes["timeline"]
        panel.pcolormesh(edges, np.arange(len(names) + 1), levels.T, cmap="Blues", vmin=0, vmax=1)
        panel.set(title="timeline", xlabel="seconds", xlim=(0, seconds))
        panel.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=7, parse_math=False)
    plots.save(figure, path)


def _spectrogram(axes, image, seconds, frequencies):
    picture = axes.imshow(image, cmap="magma", aspect="auto", vmin=0, vmax=1, extent=(0, seconds, 0, len(frequencies)))
    ticks = np.linspace(0, len(frequencies) - 1, 7).round().astype(int)
    axes.set_yticks(ticks + 0.5, [f"{frequencies[tick]:.0f}" for tick in ticks])
    axes.set(title="spectrogram", xlabel="seconds", ylabel="hertz")
    return picture
