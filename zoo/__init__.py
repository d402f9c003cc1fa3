"""Zoo: eight small vision and sound systems on Keras 3, each trained, measured and exported for a phone.

    import zoo
    model = zoo.mnist_cnn()           # a fresh network, to compile and fit
    model = zoo.load("mnist_cnn")     # a published one, with its weights

`zoo.export` (SavedModel, TFLite, ONNX) needs TensorFlow; everything else runs on the TensorFlow and the JAX backend.
"""

import importlib

from zoo import boxes, dcgan, diffusion, losses, metrics, samplers
from zoo.alexnet import alexnet, alexnet_regressor
from zoo.color import apply_cast, correct_color
from zoo.dcgan import DCGAN
from zoo.denoising_autoencoder import denoising_autoencoder
from zoo.diffusion import Diffusion
from zoo.diffusion_unet import diffusion_unet
from zoo.efficientnet_lite import efficientnet_lite
from zoo.mnist_cnn import mnist_cnn
from zoo.pretrained import load
from zoo.spectrogram_cnn import spectrogram_cnn
from zoo.unet import unet
from zoo.yolo import yolo

__all__ = [
    "DCGAN",
    "Diffusion",
    "alexnet",
    "alexnet_regressor",
    "apply_cast",
    "boxes",
    "correct_color",
    "dcgan",
    "denoising_autoencoder",
    "diffusion",
    "diffusion_unet",
    "efficientnet_lite",
    "export",
    "load",
    "losses",
    "metrics",
    "mnist_cnn",
    "pretrained",
    "samplers",
    "spectrogram_cnn",
    "tracking",
    "unet",
    "yolo",
]
__version__ = "0.1.0"


def __getattr__(name):
    if name in ("export", "tracking"):  # only on demand: they import TensorFlow, whatever the backend, and SciPy
        return importlib.import_module(f"zoo.{name}")
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
