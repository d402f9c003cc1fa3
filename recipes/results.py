"""The end of `train`, `evaluate` and `predict`: the card, `evaluation.json`, tables as text, CSV and JSON."""

import csv
import io
import json

from sklearn.metrics import precision_recall_fscore_support

from recipes import cards, runs


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
    entry = cards.file_entry(model, metrics=chosen, measured_on=measured_on, latency_ms=round(latency_ms, 4))
    card |= figures | {"files": [entry], "training": cards.training_entry(run, **about)}
    cards.write(run.folder, card)
    runs.finish(run)
    if shown:
        print(f"{cards.table(shown)}\n")
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
    print(cards.table(rows))
    print(f"\n{message}; pictures are in {folder}")
    return {**figures, "output": folder}


def write_predictions(folder, predictions, rows, columns=None):
    """Writes `predictions.json`, and a flat table as `predictions.csv`, whose columns are by default the rows' keys."""
    cards.write_text(folder / "predictions.json", json.dumps(predictions, indent=1))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or rows[0])
    writer.writeheader()
    writer.writerows(rows)
    cards.write_text(folder / "predictions.csv", text.getvalue())


def per_class(labels, guesses, class_names, what):
    """Rows of precision, recall, F1 and count of each class; `what` is counted, in a word."""
    classes = range(len(class_names))
    columns = precision_recall_fscore_support(labels, guesses, labels=classes, zero_division=0)
    names = ("precision", "recall", "f1")
    return [
        {"class": class_names[index]}
        | {name: float(column[index]) for name, column in zip(names, columns, strict=False)}
        | {what: int(columns[3][index])}
        for index in classes
    ]
