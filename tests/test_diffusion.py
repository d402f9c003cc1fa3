"""Diffusion: schedules and samplers against exact solutions, the training step, all uses of a model, the recipe."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import refused, run_json
from PIL import Image

import zoo
from recipes import checkpoints, diffusion, generation, plots, training
from recipes.samples import diffusion as drawing
from zoo import export, pretrained, samplers, sampling

SHAPE = (8, 8, 3)


def small_model(num_classes=None, *, trained=True, **kwargs):
    """A network of random weights, the last layer's included, as if it had been trained."""
    keras.utils.set_random_seed(1)
    network = zoo.diffusion_unet(
        SHAPE, num_classes, widths=(4,), groups=2, embedding_dim=8, attention_resolutions=(), patch_size=2
    )
    if trained:
        random = np.random.default_rng(1)
        for weight in network.weights:
            weight.assign(weight + 0.1 * random.standard_normal(weight.shape))
    return zoo.Diffusion(network, **{"seed": 3, "timesteps": 50, **kwargs})


def real_images(count=16):
    return np.random.default_rng(0).uniform(-1, 1, (count, *SHAPE)).astype(np.float32)


def weights(model):
    return [np.array(weight) for weight in model.get_weights()]


# --- network ---


@pytest.mark.parametrize("adaptive", [False, True])
def test_group_normalisation_as_keras_does_it(adaptive):
    random = np.random.default_rng(5)
    x = tf.constant(random.normal(3, 2, (2, 6, 5, 12)).astype(np.float32))
    factor, offset = (tf.constant(random.normal(1, 1, (2, 12)).astype(np.float32)) for _ in range(2))
    own, reference = zoo.diffusion.GroupNormalization(4), keras.layers.GroupNormalization(4)
    for layer in (own, reference):
        layer.build(x.shape)
        layer.set_weights([np.linspace(-1, 2, 12), np.linspace(3, 1, 12)])

    def own_way():
        return own(x, factor=factor, offset=offset) if adaptive else own(x)

    def reference_way():
        return reference(x) * factor[:, None, None] + offset[:, None, None] if adaptive else reference(x)

    results = []
    for way, layer in ((own_way, own), (reference_way, reference)):
        with tf.GradientTape() as tape:
            tape.watch((x, factor, offset))
            y = way()
            loss = tf.reduce_sum(y**3)
        sources = [x, *layer.trainable_weights, *((factor, offset) if adaptive else ())]
        results.append([y, *tape.gradient(loss, sources)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())
    with pytest.raises(ValueError, match="axis must be the last one, -1, got 1"):
        zoo.diffusion.GroupNormalization(4, axis=1).build(x.shape)


# --- schedules ---


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("timesteps", [50, 1000])
def test_schedules_by_their_identities(schedule, timesteps):
    signal, noise = zoo.diffusion.noise_schedule(schedule, timesteps)
    assert signal.shape == noise.shape == (timesteps + 1,)
    np.testing.assert_allclose(signal**2 + noise**2, 1, rtol=1e-12)
    assert (np.diff(signal) < 0).all() and (np.diff(noise) > 0).all()
    assert signal[0] == 1 and noise[0] == 0 and signal[-1] < 0.01
    if schedule == "linear" and timesteps == 1000:  # the running product of the paper's own numbers
        beta = [1e-4 + (0.02 - 1e-4) * step / 999 for step in range(1000)]
        assert signal[500] ** 2 == pytest.approx(np.prod([1 - b for b in beta[:500]]))
    if schedule == "cosine":
        expected = np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
        assert signal[timesteps // 2] ** 2 == pytest.approx(expected)


def test_closed_form_of_the_noise_is_step_by_step_noising():
    signal, noise = zoo.diffusion.noise_schedule("cosine", 40)
    random = np.random.default_rng(0)
    x = np.full(200_000, 0.7)
    for level in range(1, 31):
        kept = signal[level] / signal[level - 1]
        x = kept * x + np.sqrt(1 - kept**2) * random.standard_normal(x.shape)
    assert x.mean() == pytest.approx(0.7 * signal[30], abs=0.01)
    assert x.std() == pytest.approx(noise[30], abs=0.01)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_shift_multiplies_noise_over_image(schedule):
    signal, noise = zoo.diffusion.noise_schedule(schedule, 100)
    shifted_signal, shifted_noise = zoo.diffusion.noise_schedule(schedule, 100, shift=2.0)
    np.testing.assert_allclose(shifted_noise[:-1] / shifted_signal[:-1], 2 * noise[:-1] / signal[:-1], rtol=1e-9)
    np.testing.assert_allclose(shifted_signal**2 + shifted_noise**2, 1, rtol=1e-12)
    again = zoo.Diffusion.from_config(small_model(shift=2.0).get_config())
    np.testing.assert_array_equal(again.signal, zoo.diffusion.noise_schedule("cosine", again.timesteps, 2.0)[0])


def test_schedules_refuse():
    with pytest.raises(ValueError, match=r"shift must be positive, got 0"):
        zoo.diffusion.noise_schedule(shift=0)
    with pytest.raises(ValueError, match="linear, cosine, got 'sigmoid'"):
        zoo.diffusion.noise_schedule("sigmoid")
    with pytest.raises(ValueError, match=r"21 or more .* got 20"):
        zoo.diffusion.noise_schedule("linear", 20)


# --- samplers: data of a normal distribution, where the best guess of the clean image is known ---

MEAN, DEVIATION = 0.4, 0.3


def best_guess(x, signal, noise):
    """(factor of x, constant) of the mean of the clean value given the noisy one."""
    gain = signal * DEVIATION**2 / (signal**2 * DEVIATION**2 + noise**2)
    return gain, MEAN - gain * signal * MEAN


def final_distribution(sampler, steps, timesteps=200_000):
    """Mean and standard deviation at level 0, by exact arithmetic on normal distributions."""
    signal, noise = zoo.diffusion.noise_schedule("cosine", timesteps)
    path = samplers.levels(timesteps, steps)
    signal, noise = signal[path], noise[path]
    table = samplers.coefficients(signal, noise, sampler)
    # x = slope * z + mean with z standard normal, and what fresh noise adds to the variance
    slope, mean, variance = np.hypot(signal[0] * DEVIATION, noise[0]), signal[0] * MEAN, 0.0
    before = 0.0, 0.0
    for row, one, other in zip(table, signal[:-1], noise[:-1], strict=True):
        gain, constant = best_guess(None, one, other)
        guess = gain * slope, gain * mean + constant
        variance = (row[0] + row[1] * gain) ** 2 * variance + row[3] ** 2
        slope = row[0] * slope + row[1] * guess[0] + row[2] * before[0]
        mean = row[0] * mean + row[1] * guess[1] + row[2] * before[1]
        before = guess
    return mean, np.sqrt(slope**2 + variance)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("ddpm", 1), ("dpm_solver++", 2)])
def test_samplers_converge_to_the_exact_solution_at_their_order(sampler, order):
    errors = []
    for steps in (20, 40, 80, 160):
        mean, deviation = final_distribution(sampler, steps)
        errors.append(abs(mean - MEAN) + abs(deviation - DEVIATION))
    assert errors[-1] < (0.02 if order == 1 else 0.0005)
    assert np.log2(errors[0] / errors[-1]) / 3 > 0.75 * order, errors  # the steps are halved three times


def test_dpm_solver_is_closest_at_few_steps():
    errors = {}
    for sampler in samplers.SAMPLERS:
        mean, deviation = final_distribution(sampler, 20)
        errors[sampler] = abs(mean - MEAN) + abs(deviation - DEVIATION)
    assert errors["dpm_solver++"] < 0.5 * min(errors["ddim"], errors["ddpm"])


def test_ddpm_draws_from_the_posterior():
    signal, noise = zoo.diffusion.noise_schedule("linear", 100)
    now, after = 60, 45
    ((of_x, of_clean, _, fresh), *_) = samplers.coefficients(signal[[now, after]], noise[[now, after]], "ddpm")
    # the product of two normal densities: of the lower level given the clean image, and of the higher given the lower
    kept = signal[now] / signal[after]
    precision = 1 / noise[after] ** 2 + kept**2 / (1 - kept**2)
    assert fresh**2 == pytest.approx(1 / precision)
    assert of_clean == pytest.approx(signal[after] / noise[after] ** 2 / precision)
    assert of_x == pytest.approx(kept / (1 - kept**2) / precision)


@pytest.mark.parametrize("timesteps", [1, 2, 21, 50, 999, 1000])
def test_levels_go_down_and_lie_closer_at_the_ends(timesteps):
    for steps in range(1, timesteps + 1):
        path = samplers.levels(timesteps, steps)
        assert len(path) == steps + 1 and path[0] == timesteps and path[-1] == 0 and (np.diff(path) < 0).all()
        np.testing.assert_allclose(path + path[::-1], timesteps, atol=1)
    assert list(path) == list(range(timesteps, -1, -1))  # as many steps as levels
    distances = -np.diff(samplers.levels(1000, 20))
    assert (np.diff(distances[:10]) > 0).all() and 20 < distances[0] + 1 < distances[9] / 3


def test_tables_in_a_graph_are_those_of_numpy():
    signal, noise = zoo.diffusion.noise_schedule("cosine", 50)
    for steps in (1, 2, 7, 50):
        path = samplers.levels(50, steps)
        np.testing.assert_array_equal(path, samplers.levels(50, tf.constant(steps), xp=keras.ops))
        for sampler in samplers.SAMPLERS:
            table = samplers.coefficients(signal[path], noise[path], sampler)
            found = samplers.coefficients(
                *(np.float32(share[path]) for share in (signal, noise)), sampler, xp=keras.ops
            )
            np.testing.assert_allclose(table, found, rtol=2e-3, atol=2e-4)


def test_a_way_back_and_forth_keeps_the_variance():
    signal, noise = zoo.diffusion.noise_schedule("cosine", 60)
    path = samplers.levels(60, 12)
    table = samplers.coefficients(signal[path], noise[path], "ddpm")
    rows, visited = samplers.resampled(table, path, signal, noise, 3)
    assert len(rows) == 11 * 3 + 1 and list(visited[:4]) == [60, 60, 60, path[1]]
    for row, now in zip(rows[:2], visited[:2], strict=True):  # with the clean image known, a step and back is a step of
        clean = 0.8  # the same level: mean signal * clean, deviation noise
        assert row[0] * signal[now] * clean + row[1] * clean == pytest.approx(signal[now] * clean, abs=1e-9)
        assert np.hypot(row[0] * noise[now], row[3]) == pytest.approx(noise[now])


@pytest.mark.parametrize("kind", ["ddpm", "ddim", "dpm_solver++"])
def test_samplers_against_diffusers(kind):
    diffusers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    signal, noise = zoo.diffusion.noise_schedule("linear", 1000)
    common = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "timestep_spacing": "trailing"}
    scheduler = {
        "ddim": lambda: diffusers.DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True),
        "ddpm": lambda: diffusers.DDPMScheduler(**common, clip_sample=False),
        "dpm_solver++": lambda: diffusers.DPMSolverMultistepScheduler(
            **common, algorithm_type="dpmsolver++", solver_order=2, lower_order_final=True, final_sigmas_type="zero"
        ),
    }[kind]()
    scheduler.set_timesteps(10)
    path = np.append(scheduler.timesteps.numpy() + 1, 0)
    random = np.random.default_rng(0)
    x = theirs = random.standard_normal((4, 5))
    before = np.zeros_like(x)
    for row, level, time in zip(
        samplers.coefficients(signal[path], noise[path], kind), path[:-1], scheduler.timesteps, strict=True
    ):
        output = random.standard_normal(x.shape)  # what a network would say
        guess = (x - noise[level] * output) / signal[level]
        fresh = np.zeros_like(x)
        generator = torch.Generator().manual_seed(0)
        if kind == "ddpm":
            fresh = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
        extra = {} if kind == "dpm_solver++" else {"generator": generator}
        theirs = scheduler.step(torch.tensor(output), time, torch.tensor(theirs), **extra).prev_sample.numpy()
        x, before = row[0] * x + row[1] * guess + row[2] * before + row[3] * fresh, guess
        np.testing.assert_allclose(x, theirs, rtol=1e-3, atol=1e-3)


# --- training ---


@pytest.mark.parametrize("objective", ["noise", "v", "x0"])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_a_step_equals_the_reference(objective, gamma):
    model = small_model(3, objective=objective, min_snr_gamma=gamma, label_dropout=0.5, ema_decay=0.9)
    images, labels = real_images(), np.arange(16, dtype=np.int32) % 3
    random = np.random.default_rng(5)
    level, hidden = random.integers(1, 51, 16), np.arange(16) % 4 == 0
    noise = random.standard_normal(images.shape).astype(np.float32)
    model.draw = lambda count, training: (tf.constant(level, tf.int32), tf.constant(noise), tf.constant(hidden))
    start = weights(model.network)
    before = [weight.copy() for weight in start]
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)

    signal, share = (np.float32(table[level].reshape(-1, 1, 1, 1)) for table in (model.signal, model.noise))
    target = {"noise": noise, "x0": images, "v": signal * noise - share * images}[objective]
    with tf.GradientTape() as tape:
        shown = np.where(hidden, 3, labels)
        prediction = model.network([signal * images + share * noise, np.float32(level / 50), shown], training=True)
        error = tf.reduce_mean((prediction - target) ** 2, axis=(1, 2, 3))
        if gamma:
            ratio = ((signal / share) ** 2).ravel()
            error *= np.minimum(ratio, gamma) / {"noise": ratio, "x0": 1, "v": ratio + 1}[objective]
        loss = tf.reduce_mean(error)
    gradients = tape.gradient(loss, [variable.value for variable in model.network.trainable_variables])
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]  # an embedding has sparse ones
    expected = [weight - 0.1 * gradient for weight, gradient in zip(before, gradients, strict=True)]
    assert model.train_on_batch(images, labels) == pytest.approx(float(loss), rel=1e-4)
    for one, other in zip(weights(model.network), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for average, weight, former in zip(model.averages, expected, before, strict=True):
        decay = 1 / 11  # in the first step
        np.testing.assert_allclose(average, decay * former + (1 - decay) * weight, atol=1e-5)


def test_levels_cover_the_schedule_evenly_and_labels_are_hidden():
    model = small_model(3, label_dropout=0.25)
    levels, hidden = [], []
    for _ in range(20):
        level, noise, hide = model.draw(100)
        levels.append(np.sort(level))
        hidden.append(np.mean(hide))
        assert noise.shape == (100, *SHAPE)
    counts = np.bincount(np.ravel(levels), minlength=51)
    assert counts[0] == 0 and (counts[1:] == 40).all()  # 100 images over 50 levels, 20 times
    assert 0.2 < np.mean(hidden) < 0.3
    assert abs(float(np.mean(noise))) < 0.03 and abs(float(np.std(noise)) - 1) < 0.03


def test_evaluate_gives_the_same_loss_each_time():
    model = small_model(3)
    model.compile("adam", jit_compile=False)
    images, labels = real_images(24), np.arange(24) % 3
    losses = [model.evaluate(images, labels, batch_size=8, verbose=0) for _ in range(2)]
    assert losses[0] == losses[1]
    model.fit(images, labels, batch_size=8, epochs=2, verbose=0)
    assert model.evaluate(images, labels, batch_size=8, verbose=0) != losses[0]


def test_learns_and_draws_what_it_learned():
    """Two flat images, told apart by their class: after a short training each class gives its own."""
    keras.utils.set_random_seed(0)
    network = zoo.diffusion_unet(
        (8, 8, 1), 2, widths=(8,), groups=4, embedding_dim=16, attention_resolutions=(4,), patch_size=2
    )
    model = zoo.Diffusion(network, seed=0, ema_decay=0.99)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    labels = np.arange(256) % 2
    images = np.where(labels == 1, 0.5, -0.5).reshape(-1, 1, 1, 1) * np.ones((1, 8, 8, 1), np.float32)
    losses = model.fit(images, labels, batch_size=32, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.3 * losses[0]
    for sampler, steps in (("dpm_solver++", 10), ("ddim", 10), ("ddpm", 50)):
        made = model.generate(6, [0, 0, 0, 1, 1, 1], steps=steps, sampler=sampler, seed=1)
        assert np.abs(made[:3] + 0.5).mean() < 0.2 and np.abs(made[3:] - 0.5).mean() < 0.2, sampler
    half = np.zeros((8, 8))
    half[:, 4:] = 1
    filled = model.inpaint(images[:2], half, steps=10, seed=0)
    assert np.abs(filled - images[:2]).mean() < 0.1  # the known half tells the class


def test_mirrored_over_two_devices_is_one_device():
    found = {}
    for device in ("cpu", "mirrored"):
        with training.distribution(device).scope():
            model = small_model(3, label_dropout=0.3)
            model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        stream = tf.data.Dataset.from_tensor_slices((real_images(), np.arange(16) % 3)).batch(8)
        losses = model.fit(stream, epochs=2, verbose=0, shuffle=False, validation_data=stream).history
        found[device] = [*weights(model), *losses["loss"], *losses["val_loss"]]
    for one, two in zip(*found.values(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    with training.precision(policy):
        model = small_model(3)
        model.compile("adam", jit_compile=False)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    before = weights(model.network)
    assert np.isfinite(model.fit(real_images(), np.arange(16) % 3, epochs=2, verbose=0).history["loss"]).all()
    assert any((one != other).any() for one, other in zip(before, weights(model.network), strict=True))
    with pytest.raises(ValueError, match="float32"):
        export.diffusion_endpoints(model)
    single = model.with_network(export.float32_copy(model.averaged().network))
    options = {"steps": 3, "seed": 0, "guidance_scale": 2.0}
    np.testing.assert_allclose(single.generate(2, **options), model.generate(2, **options), atol=0.2)


def test_compiled_by_xla():
    from tensorflow.python.framework import config

    before = config.is_op_determinism_enabled()  # by a training before; Keras takes no XLA then
    config.disable_op_determinism()
    try:
        model = small_model(3)
        model.compile("adam", jit_compile=True)
        assert np.isfinite(model.train_on_batch(real_images(8), np.arange(8) % 3))
    finally:
        if before:
            config.enable_op_determinism()


def test_saved_and_loaded_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    images, labels = real_images(), np.arange(16) % 3
    models = [
        small_model(3, min_snr_gamma=5.0, schedule="linear", objective="noise", guidance_interval=(0.1, 0.7))
        for _ in range(2)
    ]
    for model in models:
        model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
        model.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    models[0].save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    settings = [model.get_config() | {"network": None} for model in (loaded, models[0])]
    assert settings[0] == settings[1]
    for model in (loaded, models[1]):
        model.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(weights(loaded), weights(models[1]), strict=True):
        np.testing.assert_array_equal(one, other)
    options = {"steps": 4, "seed": 1, "guidance_scale": 3.0}
    np.testing.assert_array_equal(loaded.generate(4, **options), models[1].generate(4, **options))
    lean = loaded.averaged()
    assert not lean.averages and lean.count_params() == lean.network.count_params()
    np.testing.assert_array_equal(lean.generate(4, **options), loaded.generate(4, **options))


# --- use ---


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
@pytest.mark.parametrize(("objective", "interval"), [("noise", (0, 1)), ("v", (0.2, 0.6)), ("x0", (0, 1))])
def test_the_compiled_loop_is_the_loop_written_out(sampler, objective, interval):
    model = small_model(3, objective=objective, ema_decay=0.0, guidance_interval=interval)
    labels, scale = np.array([2, 0], np.int32), 1.7
    path = samplers.levels(50, 6)
    table = samplers.coefficients(model.signal[path], model.noise[path], sampler)
    table[:, 3] = 0  # each backend has its own random numbers
    x = np.random.default_rng(9).standard_normal((2, *SHAPE)).astype(np.float32)
    before = np.zeros_like(x)
    for row, level in zip(table, path[:-1], strict=True):
        time = np.full(2, level / 50, np.float32)
        guided, plain = (np.asarray(model.network([x, time, shown])) for shown in (labels, np.array([3, 3])))
        guided_here = interval[0] <= level / 50 <= interval[1]
        prediction = plain + (scale if guided_here else 1) * (guided - plain)
        signal, noise = model.signal[level], model.noise[level]
        guess = {
            "noise": (x - noise * prediction) / signal,
            "x0": prediction,
            "v": signal * x - noise * prediction,
        }[objective].clip(-1, 1)
        x, before = row[0] * x + row[1] * guess + row[2] * before, guess
    original, samplers.coefficients = samplers.coefficients, lambda *_, **__: table
    try:
        found = model.generate(2, labels, steps=6, sampler=sampler, guidance_scale=scale, seed=9)
    finally:
        samplers.coefficients = original
    np.testing.assert_allclose(found, x.clip(-1, 1), atol=2e-4)


def test_many_kinds_of_sampling_do_not_look_like_a_mistake(caplog):
    model = small_model(num_classes=3)
    with caplog.at_level("WARNING"):
        for count, steps in ((4, 2), (4, 3), (2, 3)):
            for sampler in ("ddim", "ddpm"):
                for guidance_scale in (1.0, 2.0):
                    model.generate(count, 1, steps=steps, sampler=sampler, guidance_scale=guidance_scale, seed=0)
    assert "retracing" not in caplog.text


def test_seeds_counts_and_batches():
    model = small_model(3)
    nine = model.generate(9, steps=4, seed=5)
    assert nine.shape == (9, *SHAPE) and nine.dtype == np.float32 and np.abs(nine).max() <= 1
    np.testing.assert_allclose(model.generate(9, steps=4, seed=5, batch_size=4), nine, atol=1e-5)
    np.testing.assert_allclose(model.generate(4, steps=4, seed=5), nine[:4], atol=1e-5)
    np.testing.assert_array_equal(model.generate(labels=[0, 1, 2], steps=4, seed=5).shape, (3, *SHAPE))
    assert np.abs(model.generate(9, steps=4, seed=6) - nine).max() > 0.01
    ancestral = [model.generate(4, steps=4, sampler="ddpm", seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(*ancestral[:2])
    assert np.abs(ancestral[0] - ancestral[2]).max() > 0.01
    fresh = model.generate(4, steps=4, sampler="ddim", eta=1.0, seed=1)
    np.testing.assert_allclose(fresh, ancestral[0], atol=1e-5)  # ddpm is ddim with eta 1
    plain = model.generate(4, steps=4, seed=1, guidance_scale=0.0)
    np.testing.assert_array_equal(plain, model.generate(4, 2, steps=4, seed=1, guidance_scale=0.0))
    assert np.abs(model.generate(4, 2, steps=4, seed=1) - plain).max() > 1e-3


def test_progress_and_steps_are_reported(capsys):
    seen = []
    model = small_model()
    made = model.generate(3, steps=5, seed=0, batch_size=2, on_step=lambda *arguments: seen.append(arguments))
    assert [step for step, *_ in seen] == [1, 2, 3, 4, 5] * 2
    np.testing.assert_allclose(np.concatenate([seen[4][1], seen[9][1]])[:3].clip(-1, 1), made, atol=1e-6)
    capsys.readouterr()
    model.generate(1, steps=5, seed=0, verbose=1)
    assert "5/5" in capsys.readouterr().out


def test_inpainting_returns_known_pixels_exactly():
    model, images = small_model(3), real_images(3)
    masks = np.random.default_rng(0).random((3, 8, 8)) < 0.4
    filled = model.inpaint(images, masks, steps=4, resample=2, seed=0)
    np.testing.assert_array_equal(filled[~masks], images[~masks])
    assert np.abs(filled[masks] - images[masks]).max() > 0.01
    other = np.where(masks[..., None], 0.9, images)  # what stands under the mask does not matter
    np.testing.assert_array_equal(model.inpaint(other, masks, steps=4, resample=2, seed=0), filled)


def test_super_resolution_keeps_the_means_of_blocks():
    model = small_model()
    small = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 2, 4, 3)).astype(np.float32)
    with pytest.raises(ValueError, match=r"\(count, 4, 4, 3\), got \(2, 2, 4, 3\)"):
        model.super_resolve(small, 2)
    small = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 4, 4, 3)).astype(np.float32)
    inside = []
    large = model.super_resolve(small, 2, steps=4, seed=0, on_step=lambda step, noisy, guess: inside.append(guess))
    np.testing.assert_allclose(inside[-1].reshape(2, 4, 2, 4, 2, 3).mean(axis=(2, 4)), small, atol=1e-5)
    np.testing.assert_allclose(large, inside[-1].clip(-1, 1), atol=1e-6)


def test_image_to_image_and_the_way_between_two():
    model, images = small_model(3), real_images(2)
    near = model.denoise(images, 0.04, steps=2, seed=0)
    far = model.denoise(images, 1.0, steps=4, seed=0)
    assert np.abs(near - images).mean() < 0.5 * np.abs(far - images).mean()
    way = model.interpolate(*images, 5, steps=6)
    assert way.shape == (5, *SHAPE)
    assert np.abs(way[0] - images[0]).mean() < np.abs(way[0] - images[1]).mean()
    assert np.abs(way[-1] - images[1]).mean() < np.abs(way[-1] - images[0]).mean()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda m: m.generate(0), "count must be 1 or more, got 0"),
        (lambda m: m.generate(2, steps=0), "steps must be 1 to 50.* got 0"),
        (lambda m: m.generate(2, steps=51), "steps must be 1 to 50.* got 51"),
        (lambda m: m.generate(2, sampler="euler"), "ddpm, ddim, dpm_solver"),
        (lambda m: m.generate(2, 3), "a label must be 0 to 2, got 3"),
        (lambda m: m.generate(2, [0, 1, 2]), "each of the 2 images, got 3"),
        (lambda m: m.generate(2, eta=0.5), "eta"),
        (lambda m: m.generate(2, sampler="ddim", eta=1.5), "eta"),
        (lambda m: m.generate(2, batch_size=0), "batch_size=0"),
        (lambda m: m.inpaint(real_images(2), np.zeros((8, 7))), r"\(1, 8, 7\).*\(2, 8, 8\)"),
        (lambda m: m.inpaint(2 * real_images(2), np.ones((8, 8))), r"in \[-1, 1\], got -1.9"),
        (lambda m: m.inpaint(real_images(2), np.ones((8, 8)), sampler="dpm_solver++"), "resample"),
        (lambda m: m.inpaint(real_images(2), np.ones((8, 8)), guidance_scale=2.0), "no labels"),
        (lambda m: m.super_resolve(real_images(2), 3), "divide 8 and 8, got 3"),
        (lambda m: m.denoise(real_images(2), 0.0), "strength"),
        (lambda m: m.denoise(real_images(2), 0.1, steps=20), "steps must be 1 to 5"),
        (lambda m: m.interpolate(*real_images(2), 1), "count must be 2 or more"),
        (lambda m: m.fit(real_images(2), verbose=0), "3 classes, the data has no labels"),
        (lambda m: small_model().generate(2, 1), "no classes"),
        (lambda m: small_model().generate(2, guidance_scale=2.0), "no classes"),
        (lambda m: small_model(objective="score"), "noise, v, x0, got 'score'"),
        (lambda m: small_model(label_dropout=1.0), "label_dropout=1.0"),
        (lambda m: small_model(min_snr_gamma=0), "min_snr_gamma"),
        (lambda m: small_model(guidance_interval=(0.5, 0.5)), r"rising shares in \[0, 1\], got \(0.5, 0.5\)"),
        (lambda m: small_model(schedule="sigmoid"), "schedule"),
    ],
)
def test_refusals(call, word):
    model = small_model(3)
    model.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match=word):
        call(model)


ON_JAX = """
import sys, keras, zoo, numpy as np
assert keras.backend.backend() == "jax"
import jax
model = keras.saving.load_model("model.keras", compile=False)
data = dict(np.load("data.npz"))
drawn = [jax.numpy.asarray(data[name]) for name in ("level", "noise", "hidden")]
model.draw, original = (lambda count, training: drawn), model.draw
variables = model.network.trainable_variables

def loss(values):
    with keras.StatelessScope(state_mapping=list(zip(variables, values))):
        return model.compute_loss(y_pred=model((data["images"], data["labels"]), training=True))

gradients = jax.grad(loss)([variable.value for variable in variables])
np.savez("gradients.npz", *gradients)
model.draw = original
options = {"steps": 4, "seed": 7, "guidance_scale": 2.0}
np.save("images.npy", model.generate(3, **options))
filled = model.inpaint(data["images"][:2], np.arange(64).reshape(8, 8) % 2, steps=3, resample=2, seed=0)
assert (filled[:, :, ::2] == data["images"][:2, :, ::2]).all()
assert "tensorflow" not in sys.modules
model.compile(keras.optimizers.Adam(1e-2))
before = model.get_weights()
fit = lambda m: m.fit(data["images"], data["labels"], batch_size=8, epochs=2, verbose=0).history["loss"]
assert np.isfinite(fit(model)).all()
assert all((one != other).any() for one, other in zip(before, model.get_weights()) if one.size > 8)
losses = [model.evaluate(data["images"], data["labels"], verbose=0) for _ in range(2)]
assert losses[0] == losses[1]
model.save("trained.keras")
again = keras.saving.load_model("trained.keras")
assert again.optimizer.iterations == 4
fit(again)
np.save("trained.npy", again.generate(3, **options))
again.save("again.keras")
"""


def test_the_same_on_jax(tmp_path):
    model = small_model(3)
    model.save(tmp_path / "model.keras")
    random = np.random.default_rng(2)
    data = {
        "images": real_images(),
        "labels": np.arange(16, dtype=np.int32) % 3,
        "level": random.integers(1, 51, 16).astype(np.int32),
        "noise": random.standard_normal((16, *SHAPE)).astype(np.float32),
        "hidden": np.arange(16) % 5 == 0,
    }
    np.savez(tmp_path / "data.npz", **data)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    child = subprocess.run(
        [sys.executable, "-c", ON_JAX], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    model.draw = lambda count, training: tuple(tf.constant(data[name]) for name in ("level", "noise", "hidden"))
    with tf.GradientTape() as tape:
        loss = model.compute_loss(y_pred=model((data["images"], data["labels"]), training=True))
    gradients = tape.gradient(loss, [variable.value for variable in model.network.trainable_variables])
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]  # an embedding has sparse ones
    for one, other in zip(gradients, np.load(tmp_path / "gradients.npz").values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    options = {"steps": 4, "seed": 7, "guidance_scale": 2.0}
    np.testing.assert_allclose(model.generate(3, **options), np.load(tmp_path / "images.npy"), atol=1e-4)
    back = keras.saving.load_model(tmp_path / "again.keras", compile=False)
    np.testing.assert_allclose(back.generate(3, **options), np.load(tmp_path / "trained.npy"), atol=1e-4)


# --- the recipe ---

TINY = {
    "widths": (8,),
    "attention_resolutions": (),
    "patch_size": 4,
    "batch_size": 64,
    "timesteps": 60,
    "guidance_interval": (0.0, 0.6),
    "steps": 4,
    "count": 60,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion")
    diffusion.train(epochs=2, output=folder, **TINY)
    return folder


def test_what_a_run_leaves_behind(run):
    names = {path.name for path in run.iterdir()}
    assert {"model.keras", "card.json", "config.json", "history.csv", "curves.png", "grid.png", "nearest.png"} <= names
    assert not any("partial" in name or name == "backup" for name in names)
    for name, frames in (("training.gif", 2), ("trajectory.gif", 4)):
        with Image.open(run / name) as animation:
            assert animation.n_frames >= frames
    with Image.open(run / "trajectory.png") as strip:  # four images, noisy and guessed, over four steps
        assert strip.height > 1.5 * strip.width
    card = json.loads((run / "card.json").read_text())
    assert next(iter(card["metrics"])) == "frechet_distance" and card["judge"] == "mnist_cnn" and card["conditional"]
    way = {"steps": 4, "sampler": "dpm_solver++", "guidance_scale": 1.0, "guidance_interval": [0.0, 0.6]}
    assert card["sampling"] == way
    (floor,) = card["baselines"].values()
    assert 0 < floor["frechet_distance"] < card["metrics"]["frechet_distance"]
    model = zoo.load(run / "model.keras")
    assert card["parameters"] == model.network.count_params() == model.count_params()
    header = (run / "history.csv").read_text().splitlines()[0]
    assert all(name in header for name in ("val_loss", "kernel_distance", "label_accuracy"))


def test_killed_training_resumes_to_the_same_weights(run, tmp_path, monkeypatch):
    save = checkpoints.save_model

    def fail_after_one(model, path):
        save(model, path)
        if path.name == "epoch-0001.keras":
            raise MemoryError

    monkeypatch.setattr(checkpoints, "save_model", fail_after_one)
    with pytest.raises(MemoryError):
        diffusion.train(epochs=2, output=tmp_path, **TINY)
    monkeypatch.setattr(checkpoints, "save_model", save)
    assert diffusion.train(resume=tmp_path)["epochs"] == 2
    for one, other in zip(*(weights(zoo.load(folder / "model.keras")) for folder in (run, tmp_path)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_folder_without_classes(image_folder, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in image_folder.rglob("*.png"):
        path.rename(flat / f"{path.parent.name}-{path.name}")
    options = {**TINY, "batch_size": 8, "image_shape": (16, 16, 3), "epochs": 1, "count": 4}
    result = diffusion.train(dataset=str(flat), output=tmp_path / "run", **options)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert not card["conditional"] and "label_accuracy" not in result["metrics"]
    generator = diffusion.Generator(tmp_path / "run")
    assert generator.num_classes is None
    pixels, labels = generator(2, seed=0, steps=4, sampler="ddim", guidance_scale=1.0)
    assert pixels.shape == (2, 16, 16, 3) and labels is None
    with pytest.raises(ValueError, match="needs a model with classes"):
        drawing.sample(model=str(tmp_path / "run"), steps=4, guidance_scale=2.0, output=tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_sample_in_every_form(capfd, run, tmp_path):
    def sample(*arguments):
        status, answer, _ = run_json(capfd, "sample", "diffusion", "--model", run, "--steps", 4, *arguments)
        assert status == 0
        return answer

    sample("--count", 12, "--seed", 7, "--output", tmp_path / "a.npz")
    sample("--count", 12, "--seed", 7, "--output", tmp_path / "new" / "b.npz")
    sample("--count", 12, "--seed", 8, "--output", tmp_path / "c.npz")
    a, b, c = (np.load(tmp_path / name) for name in ("a.npz", "new/b.npz", "c.npz"))
    assert a["images"].shape == (12, 28, 28, 1) and a["images"].dtype == np.uint8
    assert a["labels"].tolist() == [*range(10), 0, 1]  # round all classes
    assert (a["images"] == b["images"]).all() and (a["images"] != c["images"]).any()
    sample("--count", 12, "--seed", 7, "--output", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        np.testing.assert_array_equal(np.asarray(grid)[..., None], plots.montage(a["images"]))
    answer = sample("--count", 3, "--label", 3, 7, "--sampler", "ddpm", "--output", tmp_path / "folder")
    assert answer["labels"] == ["3", "7", "3"]
    assert sorted(p.name for p in (tmp_path / "folder").iterdir())[:2] == ["00000-3.png", "00001-7.png"]
    sample("--count", 2, "--trajectory", "--guidance-scale", 2, "--output", tmp_path / "way.gif")
    with Image.open(tmp_path / "way.gif") as way:
        assert way.n_frames >= 4


def test_predict_every_task(capfd, run, tmp_path):
    digits = diffusion.datasets("digits").split("test")[0][:2]
    for name, digit in zip("ab", digits, strict=True):
        plots.save_image(digit, tmp_path / f"{name}.png")
    mask = np.zeros((28, 28, 1), np.uint8)
    mask[:, 14:] = 255
    plots.save_image(mask, tmp_path / "mask.png")
    common = ("--model", run, "--steps", 3, "--count", 2)

    def predict(task, *arguments):
        output = tmp_path / task
        status, answer, _ = run_json(
            capfd, "predict", "diffusion", "--task", task, *arguments, *common, "--output", output
        )
        assert status == 0 and (output / "sheet.png").is_file()
        listed = [path for row in answer["predictions"] for path in row["results"]]
        return np.stack([np.atleast_3d(np.asarray(Image.open(path))) for path in listed])

    filled = predict("inpaint", "--mask", tmp_path / "mask.png", tmp_path / "a.png", tmp_path / "b.png")
    assert filled.shape == (4, 28, 28, 1)
    np.testing.assert_array_equal(filled[:, :, :14], digits.repeat(2, axis=0)[:, :, :14])
    assert (filled[0] != filled[1]).any()
    large = predict("super_resolve", "--label", 3, "--guidance-scale", 1.5, tmp_path / "a.png")
    assert large.shape == (2, 28, 28, 1)
    assert predict("denoise", "--strength", 0.5, tmp_path / "a.png").shape == (2, 28, 28, 1)
    assert predict("interpolate", tmp_path / "a.png", tmp_path / "b.png").shape == (2, 28, 28, 1)


def test_every_form_is_measured_and_gives_the_same_images(capfd, run, tmp_path):
    status, answer, _ = run_json(
        capfd, "export", "diffusion", "--model", run, "--format", "tflite", "saved_model", "--steps", 4, "--count", 40,
        "--guidance-scale", 2, "--output", tmp_path / "files",
    )  # fmt: skip
    assert status == 0
    found = {entry["file"]: entry for entry in answer["files"]}
    assert set(found) == {"model.tflite", "saved_model"}
    for entry in found.values():
        assert entry["max_abs_difference"] < 1.5 / 255 and entry["latency_ms"] > 0
        for name in ("frechet_distance", "label_accuracy"):
            assert entry["metrics"][name] == pytest.approx(answer["metrics"][name], rel=0.01)
    # one step of the file is one step of the model
    model = zoo.load(run / "model.keras")
    noisy = np.random.default_rng(0).standard_normal((1, 28, 28, 1)).astype(np.float32)
    step = {"image": noisy, "level": np.array([30], np.int32), "label": np.array([4], np.int32)}
    expected = model.clean(*(tf.constant(value) for value in step.values()), 2.0)
    for name in found:
        denoise = export.load(tmp_path / "files" / name, endpoint="denoise")
        np.testing.assert_allclose(denoise(**step, guidance_scale=np.float32(2))["clean"], expected, atol=1e-4)
    for steps in (2, 7):  # in a SavedModel they are an input
        way = {"seed": 3, "steps": steps, "sampler": "dpm_solver++", "guidance_scale": 2.0}
        images = [diffusion.Generator(path)(5, **way)[0].astype(int) for path in (run, tmp_path / "files/saved_model")]
        assert np.abs(images[0] - images[1]).max() <= 1
    tflite = tmp_path / "files" / "model.tflite"
    evaluate = ("evaluate", "diffusion", "--model", tflite, "--count", 4)
    assert "made for 4 steps, got steps 5" in refused(capfd, *evaluate, "--steps", 5)
    assert "dpm_solver++ inside" in refused(capfd, *evaluate, "--sampler", "ddim")
    assert "exported already" in refused(capfd, "export", "diffusion", "--model", tflite)
    # its single steps do all that the model does
    images = np.float32(diffusion.datasets("digits").split("test")[0][:2]) / 127.5 - 1
    mask = np.zeros((28, 28), bool)
    mask[:, 14:] = True
    for name in found:
        file = sampling.ExportedDiffusion(tmp_path / "files" / name)
        for way in (
            lambda net: net.generate(3, [1, 2, 3], steps=5, sampler="ddim", guidance_scale=2.0, seed=1),
            lambda net: net.generate(3, steps=5, guidance_scale=0.0, seed=1),
            lambda net: net.denoise(images, 0.5, steps=4, seed=1),
            lambda net: net.interpolate(*images, 3, steps=5),
        ):
            np.testing.assert_allclose(way(file), way(model), atol=2e-3)
        filled = file.inpaint(images, mask, steps=3, resample=2, seed=1)
        np.testing.assert_array_equal(filled[:, :, :14], images[:, :, :14])
        assert np.abs(filled[:, :, 14:] - images[:, :, 14:]).max() > 0.1
        alone = file.inpaint(images[:1], mask, steps=3, resample=2, seed=1)  # the same draws; oneDNN rounds by batch
        np.testing.assert_allclose(filled[:1], alone, atol=1e-5)
        small = 0.3 * images.reshape(2, 7, 4, 7, 4, 1).mean(axis=(2, 4))  # grey enough to be in [-1, 1] with details
        large = file.super_resolve(small, 4, steps=3, seed=1).reshape(2, 7, 4, 7, 4, 1).mean(axis=(2, 4))
        np.testing.assert_allclose(large, small, atol=0.1)
    output = tmp_path / "varied"
    plots.save_image(np.uint8(images[0] * 127.5 + 127.5), tmp_path / "a.png")
    paths = (tmp_path / "a.png", "--model", tflite, "--steps", 2, "--count", 2, "--output", output)
    status, answer, _ = run_json(capfd, "predict", "diffusion", "--task", "denoise", *paths)
    assert status == 0 and len(answer["predictions"][0]["results"]) == 2 and (output / "sheet.png").is_file()


def test_the_schedule_of_an_older_file_stands_in_its_card(tmp_path):
    published = pretrained.file("diffusion", "model.tflite")
    with zipfile.ZipFile(published) as archive:
        notes = {name: archive.read(name).decode() for name in archive.namelist()}
        end = min(entry.header_offset for entry in archive.infolist())
    older = {key: value for key, value in json.loads(notes["metadata.json"]).items() if key != "schedule"}
    (tmp_path / "model.tflite").write_bytes(published.read_bytes()[:end])
    with zipfile.ZipFile(tmp_path / "model.tflite", "a") as archive:
        archive.writestr("labels.txt", notes["labels.txt"])
        archive.writestr("metadata.json", json.dumps(older))
    with pytest.raises(ValueError, match="does not say its noise schedule"):
        sampling.ExportedDiffusion(tmp_path / "model.tflite")
    shutil.copy(published.parent / "card.json", tmp_path)
    both = [sampling.ExportedDiffusion(path) for path in (published, tmp_path / "model.tflite")]
    np.testing.assert_array_equal(*(file.generate(1, 3, steps=2, seed=0) for file in both))


def test_evaluate_with_sweep_and_restoration(capfd, run, tmp_path):
    status, answer, _ = run_json(
        capfd, "evaluate", "diffusion", "--model", run, "--count", 40, "--steps", 3, "--sweep", 2, 5,
        "--sweep-count", 20, "--restore", 8, "--output", tmp_path,
    )  # fmt: skip
    assert status == 0 and answer["judge"] == "mnist_cnn"
    assert [(row["sampler"], row["steps"]) for row in answer["sweep"]] == [
        (sampler, steps) for sampler in samplers.SAMPLERS for steps in (2, 5)
    ]
    assert all({"frechet_distance", "kernel_distance", "seconds_per_image"} < set(row) for row in answer["sweep"])
    assert 0 < answer["sweep_real_images"] < min(row["frechet_distance"] for row in answer["sweep"])
    rows = {row["images"]: row for row in answer["restored"]}
    assert len(rows) == 6 and rows["the images themselves"]["accuracy"] > 0.8
    assert rows["bicubic, 4 times"]["psnr"] > 10
    assert {path.name for path in tmp_path.iterdir()} == {
        "evaluation.json", "grid.png", "nearest.png", "sweep.png", "inpainted.png", "enlarged.png"
    }  # fmt: skip


def test_benchmark(capfd, run, tmp_path):
    options = ("--steps", 2, "--count", 2, "--rounds", 1, "--batch-size", 4, "--training-steps", 2)
    status, answer, _ = run_json(capfd, "benchmark", "diffusion", "--model", run, *options, "--output", tmp_path)
    assert status == 0 and answer["sampling_seconds"]["all steps / ours"] > 1
    assert answer["training_images_per_second"]["ours / plain"] > 0
    assert len(answer["latency_ms"]) == 4 and answer["peak_memory_mb"] > 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "--steps", "0"], ["steps must be 1 to 60", "got 0"]),
        (["sample", "--steps", "61"], ["steps must be 1 to 60", "got 61"]),
        (["sample", "--steps", "4", "--label", "12"], ["'12'", "0, 1, 2"]),
        (["sample", "--steps", "4", "--count", "0"], ["count", "got 0"]),
        (["sample", "--steps", "4", "--guidance-scale", "nan"], ["guidance_scale", "[0, inf)", "nan"]),
        (["sample", "--model", "diffusion", "--guidance-scale", "nan"], ["guidance_scale", "[0, inf)", "nan"]),
        (["sample", "--steps", "4", "--sampler", "euler"], ["euler"]),
        (["sample", "--steps", "4", "--output", "a.gif"], ["--trajectory"]),
        (["sample", "--steps", "4", "--output", "a.jpg"], [".npz", "a.jpg"]),
        (["sample", "--model", "mnist_cnn"], ["not for image generation"]),
        (["sample", "--model", "nowhere.keras"], ["nowhere.keras"]),
        (["predict"], ["no image"]),
        (["predict", "images/five.png"], ["inpaint needs --mask"]),
        (
            ["predict", "images/five.png", "--task", "denoise", "--mask", "mask.png"],
            ["--mask goes with --task inpaint"],
        ),
        (["predict", "images/five.png", "--mask", "mask.png"], ["(5, 7)", "five.png"]),
        (["predict", "images/five.png", "--mask", "dark.png"], ["dark everywhere"]),
        (["predict", "images/none.png", "--task", "denoise"], ["none.png"]),
        (["predict", "images/five.png", "--task", "denoise", "--strength", "1.5", "--steps", "3"], ["strength", "1.5"]),
        (["predict", "images/five.png", "--task", "denoise", "--guidance-scale", "2", "--steps", "3"], ["no labels"]),
        (["predict", "images/five.png", "--task", "super_resolve", "--factor", "3"], ["factor", "3"]),
        (["predict", "images/five.png", "--task", "interpolate"], ["two images, got 1"]),
        (["evaluate", "--sweep", "5", "90"], ["got 90"]),
        (["train", "--timesteps", "10", "--steps", "20"], ["steps must be 1 to 10", "got 20"]),
        (["train", "--widths", "12"], ["multiples of groups=8", "12"]),
        (["train", "--image-shape", "30", "30", "1"], ["multiples of 4", "30"]),
        (["train", "--label-dropout", "1"], ["label_dropout"]),
        (["train", "--dataset", "nowhere/"], ["nowhere"]),
        (["export", "--quantize", "int8"], ["int8"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_wrong_input_is_one_clear_line(capfd, run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").symlink_to(os.path.join(os.path.dirname(__file__), "images"))
    with Image.open("images/five.png") as image:
        Image.new("L", image.size).save("dark.png")
    Image.new("L", (5, 7), 255).save("mask.png")
    before = {path.name for path in tmp_path.iterdir()}
    own = [] if "--model" in arguments or arguments[0] == "train" else ["--model", run]
    line = refused(capfd, arguments[0], "diffusion", *arguments[1:], *own)
    assert all(word in line for word in words), line
    assert {path.name for path in tmp_path.iterdir()} == before


def test_the_published_model_draws_what_is_asked_for():
    generator = diffusion.Generator("diffusion")
    judge = generation.Judge("auto", diffusion.datasets("digits"))
    pixels, labels = generator(100, seed=5, **generator.sampling(20, "dpm_solver++", None))
    answers = generation.answers(judge(pixels)[1], labels)
    assert answers["label_accuracy"] >= 0.95 and answers["confidence"] >= 0.9
    tflite = diffusion.Generator(zoo.pretrained.file("diffusion", "model.tflite"))
    found = tflite(3, seed=5, **generator.sampling(20, "dpm_solver++", None))[0]
    assert np.abs(found.astype(int) - pixels[:3]).mean() < 4  # weights of 8 bits
    card = zoo.pretrained.card("diffusion")
    assert card["parameters"] <= 3_000_000 and card["metrics"]["label_accuracy"] >= 0.98
