"""Writing each format: SavedModel, ONNX, and TFLite by way of a child process; and `atomic`, for any file."""

import atexit
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def write_saved_model(model, endpoints, path, notes):
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (function, inputs) in endpoints.items():
        archive.add_endpoint(name, tf.function(function), input_signature=list(inputs.values()))
    archive.write_out(str(path), verbose=False)
    if notes:
        extra = path / "assets.extra"
        extra.mkdir()
        for name, text in notes.items():
            (extra / name).write_text(text, encoding="utf-8")


def write_onnx(endpoints, path, notes):
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise ValueError(f"the format onnx needs {error.name}: pip install 'image-zoo[onnx]'") from error
    function, inputs = next(iter(endpoints.values()))
    if len(endpoints) > 1:
        raise ValueError(f"an onnx file holds one endpoint, got {', '.join(endpoints)}")
    graph, _ = tf2onnx.convert.from_function(tf.function(function), input_signature=list(inputs.values()))
    for name, text in notes.items():
        graph.metadata_props.add(key=name, value=text)
    onnx.save(graph, path)


@contextlib.contextmanager
def without_fourier(model):
    """Lets the layers that can do so replace the Fourier transform, which ONNX lacks, by a product with a matrix."""
    layers = [layer for layer in model.layers if hasattr(layer, "by_matrix")]
    for layer in layers:
        layer.by_matrix = True
    try:
        yield
    finally:
        for layer in layers:
            layer.by_matrix = False


def write_tflite(folder, path, quantize, endpoints, representative_data, in_float=(), after=(), batch=1):
    arguments = {"quantize": quantize, "endpoints": list(endpoints), "batch": batch}
    arguments |= {"in_float": list(in_float), "after": list(after)}
    if quantize == "int8":
        if not isinstance(representative_data, dict):
            inputs = next(iter(endpoints.values()))[1]
            representative_data = {next(iter(inputs)): representative_data}
        if set(representative_data) != set(endpoints):
            representative_data = {next(iter(endpoints)): representative_data}
        for name, data in representative_data.items():
            np.savez(folder / f"representative-{name}.npz", **data)
    (folder / "arguments.json").write_text(json.dumps(arguments))
    ended, said = _Converter.run(folder)
    converted = folder / "model.tflite"
    if not converted.is_file():
        offending = sorted(set(re.findall(r"(?:Custom|Flex|Select) ops: (.+)", said)))
        if offending:
            raise ValueError(f"not a TFLite builtin, so no phone can run it: {', '.join(offending)}")
        lines = [line for line in said.splitlines() if "Error" in line] or [f"exit status {ended}"]
        raise ValueError(f"TFLite conversion failed: {lines[-1].strip()}")
    shutil.copyfile(converted, path)


class _Converter:
    """The child process that converts, for the converter leaks memory, and on some graphs it aborts the process.

    It takes seconds to start, so one serves several files, each told by the name of its folder.
    """

    child, left = None, 0

    @classmethod
    def run(cls, folder, at_most=20):
        """Converts what lies in the folder; (exit status of a child that aborted, else None; what the child said)."""
        served_before = cls.left and cls.child.poll() is None
        if not served_before:
            cls.end()
            cls.child, cls.left = cls.start(), at_most
        cls.left -= 1
        ended = None
        try:
            with contextlib.suppress(BrokenPipeError):
                cls.child.stdin.write(f"{folder}\n")
                cls.child.stdin.flush()
            if not cls.child.stdout.readline():
                ended = cls.child.wait()
        except BaseException:  # an answer that nobody waited for would be taken for that to the next
            cls.end()
            raise
        log = folder / "log.txt"
        if ended is not None and served_before and not log.is_file():  # it was dying already when it was asked
            cls.end()
            return cls.run(folder, at_most)
        return ended, log.read_text(errors="replace") if log.is_file() else ""

    @staticmethod
    def start():
        return subprocess.Popen(
            [sys.executable, "-m", "zoo.export.converter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
            cwd=Path(__file__).parent.parent.parent,
        )

    @classmethod
    def end(cls):
        if cls.child is not None:
            cls.child.kill()
            cls.child.communicate()
            cls.child, cls.left = None, 0


atexit.register(_Converter.end)
