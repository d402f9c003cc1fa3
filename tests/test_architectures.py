"""Every architecture, by its row: what the builders promise."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from rows import ROWS

from recipes import training
from zoo import export

BY_NAME = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def inputs_of(row, count=3):
    """What the model takes: one array, or a list of them."""
    random = np.random.default_rng(1)
    arrays = [random.random((count, *shape), dtype=np.float32) for shape in row.inputs.values()]
    return arrays[0] if len(arrays) == 1 else arrays


def targets_of(row, count):
    """A target for each output: one class for a vector, one level per channel for an image."""
    random = np.random.default_rng(4)
    targets = []
    for shape in row.outputs.values():
        target = np.eye(shape[-1], dtype=np.float32)[random.integers(0, shape[-1], count)]
        if shape == (1,):
            target = random.integers(0, 2, (count, 1)).astype(np.float32)
        if len(shape) > 1:
            ones = [1] * (len(shape) - 1)
            level = random.uniform(0.2, 0.8, (count, *ones, shape[-1])).astype(np.float32)
            target = np.broadcast_to(level, (count, *shape))
        targets.append(target)
    return dict(zip(row.outputs, targets, strict=True)) if len(targets) > 1 else targets[0]


def flat(outputs):
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)]


def assert_equal(left, right, **tolerance):
    for one, other in zip(flat(left), flat(right), strict=True):
        np.testing.assert_allclose(one, other, **tolerance or {"rtol": 0})


@BY_NAME
def test_default_parameter_count(row):
    assert row.builder().count_params() == row.parameters


@BY_NAME
def test_names_shapes_and_types(row):
    model = row.builder(**row.small)
    assert model.name == row.name
    assert {tensor.name: tuple(tensor.shape[1:]) for tensor in model.inputs} == row.inputs
    assert dict(zip(model.output_names, [tuple(t.shape[1:]) for t in model.outputs], strict=True)) == row.outputs
    for output in flat(model(inputs_of(row))):
        assert np.isfinite(output).all()
        assert output.shape[0] == 3 and output.dtype == "float32"


@BY_NAME
def test_every_trainable_weight_gets_a_gradient(row):
    keras.utils.set_random_seed(3)
    model = row.builder(**row.small)
    random = np.random.default_rng(2)
    for variable in model.trainable_variables:  # behind a layer that starts at zero there is no gradient
        variable.assign_add(0.05 * random.standard_normal(variable.shape))
    targets = [random.random((8, *shape), dtype=np.float32) for shape in row.outputs.values()]
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(model(inputs_of(row, 8), training=True))
        loss = sum(tf.reduce_mean((output - target) ** 2) for output, target in zip(outputs, targets, strict=True))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        gradient = np.asarray(gradient)
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.path


@BY_NAME
def test_keras_file_round_trip_is_exact(row, tmp_path):
    model = row.builder(**row.small)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_equal(model(inputs_of(row)), loaded(inputs_of(row)))


@BY_NAME
@pytest.mark.parametrize("file", ["saved_model", "model.tflite", "model.onnx"])
def test_exported_file_gives_the_same(row, file, tmp_path):
    model = row.builder(**row.small)
    endpoints = {export.ENDPOINT: getattr(export, row.endpoint)(model)}
    exported = export.load(export.export(model, tmp_path / file, endpoints=endpoints))
    inputs = inputs_of(row, 1)
    if row.endpoint == "latent_endpoint":
        found, expected = exported(latent=inputs), np.round((np.asarray(model(inputs)) + 1) * 127.5)
    elif row.endpoint == "tensor_endpoint":
        found, expected = exported(**dict(zip(row.inputs, keras.tree.flatten(inputs), strict=True))), model(inputs)
    elif row.endpoint == "sound_endpoint":
        pcm = np.int16(inputs * 32767)
        found, expected = exported(waveform=pcm), model(pcm / np.float32(32768))
    else:
        pixels = np.uint8(inputs * 255)
        found, expected = exported(image=pixels), model(pixels / np.float32(255))
    assert set(found) == set(row.outputs)
    assert_equal([found[name] for name in row.outputs], expected, atol=1 if row.endpoint == "latent_endpoint" else 1e-5)


@BY_NAME
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_becomes_float32(row, policy):
    keras.utils.set_random_seed(5)
    with training.precision(policy):
        model = row.builder(**row.small)
    assert keras.config.dtype_policy().name == "float32"
    model.compile("sgd", "mse", run_eagerly=True)  # for one step tracing would not pay
    before = model.get_weights()
    history = model.fit(inputs_of(row, 8), targets_of(row, 8), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert any((left != right).any() for left, right in zip(before, model.get_weights(), strict=True))
    copy = export.float32_copy(model)
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert_equal(model(inputs_of(row)), copy(inputs_of(row)), atol=0.02, rtol=2**-7)  # bfloat16 has 8 digits


@BY_NAME
def test_bad_arguments_are_refused_in_words(row):
    assert row.refused
    for arguments, word in row.refused:
        with pytest.raises(ValueError, match=word):
            row.builder(**arguments)


@pytest.mark.parametrize("row", [row for row in ROWS if row.overfits], ids=lambda row: row.name)
def test_overfits_one_batch(row):
    keras.utils.set_random_seed(7)
    model = row.builder(**row.small | {name: 0.0 for name in ("dropout", "drop_path", "augment") if name in row.small})
    model.compile(keras.optimizers.Adam(row.learning_rate), "mse", jit_compile=False)
    x = inputs_of(row, 8)
    batch = tf.data.Dataset.from_tensors((tuple(x) if isinstance(x, list) else x, targets_of(row, 8)))
    losses = [model.fit(batch.repeat(steps), shuffle=False, verbose=0).history["loss"][0] for steps in (1, 118, 1)]
    assert losses[-1] < 0.05 * losses[0]
