"""Point 19: a run's folder as people treat it."""

import os
import shutil
import subprocess
import sys
import time

import pytest
import torch

from lenet_lightning import run_folders
from lenet_lightning.atomic import PARTIAL
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.training import checkpoints, runs
from tests.faults.conftest import CONSTANT, SHORT, the_run

RESUME = ("fit", "--ckpt_path=last", "--trainer.max_epochs=3")


def run_of(root, name, written, *files):
    folder = root / name
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_bytes(b"")
        os.utime(folder / file, (written, written))
    return folder


@pytest.fixture
def two_epochs(start, tmp_path):
    """A run that was ended after two of three epochs."""
    assert start(tmp_path, "fit", *SHORT, *CONSTANT, "--trainer.max_epochs=2").wait()[0] == 0
    return the_run(tmp_path)


def epochs(run):
    return [line.split(",")[0] for line in (run / "metrics.csv").read_text().splitlines()[1:]]


# which run is the newest


def test_the_newest_run_is_the_one_written_last_whatever_the_names(tmp_path):
    run_of(tmp_path, "zz_backup", 100, "last.ckpt")
    newest = run_of(tmp_path, "20251026-020100-default", 300, "last.ckpt")
    run_of(tmp_path, "20251026-025900-default", 200, "last.ckpt")
    assert run_folders.newest(tmp_path, "last.ckpt") == newest / "last.ckpt"


def test_the_newest_run_is_that_of_the_link_whatever_the_clock_said(tmp_path):
    begun_last = run_of(tmp_path, "a", 100, "last.ckpt")
    run_of(tmp_path, "b", 200, "last.ckpt", "best.ckpt")
    runs.point_latest(begun_last)
    assert run_folders.newest(tmp_path, "last.ckpt") == begun_last / "last.ckpt"
    # which has no such file yet
    assert run_folders.newest(tmp_path, "best.ckpt") == tmp_path / "b" / "best.ckpt"
    assert run_folders.newest(tmp_path, "best.ckpt", "last.ckpt") == begun_last / "last.ckpt"


def test_a_run_on_another_disk_is_found_by_its_link_and_stays_the_newest(tmp_path):
    root = tmp_path / "runs"
    run_of(root, "20260101-000000-here", 100, "last.ckpt")
    elsewhere = run_of(tmp_path / "disk", "moved", 200, "last.ckpt")
    (root / "20250101-000000-there").symlink_to(elsewhere)
    assert run_folders.newest(root, "last.ckpt") == root / "20250101-000000-there" / "last.ckpt"
    runs.point_latest(root / "20250101-000000-there")
    assert run_folders.newest(root, "last.ckpt").samefile(elsewhere / "last.ckpt")
    runs.point_latest(root / "latest")
    assert run_folders.newest(root, "last.ckpt").samefile(elsewhere / "last.ckpt")


def test_a_copied_latest_is_a_run_like_others(tmp_path):
    run_of(tmp_path, "latest", 200, "last.ckpt")
    newest = run_of(tmp_path, "20260101-000000-default", 300, "last.ckpt")
    assert run_folders.newest(tmp_path, "last.ckpt") == newest / "last.ckpt"
    runs.point_latest(newest)
    assert sorted(os.listdir(tmp_path)) == ["20260101-000000-default", "latest"]


def test_what_is_no_run_is_passed_over(tmp_path):
    run = run_of(tmp_path, "1", 100, "last.ckpt")
    (tmp_path / "2" / "last.ckpt").mkdir(parents=True)
    (tmp_path / "3").symlink_to("/nonexistent")
    os.mkfifo(tmp_path / "4")
    (tmp_path / "5").mkdir()
    os.mkfifo(tmp_path / "5" / "last.ckpt")
    (tmp_path / "latest").symlink_to("/nonexistent")
    (tmp_path / "notes.txt").write_text("mine")
    assert run_folders.newest(tmp_path, "last.ckpt") == run / "last.ckpt"
    assert run_folders.newest(tmp_path / "none", "last.ckpt") is None


def test_a_link_that_cannot_be_set_leaves_none_that_points_at_an_older_run(tmp_path, monkeypatch):
    runs.point_latest(run_of(tmp_path, "older", 100))
    monkeypatch.setattr(os, "symlink", lambda *_, **__: (_ for _ in ()).throw(OSError("no links here")))
    runs.point_latest(run_of(tmp_path, "newer", 50))
    assert sorted(os.listdir(tmp_path)) == ["newer", "older"]


def test_a_checkpoint_named_through_latest_is_that_of_the_run(tmp_path):
    run = run_of(tmp_path, "a", 100, "last.ckpt")
    runs.point_latest(run)
    assert checkpoints.find(tmp_path, str(tmp_path / "latest" / "last.ckpt")) == run / "last.ckpt"


# names


@pytest.mark.parametrize(
    "name", ["x" * 250, "ä€😀" * 60, "two\nlines\t", "-rf", "a b", "\udcff", 'a:b*c?"<>|', "..", ""]
)
def test_a_run_can_be_named_after_any_config(tmp_path, name):
    run = runs.create(tmp_path / "runs", name)
    assert run.parent == tmp_path / "runs"
    assert run.is_dir()
    assert not os.listdir(run)
    assert run.name.isprintable()
    assert len(os.fsencode(run.name)) <= 120
    assert runs.create(tmp_path / "runs", name) != run


@pytest.mark.parametrize("root", ["r" * 300, "a\0b"])
def test_a_folder_for_runs_that_cannot_be_named_so_is_a_usage_error(tmp_path, root):
    with pytest.raises(UsageError, match="default_root_dir") as caught:
        runs.create(tmp_path / root, "default")
    assert str(caught.value).isprintable()
    assert not os.listdir(tmp_path)


# files of the user's in a run's folder


def test_only_our_own_unfinished_files_are_removed(start, two_epochs, tmp_path):
    mine = {".notes.20261125.txt", ".git.12345678.d", ".probe", f"{PARTIAL}folder"}
    for name in mine:
        (two_epochs / name).mkdir() if name.endswith(("d", "folder")) else (two_epochs / name).write_text("mine")
    (two_epochs / f"{PARTIAL}abcdefgh.ckpt").write_text("half")
    assert start(tmp_path, *RESUME).wait()[0] == 0
    assert mine == {path.name for path in two_epochs.iterdir() if path.name.startswith(".")}
    assert (two_epochs / ".probe").read_text() == "mine"


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda whole: whole[:-100], 1),
        (lambda whole: whole[:-3], 1),
        (lambda _: b"", 0),
        (lambda whole: bytes(len(whole)), 0),
        (lambda _: bytes(range(255, 0, -1)), 0),
        (lambda whole: whole.split(b"\n", 1)[1], 0),
        (lambda whole: whole.replace(b"\n2,", b"\n02.Feb,"), 1),
    ],
    ids=["half a line", "half a number", "empty", "NULs", "binary", "no header", "a date"],
)
def test_a_damaged_metrics_file_is_kept_and_said_before_the_training(start, two_epochs, tmp_path, damage, kept):
    file = two_epochs / "metrics.csv"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    (two_epochs / "metrics.csv.damaged").write_text("of an earlier time")
    code, out, err = start(tmp_path, *RESUME).wait()
    (line,) = err.splitlines()
    assert code == 0
    assert line.startswith(f"warning: {file.relative_to(tmp_path)}: ")
    assert f"now metrics.csv.damaged1, {kept} of its rows were read" in line
    assert (two_epochs / "metrics.csv.damaged1").read_bytes() == damage(whole)
    assert (two_epochs / "metrics.csv.damaged").read_text() == "of an earlier time"
    assert epochs(two_epochs) == [*["1", "2", "3"][:kept], "3"]
    assert "epoch 3/3" in out


def test_a_folder_in_the_place_of_metrics_is_kept(start, two_epochs, tmp_path):
    (two_epochs / "metrics.csv").unlink()
    (two_epochs / "metrics.csv").mkdir()
    code, _, err = start(tmp_path, *RESUME).wait()
    assert (code, len(err.splitlines())) == (0, 1)
    assert (two_epochs / "metrics.csv.damaged").is_dir()
    assert epochs(two_epochs) == ["3"]


def test_metrics_that_a_spreadsheet_saved_are_read(start, two_epochs, tmp_path):
    file = two_epochs / "metrics.csv"
    whole = file.read_text()
    saved = whole.replace(",", ";").replace(".", ",").replace("\n1;", "\n1,0;").replace("\n", "\r\n")
    file.write_text(f"\ufeff{saved}", newline="")
    assert start(tmp_path, *RESUME).wait()[::2] == (0, "")
    assert file.read_text().startswith(whole)
    assert epochs(two_epochs) == ["1", "2", "3"]


# checkpoints that are gone or damaged


def other_network(path):
    saved = torch.load(path, weights_only=True)
    torch.save(saved | {"state_dict": {"x": torch.zeros(1)}}, path)


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "is damaged"),
        (other_network, "is of another network"),
        (folder, "is not a file"),
    ],
    ids=["missing", "cut", "another network's", "a folder"],
)
def test_a_best_checkpoint_that_is_gone_is_said_before_another_takes_its_place(start, tmp_path, harm, said):
    spoilt = ("--trainer.callbacks=tests.faults.noise.Spoil", *CONSTANT)
    assert start(tmp_path, "fit", *SHORT, *spoilt, "--trainer.max_epochs=2").wait()[0] == 0
    run = the_run(tmp_path)
    best = run / "best.ckpt"
    harm(best)
    there = os.path.lexists(best)
    # nothing is left to train
    config = f"--config={run}/config.yaml"  # it names a callback of these tests
    code, _, err = start(tmp_path, "fit", config, "--ckpt_path=last").wait()
    (line,) = err.splitlines()
    assert code == 1
    assert line.startswith(f"error: {best.relative_to(tmp_path)}: {said}, the weights with val/acc ")
    assert f"test --ckpt_path {(run / 'last.ckpt').relative_to(tmp_path)}" in line
    assert os.path.lexists(best) == there
    # an epoch is
    code, out, err = start(tmp_path, *RESUME, config).wait()
    (line,) = err.splitlines()
    assert code == 0
    assert line.startswith(f"warning: {best.relative_to(tmp_path)}: {said}")
    assert "% are lost" in line
    assert os.path.lexists(run / "best.ckpt.damaged") == there
    assert checkpoints.read_checkpoint(best)["epoch"] == 2
    assert "best so far" in out


def test_a_damaged_last_checkpoint_mentions_a_best_that_is_whole(start, two_epochs, tmp_path):
    last, best = two_epochs / "last.ckpt", two_epochs / "best.ckpt"
    last.write_bytes(last.read_bytes()[:-30])
    code, _, err = start(tmp_path, *RESUME).wait()
    (line,) = err.splitlines()
    assert code == 1
    assert line.endswith(f"best.ckpt beside it is whole: --ckpt_path {best.relative_to(tmp_path)}")
    best.write_bytes(b"")
    code, _, err = start(tmp_path, *RESUME).wait()
    assert (code, len(err.splitlines())) == (1, 1)
    assert "beside it" not in err


@pytest.mark.parametrize("kind", [{"random": 1}, {"recipe": []}, {"epoch": "1"}, {"callbacks": None}, {"wandb_id": 7}])
def test_what_a_checkpoint_holds_has_the_types_of_ours(tmp_path, kind):
    torch.save({"state_dict": {}, "epoch": 1, "training_seconds": 1.0} | kind, tmp_path / "x.ckpt")
    with pytest.raises(RunError, match=f"x.ckpt: its {next(iter(kind))} is a"):
        checkpoints.read_checkpoint(tmp_path / "x.ckpt")


# a folder that goes, or that two want


def removed(run):
    shutil.rmtree(run)


def removed_with_all_others(run):
    shutil.rmtree(run.parent)


def moved(run):
    run.rename(run.parent.parent / "elsewhere")


@pytest.mark.parametrize("logger", ["lenet_lightning.training.loggers.metrics_csv.MetricsCSV", "false"])
@pytest.mark.parametrize("harm", [removed, removed_with_all_others, moved])
def test_a_run_whose_folder_goes_ends_and_is_not_begun_again(start, tmp_path, harm, logger):
    running = start(tmp_path, "fit", *SHORT, *CONSTANT, "--trainer.max_epochs=500", f"--trainer.logger={logger}")
    running.until_line("epoch   1/500")
    run = the_run(tmp_path)
    for _ in range(100):  # a file that is being written keeps its folder from being removed
        try:
            harm(run)
            break
        except OSError:
            time.sleep(0.01)
    code, _, err = running.wait()
    (line,) = err.splitlines()
    assert code == 1
    assert line.startswith(f"error: {run.relative_to(tmp_path)}: the run's folder was removed or moved")
    assert not run.exists()


def test_a_run_that_is_being_trained_is_not_resumed_by_another(start, two_epochs, tmp_path):
    first = start(tmp_path, "fit", "--ckpt_path=last", "--trainer.max_epochs=500")
    first.until_line("epoch   3/500")
    other = tmp_path / "other"
    other.mkdir()
    (other / "runs").symlink_to(tmp_path / "runs")
    (two_epochs / f"{PARTIAL}theirs").write_text("being written")
    code, out, err = start(other, "fit", "--ckpt_path=last", "--trainer.max_epochs=500").wait()
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert f"is being trained by process {first.process.pid};" in line
    assert (two_epochs / f"{PARTIAL}theirs").exists()
    # the kernel releases it
    first.signal(9)
    first.wait()
    done = checkpoints.read_checkpoint(two_epochs / "last.ckpt")["epoch"] + 1
    code, _, err = start(other, "fit", "--ckpt_path=last", f"--trainer.max_epochs={done + 1}").wait()
    assert (code, err) == (0, "")
    assert epochs(two_epochs) == [str(number) for number in range(1, done + 2)]


def test_the_lock_ends_with_the_command_and_not_with_what_it_left_running(tmp_path):
    with runs.hold(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        with pytest.raises(UsageError, match=f"process {os.getpid()}"), runs.hold(tmp_path):
            pass
    with runs.hold(tmp_path):
        pass
    child.communicate(b"\n")
    assert not os.listdir(tmp_path)


def test_resuming_is_advised_only_where_there_is_something_to_resume(tmp_path):
    assert runs.resume_hint(None) == runs.resume_hint(tmp_path) == ""
    (tmp_path / "last.ckpt").write_bytes(b"")
    assert runs.resume_hint(tmp_path) == "; to resume: fit --ckpt_path last"
