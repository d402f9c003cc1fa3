"""Running the command `zoo` in this process."""

import json

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
