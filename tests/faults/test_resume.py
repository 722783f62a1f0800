"""Rows 1 to 4: an interrupted run that is resumed ends as the uninterrupted one."""

import random
import signal

import pytest

from lenet_lightning.training import checkpoints
from tests.faults.conftest import CONSTANT, SHORT, assert_equal_runs, rows, the_run

RESUME = ("fit", "--ckpt_path=last")


def test_01_resume_at_an_epochs_end(start, reference, tmp_path):
    # killed while the first batch of epoch 3 is fetched: last.ckpt is epoch 2, and nothing of epoch 3 was done
    assert start(tmp_path, "fit", *SHORT, fault=("kill_at_batch", 13)).wait()[0] == -signal.SIGKILL
    assert checkpoints.read_checkpoint(the_run(tmp_path) / "last.ckpt")["epoch"] == 1
    code, out, err = start(tmp_path, *RESUME).wait()
    assert (code, err) == (0, "")
    assert "epoch 3/3" in out
    assert "epoch 2/3" not in out
    assert_equal_runs(the_run(tmp_path), reference())


@pytest.mark.parametrize("batch", [7, 9, 12], ids=["first", "middle", "last"])
def test_02_an_interrupted_epoch_is_repeated_from_its_start(start, reference, tmp_path, batch):
    assert start(tmp_path, "fit", *SHORT, fault=("kill_at_batch", batch)).wait()[0] == -signal.SIGKILL
    code, _, err = start(tmp_path, *RESUME).wait()
    assert (code, err) == (0, "")
    assert_equal_runs(the_run(tmp_path), reference())


def test_03_three_chained_resumes_of_a_one_cycle_run(start, reference, tmp_path):
    for begin, batch in ((("fit", *SHORT), 8), (RESUME, 8), (RESUME, 4)):
        assert start(tmp_path, *begin, fault=("kill_at_batch", batch)).wait()[0] == -signal.SIGKILL
    code, _, err = start(tmp_path, *RESUME).wait()
    assert (code, err) == (0, "")
    assert_equal_runs(the_run(tmp_path), reference())


def test_03_a_run_at_a_constant_rate_can_be_lengthened_again_and_again(start, reference, tmp_path):
    start(tmp_path, "fit", *SHORT, *CONSTANT, "--trainer.max_epochs=1").wait()
    for epochs in (2, 3):
        code, _, err = start(tmp_path, *RESUME, f"--trainer.max_epochs={epochs}").wait()
        assert (code, err) == (0, "")
    assert_equal_runs(the_run(tmp_path), reference(*CONSTANT))


# of 20 moments 8 lie in writing a file, before and after it takes its place: last.ckpt of epoch 1, metrics.csv,
# best.ckpt and last.ckpt of epoch 2, last.ckpt of epoch 3, the weights
IN_SAVE = (10, 13, 15, 16, 17, 18, 23, 25)
BY_CLOCK = 12
SLOW = ("slow_batches", 0.05, 32)  # epochs 2 and 3 then take 0.6 s


@pytest.mark.parametrize("moment", range(BY_CLOCK + len(IN_SAVE)))
def test_04_kill_9_at_20_random_moments(start, reference, tmp_path, moment):
    if moment < BY_CLOCK:
        running = start(tmp_path, "fit", *SHORT, fault=SLOW)
        assert running.until(lambda: list(tmp_path.glob("runs/2*/last.ckpt")))
        running.process.join(random.Random(moment).random())
        running.process.kill()
        running.process.join()
    else:
        fault = ("kill_in_save", IN_SAVE[moment - BY_CLOCK])
        assert start(tmp_path, "fit", *SHORT, fault=fault).wait()[0] == -signal.SIGKILL
    run = the_run(tmp_path)
    epochs = [int(row["epoch"]) for row in rows(run)]
    assert epochs == list(range(1, len(epochs) + 1))
    checkpoints.read_checkpoint(run / "last.ckpt")
    code, _, err = start(tmp_path, *RESUME).wait()
    assert (code, err) == (0, "")
    assert_equal_runs(run, reference())


def test_01_a_finished_run_says_so(start, reference, tmp_path):
    start(tmp_path, "fit", *SHORT).wait()
    before = (the_run(tmp_path) / "last.ckpt").read_bytes()
    code, out, err = start(tmp_path, *RESUME).wait()
    assert (code, err) == (0, "")
    assert (
        "all 3 epochs are trained; one cycle, a distortion that weakens and a layer that is frozen cannot be lengthened"
        in out
    )
    assert (the_run(tmp_path) / "last.ckpt").read_bytes() == before
    assert_equal_runs(the_run(tmp_path), reference())


def test_10_a_resume_takes_up_the_number_of_threads(process, tmp_path):
    def weights(root, threads, *options):
        args = (*SHORT, *CONSTANT, f"--trainer.default_root_dir={root}", *options)
        running = process("fit", *args, environment={"OMP_NUM_THREADS": str(threads)})
        out, err = running.communicate(timeout=90)
        assert (running.returncode, err) == (0, "")
        return out, next(tmp_path.glob(f"{root}/2*/weights.safetensors")).read_bytes()

    _, whole = weights("whole", 2)
    weights("parts", 2, "--trainer.max_epochs=1")
    out, resumed = weights("parts", 1, "--ckpt_path=last")
    assert "threads      2, with which this run began (this process would take 1)" in out
    assert resumed == whole
    assert weights("other", 1)[1] != whole  # it does make a difference
