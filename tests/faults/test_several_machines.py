"""Several machines without a shared disk: each is a folder of its own here, and they meet at a port."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.faults.conftest import assert_equal_runs, the_run
from tests.faults.test_processes import PLAIN, children, end_session
from tests.ports import free_ports

SHORT = (
    "fit",
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.num_nodes=2",
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=6",
    "--data.val_size=1000",
    "--data.batch_size=32",
    PLAIN,
)
UNTESTED = "--trainer.limit_test_batches=0"
LIMIT_S = 100

pytestmark = pytest.mark.timeout(400)  # each starts up to six processes


class Machines:
    """Two folders, and what is started in them: by torchrun, or by hand with the variables that Lightning knows."""

    def __init__(self, folder, environment):
        self.folders = [folder / "first", folder / "second"]
        for each in self.folders:
            each.mkdir()
            (each / "data").symlink_to(folder / "data")
        self._environment = environment | {"OMP_NUM_THREADS": "1"}
        self.started = []

    def start(self, *args, by="torchrun", only=(0, 1), own=((), ()), **variables):
        (self.port,) = free_ports(1)
        self.started = []
        for number in only:
            environment, launcher = self._environment, ("-m",)
            if by == "torchrun":
                where = (f"--node_rank={number}", "--master_addr=127.0.0.1", f"--master_port={self.port}")
                launcher = ("-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", *where, "-m")
            else:
                environment = environment | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.port), by: str(number)}
            self.started.append(
                subprocess.Popen(
                    [sys.executable, *launcher, "lenet_lightning", *args, *own[number]],
                    cwd=self.folders[number],
                    env=environment | variables,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            )
        return self.started

    def ends(self):
        """Exit codes, what was printed, and what was printed of errors, without torchrun's own."""
        printed = [each.communicate(timeout=LIMIT_S) for each in self.started]
        print(*(text for each in printed for text in each), sep="\n")  # shown when a test fails
        errors = [[line for line in err.splitlines() if line.startswith(("error", "warn"))] for _, err in printed]
        return [each.returncode for each in self.started], [out for out, _ in printed], errors

    def assert_second_has_data_alone(self):
        assert {path.name for path in self.folders[1].iterdir()} <= {"data", "elsewhere"}  # the roots of data


@pytest.fixture
def machines(on_fakes, tmp_path):
    made = Machines(tmp_path, on_fakes)
    yield made
    for each in made.started:
        end_session(each.pid)
        each.communicate()


@pytest.mark.parametrize("by", ["torchrun", "NODE_RANK"])
def test_the_first_machine_owns_the_run(machines, by):
    machines.start(*SHORT, by=by)
    codes, (out, other), errors = machines.ends()
    assert (codes, errors, other) == ([0, 0], [[], []], "")
    assert out.count("parameters, on cpu") == 1
    assert "of 10,000)" in out
    names = {"config.yaml", "metrics.csv", "best.ckpt", "last.ckpt", "weights.safetensors", "results.json", "pictures"}
    assert {path.name for path in the_run(machines.folders[0]).iterdir()} == names
    machines.assert_second_has_data_alone()


@pytest.mark.parametrize(("killed", "by"), [(0, "NODE_RANK"), (1, "torchrun")])
def test_a_run_resumes_exactly_after_either_machine_was_killed(machines, killed, by, tmp_path):
    noise = "--trainer.callbacks=tests.faults.noise.NoiseAndPause"
    machines.start(*SHORT, noise, UNTESTED, by=by)
    assert machines.ends()[0] == [0, 0]
    whole = the_run(machines.folders[0]).rename(tmp_path / "whole")

    machines.start(*SHORT, noise, UNTESTED, by=by, PAUSE=str(killed))
    until(lambda: list(machines.folders[0].glob("runs/*/last.ckpt")))
    pid = machines.started[killed].pid
    (worker,) = children(pid) if by == "torchrun" else [pid]
    os.kill(worker, signal.SIGKILL)
    codes, *_ = machines.ends()
    assert codes == ([1, 1] if by == "torchrun" else [-signal.SIGKILL, 1])

    config = f"--config={the_run(machines.folders[0])}/config.yaml"  # it names a callback of these tests
    machines.start("fit", "--ckpt_path=last", by=by, own=([config], []))
    codes, _, errors = machines.ends()
    assert (codes, errors) == ([0, 0], [[], []])
    assert_equal_runs(the_run(machines.folders[0]), whole)
    machines.assert_second_has_data_alone()


def test_a_finished_run_is_finished_on_all_machines(machines):
    machines.start(*SHORT, UNTESTED, by="NODE_RANK")
    assert machines.ends()[0] == [0, 0]
    machines.start("fit", "--ckpt_path=last", by="NODE_RANK")
    codes, (out, other), errors = machines.ends()
    assert (codes, errors, other) == ([0, 0], [[], []], "")
    assert "all 2 epochs are trained" in out
    machines.assert_second_has_data_alone()


REFUSALS = {
    "the first has no run": (["--ckpt_path=last"], [], 2, "no run with a last.ckpt"),
    "the second has no data": ([], ["--data.root=elsewhere", "--data.mirrors=[]"], 1, "MNIST is not complete"),
    "both": (["--trainer.max_epochs=0"], ["--trainer.max_epochs=0"], 2, "max_epochs must be 1 or more"),
    "neither can be read": (["--trainer.max_epochs=x"], ["--trainer.max_epochs=x"], 2, "max_epochs"),
    "the second cannot be read": ([], ["--trainer.max_epochs=x"], 2, "max_epochs"),
}


@pytest.mark.parametrize(("first", "second", "code", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_of_one_ends_all_and_is_printed_once(machines, first, second, code, reason):
    machines.start(*SHORT, by="NODE_RANK", own=(first, second))
    codes, _, errors = machines.ends()
    assert codes == [code, code]
    (line,) = errors[0] + errors[1]
    assert reason in line
    assert not list(machines.folders[0].glob("runs/*/last.ckpt"))
    machines.assert_second_has_data_alone()


@pytest.mark.parametrize("only", [0, 1], ids=["the second is missing", "the first is missing"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_who_is_waited_for_is_said_and_a_signal_ends_it(machines, only, number):
    (waiting,) = machines.start(*SHORT, by="NODE_RANK", only=[only])
    whom = ["1 of 2 processes", "the first process"][only]
    assert f"for {whom}, to meet at 127.0.0.1:{machines.port}, for 30 minutes more" in waiting.stderr.readline()
    waiting.send_signal(number)
    sent = time.monotonic()
    assert waiting.wait(10) == 128 + number
    assert time.monotonic() - sent < 6  # mostly Python's own end; signals.GRACE_S would be 8
    assert not list(machines.folders[only].glob("runs/2*"))


@pytest.mark.parametrize("only", [0, 1])
def test_a_name_that_does_not_resolve_is_waited_for_and_said_in_one_line(machines, only):
    (waiting,) = machines.start(*SHORT, by="NODE_RANK", only=[only], MASTER_ADDR="nowhere.invalid")
    whom = ["this machine itself to answer", "the first process"][only]
    line = waiting.stderr.readline()
    assert f"for {whom}, to meet at nowhere.invalid:{machines.port}, for 30 minutes more" in line
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(10) == 128 + signal.SIGTERM
    assert [line for line in waiting.stderr.read().splitlines() if line] == ["stopped by SIGTERM"][only:]


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_signal_ends_a_machine_though_the_other_is_frozen(machines, frozen):
    both = machines.start(*SHORT, "--trainer.max_epochs=999", by="NODE_RANK")
    until(lambda: list(machines.folders[0].glob("runs/*/last.ckpt")))
    os.kill(both[frozen].pid, signal.SIGSTOP)
    time.sleep(2)  # by now the other waits for it, in C
    both[1 - frozen].send_signal(signal.SIGTERM)
    sent = time.monotonic()
    assert both[1 - frozen].wait(20) == 128 + signal.SIGTERM
    assert time.monotonic() - sent < 10


KUBERNETES = {"WORLD_SIZE": "2", "KUBERNETES_PORT": "tcp://10.0.0.1:443"}


def test_a_world_that_the_trainer_does_not_know_is_refused_with_the_plugin_to_pass(machines):
    machines.start(*SHORT, by="RANK", only=[1], **KUBERNETES)
    (code,), _, ((line,),) = machines.ends()
    assert code == 2
    assert "RANK=1, WORLD_SIZE=2" in line
    assert "--trainer.plugins KubeflowEnvironment" in line


def test_with_that_plugin_it_trains(machines):
    machines.start(*SHORT, UNTESTED, "--trainer.plugins=KubeflowEnvironment", by="RANK", **KUBERNETES)
    codes, (out, other), errors = machines.ends()
    assert (codes, errors, other) == ([0, 0], [[], []], "")
    assert out.count("parameters, on cpu") == 1
    machines.assert_second_has_data_alone()


def until(what):
    end = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)
