"""The library on the JAX backend: no TensorFlow needed, the same file gives the same answer."""

import os
import subprocess
import sys

import keras
import numpy as np
from rows import ROWS

CHILD = """
import sys, keras, zoo, numpy as np
assert keras.backend.backend() == "jax"
zoo.mnist_cnn()(np.zeros((1, 28, 28, 1), np.float32))
assert "tensorflow" not in sys.modules
sys.path.insert(0, {tests!r})
from rows import ROWS  # their endpoints need TensorFlow
row = next(row for row in ROWS if row.name == {name!r})
data = np.load("inputs.npz")
inputs = [data[name] for name in row.inputs]
inputs = inputs[0] if len(inputs) == 1 else inputs
outputs = keras.tree.flatten(keras.saving.load_model("model.keras")(inputs))
np.savez("outputs.npz", *[keras.ops.convert_to_numpy(output) for output in outputs])
model = row.builder(**row.small)
model.compile("sgd", "mse")
targets = [np.zeros(output.shape, np.float32) for output in outputs]
before = model.get_weights()
assert np.isfinite(model.train_on_batch(inputs, targets))
assert any((a != b).any() for a, b in zip(before, model.get_weights()))
model.save("from_jax.keras")
np.savez("from_jax.npz", *[keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(model(inputs))])
"""


def test_every_architecture_on_jax_and_back(tmp_path):
    for row in ROWS:
        model = row.builder(**row.small)
        model.save(tmp_path / "model.keras")
        random = np.random.default_rng(0)
        arrays = {name: random.random((4, *shape), dtype=np.float32) for name, shape in row.inputs.items()}
        np.savez(tmp_path / "inputs.npz", **arrays)
        code = CHILD.format(tests=os.path.dirname(__file__), name=row.name)
        environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
        child = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert child.returncode == 0, child.stderr
        inputs = list(arrays.values())
        inputs = inputs[0] if len(inputs) == 1 else inputs
        for file, source in (
            ("outputs.npz", model),
            ("from_jax.npz", keras.saving.load_model(tmp_path / "from_jax.keras", compile=False)),
        ):
            written = np.load(tmp_path / file)
            for one, other in zip(written.values(), keras.tree.flatten(source(inputs)), strict=True):
                np.testing.assert_allclose(one, other, atol=2e-6)
