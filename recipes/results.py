"""The end of `train`, `evaluate` and `predict`: the card, `evaluation.json`, tables as text, CSV and JSON."""

import csv
import io
import json
import zipfile

import numpy as np

from recipes import cards, plots, runs


def table(rows):
    """Text of a table with aligned columns; the rows are dictionaries with the same keys, floats get four digits."""
    cells = [[_cell(value) for value in row.values()] for row in rows]
    lines = [[name.replace("_", " ") for name in rows[0]], *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value):
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def trained(run, card, figures, *, metrics=None, measured_on, latency_ms, message, shown=None, kept="model", **about):
    """Writes the card of a finished run, removes its backup and says what was reached.

    Args:
        run: The `runs.Run`.
        card: What is known of the model before it is measured.
        figures: What the recipe measured; "metrics" is among them.
        metrics: Names of the metrics that stand beside the model file; None for all.
        measured_on: What they were measured on, in words.
        latency_ms: Milliseconds for one example.
        message: The last line for the reader, without where things are.
        shown: Rows of a table to print before it.
        kept: What the model file holds, in a word.
        **about: What the card says of the training besides command, arguments, epochs and seconds.

    Returns:
        What `train` gives back.
    """
    model = run.folder / "model.keras"
    chosen = {name: figures["metrics"][name] for name in metrics or figures["metrics"]}
    with zipfile.ZipFile(model) as archive:
        if b'"zoo>' in archive.read("config.json"):
            card["loading"] = (
                "it has classes of its own: zoo.load, or keras.models.load_model after `import keras, zoo`"
            )
    entry = cards.file_entry(model, metrics=chosen, measured_on=measured_on, latency_ms=round(latency_ms, 4))
    card |= figures | {"files": [entry], "training": runs.training_entry(run, **about)}
    cards.write(run.folder, card)
    runs.finish(run)
    if shown:
        print(f"{table(shown)}\n")
    print(f"{message}; {kept}, card and pictures are in {run.folder}")
    return {
        "output": run.folder,
        "model": model,
        "epochs": len(run.history),
        **figures,
        "parameters": card["parameters"],
        "seconds": card["training"]["seconds"],
    }


def evaluated(folder, figures, rows, message):
    """Writes `evaluation.json`, prints a table and a line, and gives what `evaluate` gives back."""
    cards.write_text(folder / "evaluation.json", json.dumps(figures, indent=1, default=str))
    print(table(rows))
    print(f"\n{message}; pictures are in {folder}")
    return {**figures, "output": folder}


def interval(parts, statistic, *, rounds=1000):
    """The 95 % interval of a statistic over items, by the bootstrap (Efron, 1979): [lower, upper] end.

    Args:
        parts: One number or array for each item, which add up.
        statistic: Function of the sum over as many items as there are.
        rounds: How often the items are drawn anew.
    """
    parts = np.asarray(parts, np.float64)
    count = len(parts)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), rounds)
    values = [statistic(np.tensordot(times, parts, 1)) for times in drawn]
    return [float(end) for end in np.nanquantile(values, (0.025, 0.975))]


def predicted(folder, predictions, rows, left_out, pictures, captions, what):
    """The end of a `predict` with a sheet: JSON, CSV, the sheet, a table on the screen, and what `predict` gives back.

    Args:
        folder: Where to write.
        predictions: What goes into the JSON.
        rows: The same as rows of a flat table.
        left_out: What was not read.
        pictures: uint8 images of the sheet; 64 of them, or 64 pairs, at most.
        captions: A text for each.
        what: What the folder holds, in words.
    """
    write_predictions(folder, predictions, rows)
    plots.sheet(pictures, captions, folder / "predictions.png")
    print(table(rows))
    print(f"\n{what} are in {folder}")
    return {"predictions": predictions, **left_out, "output": folder}


def write_predictions(folder, predictions, rows, columns=None):
    """Writes `predictions.json`, and a flat table as `predictions.csv`, whose columns are by default the rows' keys."""
    cards.write_text(folder / "predictions.json", json.dumps(predictions, indent=1))
    write_table(folder / "predictions.csv", rows, columns or rows[0])


def write_table(path, rows, columns):
    """Writes rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    cards.write_text(path, text.getvalue())


def per_class(labels, guesses, class_names, what):
    """Rows of precision, recall, F1 and count of each class; `what` is counted, in a word."""
    from sklearn.metrics import precision_recall_fscore_support  # heavy

    classes = range(len(class_names))
    columns = precision_recall_fscore_support(labels, guesses, labels=classes, zero_division=0)
    names = ("precision", "recall", "f1")
    return [
        {"class": class_names[index]}
        | {name: float(column[index]) for name, column in zip(names, columns, strict=False)}
        | {what: int(columns[3][index])}
        for index in classes
    ]


def benchmarked(folder, result, tables):
    """Writes `benchmark.json` with the machine it ran on, prints tables under their titles, and gives what `benchmark`
    gives back."""
    result = {**result, **runs.environment()}
    cards.write_text(folder / "benchmark.json", json.dumps(result, indent=1))
    print("\n\n".join(f"{title}\n{table(rows)}" for title, rows in tables))
    print(f"\nfigures are in {folder}")
    return {**result, "output": folder}


def numbers(values, kind):
    """Casts, factors or an angle in few characters."""
    return " ".join(
        f"{value:.2f}" if kind == "gains" else f"{value:.1f}" if kind == "angle" else f"{value:+.0f}"
        for value in values
    )
