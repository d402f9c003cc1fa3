"""PyTorch checkpoints without PyTorch: a state dictionary's tensors as NumPy arrays.

A `.pth` file is a pickle, and a pickle can run anything. This reader knows the few names that a state dictionary of
tensors needs and refuses all others; it reads the zip files of PyTorch 1.6 and later and the form before.
"""

import collections
import pickle
import re
import zipfile
from pathlib import Path

import keras
import numpy as np

from zoo import pretrained

TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
LEGACY = 0x1950A86A20F9469CFC6C  # the number that the older form begins with


def download(url):
    """Downloads a checkpoint into Keras's cache once; the sha256 in its name is checked each time.

    Returns:
        Its `pathlib.Path`.

    Raises:
        ValueError: If it cannot be downloaded.
    """
    name = url.rsplit("/", 1)[1]
    try:
        path = Path(keras.utils.get_file(name, url, cache_subdir="models"))
    except Exception as error:  # the downloader's own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{name} cannot be downloaded ({reason}); without a network give the path of the file as weights"
        ) from error
    return path


def load_torch(path):
    """Reads a state dictionary that `torch.save` wrote.

    Args:
        path: The file. Where its name ends in -HASH.pth, as those of torchvision do, its sha256 must begin with HASH.

    Returns:
        Dictionary of name to NumPy array.

    Raises:
        ValueError: If there is no such file, its hash is wrong, or it is not a state dictionary of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    wanted = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    if wanted:
        found = pretrained.sha256(path)
        if not found.startswith(wanted[1]):
            raise ValueError(f"{path} is damaged: its sha256 is {found}, its name says {wanted[1]}...; get it again")
    try:
        state = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        state = {str(name): value for name, value in state.items() if isinstance(value, np.ndarray)}
    except Exception as error:  # a damaged file meets its reader anywhere
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is not a PyTorch checkpoint of tensors: {reason}") from error
    if not state:
        raise ValueError(f"{path} is not a PyTorch checkpoint of tensors: there are none in it")
    return state


class _Reader(pickle.Unpickler):
    """An unpickler of dictionaries of tensors and of nothing else."""

    def __init__(self, stream, storage):
        super().__init__(stream, encoding="utf-8")
        self.storage = storage

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, requires_grad, hooks: data
        if module == "torch" and name in TYPES:
            return np.dtype(TYPES[name])
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which no state dictionary needs")

    def persistent_load(self, identity):
        kind, dtype, key, _, count, *view = identity
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"it holds a {kind}")
        return self.storage(str(key), dtype, count)


def _tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if offset < 0 or min(stride, default=0) < 0 or (0 not in size and last >= len(storage)):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        (index,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = index.removesuffix("data.pkl")

        def storage(key, dtype, count):
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype, count)

        with archive.open(index) as stream:
            return _Reader(stream, storage).load()


def _read_legacy(path):
    storages = {}

    def storage(key, dtype, count):
        return storages.setdefault(key, np.empty(count, dtype))  # their content comes at the end

    with open(path, "rb") as stream:
        number, _, _ = (_Reader(stream, None).load() for _ in range(3))
        if number != LEGACY:
            raise pickle.UnpicklingError("it is a pickle of another kind")
        position, tensors = stream.tell(), None
        _Reader(stream, storage).load()
        for key in _Reader(stream, None).load():
            (count,) = np.frombuffer(stream.read(8), "<i8")
            if count != len(storages[key]):
                raise pickle.UnpicklingError("it is cut off")
            storages[key][:] = np.frombuffer(stream.read(count * storages[key].itemsize), storages[key].dtype)
        stream.seek(position)  # once more, now that the storages are filled
        tensors = _Reader(stream, storage).load()
    return tensors
