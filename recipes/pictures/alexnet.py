"""Pictures of a regression."""

import numpy as np
from matplotlib.figure import Figure

from recipes import plots


def regression(true, found, names, path):
    """Found over true values of each output, (count, outputs), and under them the histograms of the errors."""
    figure = Figure(figsize=(4 * len(names), 6.5), layout="constrained")
    upper, lower = figure.subplots(2, len(names), height_ratios=(2, 1), squeeze=False)
    widest = max(float(np.abs(found - true).max()), 1e-9)
    for index, name in enumerate(names):
        x, y = true[:, index], found[:, index]
        ends = min(x.min(), y.min()), max(x.max(), y.max())
        upper[index].plot(ends, ends, "--", color=plots.GREY)
        upper[index].plot(x, y, "o", color=plots.BLUE, markersize=3, alpha=0.5, markeredgewidth=0)
        upper[index].set(title=name, xlabel="true", ylabel="found")
        error = y - x
        lower[index].hist(error, 41, range=(-widest, widest), color=plots.BLUE)
        rmse, mean = np.sqrt(np.mean(error**2)), np.mean(error)
        lower[index].set(title=f"RMSE {rmse:.3g}, mean error {mean:.2g}", xlabel="found - true", ylabel="images")
        for axes in (upper[index], lower[index]):
            plots.clean(axes)
    plots.save(figure, path)
