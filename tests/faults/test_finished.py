"""What is finished stays finished: a resume completes what is missing, a test keeps its results, nothing is lost."""

import json
import shutil

import pytest

from tests.faults.conftest import SHORT, the_run

TESTED = tuple(option for option in SHORT if "limit_test_batches" not in option)
KEPT = ("results.json", "weights.safetensors", "pictures")


def contents(run):
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def complete(server, fake_mnist_root, tmp_path_factory):
    """Folders in which a run of 1 and one of 2 epochs ended with their test and their pictures."""
    from tests.faults.conftest import Running, _run

    folders = {}
    for epochs in (1, 2):
        folder = tmp_path_factory.mktemp("complete")
        (folder / "data").symlink_to(fake_mnist_root)
        args = ("fit", *TESTED, f"--trainer.max_epochs={epochs}")
        running = Running(folder, server.Process(target=_run, args=(folder, args, None)))
        running.process.start()
        assert running.wait()[0] == 0
        folders[epochs] = folder
    return folders


@pytest.fixture(params=[1, 2], ids=["one epoch", "two epochs"])
def folder(complete, tmp_path, request):
    shutil.copytree(complete[request.param], tmp_path / "own", symlinks=True)
    return tmp_path / "own"


def test_resuming_a_complete_run_changes_nothing(start, folder):
    before = contents(the_run(folder))
    code, out, err = start(folder, "fit", "--ckpt_path=last").wait()
    assert (code, err) == (0, "")
    assert out.startswith("finished ")
    assert contents(the_run(folder)) == before


def test_a_finished_checkpoint_outside_of_its_run_is_not_made_a_run(start, folder):
    (folder / "alone").mkdir()
    shutil.copy(the_run(folder) / "last.ckpt", folder / "alone" / "last.ckpt")
    before = contents(folder)
    config = f"--config={the_run(folder)}/config.yaml"
    code, out, err = start(folder, "fit", config, "--ckpt_path=alone/last.ckpt").wait()
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert "alone/last.ckpt: all its epochs are trained" in line
    after = {path: content for path, content in contents(folder).items() if path.name not in ("out", "err")}
    assert after == {path: content for path, content in before.items() if path.name not in ("out", "err")}
    assert len([path for path in (folder / "runs").iterdir() if not path.is_symlink()]) == 1


@pytest.mark.parametrize("lost", [(name,) for name in KEPT] + [KEPT], ids=lambda names: "+".join(names))
def test_what_a_finished_run_lacks_is_completed_and_nothing_else_changed(start, folder, lost):
    run = the_run(folder)
    before = contents(run)
    for name in lost:
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    code, out, err = start(folder, "fit", "--ckpt_path=last").wait()
    assert (code, err) == (0, "")
    assert "finished " in out
    assert "test accuracy" in out
    after = contents(run)
    assert after.keys() == before.keys()
    same = {path: content for path, content in before.items() if path.suffix != ".png"}
    assert {path: after[path] for path in same} == same


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_killed_in_its_final_test_is_completed_with_every_row(start, complete, tmp_path, epochs):
    slow = ("slow_batches", 5.0, 1000)
    running = start(tmp_path, "fit", *TESTED, f"--trainer.max_epochs={epochs}", "--data.val_size=300", fault=slow)
    epoch = f"epoch {epochs}/{epochs}"
    running.until_line(epoch)
    running.signal(9)
    running.process.join(30)
    run = the_run(tmp_path)
    assert not (run / "results.json").exists()
    assert start(tmp_path, "fit", "--ckpt_path=last").wait()[0] == 0
    rows = (run / "metrics.csv").read_text().splitlines()
    assert len(rows) == epochs + 1
    assert all(value for value in rows[-1].split(","))  # training, validation and test
    assert json.loads((run / "results.json").read_text())["epochs"] == epochs


def test_a_test_after_tuning_keeps_its_results_once(start, tmp_path):
    assert start(tmp_path, "fit", *SHORT, "--trainer.max_epochs=2", "--pictures=false").wait()[0] == 0
    run = the_run(tmp_path)
    assert not (run / "results.json").exists()
    before = contents(run)
    code, out, err = start(tmp_path, "test").wait()
    assert (code, err) == (0, "")
    assert "results.json" in out
    results = json.loads((run / "results.json").read_text())
    last = (run / "metrics.csv").read_text().splitlines()
    row = dict(zip(last[0].split(","), last[-1].split(","), strict=True))
    assert float(row["test/acc"]) == results["test/acc"]
    assert float(row["train/loss"]) > 0
    assert [path.name for path in contents(run).keys() - before.keys()] == ["results.json"]
    kept = contents(run)
    assert start(tmp_path, "test").wait()[0] == 0
    assert contents(run) == kept


@pytest.mark.parametrize("verb", ["test", "validate"])
def test_no_batch_to_evaluate_is_refused(start, complete, tmp_path, verb):
    stage = {"test": "test", "validate": "val"}[verb]
    shutil.copytree(complete[1], tmp_path / "own", symlinks=True)
    code, _, err = start(tmp_path / "own", verb, f"--trainer.limit_{stage}_batches=0").wait()
    (line,) = err.splitlines()
    assert code == 2
    assert f"trainer.limit_{stage}_batches must be above 0" in line
