"""How much memory a process has held; nothing heavy is imported, which would count."""

import sys
from pathlib import Path


def peak_memory(children=False):
    """Most bytes that this process or its children have held, or None where the system does not say."""
    status = Path("/proc/self/status")
    if not children and status.is_file():  # the other figure is also that of the process that started this one
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")] or [None]
        if line:
            return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return None
    held = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    return held * (1 if sys.platform == "darwin" else 1024)
