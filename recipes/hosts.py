"""Training over several hosts: one process on each, all their devices one mesh, by `keras.distribution` on JAX.

Whatever starts the processes says who they are: Slurm, Open MPI, Kubeflow and TPU pods do so themselves; by hand it is
`KERAS_DISTRIBUTION_JOB_ADDRESSES`, `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID`. Only the
first process writes. Every process measures the validation data itself: a figure that decides when to stop must be the
same everywhere, and a last batch that is not full cannot be divided.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

NAMES = {"JOB_ADDRESSES": "COORDINATOR_ADDRESS", "NUM_PROCESSES": "NUM_PROCESSES", "PROCESS_ID": "PROCESS_ID"}
_state = {"processes": 1, "number": 0, "joined": False}


def join():
    """Joins the other processes; each must call it before it computes anything.

    Raises:
        ValueError: If the backend is not JAX, or nothing says who the others are.
    """
    if _state["joined"]:
        return
    import keras

    if keras.backend.backend() != "jax":
        raise ValueError("device hosts needs the JAX backend: KERAS_BACKEND=jax zoo train ...")
    import jax

    for ours, theirs in NAMES.items():  # as Kubeflow's trainer sets them
        if value := os.environ.get(f"JAX_{theirs}"):
            os.environ.setdefault(f"KERAS_DISTRIBUTION_{ours}", value)
    try:
        keras.distribution.initialize()
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"device hosts: {reason} Start one process per host by srun, mpirun or Kubeflow's trainer, or set "
            f"{', '.join(f'KERAS_DISTRIBUTION_{name}' for name in NAMES)} for each"
        ) from None
    _state.update(processes=jax.process_count(), number=jax.process_index(), joined=True)
    give_way()
    print(f"host {_state['number'] + 1} of {_state['processes']}, {jax.device_count()} devices in all", flush=True)


def give_way():
    """Lets the threads that wait for the network give way to those that compute.

    Gloo, by which JAX joins CPUs, asks its sockets without a pause while something waits there (pytorch/gloo issue
    246). On a core that also computes, Linux gave it a whole slice, 4 ms, for each array of a step: three quarters of
    the time of a small network.
    """
    if not hasattr(os, "SCHED_BATCH"):  # not Linux
        return
    for _ in range(3):  # each waits at most 10 ms at a time
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                if "epoll" in (task / "wchan").read_text():
                    os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))
        time.sleep(0.02)


def joined():
    """Whether this process trains together with others."""
    return _state["joined"]


def is_first():
    """Whether this process writes what is to be kept: the first of all hosts, or the only one."""
    return _state["number"] == 0


class Strategy:
    """All devices of all hosts, in the form of a `tf.distribute` strategy: what is built in its scope is on each.

    Attributes:
        num_replicas_in_sync: Number of devices that share a batch.
    """

    def __init__(self):
        import jax

        join()
        self.num_replicas_in_sync = jax.device_count()

    def scope(self):
        """See `scope`."""
        return scope()


@contextlib.contextmanager
def scope():
    """What is built inside is on the devices of all hosts; where there is one host, nothing changes."""
    if not _state["joined"]:
        yield
        return
    import keras

    former = keras.distribution.distribution()
    # each host gives its own part of a batch
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    try:
        yield
    finally:
        keras.distribution.set_distribution(former)


def share():
    """(number of hosts that share a batch, number of this one)."""
    return (_state["processes"], _state["number"]) if _state["joined"] else (1, 0)


def own_part(tensor):
    """The rows of a batch that are this host's."""
    count, number = share()
    size = tensor.shape[0] // count
    return tensor if count == 1 else tensor[number * size : (number + 1) * size]


@contextlib.contextmanager
def alone(model):
    """Lets this process use a model that all train together: inside, its weights are arrays of its own."""
    if not _state["joined"]:
        yield
        return
    import keras

    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    former = _take_over(model)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)
        for variable, value, layout in former:
            variable._value, variable._layout = value, layout


def leave(model):
    """Ends the training: the weights are this process's own from now on. Only the first process returns.

    Raises:
        SystemExit: In all others, which are done.
    """
    if not _state["joined"]:
        return
    import jax

    _take_over(model)
    model.train_function = model.test_function = None  # compiled for all devices
    jax.distributed.shutdown()
    first = is_first()
    _state.update(processes=1, number=0, joined=False)
    if not first:
        raise SystemExit(0)


@contextlib.contextmanager
def ending():
    """Ends this process at once where its training fails, so that no other host waits for it."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not _state["joined"]:
            raise
        interrupted = isinstance(error, KeyboardInterrupt)
        kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
        print(f"zoo: {'interrupted' if interrupted else f'{kind}{error}'}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        if is_first():  # what it cannot read the others cannot either: they say so before their service is gone
            time.sleep(5)
        os._exit(130 if interrupted else 2)


@contextlib.contextmanager
def together(command):
    """Ends this process in one line where another one is gone: nobody can go on without it.

    Args:
        command: What goes on with the run.
    """
    if not _state["joined"]:
        yield
        return
    try:
        yield
    except (RuntimeError, ValueError) as error:  # JAX has both for a connection that is lost
        if not any(word in str(error) for word in ("Gloo", "UNAVAILABLE", "DEADLINE_EXCEEDED", "NCCL")):
            raise
        reason = str(error).strip().splitlines()[0][:200]
        print(f"zoo: another host is gone ({reason}); go on with\n  {command}", file=sys.stderr, flush=True)
        os._exit(1)  # an orderly end would wait for the other one


def callbacks(chosen, model, validation, **options):
    """Keras's callbacks for a training that all hosts share: after an epoch each sees a model of its own, measured on
    `validation`."""
    import keras

    class AtEpochEnd(keras.callbacks.CallbackList):
        def on_epoch_end(self, epoch, logs=None):
            logs = {} if logs is None else logs
            with alone(model):
                if validation is not None:
                    found = model.evaluate(validation, return_dict=True, verbose=0)
                    logs.update({f"val_{name}": value for name, value in found.items()})
                super().on_epoch_end(epoch, logs)

    return AtEpochEnd(chosen, add_history=True, add_progbar=options["verbose"] != 0, model=model, **options)


def _take_over(model):
    """Makes all variables of a compiled model (weights, seeds, optimizer, metrics) arrays of this process, and gives
    what they were: (variable, value, layout)."""
    import keras
    import numpy as np

    found = [*model.variables, *model.metrics_variables, *getattr(model.optimizer, "variables", ())]
    variables = {id(variable): variable for variable in found}.values()
    former = [(variable, variable._value, variable._layout) for variable in variables]
    for variable, value, _ in former:
        variable._layout = None
        variable._value = keras.ops.convert_to_tensor(np.asarray(value.addressable_data(0)))
    return former
