"""The library on the JAX backend: no TensorFlow needed, the same file gives the same answer."""

import os
import subprocess
import sys

import keras
import numpy as np
from rows import ROWS

CHILD = """
import sys, keras, zoo, numpy as np
sys.path.insert(0, {tests!r})
from rows import ROWS
assert keras.backend.backend() == "jax"
for row in ROWS:
    data = np.load(f"{{row.name}}_inputs.npz")
    inputs = [data[name] for name in row.inputs]
    inputs = inputs[0] if len(inputs) == 1 else inputs
    outputs = keras.tree.flatten(keras.saving.load_model(f"{{row.name}}.keras")(inputs))
    np.savez(f"{{row.name}}_outputs.npz", *[keras.ops.convert_to_numpy(output) for output in outputs])
    assert "tensorflow" not in sys.modules
for row in ROWS:
    data = np.load(f"{{row.name}}_inputs.npz")
    inputs = [data[name] for name in row.inputs]
    inputs = inputs[0] if len(inputs) == 1 else inputs
    model = row.builder(**row.small)
    model.compile("sgd", "mse")
    before = model.get_weights()
    targets = {{name: np.ones((4, *shape), np.float32) for name, shape in row.outputs.items()}}
    targets = targets if len(targets) > 1 else list(targets.values())
    assert np.isfinite(model.train_on_batch(inputs, targets)).all()  # several where there are several outputs
    assert any((a != b).any() for a, b in zip(before, model.get_weights()))
    model.save(f"{{row.name}}_from_jax.keras")
    outputs = keras.tree.flatten(model(inputs))
    np.savez(f"{{row.name}}_from_jax.npz", *[keras.ops.convert_to_numpy(output) for output in outputs])
"""


def test_every_architecture_on_jax_and_back(tmp_path):
    models, arrays = {}, {}
    for row in ROWS:
        models[row.name] = row.builder(**row.small)
        models[row.name].save(tmp_path / f"{row.name}.keras")
        random = np.random.default_rng(0)
        arrays[row.name] = {name: random.random((4, *shape), dtype=np.float32) for name, shape in row.inputs.items()}
        np.savez(tmp_path / f"{row.name}_inputs.npz", **arrays[row.name])
    code = CHILD.format(tests=os.path.dirname(__file__))
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    for name, model in models.items():
        inputs = list(arrays[name].values())
        inputs = inputs[0] if len(inputs) == 1 else inputs
        from_jax = keras.saving.load_model(tmp_path / f"{name}_from_jax.keras", compile=False)
        for file, source in ((f"{name}_outputs.npz", model), (f"{name}_from_jax.npz", from_jax)):
            for one, other in zip(np.load(tmp_path / file).values(), keras.tree.flatten(source(inputs)), strict=True):
                np.testing.assert_allclose(one, other, atol=2e-6)
