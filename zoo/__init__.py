"""Zoo: nine small vision and sound systems on Keras 3, each trained, measured and exported for a phone.

    import zoo
    model = zoo.mnist_cnn()           # a fresh network, to compile and fit
    model = zoo.load("mnist_cnn")     # a published one, with its weights

    zoo.predict("yolo_scenes", "photo.jpg").detections  # the answer of its phone file, without TensorFlow or Keras

Each part is imported when it is first used. `zoo.export` (SavedModel, TFLite, ONNX) needs TensorFlow; all else that
builds or trains runs on the TensorFlow and the JAX backend.
"""

import importlib
import sys
import types

_MODULES = (
    "boxes",
    "dcgan",
    "diffusion",
    "export",
    "losses",
    "metrics",
    "pretrained",
    "samplers",
    "sampling",
    "tracking",
)
_FROM = {  # name to the module that has it
    "DCGAN": "dcgan",
    "Diffusion": "diffusion",
    "Predictor": "predictor",
    "alexnet": "alexnet",
    "alexnet_regressor": "alexnet",
    "apply_cast": "color",
    "correct_color": "color",
    "denoising_autoencoder": "denoising_autoencoder",
    "diffusion_unet": "diffusion_unet",
    "efficientnet_lite": "efficientnet_lite",
    "image_classifier": "image_classifier",
    "list": "pretrained",
    "load": "pretrained",
    "mnist_cnn": "mnist_cnn",
    "predict": "predictor",
    "spectrogram_cnn": "spectrogram_cnn",
    "unet": "unet",
    "yolo": "yolo",
}
__all__ = sorted([*_MODULES, *_FROM])
__version__ = "0.1.0"


class _Zoo(types.ModuleType):
    """Builders have the names of their files: `zoo.unet` is the function, also after the file was imported."""

    def __setattr__(self, name, value):
        if isinstance(value, types.ModuleType) and _FROM.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"zoo.{name}")
    if name in _FROM:
        try:
            value = getattr(importlib.import_module(f"zoo.{_FROM[name]}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] in ("tensorflow", "jax", "torch"):  # what Keras runs on
                raise ImportError(
                    f"zoo.{name} needs {error.name.split('.')[0]}: pip install 'image-zoo[train]'"
                ) from error
            raise
        globals()[name] = value
        return value
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__():
    return [*__all__, "__version__"]


sys.modules[__name__].__class__ = _Zoo
if "keras" in sys.modules:  # then Keras can open every model of ours by itself
    importlib.import_module("zoo.pretrained").register()
