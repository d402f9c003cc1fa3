"""What a model is exported with where nothing else is said: its signature, the names of its classes, what it says."""

import keras
from keras import Input

from zoo import pretrained
from zoo.denoising_autoencoder import factor_of, stride_of
from zoo.export.detection import detection_endpoint, detection_metadata
from zoo.export.endpoints import (
    cast_endpoint,
    diffusion_endpoints,
    float32_copy,
    image_endpoint,
    latent_endpoint,
    mask_endpoint,
    pixels_endpoint,
    sound_endpoint,
)
from zoo.exported import ENDPOINT


def usual(model, input_shape=None):
    """(model in float32 and of a fixed size, endpoints, names of the classes, metadata) for one of ours.

    What the card of a published model or run says of its classes and size goes into the file, as it does with the
    command line.

    Raises:
        ValueError: If its size is open and neither card nor `input_shape` says it.
    """
    card = pretrained.card_of(model)
    if hasattr(model, "timesteps"):  # a Diffusion, which keeps its averaged weights
        if input_shape is not None:
            raise ValueError(f"a {type(model).__name__} has a size of its own, got input_shape={tuple(input_shape)}")
        model = model.with_network(float32_copy(model.averaged().network))
        border = card.get("dataset", {}).get("border")
        extra = diffusion_metadata(model, None, card.get("sampling", {}).get("guidance_scale", 1.0), border)
        return model, diffusion_endpoints(model), _labels(card), _metadata(card, extra, "image generation")
    was_open = not isinstance(model.input_shape, list) and None in model.input_shape[1:]
    model = _fixed(float32_copy(model), input_shape, card)
    outputs, (first, *_) = set(model.output_names), model.inputs
    about = card.get("dataset", {})
    task = "image classification"
    if outputs == {"boxes", "scores"}:
        task = "object detection"
        endpoint, extra = detection_endpoint(model), detection_metadata(model.input_shape[1:3])
    elif "mask" in outputs:
        task = "semantic segmentation"
        mask = model.get_layer("mask").output
        endpoint = mask_endpoint(model if len(outputs) == 1 else keras.Model(model.input, mask, name=model.name))
        extra = mask_metadata(model.input_shape[1:], mask.shape[-1], about.get("colours"))
    elif outputs == {"restored"}:
        factor = factor_of(model)
        task = "image denoising" if factor == 1 else "image super-resolution"
        endpoint = pixels_endpoint(model)[ENDPOINT]
        extra = pixels_metadata(card.get("noise", {}), stride_of(model), 1 if was_open else 4, factor)
    elif "target" in card or outputs == {"red", "green", "blue"}:
        task = "image regression"
        target = card.get("target", {"kind": "shift", "outputs": model.output_names})
        endpoint, extra = cast_endpoint(model, target["kind"])[ENDPOINT], cast_metadata(target)
    elif first.name == "latent":
        task = "image generation"
        endpoint, extra = latent_endpoint(model), latent_metadata(model)
    elif first.name == "waveform":
        task = "sound classification"
        endpoint, extra = sound_endpoint(model), sound_metadata(model, card.get("sound", {}))
    else:
        endpoint, extra = image_endpoint(model), image_metadata(about.get("border"))
    return model, {ENDPOINT: endpoint}, _labels(card), _metadata(card, extra, task)


def pixels_metadata(noise, stride, overlaps, factor=1):
    """What a file with the signature `pixels_endpoint` says of itself: the noise that it was trained on, the smallest
    side that it makes sense of, how many tiles of a photo see the same pixel along an axis, and how many times as high
    and wide the output is."""
    pixels = "uint8 pixels, 0 to 255"
    about = {"input": pixels, "output": pixels, "noise": noise, "stride": stride, "overlaps": overlaps}
    return about if factor == 1 else about | {"factor": factor}


def latent_metadata(model):
    """What a file with the signature `latent_endpoint` says of itself."""
    latent = f"latent: {model.inputs[0].shape[-1]} standard normal numbers"
    return {"input": latent + ("; label" if len(model.inputs) == 2 else ""), "output": "uint8 pixels, 0 to 255"}


def diffusion_metadata(model, steps, guidance_scale, border=None):
    """What a file with the signatures `diffusion_endpoints` says of itself; `border` as of `image_metadata`."""
    return {
        "input": "noise: standard normal numbers; label, where the number of classes means none",
        "output": "uint8 pixels, 0 to 255",
        "timesteps": model.timesteps,
        "schedule": {"name": model.schedule, "shift": model.shift},
        "border": border,
        "steps": steps,
        "guidance_scale": guidance_scale,
    }


def image_metadata(border=None):
    """What a file with the signature `image_endpoint` says of itself; `border` is the brightness of the border of the
    training images, where it is known."""
    return {"input": "uint8 pixels, 0 to 255", "border": border}


def mask_metadata(shape, num_classes, colours=None):
    """What a file with the signature `mask_endpoint` says of itself."""
    height, width, channels = shape
    return {
        "input": f"uint8 image, {height} x {width}, {channels} channels",
        "num_classes": num_classes,
        "colours": colours,
    }


def cast_metadata(target):
    """What a file with the signature `cast_endpoint` says of itself; `target` is the entry of the card."""
    units = {"shift": "added to the channels, 0-255", "gains": "factors of the channels", "angle": "degrees"}
    output = f"{', '.join(target['outputs'])}: {units[target['kind']]}"
    return {"input": "uint8 pixels, 0 to 255", "output": output, "target": target}


def sound_metadata(model, sound, dtype="int16"):
    """What a file with the signature `sound_endpoint` says of itself: also how a sound is to be read."""
    (front,) = [layer for layer in model.layers if hasattr(layer, "sample_rate")]
    (samples,) = model.input_shape[1:]
    seconds = samples / front.sample_rate
    return {
        "input": f"{dtype} PCM, {samples} samples at {front.sample_rate} per second",
        "sound": {"channel": "first", "long": "loudest", **sound, "sample_rate": front.sample_rate, "seconds": seconds},
        "spectrogram": {name: getattr(front, name) for name in ("sample_rate", "window", "stride", "mel_bins")},
    }


def described(name, task, extra, card, quantize):
    """The metadata of a file, from the card of its model."""
    return {
        "name": name,
        "task": task,
        **extra,
        "dataset": card.get("dataset", {}).get("name"),
        "licence": card.get("licence"),
        "quantize": quantize,
    }


def _labels(card):
    return [str(label) for label in card.get("dataset", {}).get("classes", ())]


def _metadata(card, extra, task):
    """Function of the quantization that gives the metadata; without a card the task is what the outputs say."""
    if not card:
        return lambda quantize: {"task": task, **extra}
    return lambda quantize: described(card["builder"], card["task"], extra, card, quantize)


def _fixed(model, input_shape, card):
    """The model for images of one size."""
    if isinstance(model.input_shape, list) or None not in model.input_shape[1:]:
        if input_shape is not None and tuple(input_shape) != model.input_shape[1:]:
            raise ValueError(f"the model has the input shape {model.input_shape[1:]}, got {tuple(input_shape)}")
        return model
    (*_, channels), size = model.input_shape, card.get("image", {}).get("crop")
    if model.output_names == ["restored"]:  # which goes over a photo tile by tile
        size = (256 // factor_of(model),) * 2
    if input_shape is None and size is None:
        raise ValueError(f"the size of this model is open: say one, such as input_shape=(256, 256, {channels})")
    shape = tuple(input_shape or (*size, channels))
    if len(shape) != 3 or None in shape or shape[-1] != channels:
        raise ValueError(f"input_shape is (height, width, {channels}) for this model, got {shape}")
    copy = keras.models.clone_model(model, input_tensors=Input(shape, name=model.inputs[0].name))
    copy.set_weights(model.get_weights())
    return copy
