"""A run: its arguments, its folder and history, and how an interrupted one goes on.

A run writes into its folder, which no other may use meanwhile: `config.json` at once, `history.csv` and `backup/` after
each epoch, TensorBoard logs under `tensorboard/`; the recipe adds `model.keras`, the card and the pictures, and
`backup/` goes when it is done.
"""

import atexit
import contextlib
import csv
import errno
import functools
import importlib.metadata
import inspect
import itertools
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from recipes import cards, hosts

PACKAGES = ("image-zoo", "tensorflow", "keras", "ai-edge-litert", "numpy")
FOLDERS = ("data_dir", "manual_dir", "output", "resume", "overwrite")  # which no card needs
WRITTEN = ("history.csv", "card.json", "model.keras", "dcgan.keras", "backup", "tensorboard", "config.json")
RESULTS = ("predictions.json", "evaluation.json", "card.json")  # what a folder that a command made has
SHEETS = (  # what `predict` writes for all files together
    *("predictions.csv", "predictions.png", "sheet.png", "legend.png"),
    *("tracks.csv", "timeline.csv", "microphone.wav"),
)
_locks = {}  # folders that this process trains in, to their open lock files


def flat(arguments):
    """Arguments of a `train` in one dictionary: those of its `setup` stand beside the others."""
    arguments = dict(arguments)
    return arguments | asdict(arguments.pop("setup")) if "setup" in arguments else arguments


@dataclass
class Run:
    """A training run: its folder, and where it stands.

    Attributes:
        name: Name of the recipe.
        folder: Folder of the run.
        arguments: The arguments of `train`, as saved in `config.json`.
        defaults: What they are where nothing is said.
        history: One dictionary per finished epoch.
        shared: Of several hosts, all but the first: the folder of the run that is resumed, which is only read.
    """

    name: str
    folder: Path
    arguments: dict
    defaults: dict
    history: list = field(default_factory=list)
    shared: Path | None = None

    @property
    def first_epoch(self):
        return len(self.history)

    @property
    def backup(self):
        return (self.shared or self.folder) / "backup"


def resumable(train):
    """Gives `train(..., resume=FOLDER)` its meaning: the run goes on with the arguments that it was started with.

    The fields of its `setup` may also be given as arguments of their own.
    """
    signature = inspect.signature(train)
    defaults = flat({name: parameter.default for name, parameter in signature.parameters.items()})
    setup = signature.parameters["setup"].default
    names = {part.name for part in fields(setup)}

    def call(arguments):
        given = {name: arguments.pop(name) for name in names & set(arguments)}
        if given:
            arguments["setup"] = replace(arguments.get("setup", setup), **given)
        return train(**arguments)

    def locked(arguments):
        try:
            return call(arguments)
        finally:
            _unlock()

    @functools.wraps(train)
    def wrapper(**given):
        with hosts.ending():
            return begin(defaults | flat(given))

    def begin(arguments):
        if arguments["device"] == "hosts":
            hosts.join()
        if unknown := set(arguments) - set(defaults):
            raise TypeError(f"train() got an unexpected keyword argument {min(unknown)!r}")
        if arguments["resume"] is None:
            _refuse_a_run(arguments)
            return locked(arguments)
        folder = Path(arguments["resume"])
        config = folder / "config.json"
        if not config.is_file():
            raise ValueError(f"nothing to resume in {folder}: it is not the folder of a run (it has no config.json)")
        if not (folder / "backup").is_dir():
            raise ValueError(
                f"nothing to resume in {folder}: the run is finished, its model is {folder / 'model.keras'}"
            )
        # a run of an earlier version lacks what has been added since: it had the default
        saved = _plain(defaults) | json.loads(config.read_text(encoding="utf-8"))
        for name, default in defaults.items():
            value = _plain(arguments[name])
            if name not in ("resume", "output", "overwrite", "device") and value not in (_plain(default), saved[name]):
                raise ValueError(f"{folder} was started with {name}={saved[name]}, got {name}={value}: leave it out")
        if arguments["device"] != defaults["device"]:  # it may go on elsewhere
            saved["device"] = arguments["device"]
        if saved["device"] == "hosts":
            hosts.join()
        _lock(folder)
        return locked({**saved, "resume": folder, "output": folder})

    wrapper.defaults = defaults
    return wrapper


def start(name, train, arguments):
    """Makes the folder of a run, or finds the state of the one to resume.

    Args:
        name: Name of the recipe.
        train: The recipe's `train`.
        arguments: Its arguments, with `output`, `resume` and `dataset` among them.
    """
    arguments = flat(arguments)
    if arguments["resume"]:
        run = Run(name, Path(arguments["resume"]), arguments, train.defaults)
        if not hosts.is_first():
            run.folder, run.shared = _scratch(), run.folder
        epochs = [int(path.name.split("-")[1].split(".")[0]) for path in run.backup.glob("epoch-*.keras")]
        if epochs:
            with open((run.shared or run.folder) / "history.csv", newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            rows = [{key: int(row[key]) if key == "epoch" else float(row[key]) for key in row} for row in rows]
            run.history = rows[: max(epochs)]
        if hosts.is_first():
            print(f"resuming {run.folder} after epoch {run.first_epoch}")
        return run
    if not hosts.is_first():
        return Run(name, _scratch(), arguments, train.defaults)
    folder = output_folder(name, Path(str(arguments["dataset"])).name, arguments["output"])
    _lock(folder)
    _refuse_a_run(arguments)
    former = (folder / "config.json").is_file()  # a run, which is to be overwritten
    for path in (folder / written for written in (WRITTEN if former else ["backup"])):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    run = Run(name, folder, arguments, train.defaults)
    run.backup.mkdir()
    config = {key: _plain(value) for key, value in arguments.items() if key != "overwrite"}
    cards.write_text(run.folder / "config.json", json.dumps(config, indent=1))
    return run


def _scratch():
    """A folder for what a host writes that is not the first; it goes when the process ends."""
    folder = tempfile.mkdtemp(prefix="zoo-host-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _refuse_a_run(arguments):
    """Refuses to train into the folder of another run."""
    folder = arguments["output"] if hosts.is_first() else None
    if folder and Path(folder, "config.json").is_file() and not arguments["overwrite"]:
        raise ValueError(
            f"{folder} holds a run: --resume {folder} goes on with it, --overwrite begins anew in its place"
        )


def _lock(folder):
    """Keeps other processes from training in a folder, until this one ends, is killed, or calls `_unlock`."""
    key = Path(folder).resolve()
    if key in _locks or not hosts.is_first():
        return
    stream = open(key / ".lock", "a+", encoding="utf-8")  # noqa: SIM115, it stays open while the run goes on
    try:
        _try_lock(stream)
    except OSError as error:
        stream.seek(0)
        process = stream.read().strip()
        stream.close()
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise ValueError(f"{folder} is being trained in by process {process}: give another --output") from None
        return  # a file system without locks
    stream.truncate(0)
    stream.write(str(os.getpid()))
    stream.flush()
    _locks[key] = stream


def _try_lock(stream):
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock():
    for folder, stream in list(_locks.items()):
        with contextlib.suppress(OSError):
            (folder / ".lock").unlink()
        stream.close()
        del _locks[folder]


def output_folder(name, label, output=None):
    """Makes the folder for what a command writes: `output`, or a new one under runs/NAME."""
    label = "".join(mark if mark.isalnum() else "_" for mark in label)
    folder = new = Path(output or Path("runs", name, f"{time.strftime('%Y%m%d-%H%M%S')}-{label}"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):  # another command may have started in the same second
            try:
                folder.mkdir(exist_ok=output is not None)
                break
            except FileExistsError:
                if output is not None:
                    raise
                folder = new.with_name(f"{new.name}-{number}")
    except (FileExistsError, NotADirectoryError):
        file = next(path for path in (folder, *folder.parents) if path.exists())
        raise ValueError(f"cannot write to {folder}: {file} is no folder") from None
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ValueError(f"cannot write to {folder}: permission denied")
    if label == "predict" and not has_results(folder):
        for file in (folder / name for name in SHEETS):
            if file.exists():
                raise ValueError(f"{file} would be replaced, and is no earlier result: name another folder as --output")
    return folder


def has_results(folder):
    """Whether a command of ours has put its results into a folder."""
    return any((folder / name).is_file() for name in RESULTS)


def finish(run):
    """Removes the backup of a run that is complete."""
    shutil.rmtree(run.backup, ignore_errors=True)


def command(name, defaults, arguments):
    """The command line that repeats a training: the options that differ from the defaults, folders left out."""
    words = ["zoo", "train", name]
    for option, default in defaults.items():
        value, flag = arguments[option], option.replace("_", "-")
        value = tuple(value) if isinstance(value, list) else value
        if option in FOLDERS or value == default:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [
                f"--{flag}",
                *(str(_local_name(part)) for part in (value if isinstance(value, tuple) else [value])),
            ]
    return " ".join(words)


def _local_name(value):
    """A file or folder of this machine by its last name only; any other value as it is."""
    return Path(value).name if isinstance(value, str | Path) and Path(value).exists() else value


def training_entry(run, **figures):
    """What a card says of a training: command, arguments and seconds; folders of this machine are nobody's business."""
    return {
        "command": command(run.name, run.defaults, run.arguments),
        "arguments": {key: _local_name(run.arguments[key]) for key in run.arguments if key not in FOLDERS},
        "epochs": len(run.history),
        "seconds": round(sum(row["seconds"] for row in run.history), 1),
        **figures,
    }


def environment():
    """Versions, hardware and commit of this run."""
    import tensorflow as tf

    hardware = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        hardware = names[0] if names else hardware
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    hardware = [f"{hardware}, {os.cpu_count()} cores", *(gpu.get("device_name", "GPU") for gpu in gpus)]
    commit = ""
    root = Path(__file__).parent.parent
    if (root / ".git").exists() and shutil.which("git"):
        git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # tensorflow may be tensorflow-cpu
            versions[name] = importlib.metadata.version(name)
    return {"versions": versions, "hardware": "; ".join(hardware), "commit": commit}


def keep_interrupted(run, model, card):
    """Writes the model so far and its card after Ctrl-C, and says how to go on."""
    from recipes import checkpoints  # imports Keras

    checkpoints.save_model(model, run.folder / "model.keras")
    cards.write(run.folder, card | {"interrupted_after_epochs": len(run.history)})
    print(
        f"interrupted: {run.folder / 'model.keras'} holds the best so far; go on with\n"
        f"  zoo train {run.name} --resume {run.folder}"
    )


def _plain(value):
    return json.loads(json.dumps(value, default=str))
