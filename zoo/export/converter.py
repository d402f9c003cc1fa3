"""What runs in the child process that converts to TFLite, see `zoo.export.writers`: `python -m zoo.export.converter`.

The package does not import this file: Python warns of one that is imported before it is run.
"""

import json
import os
import re
import sys
import traceback
from pathlib import Path

import numpy as np
import tensorflow as tf

from zoo.exported import read_tflite


def _serve():
    """Body of the child process: a folder per line is converted, and a line answers; words go to the folder's log."""
    with os.fdopen(os.dup(1), "w") as answers:
        for line in sys.stdin:
            folder = Path(line.rstrip("\n"))
            with open(folder / "log.txt", "w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            try:
                _convert(folder)
            except Exception:
                traceback.print_exc()
            sys.stdout.flush()
            print("done", file=answers, flush=True)


def _convert(folder):
    """Writes model.tflite into the folder."""
    arguments = json.loads((folder / "arguments.json").read_text())
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "model"), signature_keys=arguments["endpoints"])
    quantize = arguments["quantize"]
    builtin = tf.lite.OpsSet.TFLITE_BUILTINS_INT8 if quantize == "int8" else tf.lite.OpsSet.TFLITE_BUILTINS
    converter.target_spec.supported_ops = [builtin]
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        data = {path.stem.split("-", 1)[1]: dict(np.load(path)) for path in folder.glob("representative-*.npz")}
        batch = arguments["batch"]

        def part(array, index):
            return np.resize(array[index : index + batch], (batch, *array.shape[1:]))

        converter.representative_dataset = lambda: (
            (endpoint, {name: part(array, index) for name, array in arrays.items()})
            for endpoint, arrays in data.items()
            for index in range(0, len(next(iter(arrays.values()))), batch)
        )
    if quantize == "int8" and (arguments["in_float"] or arguments["after"]):
        converted = _quantize_but(converter, arguments["in_float"], arguments["after"])
    else:
        converted = converter.convert()
    (folder / "model.tflite").write_bytes(converted)


def _quantize_but(converter, layers, after):
    """The int8 model with what eight bits cannot hold in float: everything up to the end of the layers named first, and
    everything that is made of the results of those named second."""
    typical, converter.representative_dataset = converter.representative_dataset, None
    converter.optimizations, converter.target_spec.supported_ops = [], [tf.lite.OpsSet.TFLITE_BUILTINS]
    first, second = (re.compile(f"/({'|'.join(map(re.escape, names))})(_\\d+)?/") for names in (layers, after))
    kept = []
    for graph in read_tflite(converter.convert()).subgraphs:
        names = [[graph.tensors[index].name.decode() for index in operator.outputs] for operator in graph.operators]
        if layers:
            last = max((index for index, found in enumerate(names) if any(map(first.search, found))), default=-1)
            kept += [name for found in names[: last + 1] for name in found]
        reached = set()
        for operator, found in zip(graph.operators, names, strict=True):
            if reached.intersection(operator.inputs):
                kept += found
            elif not (after and any(map(second.search, found))):
                continue
            reached.update(operator.outputs)
    converter.optimizations, converter.representative_dataset = [tf.lite.Optimize.DEFAULT], typical
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=kept)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=typical, debug_options=options
    )
    return _share_weights(debugger.get_nondebug_quantized_model())


def _share_weights(content):
    """The same `.tflite` with equal weights stored once, and without the names of what is inside: the quantizer gives
    each signature its own weights, and long names make a fifth of a small file."""
    import flatbuffers

    model = read_tflite(content)
    first = {}
    for graph in model.subgraphs:
        for index, tensor in enumerate(graph.tensors):
            if index not in {*graph.inputs, *graph.outputs}:
                tensor.name = b""
            data = model.buffers[tensor.buffer].data
            if data is not None and len(data):
                tensor.buffer = first.setdefault(bytes(data), tensor.buffer)
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    _serve()
