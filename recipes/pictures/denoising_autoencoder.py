"""Pictures of denoising: quality over the level of the noise."""

from matplotlib.figure import Figure

from recipes import plots


def lines(rows, key, path, *, xlabel, ylabel, highlight="restored"):
    """One line per column of a table over the column `key`; the highlighted one is drawn thick."""
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name in rows[0]:
        if name != key:
            style = {"color": plots.BLUE, "linewidth": 3} if name == highlight else {"linewidth": 1.2}
            values = [row[name] for row in rows]
            axes.plot([row[key] for row in rows], values, marker="o", label=name.replace("_", " "), **style)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    plots.clean(axes)
    axes.legend(frameon=False)
    plots.save(figure, path)
