"""Colour casts: there and back, the classical methods, the angle between colours."""

import keras
import numpy as np
import pytest

import zoo
from zoo import color


def photos(count=4, side=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize(("kind", "spread"), [("shift", (-60, 60)), ("gains", (0.7, 1.4))])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("backend", ["numpy", "tensor"])
def test_correct_color_is_the_inverse_of_apply_cast(kind, spread, dtype, backend):
    random = np.random.default_rng(1)
    cast = random.uniform(*spread, (4, 3))
    images = photos() if dtype == "uint8" else np.float32(photos() / 255)
    top = 255 if dtype == "uint8" else 1
    step = cast[:, None, None] * (top / 255 if kind == "shift" else 1)
    changed = images + step if kind == "shift" else images * step
    given = images if backend == "numpy" else keras.ops.convert_to_tensor(images)
    with_cast = zoo.apply_cast(given, cast, kind)
    back = zoo.correct_color(with_cast, cast, kind)
    assert isinstance(back, np.ndarray) == (backend == "numpy")
    with_cast, back = np.asarray(with_cast), np.asarray(back)
    assert with_cast.dtype == back.dtype == dtype and with_cast.shape == images.shape
    expected = changed.clip(0, top)
    np.testing.assert_allclose(with_cast, np.rint(expected) if dtype == "uint8" else expected, atol=1e-6)
    unclipped = (changed >= 0) & (changed <= top)
    assert 0.5 < unclipped.mean() < 1
    np.testing.assert_allclose(back[unclipped], images[unclipped], atol=1 if dtype == "uint8" else 1e-5)
    clipped = np.abs(np.float64(back) - images)[~unclipped]
    assert clipped.max() > (5 if dtype == "uint8" else 0.02)  # what was clipped is lost


def test_a_whole_shift_that_clips_nothing_comes_back_to_the_bit():
    images = photos() // 2 + 60
    for cast in ([20, -30, 5], np.tile([[-60, 60, 7]], (4, 1))):
        np.testing.assert_array_equal(zoo.correct_color(zoo.apply_cast(images, cast), cast), images)


def test_one_image_and_one_cast():
    image = np.full((2, 2, 3), 100, np.uint8)
    assert zoo.correct_color(image, [10.4, -10.4, 200]).tolist() == [[[90, 110, 0]] * 2] * 2
    assert zoo.apply_cast(image, (0.5, 1, 3), kind="gains").tolist() == [[[50, 100, 255]] * 2] * 2


@pytest.mark.parametrize("kind", ["shift", "gains"])
@pytest.mark.parametrize("method", ["gray_world", "shades_of_gray", "white_patch"])
def test_classical_methods_find_the_cast_where_their_assumption_holds(kind, method):
    grey = np.repeat(np.random.default_rng(0).integers(90, 150, (3, 16, 16, 1)), 3, axis=-1).astype(np.uint8)
    cast = np.array([[20.0, -10, -10], [-30, 40, -10], [0, 0, 0]])
    cast = 1 + cast / 100 if kind == "gains" else cast
    found = getattr(color, method)(zoo.apply_cast(grey, cast, kind), kind)
    np.testing.assert_allclose(found, cast, atol=0.02 if kind == "gains" else 1.5)


def test_methods_against_their_formulas():
    images = photos(2)
    values = images / 255.0
    for method, levels in (
        (color.gray_world, values.mean(axis=(1, 2))),
        (color.shades_of_gray, (values**6).mean(axis=(1, 2)) ** (1 / 6)),
        (color.white_patch, values.max(axis=(1, 2))),
    ):
        mean = levels.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(method(images), 255 * (levels - mean), atol=1e-9)
        np.testing.assert_allclose(method(images, "gains"), levels / mean)


def test_angular_error():
    white, red = np.array([[1.0, 1, 1]]), np.array([[1.0, 0, 0]])
    assert color.angular_error(white, red, "gains")[0] == pytest.approx(np.degrees(np.arccos(1 / np.sqrt(3))))
    assert color.angular_error(white * 3, white, "gains")[0] == pytest.approx(0, abs=1e-3)
    # a grey surface at 128 under shifts of (72, 22, -28) is (200, 150, 100)
    expected = np.degrees(np.arccos(450 / np.sqrt(3) / np.linalg.norm([200, 150, 100])))
    assert color.angular_error([[72, 22, -28]], [[0, 0, 0]])[0] == pytest.approx(expected)
    assert color.angular_error([[50, 50, 50]], [[-20, -20, -20]])[0] == pytest.approx(0, abs=1e-3)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="shift, gains, got 'hue'"):
        zoo.apply_cast(photos(), [0, 0, 0], "hue")
    with pytest.raises(ValueError, match=r"got \(4, 20, 20\)"):
        zoo.correct_color(photos()[..., 0], [0, 0, 0])
