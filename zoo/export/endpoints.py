"""The usual signatures of the zoo's models: for each a function of tensors, and the inputs that it takes."""

import keras
import tensorflow as tf

from zoo.exported import ENDPOINT


def image_endpoint(model):
    """The usual signature of an image model: uint8 pixels (1, height, width, channels) in, its named outputs out."""

    def serve(image):
        outputs = model(tf.cast(image, tf.float32) / 255.0, training=False)
        return dict(zip(model.output_names, keras.tree.flatten(outputs), strict=True))

    return serve, {"image": tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8, name="image")}


def pixels_endpoint(model):
    """The signature of a `zoo.denoising_autoencoder`, as `endpoints` of `export`: "image", uint8 pixels in; "restored",
    uint8 pixels out."""
    model = float32_copy(model)

    def serve(image):
        restored = model(tf.cast(image, tf.float32) / 255.0, training=False)
        return {"restored": tf.cast(tf.clip_by_value(restored * 255.0 + 0.5, 0.0, 255.0), tf.uint8)}

    inputs = {"image": tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8, name="image")}
    return {ENDPOINT: (serve, inputs)}


def cast_endpoint(model, kind="shift"):
    """The signature of a `zoo.alexnet_regressor`, as `endpoints` of `export`: "image", uint8 pixels in; "cast", float32
    (1, 3), and "corrected", uint8 pixels, out; for angles only "angle", float32 (1, 1)."""
    model = float32_copy(model)

    def serve(image):
        pixels = tf.cast(image, tf.float32)
        values = model(pixels / 255.0, training=False)
        if kind == "angle":
            return {"angle": keras.tree.flatten(values)[0]}
        cast = tf.concat(values, axis=1)
        step = tf.reshape(cast, (-1, 1, 1, 3))
        corrected = pixels / step if kind == "gains" else pixels - step
        # half a level more, because the cast to whole numbers cuts off
        return {"cast": cast, "corrected": tf.cast(tf.clip_by_value(corrected + 0.5, 0.0, 255.0), tf.uint8)}

    inputs = {"image": tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8, name="image")}
    return {ENDPOINT: (serve, inputs)}


def mask_endpoint(model, probabilities=False):
    """The usual signature of a `zoo.unet`: "image" uint8 (1, height, width, channels) in; "mask" uint8 (1, height,
    width), the number of the likeliest class of each pixel (with one class 1 for the object), and if wanted
    "probabilities" float32 (1, height, width, num_classes) out."""
    last = model.get_layer("mask")
    inner = keras.Model(model.input, [last.input, last.output])

    def serve(image):
        # by the logits: eight bits of a probability would make more ties
        logits, found = inner(tf.cast(image, tf.float32) / 255.0, training=False)
        labels = logits[..., 0] > 0 if logits.shape[-1] == 1 else tf.argmax(logits, axis=-1, output_type=tf.int32)
        outputs = {"mask": tf.cast(labels, tf.uint8)}
        return outputs | {"probabilities": found} if probabilities else outputs

    return serve, {"image": tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8, name="image")}


def latent_endpoint(model):
    """The usual signature of a generator: "latent" float32 (1, latent_dim), and "label" int32 (1,) if it has classes,
    in; "image" uint8 (1, height, width, channels) out."""

    def serve(latent, label=None):
        image = model(latent if label is None else [latent, label], training=False)
        return {"image": tf.cast(tf.round(tf.clip_by_value((image + 1.0) * 127.5, 0.0, 255.0)), tf.uint8)}

    inputs = {"latent": tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name="latent")}
    if len(model.inputs) == 2:
        inputs["label"] = tf.TensorSpec((1,), tf.int32, name="label")
    return serve, inputs


def sound_endpoint(model, dtype="int16"):
    """The usual signature of a sound model: "waveform" (1, samples), PCM as int16 (or the same numbers as
    int32, for a runtime without int16) or as float32 in [-1, 1], in; its named outputs out."""

    def serve(waveform):
        outputs = model(_pcm(waveform), training=False)
        return dict(zip(model.output_names, keras.tree.flatten(outputs), strict=True))

    return serve, {"waveform": tf.TensorSpec((1, *model.input_shape[1:]), dtype, name="waveform")}


def stream_endpoint(model, samples, dtype="int16"):
    """The signature of a sound model for a running stream: "samples" (1, samples), the newest ones, and "memory", the
    model's whole window before them (zeros at first), in; its named outputs and the next "memory" out.

    Raises:
        ValueError: If `samples` is not in 1 to the length of the model's window.
    """
    (window,) = model.input_shape[1:]
    if not 1 <= samples <= window:
        raise ValueError(f"the new samples of a stream must be 1 to the model's {window}, got {samples}")

    def serve(samples, memory):
        memory = tf.concat([memory[:, samples.shape[1] :], samples], axis=1)
        outputs = keras.tree.flatten(model(_pcm(memory), training=False))
        return dict(zip(model.output_names, outputs, strict=True)) | {"memory": memory}

    shapes = {"samples": (1, samples), "memory": (1, window)}
    return serve, {name: tf.TensorSpec(shape, dtype, name=name) for name, shape in shapes.items()}


def _pcm(waveform):
    return tf.cast(waveform, tf.float32) / 32768.0 if tf.as_dtype(waveform.dtype).is_integer else waveform


def tensor_endpoint(model):
    """The signature of a network as it is: float32 inputs (1, ...) by their names in, its named outputs out."""

    def serve(*tensors):
        outputs = model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        return dict(zip(model.output_names, keras.tree.flatten(outputs), strict=True))

    return serve, {
        tensor.name: tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in model.inputs
    }


def diffusion_endpoints(model, *, steps=None, batch=1):
    """The signatures of a `zoo.Diffusion`, as `endpoints` of `export`.

    "generate": "noise" float32 (batch, height, width, channels), standard normal; with classes "label" int32 (batch,),
    where `num_classes` is none of them, and "guidance_scale" float32 (); "steps" int32 () if it is not fixed; all of
    them to "image" uint8 (batch, height, width, channels), by the sampler dpm_solver++.

    "denoise": "image" float32 (batch, height, width, channels) with noise, "level" int32 (batch,) from 1 to
    `timesteps`, and "label" and "guidance_scale" if there are classes; all of them to "clean" float32 of the image's
    shape, the guess of the clean image in [-1, 1].

    Args:
        model: A `zoo.Diffusion` in float32; its averaged weights are taken.
        steps: Number of steps, fixed; or None for an input.
        batch: Images at a time; None for any number, in a SavedModel.

    Raises:
        ValueError: If the model computes in another precision.
    """
    if model.network.dtype_policy.name != "float32":
        raise ValueError(
            f"the network computes in {model.network.dtype_policy.name}, export needs float32: "
            "model.with_network(zoo.export.float32_copy(model.averaged().network))"
        )
    image = (batch, *model.image_shape)

    def specs(**extra):
        found = {name: (shape, kind) for name, (shape, kind) in extra.items() if shape is not None}
        if model.num_classes:
            found |= {"label": ((batch,), tf.int32), "guidance_scale": ((), tf.float32)}
        return {name: tf.TensorSpec(shape, kind, name=name) for name, (shape, kind) in found.items()}

    def generate(noise, *arguments):
        named = dict(zip(list(inputs)[1:], arguments, strict=True))
        return {"image": model.in_graph(noise, steps=named.pop("steps", steps), **named)}

    def denoise(image, level, label=None, guidance_scale=None):
        return {"clean": model.clean(image, level, label, guidance_scale)}

    inputs = specs(noise=(image, tf.float32), steps=(() if steps is None else None, tf.int32))
    outputs = {"generate": (generate, inputs)}
    return outputs | {"denoise": (denoise, specs(image=(image, tf.float32), level=((batch,), tf.int32)))}


def float32_copy(model):
    """An uncompiled copy of a functional model in float32, also of one that was built in mixed precision."""

    def in_float32(config):
        if isinstance(config, dict):
            if config.get("class_name") == "DTypePolicy":
                return {**config, "config": {"name": "float32"}}
            return {key: in_float32(value) for key, value in config.items()}
        return [in_float32(value) for value in config] if isinstance(config, (list, tuple)) else config

    copy = type(model).from_config(in_float32(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy
