"""Training speed of a recipe on TensorFlow and on JAX: `zoo benchmark RECIPE --backends tensorflow jax`."""

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from recipes import checks, results, runs


def of(name):
    """The verb for one recipe."""

    def benchmark(
        *,
        backends: tuple[Literal["tensorflow", "jax"], ...],
        dataset: str | None = None,
        epochs: int = 3,
        rounds: int = 1,
        output: Path | None = None,
    ):
        """Trains on each backend in turn, each time in a process of its own, and compares the seconds of an epoch.

        The first epoch, in which everything is compiled, stands apart; an epoch includes what is measured after it.

        Args:
            backends: Backends, the first being what the others are compared with.
            dataset: Data to train on; by default the recipe's.
            epochs: Epochs of each training, 2 or more.
            rounds: How often each backend has its turn.
            output: Folder for benchmark.json; by default a new one under runs/RECIPE.
        """
        checks.check_positive(rounds=rounds)
        if epochs < 2:
            raise ValueError(f"epochs must be 2 or more, since the first one compiles; got {epochs}")
        if not backends or len(set(backends)) < len(backends):
            raise ValueError(f"--backends needs different backends, got {' '.join(backends) or 'none'}")
        folder = runs.output_folder(name, "benchmark-backends", output)
        options = ["--epochs", str(epochs), *(["--dataset", dataset] if dataset else [])]
        seconds, first, examples = {one: [] for one in backends}, {one: [] for one in backends}, 0
        for _ in range(rounds):
            for backend in backends:
                (begun, *others), examples = _train(name, backend, options)
                first[backend].append(begun)
                seconds[backend] += others
        rows = [
            {
                "backend": backend,
                "first epoch, s": statistics.median(first[backend]),
                "epoch, s": statistics.median(seconds[backend]),
                "examples/s": examples / statistics.median(seconds[backend]),
                f"speed / {backends[0]}": statistics.median(seconds[backends[0]]) / statistics.median(seconds[backend]),
            }
            for backend in backends
        ]
        command = f"zoo benchmark {name} --backends {' '.join(backends)} {' '.join(options)}"
        return results.benchmarked(
            folder, {"command": command, "training": rows}, [(f"training {name}, {rounds} rounds", rows)]
        )

    return benchmark


def _train(name, backend, options):
    """(seconds of each epoch, examples of the training split) of a training in a child process."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "run")
        command = [sys.executable, "-m", "recipes", "train", name, *options, "--output", str(folder)]
        print(f"{backend}: training {name}", file=sys.stderr)
        environment = {**os.environ, "KERAS_BACKEND": backend}
        child = subprocess.run(command, env=environment, capture_output=True, text=True)
        if child.returncode:
            lines = [line for line in child.stderr.splitlines() if line.startswith("zoo: ")]
            raise ValueError(f"on {backend}: {lines[-1].removeprefix('zoo: ') if lines else child.stderr[-300:]}")
        with (folder / "history.csv").open() as stream:
            seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        return seconds, card["dataset"]["splits"]["train"]
