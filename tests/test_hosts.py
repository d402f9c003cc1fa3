"""Training over several hosts: two processes on this machine learn what one learns, and what happens when one dies."""

import os
import select
import shlex
import socket
import subprocess
import sys
import threading
import time

import pytest
from commands import history, jax_environment, refused

from recipes.hosts import give_way

OPTIONS = shlex.split("--filters 4 8 --convolutions 1 --dropout 0.2 --augment 1 --batch-size 64 --epochs 2")
CHILD = """
import os, signal, sys
import keras
from recipes import checkpoints
from recipes.__main__ import main

begin = checkpoints.Checkpoint.on_epoch_begin

def dies(self, epoch, logs=None):
    if epoch == 1 and os.environ.get("DIES"):
        os.kill(os.getpid(), signal.SIGKILL)
    begin(self, epoch, logs)

checkpoints.Checkpoint.on_epoch_begin = dies
sys.exit(main(sys.argv[1:]))
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start(folder, arguments, **extra):
    command = [sys.executable, "-c", CHILD, "train", "mnist_cnn", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=jax_environment(folder) | extra, text=True, **pipes)


def hosts(folder, arguments, count=2, dies=None):
    """[(exit status, standard output, standard error)] of the processes, as Kubeflow's trainer would start them."""
    port, children = free_port(), []
    for number in range(count):
        who = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_PROCESS_ID": str(number)}
        who |= {"JAX_NUM_PROCESSES": str(count)} | ({"DIES": "1"} if number == dies else {})
        children.append(start(folder, [*arguments, "--device", "hosts"], **who))
    answers = [child.communicate(timeout=240) for child in children]
    return [(child.returncode, *answer) for child, answer in zip(children, answers, strict=True)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    found = {"two": hosts(folder, [*OPTIONS, "--output", "two"])}
    alone = start(folder, [*OPTIONS, "--output", "one"])
    nobody = start(folder, ["--device", "hosts", "--output", "nobody"])
    for name, child in (("one", alone), ("nobody", nobody)):
        told = child.communicate(timeout=240)[1]
        found[name] = child.returncode, told
    begun = time.monotonic()
    found["killed"] = hosts(folder, [*OPTIONS, "--output", "killed"], dies=1)
    found["seconds"] = time.monotonic() - begun
    found["after the kill"] = sorted(path.name for path in (folder / "killed/backup").iterdir())
    found["resumed"] = hosts(folder, ["--resume", "killed"], count=1)
    return folder, found


def test_two_hosts_learn_what_one_learns(runs):
    folder, found = runs
    assert found["one"][0] == 0 and [status for status, *_ in found["two"]] == [0, 0], found["two"]
    ours, theirs = history(folder / "two"), history(folder / "one")
    assert len(ours) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert (folder / "two/card.json").is_file() and not (folder / "two/backup").exists()
    assert "host 2 of 2" in found["two"][1][1] and "accuracy" not in found["two"][1][1]  # only the first one tells


def test_when_a_host_dies_the_others_end_in_one_line_and_the_run_goes_on(runs):
    folder, found = runs
    (status, _, told), (killed, _, _) = found["killed"]
    assert killed == -9 and status == 1 and found["seconds"] < 200
    assert "another host is gone" in told and "zoo train mnist_cnn --resume killed" in told and "Traceback" not in told
    assert found["after the kill"] == ["best.keras", "epoch-0001.keras"]
    (again,) = found["resumed"]  # with another number of hosts
    assert again[0] == 0, again
    for one, other in zip(history(folder / "killed"), history(folder / "one"), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_without_others_it_says_how_to_start_them(runs, capfd):
    status, told = runs[1]["nobody"]
    lines = [line for line in told.splitlines() if line.startswith("zoo:")]
    assert (
        status == 2 and len(lines) == 1 and "srun, mpirun" in lines[0] and "KERAS_DISTRIBUTION_PROCESS_ID" in lines[0]
    )
    line = refused(capfd, "train", "mnist_cnn", "--device", "hosts")
    assert "device hosts needs the JAX backend: KERAS_BACKEND=jax" in line


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux lets a thread give way")
def test_threads_that_wait_for_the_network_give_way():
    """Gloo polls without a pause: beside it, on one core, each exchange took 4 ms instead of 0.1."""
    ours, theirs = socket.socketpair()
    waiting, computing = threading.Event(), threading.Event()
    numbers = {}

    def wait():
        numbers["waits"] = threading.get_native_id()
        with select.epoll() as poll:
            poll.register(ours, select.EPOLLIN)
            waiting.set()
            poll.poll()

    def compute():
        numbers["computes"] = threading.get_native_id()
        waiting.wait()
        computing.wait()

    threads = [threading.Thread(target=one) for one in (wait, compute)]
    for thread in threads:
        thread.start()
    waiting.wait()
    give_way()
    assert os.sched_getscheduler(numbers["waits"]) == os.SCHED_BATCH
    assert os.sched_getscheduler(numbers["computes"]) == os.SCHED_OTHER
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    theirs.send(b"end")
    computing.set()
    for thread in threads:
        thread.join()
    ours.close()
    theirs.close()
