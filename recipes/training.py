"""What every recipe's `train` calls: seed, precision, device, optimiser, and a `fit` that can be killed and resumed."""

import contextlib
import ctypes
import functools
import math
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

from recipes import hosts
from recipes.checkpoints import Checkpoint
from recipes.checks import check_positive, check_range, named  # noqa: F401 - also asked for here
from recipes.forward import on_jax
from recipes.runs import keep_interrupted
from zoo.export import float32_copy

Device = Literal["auto", "cpu", "gpu", "mirrored", "tpu", "hosts"]
Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]


@dataclass(frozen=True)
class Setup:
    """What every training takes besides its task: seed, machine and folders.

    Attributes:
        seed: Seed of weights, order and all random draws.
        deterministic: Whether the same seed gives the same weights to the bit (on the same machine).
        precision: Precision of the computation; the model is saved in float32.
        device: Where to train: auto, cpu, gpu, mirrored (all GPUs or CPU devices of this host), tpu, or hosts (all
            devices of several hosts, with KERAS_BACKEND=jax).
        data_dir: Folder of tensorflow-datasets, or of a data set that has a layout of its own.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder of the run; by default a new one, runs/RECIPE/TIME-DATASET.
        resume: Folder of a run that was interrupted; it goes on with its own arguments.
        overwrite: Whether `output` may be the folder of a former run, which is lost.
    """

    seed: int = 0
    deterministic: bool = True
    precision: Precision = "float32"
    device: Device = "auto"
    data_dir: Path | None = None
    manual_dir: Path | None = None
    output: Path | None = None
    resume: Path | None = None
    overwrite: bool = False


def seed_everything(seed, deterministic=True):
    """Seeds Python, NumPy and TensorFlow; `deterministic` also picks operations that repeat to the bit."""
    keras.utils.set_random_seed(seed)
    if deterministic:  # the data as well, on either backend
        tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def precision(policy):
    """Builds what is built inside under a dtype policy: "float32", "mixed_float16" or "mixed_bfloat16"."""
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)


def fast_precision(depthwise=False):
    """mixed_bfloat16 where this machine has instructions for it; a processor's are no help to a `depthwise` network."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.is_file() else []
    native = not depthwise and ("avx512_bf16" in flags or "amx_bf16" in flags)
    return "mixed_bfloat16" if native or tf.config.list_logical_devices("GPU") else "float32"


def distribution(device):
    """The `tf.distribute` strategy of a device name; model and optimizer are built in its `scope()`.

    "auto" takes all GPUs of the host where there are any, else the CPU; "mirrored" copies the model to each GPU, or to
    each logical CPU device where there is no GPU.

    Raises:
        ValueError: If this machine has no such device, or the backend is JAX, which finds its accelerator itself, and
            another one is asked for.
    """
    if device == "hosts":
        return hosts.Strategy()
    if on_jax():
        import jax

        kind = jax.default_backend()
        if device not in ("auto", kind):
            accepted = f"accepted: auto, {kind} (JAX_PLATFORMS chooses)"
            raise ValueError(f"device {device}: JAX runs on {kind} here; {accepted}")
        return tf.distribute.get_strategy()  # one that does nothing
    gpus = tf.config.list_logical_devices("GPU")
    if device == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        except Exception as error:  # each version fails in its own way where there is no TPU
            raise ValueError("device tpu: no TPU was found; accepted here: auto, cpu, mirrored") from error
        return tf.distribute.TPUStrategy(resolver)
    if device == "gpu" and not gpus:
        raise ValueError("device gpu: TensorFlow sees no GPU; accepted here: auto, cpu, mirrored")
    if device == "mirrored" or (device == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        # the collective reduction of CPU devices mixes up two strategies of one process
        reduction = None if gpus else tf.distribute.ReductionToOneDevice()
        return tf.distribute.MirroredStrategy([item.name for item in devices], cross_device_ops=reduction)
    return tf.distribute.OneDeviceStrategy("CPU:0") if device == "cpu" and gpus else tf.distribute.get_strategy()


def prepare(setup, weights=None):
    """Seeds this process and gives the `tf.distribute` strategy of the setup's device.

    Raises:
        ValueError: If the setup makes no sense, or not with a model that begins with `weights` of its own.
    """
    if weights is not None and setup.precision != "float32":
        raise ValueError(f"a model from weights keeps its float32: leave out precision={setup.precision}")
    check_range(f"[0, {2**31})", seed=setup.seed)
    seed_everything(setup.seed, setup.deterministic)
    _keep_memory()
    return distribution(setup.device)


def _keep_memory():
    """Keeps large arrays in the process: glibc gives each back to the system, which clears it for the next."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large array
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: what is free at the end stays


def plan(count, batch_size, strategy):
    """(batch size, steps per epoch, steps per execution) for `count` examples on the replicas of a strategy."""
    replicas = strategy.num_replicas_in_sync
    batch_size, steps, per_execution = execution_plan(count, math.ceil(batch_size / replicas) * replicas)
    if batch_size % replicas:  # of a set that is smaller than a batch
        raise ValueError(f"a batch of {batch_size} examples cannot be divided among {replicas} devices")
    # a mirrored loop of several steps fails in TensorFlow 2.21
    return batch_size, steps, 1 if replicas > 1 else per_execution


def adamw(learning_rate, weight_decay, *, steps, warm_up):
    """AdamW over one cycle: a linear warm-up, then a cosine to zero; weight decay of the kernels only.

    Args:
        learning_rate: Highest learning rate.
        weight_decay: Decoupled weight decay.
        steps: Steps of the whole training.
        warm_up: Steps of the warm-up among them, at least 1.
    """
    warm_up = max(1, warm_up)
    schedule = keras.optimizers.schedules.CosineDecay(
        # a twentieth to begin with: Adam's first steps have no averages to lean on
        learning_rate / 20,
        max(1, steps - warm_up),  # a training of one step has no cosine
        warmup_target=learning_rate,
        warmup_steps=warm_up,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def execution_plan(count, batch_size):
    """(batch size, steps per epoch, steps per execution) for `count` examples.

    Several steps in one execution save a tenth of a small network's time; steps are rounded down to a multiple.
    """
    batch_size = min(batch_size, count)
    steps = count // batch_size
    per_execution = max(1, min(16, steps // 10))
    return batch_size, steps - steps % per_execution, per_execution


def fit(
    model,
    batches,
    *,
    run,
    card,
    epochs,
    steps,
    validation=None,
    monitor="val_loss",
    mode="min",
    patience=None,
    callbacks=(),
    keep=None,
):
    """Fits a compiled model, leaves the weights of its best epoch in it and gives what is to be kept of it.

    After Ctrl-C that is saved with its card, and the line that resumes the run is printed.

    Args:
        model: A compiled Keras model.
        batches: Function of the first epoch that gives the stream of all batches from there on.
        run: The `Run`, which says where to go on.
        card: What the card says of a model whose training was interrupted.
        epochs: Number of epochs of the whole training.
        steps: Batches per epoch.
        validation: Data for `evaluate` after each epoch, or None.
        monitor: Name of the figure that says which epoch was the best; None keeps the last one. An epoch where it is
            NaN was not measured.
        mode: "min" or "max": whether less or more of it is better.
        patience: Epochs without improvement after which training stops; None never stops early.
        callbacks: Further callbacks; they run before the history is written, so what they add to `logs` is in it.
        keep: Function without arguments that gives what is kept of the model; by default the model in float32.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
        ValueError: If the loss became NaN.
    """
    keep = keep or functools.partial(float32_copy, model)
    verbose = (1 if sys.stdout.isatty() else 2) if hosts.is_first() else 0
    checkpoint = Checkpoint(run, monitor, mode, patience)
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        *callbacks,
        keras.callbacks.TensorBoard(str(run.folder / "tensorboard"), write_graph=False),
        checkpoint,
    ]
    # what an optimizer makes inside a step has TensorFlow trace the step twice
    with hosts.scope() if on_jax() else model.distribute_strategy.scope():
        if hasattr(model, "build_optimizers"):  # a model with several
            model.build_optimizers()
        else:
            model.optimizer.build(model.trainable_variables)
        if run.first_epoch:
            model.load_weights(checkpoint.path(run.first_epoch))
    try:
        if run.first_epoch < epochs and not checkpoint.out_of_patience():
            with _interruptible() as interruption:
                callbacks = [*callbacks, interruption]
                if hosts.joined():
                    options = {"verbose": verbose, "epochs": epochs, "steps": steps}
                    callbacks, validation = hosts.callbacks(callbacks, model, validation, **options), None
                with hosts.scope(), hosts.together(f"zoo train {run.name} --resume {run.shared or run.folder}"):
                    model.fit(
                        batches(run.first_epoch),
                        initial_epoch=run.first_epoch,
                        epochs=epochs,
                        steps_per_epoch=steps,
                        validation_data=validation,
                        callbacks=callbacks,
                        shuffle=False,
                        verbose=verbose,
                    )
            hosts.leave(model)
    except KeyboardInterrupt:
        if hosts.is_first():
            with hosts.alone(model):
                checkpoint.take_best(model)
                keep_interrupted(run, keep(), card)
        raise
    if checkpoint.diverged:
        raise ValueError(f"the loss became NaN in epoch {len(run.history) + 1}: lower the learning rate")
    checkpoint.take_best(model)
    return keep()


@contextlib.contextmanager
def _interruptible():
    """Turns Ctrl-C inside into an interruption between two batches, where nothing is half done; gives the callback."""

    class Interruption(keras.callbacks.Callback):
        asked = False

        def on_train_batch_end(self, batch, logs=None):
            if self.asked:
                raise KeyboardInterrupt

        on_test_batch_end = on_train_batch_end

        def on_train_end(self, logs=None):
            self.on_train_batch_end(None)

    def ask(*_):
        if interruption.asked:  # the second time means now
            raise KeyboardInterrupt
        interruption.asked = True

    interruption = Interruption()
    main = threading.current_thread() is threading.main_thread()  # only it may set a handler
    former = signal.signal(signal.SIGINT, ask) if main else None
    try:
        yield interruption
    finally:
        if main:
            signal.signal(signal.SIGINT, former)
