"""Export to SavedModel, TFLite and ONNX: raw input in, named answer out, builtin operations only.

    zoo.export.export(model, "digits.tflite", quantize="int8", representative_data=images)
    run = zoo.export.load("digits.tflite")
    probabilities = run(image=pixels)["probabilities"]

A file is written under a temporary name and moved when it is whole, so that a failure leaves the former file standing.
"""

import atexit
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

FORMATS = ("saved_model", "tflite", "onnx")
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")
ENDPOINT = "serving_default"  # TensorFlow's own name for the one that is meant when none is named


def export(
    model,
    path,
    *,
    format=None,
    quantize="none",
    endpoints=None,
    representative_data=None,
    labels=None,
    metadata=None,
):
    """Writes a model to one file (TFLite, ONNX) or folder (SavedModel).

    Args:
        model: A built Keras model; one trained in mixed precision is exported in float32.
        path: Where to write. What stands there is replaced once the new one is whole.
        format: "saved_model", "tflite" or "onnx"; None takes it from the name: `.tflite`, `.onnx`, else SavedModel.
        quantize: For TFLite: "none", "float16" (half the bytes), "dynamic" (int8 weights) or "int8" (weights and
            activations, needs `representative_data`).
        endpoints: Dictionary of signature name to (function, inputs), where the function maps tensors to a
            dictionary of tensors and inputs map names to `tf.TensorSpec` of static shape. None: one signature
            "serving_default" that takes uint8 pixels and gives the model's outputs, `image_endpoint(model)`.
        representative_data: For "int8": typical raw inputs of the first endpoint, as an array (count, ...) or a
            dictionary of such arrays by input name. A few hundred are enough. For several endpoints, a dictionary of
            these by signature name.
        labels: Names of the classes, stored in the file.
        metadata: JSON-serialisable dictionary, stored in the file.

    Returns:
        `path` as a `pathlib.Path`.

    Raises:
        ValueError: If an argument is out of range, or the model needs operations that are not TFLite builtins
            (the message lists them).
    """
    path = Path(path)
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"export runs on the tensorflow backend, not on {keras.backend.backend()}: save the model as .keras and "
            "export it with KERAS_BACKEND=tensorflow"
        )
    format = format or {".tflite": "tflite", ".onnx": "onnx"}.get(path.suffix, "saved_model")
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize must be one of {', '.join(QUANTIZATIONS)}, got {quantize!r}")
    if quantize != "none" and format != "tflite":
        raise ValueError(f"quantize={quantize!r} is for the format tflite, got format={format!r}")
    if format != "saved_model" and path.suffix != f".{format}":
        raise ValueError(f"a {format} file is named *.{format}, got {path}")
    if (quantize == "int8") != (representative_data is not None):
        raise ValueError(f"representative_data goes with quantize='int8' and only with it, got {quantize=}")

    if endpoints is None:
        model = float32_copy(model)
        endpoints = {ENDPOINT: image_endpoint(model)}
    notes = {"labels.txt": "\n".join(labels or []), "metadata.json": json.dumps(metadata or {}, indent=1)}
    with atomic(path) as partial:
        if format == "onnx":
            with _without_fourier(model):
                _write_onnx(endpoints, partial, notes)
        elif format == "saved_model":
            _write_saved_model(model, endpoints, partial, notes)
        else:
            with tempfile.TemporaryDirectory() as folder:
                _write_saved_model(model, endpoints, Path(folder, "model"), {})
                in_float = [layer.name for layer in model.layers if getattr(layer, "keep_float", False)]
                after = getattr(model, "float_after", ())
                _write_tflite(Path(folder), partial, quantize, endpoints, representative_data, in_float, after)
            with zipfile.ZipFile(partial, "a") as archive:  # behind the model, where interpreters do not look
                for name, text in notes.items():
                    archive.writestr(name, text)
    return path


def image_endpoint(model):
    """The usual signature of an image model: uint8 pixels (1, height, width, channels) in, its named outputs out."""

    def serve(image):
        outputs = model(tf.cast(image, tf.float32) / 255.0, training=False)
        return dict(zip(model.output_names, keras.tree.flatten(outputs), strict=True))

    return serve, {"image": tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8, name="image")}


def mask_endpoint(model, probabilities=False):
    """The usual signature of a `zoo.unet`: "image" uint8 (1, height, width, channels) in; "mask" uint8 (1, height,
    width), the number of the likeliest class of each pixel (with one class 1 for the object), and if wanted
    "probabilities" float32 (1, height, width, num_classes) out."""
    last = model.get_layer("mask")
    inner = keras.Model(model.input, [last.input, last.output])

    def serve(image):
        # by the logits: eight bits of a probability would make more ties
        logits, found = inner(tf.cast(image, tf.float32) / 255.0, training=False)
        labels = logits[..., 0] > 0 if logits.shape[-1] == 1 else tf.argmax(logits, axis=-1, output_type=tf.int32)
        outputs = {"mask": tf.cast(labels, tf.uint8)}
        return outputs | {"probabilities": found} if probabilities else outputs

    return serve, {"image": tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8, name="image")}


def latent_endpoint(model):
    """The usual signature of a generator: "latent" float32 (1, latent_dim), and "label" int32 (1,) if it has classes,
    in; "image" uint8 (1, height, width, channels) out."""

    def serve(latent, label=None):
        image = model(latent if label is None else [latent, label], training=False)
        return {"image": tf.cast(tf.round(tf.clip_by_value((image + 1.0) * 127.5, 0.0, 255.0)), tf.uint8)}

    inputs = {"latent": tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name="latent")}
    if len(model.inputs) == 2:
        inputs["label"] = tf.TensorSpec((1,), tf.int32, name="label")
    return serve, inputs


def sound_endpoint(model, dtype="int16"):
    """The usual signature of a sound model: "waveform" (1, samples), PCM as int16 or as float32 in [-1, 1], in; its
    named outputs out."""

    def serve(waveform):
        outputs = model(_pcm(waveform), training=False)
        return dict(zip(model.output_names, keras.tree.flatten(outputs), strict=True))

    return serve, {"waveform": tf.TensorSpec((1, *model.input_shape[1:]), dtype, name="waveform")}


def stream_endpoint(model, samples, dtype="int16"):
    """The signature of a sound model for a running stream: "samples" (1, samples), the newest ones, and "memory", the
    model's whole window before them (zeros at first), in; its named outputs and the next "memory" out.

    Raises:
        ValueError: If `samples` is not in 1 to the length of the model's window.
    """
    (window,) = model.input_shape[1:]
    if not 1 <= samples <= window:
        raise ValueError(f"the new samples of a stream must be 1 to the model's {window}, got {samples}")

    def serve(samples, memory):
        memory = tf.concat([memory[:, samples.shape[1] :], samples], axis=1)
        outputs = keras.tree.flatten(model(_pcm(memory), training=False))
        return dict(zip(model.output_names, outputs, strict=True)) | {"memory": memory}

    shapes = {"samples": (1, samples), "memory": (1, window)}
    return serve, {name: tf.TensorSpec(shape, dtype, name=name) for name, shape in shapes.items()}


def _pcm(waveform):
    return tf.cast(waveform, tf.float32) / 32768.0 if waveform.dtype == tf.int16 else waveform


def tensor_endpoint(model):
    """The signature of a network as it is: float32 inputs (1, ...) by their names in, its named outputs out."""

    def serve(*tensors):
        outputs = model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        return dict(zip(model.output_names, keras.tree.flatten(outputs), strict=True))

    return serve, {
        tensor.name: tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in model.inputs
    }


def diffusion_endpoints(model, *, steps=None, batch=1):
    """The signatures of a `zoo.Diffusion`, as `endpoints` of `export`.

    "generate": "noise" float32 (batch, height, width, channels), standard normal; with classes "label" int32 (batch,),
    where `num_classes` is none of them, and "guidance_scale" float32 (); "steps" int32 () if it is not fixed; all of
    them to "image" uint8 (batch, height, width, channels), by the sampler dpm_solver++.

    "denoise": "image" float32 (batch, height, width, channels) with noise, "level" int32 (batch,) from 1 to
    `timesteps`, and "label" and "guidance_scale" if there are classes; all of them to "clean" float32 of the image's
    shape, the guess of the clean image in [-1, 1].

    Args:
        model: A `zoo.Diffusion` in float32; its averaged weights are taken.
        steps: Number of steps, fixed; or None for an input.
        batch: Images at a time; None for any number, in a SavedModel.

    Raises:
        ValueError: If the model computes in another precision.
    """
    if model.network.dtype_policy.name != "float32":
        raise ValueError(
            f"the network computes in {model.network.dtype_policy.name}, export needs float32: "
            "model.with_network(zoo.export.float32_copy(model.averaged().network))"
        )
    image = (batch, *model.image_shape)

    def specs(**extra):
        found = {name: (shape, kind) for name, (shape, kind) in extra.items() if shape is not None}
        if model.num_classes:
            found |= {"label": ((batch,), tf.int32), "guidance_scale": ((), tf.float32)}
        return {name: tf.TensorSpec(shape, kind, name=name) for name, (shape, kind) in found.items()}

    def generate(noise, *arguments):
        named = dict(zip(list(inputs)[1:], arguments, strict=True))
        return {"image": model.in_graph(noise, steps=named.pop("steps", steps), **named)}

    def denoise(image, level, label=None, guidance_scale=None):
        return {"clean": model.clean(image, level, label, guidance_scale)}

    inputs = specs(noise=(image, tf.float32), steps=(() if steps is None else None, tf.int32))
    outputs = {"generate": (generate, inputs)}
    return outputs | {"denoise": (denoise, specs(image=(image, tf.float32), level=((batch,), tf.int32)))}


def detection_endpoint(
    model, *, detections="final", input_size=None, confidence=0.01, iou_threshold=0.6, max_detections=100
):
    """The usual signature of a detector: "image" uint8 (1, height, width, 3) in, boxes as shares of it out.

    Boxes are left, top, right and lower, in [0, 1]. "final" gives "boxes" float32 (1, max_detections, 4), "scores"
    float32 (1, max_detections), "classes" int32 (1, max_detections) and "count" int32 (1,), which says how many of them
    mean something, surest first. "raw" gives "boxes" float32 (1, points, 4) and "scores" float32 (1, points,
    num_classes).

    Args:
        model: A `zoo.yolo` in float32.
        detections: "final" or "raw".
        input_size: (height, width) of the image, which is fitted into the model's size here; None: it has that size.
        confidence: Least score of a final detection.
        iou_threshold: Overlap above which of two final detections of a class the surer one stays.
        max_detections: Number of final detections.

    Raises:
        ValueError: If `detections` is neither of the two.
    """
    from zoo import boxes as geometry

    if detections not in ("final", "raw"):
        raise ValueError(f"detections must be final or raw, got {detections!r}")
    height, width = model.input_shape[1:3]
    seen_height, seen_width = input_size or (height, width)
    factor = min(height / seen_height, width / seen_width)
    inner = round(seen_height * factor), round(seen_width * factor)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2

    def serve(image):
        image = tf.cast(image, tf.float32)
        if input_size is not None:
            image = tf.image.resize(image, inner, antialias=False)
            edges = [[0, 0], [top, height - inner[0] - top], [left, width - inner[1] - left], [0, 0]]
            image = tf.pad(image, edges, constant_values=114.0)
        outputs = model(image / 255.0, training=False)
        # boxes and scores never share a tensor, or eight bits would have to hold both ranges
        boxes = geometry.decode(outputs["boxes"], (height, width))
        boxes = (boxes - [left, top, left, top]) * [1 / inner[1], 1 / inner[0], 1 / inner[1], 1 / inner[0]]
        boxes = tf.clip_by_value(boxes, 0.0, 1.0)
        scores = tf.sigmoid(outputs["scores"])
        if detections == "raw":
            return {"boxes": boxes, "scores": scores}
        best, classes = tf.reduce_max(scores[0], axis=-1), tf.argmax(scores[0], axis=-1, output_type=tf.int32)
        # two units apart, boxes of different classes never overlap
        apart = boxes[0] + 2.0 * tf.cast(classes, tf.float32)[:, None]
        chosen, count = tf.image.non_max_suppression_padded(
            apart, best, max_detections, iou_threshold, confidence, pad_to_max_output_size=True
        )
        return {
            "boxes": tf.gather(boxes[0], chosen)[None],
            "scores": tf.gather(best, chosen)[None],
            "classes": tf.gather(classes, chosen)[None],
            "count": count[None],
        }

    return serve, {"image": tf.TensorSpec((1, seen_height, seen_width, 3), tf.uint8, name="image")}


def float32_copy(model):
    """An uncompiled copy of a functional model in float32, also of one that was built in mixed precision."""

    def in_float32(config):
        if isinstance(config, dict):
            if config.get("class_name") == "DTypePolicy":
                return {**config, "config": {"name": "float32"}}
            return {key: in_float32(value) for key, value in config.items()}
        return [in_float32(value) for value in config] if isinstance(config, (list, tuple)) else config

    copy = type(model).from_config(in_float32(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy


@contextlib.contextmanager
def atomic(path):
    """Gives a temporary name beside `path`, and moves what was written there to `path` if nothing failed.

    Raises:
        ValueError: If `path` is a folder with anything but a SavedModel in it, which is not ours to replace.
    """
    path = Path(path)
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise ValueError(f"{path} is a folder with other things in it: give another name")
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        if path.is_dir():
            former = path.with_name(f".former-{os.getpid()}-{path.name}")
            path.rename(former)
            try:
                partial.rename(path)
            except OSError:
                former.rename(path)
                raise
            shutil.rmtree(former)
        else:
            partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _write_saved_model(model, endpoints, path, notes):
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


def _write_onnx(endpoints, path, notes):
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
def _without_fourier(model):
    """Lets the layers that can do so replace the Fourier transform, which ONNX lacks, by a product with a matrix."""
    layers = [layer for layer in model.layers if hasattr(layer, "by_matrix")]
    for layer in layers:
        layer.by_matrix = True
    try:
        yield
    finally:
        for layer in layers:
            layer.by_matrix = False


def _write_tflite(folder, path, quantize, endpoints, representative_data, in_float=(), after=()):
    arguments = {"quantize": quantize, "endpoints": list(endpoints), "in_float": list(in_float), "after": list(after)}
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
        if not cls.left or cls.child.poll() is not None:
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
        return ended, log.read_text(errors="replace") if log.is_file() else ""

    @staticmethod
    def start():
        return subprocess.Popen(
            [sys.executable, "-m", "zoo.export"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
            cwd=Path(__file__).parent.parent,
        )

    @classmethod
    def end(cls):
        if cls.child is not None:
            cls.child.kill()
            cls.child.communicate()
            cls.child, cls.left = None, 0


atexit.register(_Converter.end)


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
        converter.representative_dataset = lambda: (
            (endpoint, {name: array[index : index + 1] for name, array in arrays.items()})
            for endpoint, arrays in data.items()
            for index in range(len(next(iter(arrays.values()))))
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
    for graph in _read_tflite(converter.convert()).subgraphs:
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

    model = _read_tflite(content)
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


def _read_tflite(content):
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)


def operations(path):
    """Names of the operations of a `.tflite` file, in order, builtin ones by their TFLite name."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = _read_tflite(Path(path).read_bytes())
    codes = [
        code.customCode.decode() if code.customCode else names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        for code in model.operatorCodes
    ]
    return [codes[operator.opcodeIndex] for graph in model.subgraphs for operator in graph.operators]


class Exported:
    """An exported model, ready to run: `run(image=pixels)` gives a dictionary of NumPy arrays by output name.

    Attributes:
        inputs: Dictionary of input name to (shape, dtype name).
        labels: Names of the classes stored in the file, or an empty list.
        metadata: The dictionary stored in the file.
    """

    def __init__(self, run, inputs, notes):
        self._run = run
        self.inputs = inputs
        self.labels = notes.get("labels.txt", "").splitlines()
        self.metadata = json.loads(notes.get("metadata.json") or "{}")

    def __call__(self, **inputs):
        if set(inputs) != set(self.inputs):
            raise ValueError(f"the inputs are {', '.join(self.inputs)}, got {', '.join(inputs) or 'none'}")
        for name, (shape, dtype) in self.inputs.items():
            found = np.asarray(inputs[name])
            same = len(found.shape) == len(shape) and all(
                side in (None, other) for side, other in zip(shape, found.shape, strict=True)
            )
            if not same or found.dtype != dtype:
                raise ValueError(f"input {name!r} is {dtype} {shape}, got {found.dtype} {found.shape}")
        return self._run(inputs)


def load(path, *, endpoint=ENDPOINT, threads=1):
    """Loads an exported `.tflite` or `.onnx` file, or a SavedModel folder, for running.

    Args:
        path: The file or folder.
        endpoint: Name of the signature (an ONNX file has only one).
        threads: Threads of the TFLite interpreter.

    Returns:
        An `Exported`.

    Raises:
        ValueError: If there is no such model, it cannot be read, or has no such endpoint.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no exported model {path}")
    try:
        if path.suffix == ".tflite":
            return _load_tflite(path, endpoint, threads)
        if path.suffix == ".onnx":
            return _load_onnx(path)
        return _load_saved_model(path, endpoint)
    except ImportError as error:
        raise ValueError(f"{path} needs {error.name} to run: pip install 'image-zoo[onnx]'") from error
    except Exception as error:  # each reader has its own
        reason = str(error).strip().splitlines()
        raise ValueError(f"{path} is not a model that can be run: {reason[0] if reason else error!r}") from error


def _load_tflite(path, endpoint, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    runner = interpreter.get_signature_runner(endpoint)
    inputs = {
        name: (tuple(int(side) for side in detail["shape"]), np.dtype(detail["dtype"]).name)
        for name, detail in runner.get_input_details().items()
    }
    notes = {}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            notes = {name: archive.read(name).decode() for name in archive.namelist()}
    return Exported(lambda values: runner(**values), inputs, notes)


def _load_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    types = {
        "tensor(uint8)": "uint8",
        "tensor(int16)": "int16",
        "tensor(float)": "float32",
        "tensor(int32)": "int32",
        "tensor(int64)": "int64",
    }
    inputs = {value.name: (tuple(value.shape), types[value.type]) for value in session.get_inputs()}
    outputs = [value.name for value in session.get_outputs()]
    notes = session.get_modelmeta().custom_metadata_map
    return Exported(lambda values: dict(zip(outputs, session.run(outputs, values), strict=True)), inputs, notes)


def _load_saved_model(path, endpoint):
    loaded = tf.saved_model.load(str(path))
    if endpoint not in loaded.signatures:
        raise ValueError(f"its endpoints are {', '.join(loaded.signatures)}, asked for {endpoint!r}")
    function = loaded.signatures[endpoint]
    inputs = {
        name: (tuple(spec.shape), spec.dtype.name) for name, spec in function.structured_input_signature[1].items()
    }
    extra = path / "assets.extra"
    notes = {file.name: file.read_text(encoding="utf-8") for file in extra.iterdir()} if extra.is_dir() else {}

    def run(values, keep=loaded):  # the weights die with the loaded object
        return {
            name: value.numpy() for name, value in function(**{k: tf.constant(v) for k, v in values.items()}).items()
        }

    return Exported(run, inputs, notes)


if __name__ == "__main__":
    _serve()
