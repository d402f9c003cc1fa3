"""Running the command `zoo` in this process, or on JAX in another; what a run has learnt."""

import csv
import json
import os

from recipes.__main__ import main


def run_json(capfd, *arguments):
    """Runs a command with --json; returns its exit status, its one object and what else it said."""
    status = main([*map(str, arguments), "--json"])
    out, err = capfd.readouterr()
    return status, json.loads(out), err


def refused(capfd, *arguments):
    """Runs a command that must fail; returns its one line."""
    status = main([*map(str, arguments)])
    err = capfd.readouterr().err.strip()
    lines = [line for line in err.splitlines() if line.startswith("zoo: ")]
    assert status == 2 and len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


def jax_environment(folder):
    """Environment of a process on JAX; what a second one computes is not compiled again but kept in `folder`."""
    compiled = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", **compiled}


def history(folder):
    """The epochs of a run without their seconds."""
    with (folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return [{name: float(value) for name, value in row.items() if name != "seconds"} for row in rows]
