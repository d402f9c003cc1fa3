"""What a second host brings: two processes, pinned to a core each, beside one process on one core with the same batch.

python -m recipes.benchmarks.hosts   # JAX, Linux, two cores with nothing else to do
"""

import os
import socket
import subprocess
import sys
import time

import numpy as np

BATCH, STEPS, ROUNDS = 128, 5, 3
NETWORKS = {"widths 32 and 64": (32, 64), "widths 64 and 128, as published": (64, 128)}


def main():
    if sys.argv[1:]:
        sys.exit(f"this takes no arguments, got {' '.join(sys.argv[1:])}: python -m recipes.benchmarks.hosts")
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        sys.exit("this needs Linux and two cores")
    cores = sorted(os.sched_getaffinity(0))[:2]
    from recipes import results

    rows = []
    for name, widths in NETWORKS.items():
        seconds = {"one": [], "halves": [], "two": []}
        for _ in range(ROUNDS):
            seconds["one"] += _seconds(widths, BATCH, cores[:1])
            seconds["halves"] += _seconds(widths, BATCH // 2, cores)
            seconds["two"] += _seconds(widths, BATCH, cores, joined=True)
        one, halves, two = (np.median(values) for values in seconds.values())
        rows.append(
            {
                "zoo.Diffusion": name,
                "one process": f"{one:.3f} s a step",
                "two that know nothing of each other, half the batch each": f"{halves:.3f}",
                "two joined": f"{two:.3f}",
                "efficiency": f"{one / two / 2:.2f}",
            }
        )
    print(results.table(rows))


def _seconds(widths, batch, cores, *, joined=False):
    """Seconds of a step in each of the processes, one for a core."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for number, core in enumerate(cores):
        names = {"JOB_ADDRESSES": f"127.0.0.1:{port}", "NUM_PROCESSES": len(cores), "PROCESS_ID": number}
        joining = {f"KERAS_DISTRIBUTION_{name}": str(value) for name, value in names.items()} if joined else {}
        code = f"from recipes.benchmarks import hosts; hosts._work({widths}, {batch}, {core}, {joined})"
        environment = os.environ | joining | {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        running.append(subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes))
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError("a process failed: run `zoo train diffusion --device hosts` by hand to see why")
    return [float(output.split()[-1]) for output in outputs]


def _work(widths, batch, core, joined):
    """Trains in this process and prints the seconds of a step."""
    os.sched_setaffinity(0, [core])
    import keras

    from recipes import hosts

    if joined:
        hosts.join()
    import zoo

    random = np.random.default_rng(0)
    own = batch // hosts.share()[0]
    images = random.uniform(-1, 1, (own, 28, 28, 1)).astype(np.float32)
    labels = random.integers(0, 10, own).astype(np.int32)
    keras.utils.set_random_seed(0)  # the same first weights on both
    with hosts.scope():
        model = zoo.Diffusion(zoo.diffusion_unet((28, 28, 1), 10, widths=widths, patch_size=2), seed=0)
        model.compile("adam")

        def steps(count):
            import tensorflow as tf

            start = time.perf_counter()
            model.fit(tf.data.Dataset.from_tensors((images, labels)).repeat(count), verbose=0, shuffle=False)
            return (time.perf_counter() - start) / count

        steps(2)  # compiles
        print(min(steps(STEPS) for _ in range(2)), flush=True)


if __name__ == "__main__":
    main()
