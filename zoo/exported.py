"""Reading and running what was exported, whatever the format; a `.tflite` file without TensorFlow or Keras."""

import json
import zipfile
from pathlib import Path

import numpy as np

ENDPOINT = "serving_default"  # TensorFlow's own name for the one that is meant when none is named


def read_tflite(content):
    """The bytes of a `.tflite` file as an object of its schema."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)


def operations(path):
    """Names of the operations of a `.tflite` file, in order, builtin ones by their TFLite name."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = read_tflite(Path(path).read_bytes())
    codes = [
        code.customCode.decode() if code.customCode else names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        for code in model.operatorCodes
    ]
    return [codes[operator.opcodeIndex] for graph in model.subgraphs for operator in graph.operators]


class Exported:
    """An exported model, ready to run: `run(image=pixels)` gives a dictionary of NumPy arrays by output name.

    Any number of examples is run in parts of as many as the file takes at a time.

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
        inputs = {name: np.asarray(value) for name, value in inputs.items()}
        size = next((shape[0] for shape, _ in self.inputs.values() if shape), None)
        count = max((len(value) for value in inputs.values() if value.ndim), default=size)
        batched = [name for name, (shape, _) in self.inputs.items() if shape and shape[0] == size]
        whole = all(inputs[name].ndim == len(shape) for name, (shape, _) in self.inputs.items())
        if isinstance(size, int) and whole and count not in (0, size):  # any number, in parts of what the file takes
            parts = []
            for start in range(0, count, size):
                chosen = np.minimum(np.arange(start, start + size), count - 1)
                part = {name: inputs[name][chosen] for name in batched if len(inputs[name]) == count}
                parts.append(self(**inputs | part))
            return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
        for name, (shape, dtype) in self.inputs.items():
            found = inputs[name]
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
    interpreter.allocate_tensors()  # what is wrong with a file shows here, and LiteRT says here what it runs on
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
    import tensorflow as tf

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
