"""What `zoo` has, for editors and type checkers: each name is imported when it is first used."""

from zoo import boxes as boxes
from zoo import dcgan as dcgan
from zoo import diffusion as diffusion
from zoo import export as export
from zoo import losses as losses
from zoo import metrics as metrics
from zoo import pretrained as pretrained
from zoo import samplers as samplers
from zoo import sampling as sampling
from zoo import tracking as tracking
from zoo.alexnet import alexnet as alexnet
from zoo.alexnet import alexnet_regressor as alexnet_regressor
from zoo.color import apply_cast as apply_cast
from zoo.color import correct_color as correct_color
from zoo.dcgan import DCGAN as DCGAN
from zoo.denoising_autoencoder import denoising_autoencoder as denoising_autoencoder
from zoo.diffusion import Diffusion as Diffusion
from zoo.diffusion_unet import diffusion_unet as diffusion_unet
from zoo.efficientnet_lite import efficientnet_lite as efficientnet_lite
from zoo.image_classifier import image_classifier as image_classifier
from zoo.mnist_cnn import mnist_cnn as mnist_cnn
from zoo.predictor import Predictor as Predictor
from zoo.predictor import predict as predict
from zoo.pretrained import list as list
from zoo.pretrained import load as load
from zoo.spectrogram_cnn import spectrogram_cnn as spectrogram_cnn
from zoo.unet import unet as unet
from zoo.yolo import yolo as yolo

__version__: str
