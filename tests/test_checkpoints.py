"""PyTorch's checkpoints read without PyTorch; and, where it is installed, against it."""

import collections
import hashlib
import io
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

import zoo
from zoo import checkpoints
from zoo.alexnet import DEVIATION, MEAN


class Tensor:
    """What `torch.save` would write for a tensor."""

    def __init__(self, key, array):
        self.key, self.array = key, array

    def __reduce__(self):
        steps = tuple(step // self.array.itemsize for step in self.array.strides)
        storage = Storage(self.key, self.array.size)
        arguments = (storage, 0, self.array.shape, steps, False, collections.OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments


class Storage:
    def __init__(self, key, count):
        self.key, self.count = key, count


@pytest.fixture
def save(monkeypatch):
    """Writes a dictionary of arrays as `torch.save` does, with modules that stand for PyTorch's names only."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                return ("storage", torch.FloatStorage, value.key, "cpu", value.count)

    def write(state, path, cut=False):
        stream = io.BytesIO()
        tensors = {name: Tensor(str(key), array) for key, (name, array) in enumerate(state.items())}
        Pickler(stream, 2).dump(collections.OrderedDict(tensors))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", stream.getvalue())
            for key, array in enumerate(state.values()):
                content = array.tobytes(order="A")
                archive.writestr(f"archive/data/{key}", content[: len(content) // 2] if cut else content)
        return path

    return write


SHAPES = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216),
    "classifier.4": (4096, 4096),
    "classifier.6": (1000, 4096),
}


def alexnet_state():
    """Weights with the names and shapes of torchvision's AlexNet."""
    random, state = np.random.default_rng(0), {}
    for source, shape in SHAPES.items():  # few random numbers again and again: they are quickly made
        state[f"{source}.weight"] = np.resize(random.standard_normal(9973, np.float32), shape)
        state[f"{source}.bias"] = random.standard_normal(shape[0], np.float32)
    return state


def test_arrays_come_back_to_the_bit(save, tmp_path):
    random = np.random.default_rng(0)
    state = {"a.weight": random.random((3, 4, 5), np.float32), "a.bias": random.random(7, np.float32)}
    state["turned"] = random.random((6, 2), np.float32).T  # another order in memory
    found = checkpoints.load_torch(save(state, tmp_path / "x.pth"))
    assert list(found) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_hash_in_a_name_is_checked(save, tmp_path):
    path = save({"a": np.ones(3, np.float32)}, tmp_path / "x.pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    good = path.rename(tmp_path / f"net-{digest[:8]}.pth")
    assert list(checkpoints.load_torch(good)) == ["a"]
    wrong = good.rename(tmp_path / "net-0123abcd.pth")
    with pytest.raises(ValueError, match=f"sha256 is {digest}, its name says 0123abcd"):
        checkpoints.load_torch(wrong)


class Evil:
    def __reduce__(self):
        return print, ("this must not be printed",)


@pytest.mark.parametrize("form", ["zip", "plain"])
def test_a_pickle_that_would_run_something_is_refused(form, tmp_path, capsys):
    path, content = tmp_path / "x.pth", pickle.dumps({"a": Evil()})
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pth is not a PyTorch checkpoint .*builtins\.print"):
        checkpoints.load_torch(path)
    assert capsys.readouterr().out == ""


def test_wrong_files_are_refused_in_words(save, tmp_path):
    with pytest.raises(ValueError, match=r"there is no checkpoint .*none\.pth"):
        checkpoints.load_torch(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "empty.pth").write_bytes(b"")
    save({"a": np.ones(30, np.float32)}, tmp_path / "cut.pth", cut=True)
    (tmp_path / "numbers.pth").write_bytes(pickle.dumps({"a": 1}))
    for name in ("text", "empty", "cut", "numbers"):
        with pytest.raises(ValueError, match=rf"{name}\.pth is not a PyTorch checkpoint"):
            checkpoints.load_torch(tmp_path / f"{name}.pth")


def test_without_a_network_there_is_one_clear_line(monkeypatch):
    def fail(name, url, cache_subdir):
        raise Exception("URL fetch failure on https://x: None -- Name or service not known")

    monkeypatch.setattr(checkpoints.keras.utils, "get_file", fail)
    with pytest.raises(ValueError, match=r"alexnet-owt-7be5be79\.pth cannot be downloaded .*not known.*path"):
        zoo.alexnet(variant="single", weights="imagenet")


def test_weights_of_torchvision_stand_in_the_layers(save, tmp_path, monkeypatch):
    state = alexnet_state()
    path = save(state, tmp_path / "alexnet.pth")
    monkeypatch.setattr(checkpoints.keras.utils, "get_file", lambda *args, **options: path)
    model = zoo.alexnet_regressor(weights="imagenet", freeze_until="pool5")
    kernel, bias = model.get_layer("conv2").get_weights()
    np.testing.assert_array_equal(kernel, state["features.3.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(bias, state["features.3.bias"])
    features = np.random.default_rng(1).random((6, 6, 256), np.float32)
    kernel, bias = model.get_layer("fc6").get_weights()
    expected = state["classifier.1.weight"] @ features.transpose(2, 0, 1).ravel() + state["classifier.1.bias"]
    np.testing.assert_allclose(features.ravel() @ kernel + bias, expected, atol=1e-2)
    frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable]
    assert frozen == ["conv1", "conv2", "conv3", "conv4", "conv5"]


def test_a_checkpoint_of_another_network_is_refused(save, tmp_path):
    path = save({"features.0.weight": np.ones((3, 3), np.float32)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth .*it has no features\.0\.bias"):
        zoo.alexnet(variant="single", weights=str(path))
    with pytest.raises(ValueError, match='variant="single" at width=1'):
        zoo.alexnet(weights=str(path))
    with pytest.raises(ValueError, match=r"width=0\.5"):
        zoo.alexnet_regressor(weights=path, width=0.5)
    state = {
        f"features.0.{part}": np.ones(shape, np.float32) for part, shape in (("weight", (2, 3, 5, 5)), ("bias", 2))
    }
    path = save(state, tmp_path / "shapes.pth")
    with pytest.raises(ValueError, match=r"shapes\.pth: features\.0 has shapes \(5, 5, 3, 2\) .*conv1 needs"):
        zoo.alexnet(variant="single", weights=str(path), include_top=False)


@pytest.mark.parametrize("in_zip", [True, False], ids=["zip", "legacy"])
def test_outputs_are_those_of_pytorch(in_zip, tmp_path):
    torch = pytest.importorskip("torch")
    from recipes.benchmarks.torch_alexnet import torch_alexnet

    torch.manual_seed(0)
    network = torch_alexnet(1.0, 10).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # so that the answers are of the order of 1
            parameter *= 1.8
    path = tmp_path / "alexnet.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=in_zip)
    for shape in ((227, 227, 3), (100, 130, 3)):
        model = zoo.alexnet(shape, 10, variant="single", weights=str(path), classifier_activation=None)
        image = np.random.default_rng(0).random((2, *shape), np.float32)
        scaled = (image - np.float32(MEAN)) / np.float32(DEVIATION)
        with torch.no_grad():
            expected = network(torch.tensor(scaled.transpose(0, 3, 1, 2))).numpy()
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(model(image), expected, atol=1e-4)
