"""A deep convolutional generative adversarial network (Radford et al., "Unsupervised representation learning with deep
convolutional generative adversarial networks", 2015): two networks, and the model that trains one against the other.

    gan = zoo.DCGAN(zoo.dcgan.generator(), zoo.dcgan.discriminator())
    gan.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), keras.optimizers.Adam(2e-4, beta_1=0.5))
    gan.fit(images, batch_size=128, epochs=20)  # images in [-1, 1]
    new = gan.generate(64, seed=7)

The defaults are a small network for 28x28 digits, without the batch normalisation of the paper. What steadies the
contest is switched on by arguments: spectral normalisation (Miyato et al., 2018), an R1 penalty (Mescheder et al.,
2018; lazy as in Karras et al., 2020), differentiable augmentation (Zhao et al., 2020), one-sided label smoothing
(Salimans et al., 2016), class labels (in the discriminator by projection: Miyato and Koyama, 2018). An exponential
moving average of the generator's weights makes the images.
"""

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
from keras import Input, Model, layers, ops

from zoo import pretrained, steps
from zoo.kinds import Array, File, Labels, Shape, Tensor

AUGMENTATIONS = ("color", "translation", "cutout")


def generator(
    image_shape: Shape = (28, 28, 1),
    num_classes: int | None = None,
    *,
    latent_dim: int = 100,
    filters: int = 64,
    batch_normalization: bool = False,
    weights: File | None = None,
    name: str = "dcgan_generator",
) -> keras.Model:
    """Builds the network that turns random numbers into images.

    A fully connected layer gives a small map; each stage doubles its sides by a 4x4 transposed convolution of stride 2.
    The number of stages follows the image size: 28 is 7 doubled twice, 64 is 4 doubled four times.

    Input:  "latent", float32 (batch, latent_dim), standard normal; with classes also "label", int32 (batch,).
    Output: "image", float32 (batch, height, width, channels) in [-1, 1].

    Args:
        image_shape: (height, width, channels); both sides 4 to 7 times the same power of two, 2 or more.
        num_classes: Number of classes, 2 or more; None for a generator without labels.
        latent_dim: Length of the latent vector.
        filters: Filters of the last stage, the largest map; each one before has twice as many. Or a number per stage.
        batch_normalization: Whether to normalise after each stage, as the paper does.
        weights: None, the name of a data set with published weights ("mnist"), or the path of a `.keras` file. The file
            decides the architecture; `image_shape` and `num_classes` must agree with it.
        name: Name of the model; one from a file keeps its own.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: If an argument is out of range, or `weights` do not fit.
    """
    if weights is not None:
        return _from_weights(weights, image_shape, num_classes)
    base, stages = _stages(image_shape)
    filters = _filters(filters, stages)[::-1] if isinstance(filters, int) else _filters(filters, stages)
    _check_classes(num_classes)
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be 1 or more, got {latent_dim}")

    latent = x = Input((latent_dim,), name="latent")
    inputs = [latent]
    if num_classes:
        label = Input((), dtype="int32", name="label")
        inputs.append(label)
        x = layers.Concatenate(name="latent_and_label")(
            [latent, layers.Embedding(num_classes, latent_dim, name="label_embedding")(label)]
        )
    x = layers.Dense(base[0] * base[1] * filters[0], activation="relu", name="dense")(x)
    x = layers.Reshape((*base, filters[0]), name="map")(x)
    for stage, width in enumerate(filters, start=1):
        x = layers.Conv2DTranspose(
            width, 4, strides=2, padding="same", use_bias=not batch_normalization, name=f"stage{stage}"
        )(x)
        if batch_normalization:
            x = layers.BatchNormalization(momentum=0.9, name=f"stage{stage}_norm")(x)
        x = layers.ReLU(name=f"stage{stage}_relu")(x)
    x = layers.Conv2D(image_shape[-1], 7, padding="same", name="last_convolution")(x)
    image = layers.Activation("tanh", dtype="float32", name="image")(x)
    return Model(inputs if num_classes else latent, image, name=name)


def discriminator(
    image_shape: Shape = (28, 28, 1),
    num_classes: int | None = None,
    *,
    filters: int = 64,
    spectral_normalization: bool = False,
    activation: Literal["sigmoid", None] = "sigmoid",
    name: str = "dcgan_discriminator",
) -> keras.Model:
    """Builds the network that tells real images from generated ones.

    Input:  "image", float32 (batch, height, width, channels) in [-1, 1]; with classes also "label", int32 (batch,).
    Output: "real", float32 (batch, 1): the probability that the image is real, or its logit.

    Args:
        image_shape: (height, width, channels), as of the generator.
        num_classes: Number of classes, as of the generator; None for none.
        filters: Filters of the first 4x4 convolution of stride 2; each further one has twice as many. Or a number each.
        spectral_normalization: Whether the largest singular value of each kernel is kept at 1.
        activation: "sigmoid" for a probability, None for a logit.
        name: Name of the model.

    Returns:
        An uncompiled `keras.Model`.

    Raises:
        ValueError: If an argument is out of range.
    """
    _, stages = _stages(image_shape)
    filters = _filters(filters, stages)
    _check_classes(num_classes)
    if activation not in ("sigmoid", None):
        raise ValueError(f'activation must be "sigmoid" or None, got {activation!r}')
    constraint = SpectralNorm() if spectral_normalization else None

    image = x = Input(image_shape, name="image")
    inputs = [image]
    for stage, width in enumerate(filters, start=1):
        x = layers.Conv2D(
            width, 4, strides=2, padding="same", kernel_constraint=constraint, name=f"stage{stage}_convolution"
        )(x)
        x = layers.LeakyReLU(0.2, name=f"stage{stage}_relu")(x)
    x = layers.Flatten(name="features")(x)
    logit = layers.Dense(1, kernel_constraint=constraint, dtype="float32", name="logit")(x)
    if num_classes:
        label = Input((), dtype="int32", name="label")
        inputs.append(label)
        embedded = layers.Embedding(
            num_classes,
            x.shape[-1],
            embeddings_initializer="zeros",
            embeddings_constraint=constraint,
            dtype="float32",
            name="label_embedding",
        )(label)
        agreement = layers.Dot(axes=-1, dtype="float32", name="agreement")([x, embedded])
        logit = layers.Add(dtype="float32", name="logit_with_label")([logit, agreement])
    real = layers.Activation(activation or "linear", dtype="float32", name="real")(logit)
    return Model(inputs if num_classes else image, real, name=name)


@keras.saving.register_keras_serializable("zoo")
class SpectralNorm(keras.constraints.Constraint):
    """Divides a kernel by its largest singular value, found by power iteration, after each step of the optimizer.

    As a constraint it changes the weights in the discriminator's own step only; `keras.layers.SpectralNormalization`
    changes them whenever the network is called for training.

    Reference: Miyato et al., "Spectral normalization for generative adversarial networks", 2018.
    """

    iterations = 8

    def __call__(self, w: Tensor) -> Tensor:
        w = ops.convert_to_tensor(w)
        matrix = ops.reshape(w, (-1, w.shape[-1]))
        gram = ops.matmul(ops.transpose(matrix), matrix)
        # any start with a part in every direction does
        vector = ops.cast(np.cos(np.arange(w.shape[-1]))[:, None], w.dtype)
        for _ in range(self.iterations):
            vector = ops.matmul(gram, vector)
            vector = vector / (ops.norm(vector) + 1e-12)
        sigma = ops.norm(ops.matmul(matrix, vector))
        return ops.where(sigma > 1e-6, w / ops.maximum(sigma, 1e-6), w)  # an embedding that starts at zero stays free


@keras.saving.register_keras_serializable("zoo")
class DCGAN(Model):
    """A generator and a discriminator with the step that trains one against the other.

    Each step trains the discriminator `discriminator_steps` times, then the generator once, by binary cross-entropy
    (the generator's in the non-saturating form of Goodfellow et al., 2014). The last images made for the discriminator
    serve the generator too, so they are made only once.

    `fit` takes images in [-1, 1], (batch, height, width, channels), with labels (batch,) if the networks have classes.

    Attributes:
        generator: The network being trained.
        discriminator: Its opponent.
        averages: Moving averages of the generator's weights, from which `generate` makes images.

    Args:
        generator: As built by `zoo.dcgan.generator`.
        discriminator: As built by `zoo.dcgan.discriminator`, of the same image shape and classes.
        discriminator_steps: Steps of the discriminator per step of the generator, 1 or more.
        label_smoothing: How far below 1 the target of real images is, in [0, 0.5).
        r1_gamma: Weight of the R1 penalty, half the squared gradient at real images; 0 for none.
        r1_interval: The penalty is computed in every so manieth discriminator step, and weighs as much more.
        diff_augment: What is changed at random in all images before the discriminator: any of "color", "translation",
            "cutout".
        ema_decay: Decay of the moving average per step, in [0, 1); 0 for the weights themselves. In the first steps it
            is smaller, so that the random beginning is forgotten.
        seed: Seed of latents and augmentation in training.

    Raises:
        ValueError: If an argument is out of range, or the two networks do not belong together.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        discriminator_steps: int = 1,
        label_smoothing: float = 0.0,
        r1_gamma: float = 0.0,
        r1_interval: int = 16,
        diff_augment: Sequence[Literal["color", "translation", "cutout"]] = (),
        ema_decay: float = 0.999,
        seed: int | None = None,
        name: str = "dcgan",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if generator.output_shape != discriminator.inputs[0].shape:
            raise ValueError(
                f"the generator makes images {generator.output_shape[1:]}, the discriminator takes "
                f"{tuple(discriminator.inputs[0].shape[1:])}"
            )
        if classes(generator) != classes(discriminator):
            raise ValueError(
                f"the generator has {classes(generator)} classes, the discriminator {classes(discriminator)}"
            )
        unknown = set(diff_augment) - set(AUGMENTATIONS)
        if unknown:
            raise ValueError(f"diff_augment takes {', '.join(AUGMENTATIONS)}; got {', '.join(sorted(unknown))}")
        for argument, value in (("discriminator_steps", discriminator_steps), ("r1_interval", r1_interval)):
            if value < 1:
                raise ValueError(f"{argument} must be 1 or more, got {value}")
        if not 0 <= label_smoothing < 0.5 or not 0 <= ema_decay < 1 or not r1_gamma >= 0:
            raise ValueError(
                "label_smoothing must be in [0, 0.5), ema_decay in [0, 1), r1_gamma 0 or more; got "
                f"{label_smoothing=}, {ema_decay=}, {r1_gamma=}"
            )
        self.generator = generator
        self.discriminator = discriminator
        self.discriminator_steps = discriminator_steps
        self.label_smoothing = label_smoothing
        self.r1_gamma = r1_gamma
        self.r1_interval = r1_interval
        self.diff_augment = tuple(diff_augment)
        self.ema_decay = ema_decay
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.latent_dim = generator.inputs[0].shape[-1]
        self.num_classes = classes(generator)
        self.averages = steps.add_averages(self, generator)
        self.trackers = {
            label: keras.metrics.Mean(name=label)
            for label in ("discriminator_loss", "generator_loss", "discriminator_accuracy")
        }
        self.built = True

    def compile(
        self,
        generator_optimizer: str | keras.optimizers.Optimizer,
        discriminator_optimizer: str | keras.optimizers.Optimizer,
        **kwargs,
    ):
        """Configures training.

        Args:
            generator_optimizer: Optimizer of the generator.
            discriminator_optimizer: Optimizer of the discriminator, another one.
            kwargs: Of `keras.Model.compile`: `steps_per_execution`, `jit_compile`, `run_eagerly`.
        """
        optimizers = [keras.optimizers.get(generator_optimizer), keras.optimizers.get(discriminator_optimizer)]
        if optimizers[0] is optimizers[1]:
            raise ValueError("the generator and the discriminator need an optimizer each, got the same one twice")
        if self.generator.dtype_policy.name == "mixed_float16":  # each has its own range of gradients
            scaled = keras.optimizers.LossScaleOptimizer
            optimizers = [one if isinstance(one, scaled) else scaled(one) for one in optimizers]
        pair = _OptimizerPair(*optimizers)
        pair.networks = lambda: (self.generator.trainable_variables, self.discriminator.trainable_variables)
        super().compile(optimizer=pair, auto_scale_loss=False, **kwargs)
        self._compile_arguments = kwargs
        pair.build(self.trainable_variables)

    @property
    def generator_optimizer(self) -> keras.optimizers.Optimizer:
        """The optimizer of the generator."""
        return self.optimizer.generator

    @property
    def discriminator_optimizer(self) -> keras.optimizers.Optimizer:
        """The optimizer of the discriminator."""
        return self.optimizer.discriminator

    @property
    def metrics(self):
        return list(self.trackers.values())

    def call(self, inputs, training=False):
        """Images from a batch of latents, or [latents, labels], by the averaged weights; in [-1, 1]."""
        trainable, others = steps.averaged_state(self.averages, self.generator)
        return self.generator.stateless_call(trainable, others, inputs, training=False)[0]

    def generate(
        self, count: int, seed: int | None = None, *, labels: Labels | None = None, batch_size: int = 256
    ) -> Array:
        """Makes new images from the averaged weights.

        Args:
            count: How many, 1 or more.
            seed: Seed of the latents: the same seed, the same images, on every backend. None draws anew.
            labels: Class of each image (count,), or one for all; None takes the classes in turn.
            batch_size: Images made at a time.

        Returns:
            NumPy float32 (count, height, width, channels) in [-1, 1].

        Raises:
            ValueError: If `count` or a label is out of range, or there are labels without classes.
        """
        inputs = draw(self.generator, count, seed, labels)
        inputs = inputs if len(inputs) > 1 else inputs[0]
        return self.predict(inputs, batch_size=batch_size, verbose=0)

    def averaged_generator(self) -> keras.Model:
        """A copy of the generator with the averaged weights, to save, export or share."""
        return steps.averaged_copy(self.averages, self.generator)

    def train_step(self, *arguments):
        if keras.backend.backend() == "jax":
            state, data = arguments
            return steps.stateless(self, state, lambda: self._train_step(data))
        return self._train_step(*arguments)

    def get_config(self):
        return {
            "name": self.name,
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "discriminator_steps": self.discriminator_steps,
            "label_smoothing": self.label_smoothing,
            "r1_gamma": self.r1_gamma,
            "r1_interval": self.r1_interval,
            "diff_augment": list(self.diff_augment),
            "ema_decay": self.ema_decay,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        networks = {
            name: keras.saving.deserialize_keras_object(config[name]) for name in ("generator", "discriminator")
        }
        return cls(**{**config, **networks})

    def get_compile_config(self):
        optimizers = {"generator": self.generator_optimizer, "discriminator": self.discriminator_optimizer}
        serialized = {f"{name}_optimizer": keras.saving.serialize_keras_object(one) for name, one in optimizers.items()}
        return {**self._compile_arguments, **serialized}

    def compile_from_config(self, config):
        self.compile(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["seed_generator_state"] = ops.convert_to_numpy(self.seed_generator.state)  # Keras leaves it out

    def load_own_variables(self, store):
        stored = {key: store[key] for key in store.keys()}  # noqa: SIM118 (a group of HDF5)
        self.seed_generator.state.assign(stored.pop("seed_generator_state"))
        super().load_own_variables(stored)

    def _train_step(self, data):
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        if (labels is None) != (self.num_classes is None):
            raise ValueError(
                f"the networks have {self.num_classes} classes, the data has {'no' if labels is None else 'its'} labels"
            )
        count = ops.shape(images)[0]
        for _ in range(self.discriminator_steps - 1):
            self._train_discriminator(images, self._detached_images(count, labels), labels)
        # one forward pass of the generator for both: recorded here, run backwards after the discriminator's step
        latent = self._latents(count)
        fake, pull_back = _pull_back(
            lambda: self.generator(_inputs(latent, labels), training=True), self.generator.trainable_variables, self
        )
        self._train_discriminator(images, ops.stop_gradient(fake), labels)
        scale = self.generator_optimizer.scale_loss(1.0 / steps.replica()[0])
        loss, gradient = _gradient(lambda images: scale * self._generator_loss(images, labels), fake)
        _apply(self.generator_optimizer, pull_back(gradient), self.generator.trainable_variables)
        self.trackers["generator_loss"].update_state(loss / scale)
        steps.update_averages(self.averages, self.generator, self.ema_decay, self.generator_optimizer.iterations)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def _train_discriminator(self, real, fake, labels):
        variables = self.discriminator.trainable_variables
        scale = self.discriminator_optimizer.scale_loss(1.0 / steps.replica()[0])
        values, pull_back = _pull_back(lambda: self._discriminator_loss(real, fake, labels), variables, self)
        loss, entropy, accuracy = values
        # only the loss, penalty included, has a gradient; the other two are for looking at
        gradients = pull_back((scale * ops.ones_like(loss), ops.zeros_like(entropy), ops.zeros_like(accuracy)))
        _apply(self.discriminator_optimizer, gradients, variables)
        self.trackers["discriminator_loss"].update_state(entropy)
        self.trackers["discriminator_accuracy"].update_state(accuracy)

    def _discriminator_loss(self, real, fake, labels):
        """(loss with the penalty, cross-entropy alone, share of images told right)."""
        real = self._augmented(ops.cast(real, "float32"))
        both = ops.concatenate([real, self._augmented(fake)])
        twice = None if labels is None else ops.concatenate([labels, labels])
        real_logit, fake_logit = ops.split(self._logit(both, twice, training=True), 2)
        target = 1 - self.label_smoothing
        on_real = ops.mean(target * ops.softplus(-real_logit) + (1 - target) * ops.softplus(real_logit))
        entropy = (on_real + ops.mean(ops.softplus(fake_logit))) / 2
        right = ops.mean(ops.cast(real_logit > 0, "float32")) + ops.mean(ops.cast(fake_logit < 0, "float32"))
        loss = entropy
        if self.r1_gamma:
            due = self.discriminator_optimizer.iterations % self.r1_interval == 0
            loss = loss + ops.cond(due, lambda: self._penalty(real, labels), lambda: ops.zeros((), "float32"))
        return loss, entropy, right / 2

    def _penalty(self, real, labels):
        # not in training mode: a layer with a state cannot change it inside a condition
        _, gradient = _gradient(lambda images: ops.sum(self._logit(images, labels, training=False)), real)
        squared = ops.mean(ops.sum(ops.square(ops.cast(gradient, "float32")), axis=(1, 2, 3)))
        return self.r1_interval * self.r1_gamma / 2 * squared

    def _generator_loss(self, fake, labels):
        logit = self._logit(self._augmented(fake), labels, training=False)
        return ops.mean(ops.softplus(-logit))

    def _logit(self, images, labels, training):
        output = self.discriminator(_inputs(images, labels), training=training)
        if getattr(self.discriminator.layers[-1], "activation", None) is keras.activations.sigmoid:
            output = ops.clip(output, 1e-7, 1 - 1e-7)
            output = ops.log(output) - ops.log1p(-output)
        return output

    def _latents(self, count):
        return steps.own_share(
            lambda total: keras.random.normal((total, self.latent_dim), seed=self.seed_generator), count
        )

    def _detached_images(self, count, labels):
        latent = self._latents(count)
        trainable = [variable.value for variable in self.generator.trainable_variables]
        others = [variable.value for variable in self.generator.non_trainable_variables]
        # stateless: the moving statistics of batch normalisation belong to the generator's own step
        images, _ = self.generator.stateless_call(trainable, others, _inputs(latent, labels), training=True)
        return ops.stop_gradient(images)

    def _augmented(self, images):
        for kind in self.diff_augment:
            images = globals()[f"_{kind}"](images, self.seed_generator)
        return images


class _OptimizerPair(keras.optimizers.Optimizer):
    """Two optimizers where Keras expects one: their variables are saved, restored and, on JAX, handed on together."""

    def __init__(self, generator, discriminator, name="optimizer_pair"):
        super().__init__(learning_rate=0.0, name=name)
        self.generator = generator
        self.discriminator = discriminator

    @property
    def variables(self):
        return [*self.generator.variables, *self.discriminator.variables]

    @property
    def learning_rate(self):
        return self.generator.learning_rate

    @property
    def iterations(self):
        return self.generator.iterations

    def build(self, variables):
        if not self.built:
            for optimizer, own in zip((self.generator, self.discriminator), self.networks(), strict=True):
                optimizer.build(own)
        self.built = True

    def save_own_variables(self, store):
        """Nothing of its own: each optimizer saves itself."""

    def load_own_variables(self, store):
        """Nothing of its own: each optimizer loads itself."""


def draw(generator: keras.Model, count: int, seed: int | None = None, labels: Labels | None = None) -> list[Array]:
    """The inputs for new images: [latents], or [latents, labels] for a generator with classes.

    Args:
        generator: As built by `generator`.
        count: How many, 1 or more.
        seed: Seed of the latents; None draws anew.
        labels: Class of each image (count,), or one for all; None takes the classes in turn.

    Raises:
        ValueError: If `count` or a label is out of range, or there are labels without classes.
    """
    num_classes = classes(generator)
    if count < 1:
        raise ValueError(f"count must be 1 or more, got {count}")
    latent = np.random.default_rng(seed).standard_normal((count, generator.inputs[0].shape[-1])).astype("float32")
    if num_classes is None:
        if labels is not None:
            raise ValueError("this generator has no classes: labels cannot be chosen")
        return [latent]
    labels = np.arange(count) % num_classes if labels is None else np.asarray(labels)
    if labels.ndim > 1 or labels.size not in (1, count):
        raise ValueError(f"labels must be one, or one for each of the {count} images, got {labels.size}")
    if labels.min() < 0 or labels.max() >= num_classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"a label must be 0 to {num_classes - 1}, got {wrong}")
    return [latent, np.broadcast_to(labels.ravel(), (count,)).astype("int32")]


def _inputs(images, labels):
    return images if labels is None else [images, labels]


def classes(network: keras.Model) -> int | None:
    """Number of classes of a generator or discriminator, or None."""
    return next((layer.input_dim for layer in network.layers if isinstance(layer, layers.Embedding)), None)


def _apply(optimizer, gradients, variables):
    """One step of an optimizer; on JAX in the form that loss scaling can be traced in."""
    if keras.backend.backend() != "jax":
        optimizer.apply(gradients, variables)
        return
    state, values = [[variable.value for variable in group] for group in (optimizer.variables, variables)]
    values, state = optimizer.stateless_apply(state, gradients, values)
    for variable, value in zip([*variables, *optimizer.variables], [*values, *state], strict=True):
        variable.assign(value)


def _pull_back(function, variables, model):
    """(value of a function, function from the gradient at that value to the gradients at the variables)."""
    if keras.backend.backend() == "jax":
        return _pull_back_jax(function, variables, model)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = function()
    return value, lambda gradient: tape.gradient(value, variables, output_gradients=gradient)


def _pull_back_jax(function, variables, model):
    import jax

    wanted = {id(variable) for variable in variables}
    others = [variable for variable in (*model.variables, *model.optimizer.variables) if id(variable) not in wanted]
    held = [variable.value for variable in others]

    def pure(values):
        mapping = [*zip(others, held, strict=True), *zip(variables, values, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            value = function()
        return value, [scope.get_current_value(variable) for variable in others]

    value, back, updates = jax.vjp(pure, [variable.value for variable in variables], has_aux=True)
    for variable, update in zip(others, updates, strict=True):
        variable.assign(update)
    return value, lambda gradient: back(gradient)[0]


def _gradient(function, images):
    """(value of a scalar function, its gradient at the images)."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.value_and_grad(function)(images)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(images)
        value = function(images)
    return value, tape.gradient(value, images)


def _color(images, seed):
    """Random brightness, contrast and, with three channels, saturation, of each image."""
    shape = (ops.shape(images)[0], 1, 1, 1)
    images = images + keras.random.uniform(shape, -0.5, 0.5, seed=seed)
    if images.shape[-1] == 3:
        grey = ops.mean(images, axis=-1, keepdims=True)
        images = grey + (images - grey) * keras.random.uniform(shape, 0.0, 2.0, seed=seed)
    mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
    return mean + (images - mean) * keras.random.uniform(shape, 0.5, 1.5, seed=seed)


def _translation(images, seed, share=1 / 8):
    """Shifts each image by up to an eighth of its sides; what comes in is 0."""
    for axis, pattern in ((1, "bij,bjwc->biwc"), (2, "bij,bhjc->bhic")):
        side = images.shape[axis]
        most = round(side * share)
        shift = keras.random.randint((ops.shape(images)[0], 1), -most, most + 1, seed=seed)
        # as a product with a matrix of zeros and ones; a pixel from outside has a row of zeros
        source = ops.one_hot(ops.arange(side)[None] + shift, side, dtype=images.dtype)
        images = ops.einsum(pattern, source, images)
    return images


def _cutout(images, seed, share=1 / 2):
    """Sets a rectangle of half the sides, anywhere, partly outside too, to 0 in each image."""
    outside = 1.0
    for axis in (1, 2):
        side = images.shape[axis]
        size = round(side * share)
        start = keras.random.randint((ops.shape(images)[0], 1), -(size // 2), side - size // 2, seed=seed)
        place = ops.arange(side)[None] - start
        inside = ops.cast(ops.logical_and(place >= 0, place < size), images.dtype)
        outside = outside * (inside[:, :, None, None] if axis == 1 else inside[:, None, :, None])
    return images * (1 - outside)


def _stages(image_shape):
    """((height, width) of the smallest map, number of stages)."""
    shape = tuple(image_shape)
    if len(shape) != 3 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f"image_shape is (height, width, channels), three positive numbers, got {shape}")
    height, width, stages = shape[0], shape[1], 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 8:
        height, width, stages = height // 2, width // 2, stages + 1
    if not stages or max(height, width) > 7:
        raise ValueError(f"both sides must be 4 to 7 times the same power of two (28, 32, 48, 64, ...), got {shape}")
    return (height, width), stages


def _filters(filters, stages):
    filters = [filters * 2**index for index in range(stages)] if isinstance(filters, int) else list(filters)
    if len(filters) != stages or min(filters) < 1:
        raise ValueError(f"an image of this size has {stages} stages of 1 or more filters, got filters={filters}")
    return filters


def _check_classes(num_classes):
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes must be None, or 2 or more, got {num_classes}")


def _from_weights(weights, image_shape, num_classes):
    model = pretrained.published_or_path("dcgan", weights)
    if model.output_shape[1:] != tuple(image_shape) or classes(model) != num_classes:
        raise ValueError(
            f"weights {str(weights)!r} make images {model.output_shape[1:]} with num_classes={classes(model)}, "
            f"asked for {tuple(image_shape)} with num_classes={num_classes}"
        )
    return model
