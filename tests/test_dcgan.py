"""The DCGAN: its training step against a reference written out, its switches, saving, devices, and the recipe."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import refused, run_json
from PIL import Image

import zoo
from recipes import checkpoints, dcgan, generation, plots, training
from recipes.samples import dcgan as drawing
from recipes.samples import drawing as sample_drawing

SHAPE = (8, 8, 3)
EVERYTHING = {
    "discriminator_steps": 2,
    "label_smoothing": 0.1,
    "r1_gamma": 1.0,
    "r1_interval": 2,
    "diff_augment": ("color", "translation", "cutout"),
}


def small_gan(num_classes=None, *, batch_normalization=False, spectral_normalization=False, activation=None, **kwargs):
    keras.utils.set_random_seed(1)
    return zoo.DCGAN(
        zoo.dcgan.generator(SHAPE, num_classes, latent_dim=5, filters=4, batch_normalization=batch_normalization),
        zoo.dcgan.discriminator(
            SHAPE, num_classes, filters=4, spectral_normalization=spectral_normalization, activation=activation
        ),
        **{"seed": 3, **kwargs},
    )


def compiled(gan, generator_rate=0.1, discriminator_rate=0.1, optimizer=keras.optimizers.SGD, **kwargs):
    gan.compile(optimizer(generator_rate), optimizer(discriminator_rate), **kwargs)
    return gan


def real_images(count=16):
    return np.random.default_rng(0).uniform(-1, 1, (count, *SHAPE)).astype(np.float32)


def weights(network):
    return [np.array(weight) for weight in network.get_weights()]


def equal(left, right):
    return all((one == other).all() for one, other in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("shape", "smallest"), [((28, 28, 1), 7), ((32, 32, 3), 4), ((48, 48, 1), 6), ((64, 64, 3), 4), ((8, 8, 1), 4)]
)
def test_stages_follow_the_image_size(shape, smallest):
    generator, discriminator = zoo.dcgan.generator(shape, filters=2), zoo.dcgan.discriminator(shape, filters=2)
    assert generator.output_shape == (None, *shape) and discriminator.output_shape == (None, 1)
    assert generator.get_layer("map").output.shape[1] == smallest
    stages = [layer for layer in generator.layers if isinstance(layer, keras.layers.Conv2DTranspose)]
    assert smallest * 2 ** len(stages) == shape[0]


@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_a_step_equals_the_reference(activation, gamma):
    gan = compiled(small_gan(activation=activation, r1_gamma=gamma, r1_interval=3), 0.3, 0.2)
    generator = zoo.dcgan.generator(SHAPE, latent_dim=5, filters=4)
    discriminator = zoo.dcgan.discriminator(SHAPE, filters=4, activation=None)
    generator.set_weights(gan.generator.get_weights())
    discriminator.set_weights(gan.discriminator.get_weights())
    real = tf.constant(real_images())
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    latent = keras.random.normal((16, 5), seed=keras.random.SeedGenerator(3))

    with tf.GradientTape() as tape:
        both = tf.concat([real, generator(latent)], axis=0)
        loss = entropy(tf.concat([tf.ones((16, 1)), tf.zeros((16, 1))], axis=0), discriminator(both))
        with tf.GradientTape() as inner:
            inner.watch(real)
            logits = tf.reduce_sum(discriminator(real))
        slope = inner.gradient(logits, real)
        total = loss + 3 * gamma / 2 * tf.reduce_mean(tf.reduce_sum(slope**2, axis=[1, 2, 3]))
    gradients = tape.gradient(total, [v.value for v in discriminator.trainable_variables])
    for variable, gradient in zip(discriminator.trainable_variables, gradients, strict=True):
        variable.assign(variable - 0.2 * gradient)
    with tf.GradientTape() as tape:
        generator_loss = entropy(tf.ones((16, 1)), discriminator(generator(latent)))
    gradients = tape.gradient(generator_loss, [v.value for v in generator.trainable_variables])
    for variable, gradient in zip(generator.trainable_variables, gradients, strict=True):
        variable.assign(variable - 0.3 * gradient)

    logs = gan.train_on_batch(real_images(), return_dict=True)
    assert logs["discriminator_loss"] == pytest.approx(float(loss), rel=1e-4)
    assert logs["generator_loss"] == pytest.approx(float(generator_loss), rel=1e-4)
    for ours, reference in ((gan.discriminator, discriminator), (gan.generator, generator)):
        for one, other in zip(weights(ours), weights(reference), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-6)


def test_each_step_leaves_the_other_network_alone():
    for rates, still, moving in (
        ((0.0, 0.1), "generator", "discriminator"),
        ((0.1, 0.0), "discriminator", "generator"),
    ):
        gan = compiled(small_gan(**EVERYTHING), *rates)
        before = {name: weights(getattr(gan, name)) for name in (still, moving)}
        gan.fit(real_images(), batch_size=8, epochs=2, verbose=0)
        assert equal(before[still], weights(getattr(gan, still)))
        assert not equal(before[moving], weights(getattr(gan, moving)))


def test_the_discriminators_step_leaves_moving_statistics_alone():
    gan = compiled(small_gan(batch_normalization=True, spectral_normalization=True))
    before = weights(gan.generator), weights(gan.discriminator)
    gan._train_discriminator(real_images(8), gan._detached_images(8, None), None)
    assert equal(before[0], weights(gan.generator)) and not equal(before[1], weights(gan.discriminator))


def test_the_generator_follows_the_data():
    gan = small_gan(r1_gamma=10.0, r1_interval=1, ema_decay=0.9)
    compiled(gan, 5e-3, 5e-3, lambda rate: keras.optimizers.Adam(rate, beta_1=0.5), steps_per_execution=50)
    assert abs(gan.generate(50, seed=0).mean() - 0.6) > 0.3
    gan.fit(np.full((16 * 300, *SHAPE), 0.6, np.float32), batch_size=16, verbose=0)
    assert gan.generate(50, seed=0).mean() == pytest.approx(0.6, abs=0.15)


def test_averages_follow_their_formula():
    gan = compiled(small_gan(ema_decay=0.15))
    expected = weights(gan.generator)
    for step in (1, 2, 3):
        gan.train_on_batch(real_images())
        decay = min(0.15, step / (step + 10))
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, weights(gan.generator), strict=True)]
    for average, value in zip(gan.averages, expected, strict=True):
        np.testing.assert_allclose(average, value, atol=1e-6)
    assert equal(weights(gan.averaged_generator()), [np.array(average) for average in gan.averages])
    images = gan.averaged_generator()(zoo.dcgan.draw(gan.generator, 6, 2)[0])
    np.testing.assert_allclose(gan.generate(6, seed=2), images, atol=1e-6)


def test_saved_and_loaded_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    data = real_images(), np.arange(16) % 3
    options = {"batch_size": 8, "verbose": 0, "shuffle": False}
    gans = []
    for _ in range(2):
        gan = small_gan(3, batch_normalization=True, spectral_normalization=True, **EVERYTHING)
        gans.append(compiled(gan, 1e-2, 2e-2, keras.optimizers.Adam))
    gans[0].fit(*data, epochs=4, **options)
    gans[1].fit(*data, epochs=2, **options)
    gans[1].save(tmp_path / "gan.keras")
    loaded = keras.saving.load_model(tmp_path / "gan.keras")
    assert equal(weights(gans[1]), weights(loaded))
    before, after = gans[1].get_config(), loaded.get_config()
    assert all(before[name] == after[name] for name in before if name not in ("generator", "discriminator"))
    assert loaded.generator_optimizer.iterations == 4 and loaded.discriminator_optimizer.iterations == 8
    assert float(loaded.discriminator_optimizer.learning_rate) == pytest.approx(2e-2)
    loaded.fit(*data, epochs=2, **options)
    for one, other in zip(weights(gans[0]), weights(loaded), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    unfit = keras.saving.load_model(tmp_path / "gan.keras", compile=False)
    np.testing.assert_array_equal(unfit.generate(4, seed=1), gans[1].generate(4, seed=1))


def test_mirrored_over_two_devices_is_one_device():
    found = {}
    for device in ("cpu", "mirrored"):
        with training.distribution(device).scope():
            gan = compiled(small_gan(spectral_normalization=True, r1_gamma=1.0))
        stream = tf.data.Dataset.from_tensor_slices(real_images()).batch(8)
        gan.fit(stream, epochs=2, verbose=0, shuffle=False)
        found[device] = weights(gan)
    for one, two in zip(*found.values(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_with_a_loss_scale_each(policy):
    with training.precision(policy):
        gan = small_gan(batch_normalization=True, spectral_normalization=True, **EVERYTHING)
        compiled(gan, 1e-3, 1e-3, keras.optimizers.Adam)
    scaled = keras.optimizers.LossScaleOptimizer
    optimizers = gan.generator_optimizer, gan.discriminator_optimizer
    assert [isinstance(one, scaled) for one in optimizers] == [policy == "mixed_float16"] * 2
    before = weights(gan.generator)
    history = gan.fit(real_images(), batch_size=8, epochs=2, verbose=0).history
    assert all(np.isfinite(values).all() and max(values) < 20 for values in history.values())
    assert not equal(before, weights(gan.generator)) and gan.generate(2, seed=0).dtype == "float32"
    if policy == "mixed_float16":
        optimizers[0].dynamic_scale.assign(1e30)  # the generator's gradients overflow, the discriminator's do not
        before = weights(gan.discriminator), [v.numpy() for v in gan.generator.trainable_variables]
        gan.train_on_batch(real_images())
        assert not equal(before[0], weights(gan.discriminator))
        assert equal(before[1], [v.numpy() for v in gan.generator.trainable_variables])
        assert float(optimizers[0].dynamic_scale) == pytest.approx(5e29) and float(optimizers[1].dynamic_scale) > 1


def test_spectral_normalization_keeps_the_largest_singular_value_at_one():
    gan = compiled(small_gan(3, spectral_normalization=True), 0.01, 0.05)
    gan.fit(real_images(), np.arange(16) % 3, batch_size=8, epochs=3, verbose=0)
    kernels = [v for v in gan.discriminator.trainable_variables if v.name in ("kernel", "embeddings")]
    assert len(kernels) == 3
    for kernel in kernels:
        values = np.linalg.svd(kernel.numpy().reshape(-1, kernel.shape[-1]), compute_uv=False)
        assert values[0] == pytest.approx(1, abs=0.03)


def test_augmentation_moves_covers_and_recolours():
    images = tf.constant(real_images(40))
    seed = keras.random.SeedGenerator(0)
    shifted = zoo.dcgan._translation(images, seed).numpy()
    moves = set()
    for before, after in zip(images.numpy(), shifted, strict=True):
        padded = np.pad(before, ((1, 1), (1, 1), (0, 0)))
        candidates = {(y, x): padded[y : y + 8, x : x + 8] for y in range(3) for x in range(3)}
        fitting = [move for move, candidate in candidates.items() if np.allclose(candidate, after)]
        assert len(fitting) == 1
        moves.update(fitting)
    assert len(moves) > 5
    covered = (zoo.dcgan._cutout(images, seed).numpy() == 0).all(axis=3)
    assert {int(mask.sum()) for mask in covered} <= {a * b for a in range(2, 5) for b in range(2, 5)}
    assert 8 < covered.sum(axis=(1, 2)).mean() <= 16
    recoloured = zoo.dcgan._color(images, seed).numpy()
    assert recoloured.shape == images.shape and np.abs(recoloured - images).max(axis=(1, 2, 3)).min() > 0.01
    with tf.GradientTape() as tape:
        tape.watch(images)
        changed = images
        for kind in zoo.dcgan.AUGMENTATIONS:
            changed = getattr(zoo.dcgan, f"_{kind}")(changed, seed)
        total = tf.reduce_sum(changed**2)
    assert np.abs(tape.gradient(total, images)).max() > 0


def test_generate_repeats_and_refuses():
    gan = small_gan(3)
    np.testing.assert_array_equal(gan.generate(7, seed=5), gan.generate(7, seed=5))
    assert (gan.generate(7, seed=5) != gan.generate(7, seed=6)).any()
    np.testing.assert_allclose(gan.generate(300, seed=5)[:2], gan.generate(300, seed=5, batch_size=64)[:2], atol=1e-6)
    assert zoo.dcgan.draw(gan.generator, 4, 0)[1].tolist() == [0, 1, 2, 0]
    assert zoo.dcgan.draw(gan.generator, 3, 0, 2)[1].tolist() == [2, 2, 2]
    for arguments, word in (
        ({"count": 0}, "count must be 1 or more, got 0"),
        ({"count": 2, "labels": 3}, "0 to 2, got 3"),
        ({"count": 2, "labels": [0, -1]}, "0 to 2, got -1"),
        ({"count": 2, "labels": [0, 1, 2]}, "got 3"),
    ):
        with pytest.raises(ValueError, match=word):
            gan.generate(**arguments)
    with pytest.raises(ValueError, match="no classes"):
        small_gan().generate(2, labels=1)


def test_what_does_not_belong_together_is_refused():
    generator, discriminator = zoo.dcgan.generator(SHAPE, filters=2), zoo.dcgan.discriminator(SHAPE, filters=2)
    for arguments, word in (
        ((generator, zoo.dcgan.discriminator((16, 16, 3), filters=2)), r"\(8, 8, 3\).*\(16, 16, 3\)"),
        ((generator, zoo.dcgan.discriminator(SHAPE, 3, filters=2)), "None classes, the discriminator 3"),
    ):
        with pytest.raises(ValueError, match=word):
            zoo.DCGAN(*arguments)
    for arguments, word in (
        ({"diff_augment": ("flip",)}, "color, translation, cutout; got flip"),
        ({"discriminator_steps": 0}, "discriminator_steps"),
        ({"ema_decay": 1.0}, "ema_decay=1.0"),
        ({"label_smoothing": 0.5}, "label_smoothing=0.5"),
        ({"r1_gamma": -1.0}, "r1_gamma=-1.0"),
    ):
        with pytest.raises(ValueError, match=word):
            zoo.DCGAN(generator, discriminator, **arguments)
    gan, optimizer = zoo.DCGAN(generator, discriminator), keras.optimizers.Adam()
    with pytest.raises(ValueError, match="an optimizer each"):
        gan.compile(optimizer, optimizer)
    with pytest.raises(ValueError, match="None classes, the data has its labels"):
        compiled(gan, run_eagerly=True).train_on_batch(real_images(), np.zeros(16))


ON_JAX = """
import sys
sys.path.insert(0, {tests!r})
import keras, numpy as np, zoo
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
keras.utils.set_random_seed(1)
gan = zoo.DCGAN(
    zoo.dcgan.generator((8, 8, 3), 3, latent_dim=5, filters=4, batch_normalization=True),
    zoo.dcgan.discriminator((8, 8, 3), 3, filters=4, spectral_normalization=True, activation=None),
    seed=3, discriminator_steps=2, r1_gamma=1.0, r1_interval=2, diff_augment=("color", "translation", "cutout"),
)
gan.compile(keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2))
real = np.random.default_rng(0).uniform(-1, 1, (16, 8, 8, 3)).astype("float32")
before = gan.get_weights()
history = gan.fit(real, np.arange(16) % 3, batch_size=8, epochs=2, verbose=0).history
assert all(np.isfinite(values).all() for values in history.values()), history
assert all((one != other).any() for one, other in zip(before, gan.get_weights()) if one.size > 8)
gan.save("gan.keras")
again = keras.saving.load_model("gan.keras")
assert again.generator_optimizer.iterations == 4 and again.discriminator_optimizer.iterations == 8
again.fit(real, np.arange(16) % 3, batch_size=8, verbose=0)
np.save("images.npy", gan.generate(5, seed=9))
networks = zoo.dcgan.generator((8, 8, 3), filters=4), zoo.dcgan.discriminator((8, 8, 3), filters=4)
plain = zoo.DCGAN(*networks, r1_gamma=1.0)
for network in networks:
    network.set_weights([np.full(w.shape, 0.02, "float32") for w in network.get_weights()])
plain.generator.get_layer("dense").kernel.assign(np.zeros((100, 64), "float32"))
plain.compile(keras.optimizers.SGD(0.5), keras.optimizers.SGD(0.5))
plain.train_on_batch(real)
np.savez("plain.npz", *plain.discriminator.get_weights())
keras.config.set_dtype_policy("mixed_float16")
mixed = zoo.DCGAN(zoo.dcgan.generator((8, 8, 3), filters=4), zoo.dcgan.discriminator((8, 8, 3), filters=4))
mixed.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
before = mixed.get_weights()
history = mixed.fit(real, batch_size=8, verbose=0).history
assert all(0 < values[-1] < 5 for values in history.values()), history
assert all((one != other).any() for one, other in zip(before, mixed.get_weights()) if one.size > 8)
assert isinstance(mixed.generator_optimizer, keras.optimizers.LossScaleOptimizer)
"""


def test_trains_on_jax_and_comes_back(tmp_path):
    code = ON_JAX.format(tests=os.path.dirname(__file__))
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    gan = keras.saving.load_model(tmp_path / "gan.keras", compile=False)
    np.testing.assert_allclose(gan.generate(5, seed=9), np.load(tmp_path / "images.npy"), atol=1e-5)
    # one step is the same, with images that do not depend on the latents, which each backend draws in its own way
    networks = zoo.dcgan.generator(SHAPE, filters=4), zoo.dcgan.discriminator(SHAPE, filters=4)
    plain = zoo.DCGAN(*networks, r1_gamma=1.0)
    for network in networks:
        network.set_weights([np.full(weight.shape, 0.02, np.float32) for weight in network.get_weights()])
    plain.generator.get_layer("dense").kernel.assign(np.zeros((100, 64), np.float32))
    compiled(plain, 0.5, 0.5).train_on_batch(real_images())
    for one, other in zip(weights(plain.discriminator), np.load(tmp_path / "plain.npz").values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# --- the recipe ---

TINY = {"filters": 4, "discriminator_filters": 4, "batch_size": 64, "latent_dim": 8}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dcgan")
    dcgan.train(epochs=2, output=folder, **TINY)
    return folder


def test_what_a_run_leaves_behind(run):
    names = {path.name for path in run.iterdir()}
    assert {"model.keras", "dcgan.keras", "card.json", "config.json", "history.csv"} <= names
    assert {"curves.png", "grid.png", "nearest.png", "training.gif"} <= names
    assert not any("partial" in name or name == "backup" for name in names)
    with Image.open(run / "training.gif") as animation:
        assert animation.n_frames >= 2
    card = json.loads((run / "card.json").read_text())
    assert next(iter(card["metrics"])) == "frechet_distance" and card["judge"] == "mnist_cnn" and card["conditional"]
    (floor,) = card["baselines"].values()
    assert 0 < floor["frechet_distance"] < card["metrics"]["frechet_distance"]
    assert card["parameters"] == zoo.load(run / "model.keras").count_params()
    header = (run / "history.csv").read_text().splitlines()[0]
    assert all(name in header for name in ("discriminator_accuracy", "kernel_distance", "variety", "least_class"))
    gan = zoo.load(run / "dcgan.keras", compile=True)
    assert gan.generator_optimizer.iterations > 0
    pixels = sample_drawing.pixels(gan.generate(3, seed=4))
    sampler = dcgan.Sampler(run)
    assert np.abs(sampler(*sampler.draw(3, 4)).astype(int) - pixels).max() <= 1


def test_sample_in_every_form(capfd, run, tmp_path):
    def sample(*arguments):
        status, answer, _ = run_json(capfd, "sample", "dcgan", "--model", run, *arguments)
        assert status == 0
        return answer

    sample("--count", 9, "--seed", 7, "--output", tmp_path / "a.npz")
    sample("--count", 9, "--seed", 7, "--output", tmp_path / "b.npz")
    sample("--count", 9, "--seed", 8, "--output", tmp_path / "c.npz")
    a, b, c = (np.load(tmp_path / f"{name}.npz") for name in "abc")
    assert a["images"].shape == (9, 28, 28, 1) and a["images"].dtype == np.uint8
    assert a["labels"].tolist() == list(range(9))
    assert (a["images"] == b["images"]).all() and (a["images"] != c["images"]).any()
    sample("--count", 9, "--seed", 7, "--output", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        np.testing.assert_array_equal(np.asarray(grid)[..., None], plots.montage(a["images"]))
    answer = sample("--count", 4, "--label", 3, 7, "--output", tmp_path / "folder")
    assert answer["labels"] == ["3", "7", "3", "7"]
    assert sorted(p.name for p in (tmp_path / "folder").iterdir())[:2] == ["00000-3.png", "00001-7.png"]
    sample("--count", 3, "--interpolate", 5, "--output", tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.width > 2 * strip.height
    sample("--count", 2, "--interpolate", 5, "--output", tmp_path / "way.gif")
    with Image.open(tmp_path / "way.gif") as way:
        assert way.n_frames >= 5


def test_interpolation_keeps_the_ends_and_the_length():
    latents = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    way = drawing.between(latents, 6)
    assert way.shape == (12, 50)
    np.testing.assert_allclose(way[[0, 5, 6, 11]], latents[[0, 1, 1, 2]], atol=1e-5)
    lengths = np.linalg.norm(way[:6], axis=1)
    assert lengths.min() > 0.9 * min(lengths[0], lengths[-1])


def test_every_form_of_a_generator_is_measured(capfd, run, tmp_path):
    status, answer, _ = run_json(
        capfd, "export", "dcgan", "--model", run, "--quantize", "none", "int8", "--count", 60,
        "--output", tmp_path / "files",
    )  # fmt: skip
    assert status == 0
    found = {entry["file"]: entry for entry in answer["files"]}
    assert set(found) == {"model.tflite", "model_int8.tflite"}
    for name, entry in found.items():
        assert "int8" in name or entry["max_abs_difference"] < 1.5 / 255
        near = answer["metrics"]["frechet_distance"] * (0.3 if "int8" in name else 0.01)
        assert entry["metrics"]["frechet_distance"] == pytest.approx(answer["metrics"]["frechet_distance"], abs=near)
    options = ("--count", 60, "--output", tmp_path / "measured")
    figures = {}
    for model in (run, tmp_path / "files" / "model.tflite"):
        status, measured, _ = run_json(capfd, "evaluate", "dcgan", "--model", model, *options)
        assert status == 0 and measured["judge"] == "mnist_cnn"
        figures[model] = measured["metrics"]
    one, other = figures.values()
    assert one.keys() == other.keys() and one["frechet_distance"] == pytest.approx(other["frechet_distance"], rel=0.01)
    written = {path.name for path in (tmp_path / "measured").iterdir()}
    assert written == {"evaluation.json", "grid.png", "nearest.png"}


def test_killed_training_resumes_to_the_same_weights(run, tmp_path, monkeypatch):
    save = checkpoints.save_model

    def fail_after_one(model, path):
        save(model, path)
        if path.name == "epoch-0001.keras":
            raise MemoryError

    monkeypatch.setattr(checkpoints, "save_model", fail_after_one)
    with pytest.raises(MemoryError):
        dcgan.train(epochs=2, output=tmp_path, **TINY)
    monkeypatch.setattr(checkpoints, "save_model", save)
    result = dcgan.train(resume=tmp_path)
    assert result["epochs"] == 2
    assert equal(weights(zoo.load(run / "model.keras")), weights(zoo.load(tmp_path / "model.keras")))


def test_a_folder_without_classes(image_folder, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in image_folder.rglob("*.png"):
        path.rename(flat / f"{path.parent.name}-{path.name}")
    (flat / "broken.png").write_text("no image")
    options = {**TINY, "batch_size": 8, "image_shape": (16, 16, 3), "epochs": 1}
    result = dcgan.train(dataset=str(flat), output=tmp_path / "run", **options)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert (
        not card["conditional"] and card["dataset"]["skipped_files"] == 1 and "label_accuracy" not in result["metrics"]
    )
    sampler = dcgan.Sampler(tmp_path / "run")
    assert sampler.num_classes is None and sampler(*sampler.draw(2, 0)).shape == (2, 16, 16, 3)


def test_coinciding_images_are_told():
    real = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
    assert generation.variety(real, real) == pytest.approx(1)
    assert generation.variety(np.repeat(real[:1], 20, axis=0), real) == 0


def test_benchmark(capfd, run, tmp_path):
    options = ("--steps", 1, "--rounds", 1, "--batch-size", 4, "--output", tmp_path)
    status, answer, _ = run_json(capfd, "benchmark", "dcgan", "--model", run, *options)
    assert status == 0 and answer["images_per_second"]["ours / guide"] > 0
    assert len(answer["latency_ms"]) == 8 and all(value > 0 for value in answer["latency_ms"].values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "--count", "0"], ["count", "0"]),
        (["sample", "--count", "1", "--interpolate", "4"], ["count must be 2 or more", "1"]),
        (["sample", "--interpolate", "1"], ["interpolate", "1"]),
        (["sample", "--seed", "seven"], ["--seed", "seven"]),
        (["sample", "--seed", "-1"], ["seed", "-1"]),
        (["sample", "--label", "10"], ["label '10'", "0, 1, 2"]),
        (["sample", "--output", "grid.jpg"], ["grid.jpg", ".npz"]),
        (["sample", "--output", "grid.gif"], ["grid.gif", "--interpolate"]),
        (["sample", "--output", "/proc/nothing/grid.png"], ["cannot write", "/proc/nothing"]),
        (["sample", "--model", "mnist_cnn"], ["mnist_cnn", "not for image generation"]),
        (["sample", "--model", "lion.keras"], ["no model lion.keras", "mnist_cnn", "a run folder"]),
        (["evaluate", "--count", "1"], ["count", "1"]),
        (["evaluate", "--judge", "lion"], ["lion"]),
        (["evaluate", "--judge", "dcgan"], ["the judge must be an image classifier"]),
        (["train", "--ema-decay", "1"], ["ema_decay", "1"]),
        (["train", "--label-smoothing", "0.7"], ["label_smoothing", "0.7"]),
        (["train", "--diff-augment", "flip"], ["flip", "cutout"]),
        (["train", "--image-shape", "30", "30", "1"], ["power of two", "30"]),
        (["train", "--r1-gamma", "nan"], ["r1_gamma", "nan"]),
        (["train", "--dataset", "nowhere/"], ["nowhere"]),
        (["export", "--quantize", "int8", "--format", "onnx"], ["int8", "onnx"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_wrong_input_is_one_clear_line(capfd, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    line = refused(capfd, arguments[0], "dcgan", *arguments[1:])
    assert all(word in line for word in words), line
    assert not list(tmp_path.rglob("*.*"))


def test_too_few_images_are_refused_before_the_training(capfd, tmp_path):
    (tmp_path / "few").mkdir()
    for number in range(5):
        Image.fromarray(np.full((28, 28), 40 * number, np.uint8)).save(tmp_path / "few" / f"{number}.png")
    line = refused(capfd, "train", "dcgan", "--dataset", tmp_path / "few", "--output", tmp_path / "run")
    assert "few has too few images for validation: 1, a comparison needs 2 or more" in line
    assert not (tmp_path / "run").exists()


def test_inception_without_its_weights_is_one_line(monkeypatch):
    def offline(**_):
        raise OSError("no network")

    monkeypatch.setattr(keras.applications, "InceptionV3", offline)
    with pytest.raises(ValueError, match="--judge auto"):
        generation.Judge("inception", dcgan.datasets("digits"))


def test_inception_features_of_small_grey_images(monkeypatch):
    network = keras.applications.InceptionV3
    monkeypatch.setattr(keras.applications, "InceptionV3", lambda **kwargs: network(**kwargs, weights=None))
    images = dcgan.datasets("digits")
    features, probabilities = generation.Judge("inception", images)(images.split("test")[0][:2])
    assert features.shape == (2, 2048) and probabilities is None


def test_the_published_generator_covers_all_digits(tmp_path):
    sampler = dcgan.Sampler("dcgan")
    judge = generation.Judge("auto", dcgan.datasets("digits"))
    pixels = sampler(*sampler.draw(1000, 5))
    answers = generation.answers(judge(pixels)[1], np.arange(1000) % 10)
    assert answers["confidence"] >= 0.9 and answers["least_class"] >= 0.85 and answers["greatest_class"] <= 1.15
    assert answers["label_accuracy"] >= 0.95
    assert generation.variety(pixels[:64], judge_free_real()) > 0.5
    card = zoo.pretrained.card("dcgan")
    assert card["metrics"]["confidence"] >= 0.9 and card["judge"] == "mnist_cnn"


def judge_free_real():
    return dcgan.datasets("digits").split("train")[0][:64]


def test_the_cards_figure_holds_on_real_data(prepared):
    images = dcgan.datasets("mnist", data_dir=prepared("mnist"))
    judge = generation.Judge("auto", images)
    count = 2000
    found = dcgan._distances(dcgan.Sampler("dcgan"), judge, images, "test", count)["frechet_distance"]
    floor = zoo.metrics.frechet_distance(
        judge(images.split("train")[0][:count])[0], judge(images.split("test")[0][:count])[0]
    )
    claimed = zoo.pretrained.card("dcgan")["metrics"]["frechet_distance"]
    assert claimed - 0.5 < found < claimed + 2 * floor  # fewer images, a little farther
