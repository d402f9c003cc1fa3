"""The command `zoo`: VERB RECIPE [OPTIONS], where the options are the arguments of the recipe's function of that name.

Nothing heavy is imported before the recipe is known, so `zoo --help` and `zoo list` answer at once.
"""

import ast
import contextlib
import difflib
import importlib
import importlib.util
import io
import json
import math
import os
import sys
import textwrap
from pathlib import Path

from recipes.quiet import silent_start

VERBS = {
    "list": "what there is: recipes and published models",
    "train": "train a model on a data set",
    "evaluate": "measure a model on a data set",
    "predict": "use a model on files",
    "sample": "draw new samples from a generative model",
    "export": "write SavedModel, TFLite or ONNX, and measure each file",
    "benchmark": "compare speed, as ratios in one run",
}
APART = {
    "benchmark": "benchmarks",
    "predict": "predictions",
    "sample": "samples",
}  # folders of verbs with files of their own
EXTRAS = {"av": "video", "scipy": "video", "sounddevice": "audio", "keras_cv": "detection", "tf2onnx": "onnx"}
USAGE = "zoo VERB RECIPE [OPTIONS] [--json]"


def main(arguments=None):
    """Runs one command line and returns its exit status: 0, 2 for bad input, 130 after Ctrl-C, 1 for anything else
    and where some of the files named could not be read."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in arguments
    arguments = [argument for argument in arguments if argument != "--json"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow leaves oneDNN off where a processor has no instructions for int8, but it trains faster there as well
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _only_json(as_json) as answer:
        try:
            result = _run(arguments)
            answer(result)
            sys.stdout.flush()
            return 1 if result.get("failed") else 0  # files named on the command line that could not be read
        except SystemExit as stop:  # from --help
            return stop.code or 0
        except KeyboardInterrupt:
            return _fail("interrupted", answer, 130)
        except BrokenPipeError:  # zoo list | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 141
        except (ValueError, OSError) as error:
            return _fail(error, answer, 2)
        except ModuleNotFoundError as error:
            extra = EXTRAS.get(error.name, "train")
            return _fail(f"this needs {error.name}: pip install 'image-zoo[{extra}]'", answer, 2)
        except Exception as error:
            for text in ("No space left on device", "File too large", "Disk quota exceeded"):
                if text in str(error):  # TensorFlow has classes of its own for them
                    return _fail(text, answer, 2)
            return _fail(f"{type(error).__name__}: {error} (ZOO_DEBUG=1 shows where)", answer, 1)


def recipes():
    """Name to first docstring line of every recipe: the files with verbs that `recipes` and `zoo` both have."""
    library = _library()
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.name.startswith("_") and (library / path.name).is_file():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if any(isinstance(node, ast.FunctionDef) and node.name in VERBS for node in tree.body):
                found[path.stem] = ast.get_docstring(tree).splitlines()[0]
    return found


def _run(arguments):
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return {"verbs": VERBS, "recipes": recipes()}
    verb, *rest = arguments
    if verb == "--version":
        from importlib.metadata import version as installed

        version = installed("image-zoo")
        print(version)
        return {"version": version}
    _check_name("verb", verb, VERBS)
    if verb == "list":
        if rest and rest[0] not in ("-h", "--help"):
            raise ValueError(f"zoo list takes no {rest[0]}; accepted: --json")
        return _list()
    if not rest:
        raise ValueError(f"zoo {verb} needs a recipe; accepted: {', '.join(recipes())}")
    if rest[0] in ("-h", "--help"):
        print(f"usage: zoo {verb} RECIPE [OPTIONS] [--json]\n\n{VERBS[verb]}; recipes: {', '.join(recipes())}\n")
        print(f"zoo {verb} RECIPE --help lists the options")
        return {}
    name, *options = rest
    _check_name("recipe", name, recipes())
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in ("tensorflow", "jax"):
        raise ValueError(f"KERAS_BACKEND is {backend}; accepted: tensorflow, jax")
    # heavy with opponents, or light enough to start at once: imported only when asked for
    apart = {verb: f"recipes.{folder}.{name}" for verb, folder in APART.items()}
    there = {other: path for other, path in apart.items() if importlib.util.find_spec(path) is not None}
    light = verb in ("predict", "sample") and verb in there
    with contextlib.nullcontext() if light else silent_start():
        module = importlib.import_module(there.get(verb, f"recipes.{name}"))
    function = getattr(module, verb, None)
    if verb == "benchmark" and "--backends" in options:  # the same for every recipe
        from recipes.benchmarks import backends

        function = backends.of(name)
    if function is None:
        able = [other for other in VERBS if hasattr(module, other) or other in there]
        raise ValueError(f"{name} has no verb {verb!r}; accepted: {', '.join(able)}")
    return function(**_parse(function, options, f"zoo {verb} {name}"))


def _parse(function, options, program):
    """Options of the command line as keyword arguments of a recipe's function, a mistake as one line."""
    import functools

    import tyro

    @functools.wraps(function)
    def keywords(**arguments):
        return arguments

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            arguments = tyro.cli(keywords, args=options, prog=program)
            return arguments | ({"split": "validation"} if arguments.get("split") == "val" else {})
    except SystemExit as stop:
        if not stop.code:
            raise
    lines = [line.strip("│ ").strip() for line in complaint.getvalue().splitlines()]
    lines = [line for line in lines if line and line[0] not in "╭╰"]
    if len(lines) > 2 and not lines[1].strip("-"):  # a terminal of ASCII gets no box but a title with a rule
        lines = lines[2:]
    rules = [index for index, line in enumerate(lines) if not line.strip("─-")] or [len(lines)]
    message = " ".join(lines[: rules[0]])
    if message.startswith("Missing from "):
        _, _, what = message.partition(": ")
        raise ValueError(f"{program} needs {what.replace('(required)', '').strip()}")
    if "Perhaps you meant:" in lines:
        message += f"; did you mean {lines[lines.index('Perhaps you meant:') + 1]}?"
    raise ValueError(f"{message.rstrip('.')} ({program} --help lists the options)")


def _list():
    from zoo import pretrained

    keys = ("builder", "task", "use", "knows", "metrics", "parameters", "licence", "files")
    published = {}
    for name in pretrained.names():
        card = pretrained.card(name)
        about = {"dataset": card["dataset"]["name"], "classes": card["dataset"].get("classes", [])}
        published[name] = {key: card[key] for key in keys} | about
    print("recipes")
    for name, line in recipes().items():
        print(f"  {name:24}{line}")
    print("\npublished models")
    for name, card in published.items():
        metric, value = next(iter(card["metrics"].items()))
        sizes = ", ".join(f"{Path(entry['file']).suffix} {entry['bytes'] / 1000:,.0f} kB" for entry in card["files"])
        print(f"  {name:24}to {card['use']}; knows {card['knows']}")
        print(f"{'':26}{metric} {value:.4f} on {card['dataset']}; {sizes}; {card['licence']['weights']}")
    return {"recipes": recipes(), "published": published}


def _help():
    verbs = "\n".join(f"  {verb:11}{line}" for verb, line in VERBS.items())
    names = "\n".join(textwrap.indent(f"{name:24}{line}", "  ") for name, line in recipes().items())
    return (
        f"usage: {USAGE}\n\nverbs\n{verbs}\n\nrecipes\n{names}\n\n"
        "zoo VERB RECIPE --help lists the options; --json prints one JSON object and nothing else."
    )


def _library():
    return Path(importlib.util.find_spec("zoo").origin).parent


def _check_name(kind, name, names):
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"unknown {kind} {name!r}{hint}; accepted: {', '.join(names)}")


def _fail(error, answer, status):
    if os.environ.get("ZOO_DEBUG"):
        import traceback

        traceback.print_exc()
    if isinstance(error, OSError) and error.strerror and error.filename:
        error = f"{error.filename}: {error.strerror}"
    message = " ".join(str(error).split())
    message = message if len(message) <= 600 else message[:600] + " ..."
    print(f"zoo: {message}", file=sys.stderr)
    answer({"error": message})
    return status


@contextlib.contextmanager
def _only_json(wanted):
    """Keeps standard output for one JSON object: all else, native code included, goes to stderr."""
    if not wanted:
        yield lambda result: None
        return
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    answers = []
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield answers.append
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)
        print(json.dumps(_plain(answers[-1] if answers else {}), allow_nan=False), flush=True)


def _plain(value):
    """Dictionaries, lists, strings and finite numbers only; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


if __name__ == "__main__":
    sys.exit(main())
