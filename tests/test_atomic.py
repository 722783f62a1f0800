import errno
import os
import stat

import pytest

from lenet_lightning.atomic import PARTIAL, replacing


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with replacing(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_leaves_the_old_and_nothing_else(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(target) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["w.onnx", "w.tar.gz", f"{'w' * 250}.png"])
def test_the_unfinished_file_has_a_name_of_ours_and_the_suffix_of_the_finished_one(tmp_path, name):
    with replacing(tmp_path / name) as partial:
        assert partial.suffix == (tmp_path / name).suffix
        assert partial.name.startswith(PARTIAL)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_the_file_can_be_read_by_whom_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "file") as partial:
            partial.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def refusal(number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EROFS, errno.EBADF]
)
def test_a_file_system_that_cannot_fsync_will_do(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", refusal(number))
    with replacing(tmp_path / "file") as partial:
        partial.write_text("x")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_fsync_that_loses_what_was_written_leaves_the_old_file(tmp_path, monkeypatch, number):
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", refusal(number))
    with pytest.raises(OSError, match=os.strerror(number)) as caught, replacing(tmp_path / "file") as partial:
        partial.write_text("new")
    assert caught.value.filename == str(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_opened_takes_the_file(tmp_path, monkeypatch):
    opened = os.open

    def but_no_folders(path, *arguments):
        return refusal(errno.EACCES)() if os.path.isdir(path) else opened(path, *arguments)

    monkeypatch.setattr(os, "open", but_no_folders)
    with replacing(tmp_path / "file") as partial:
        partial.write_text("x")
    assert (tmp_path / "file").read_text() == "x"


def test_the_first_error_is_the_one_that_is_raised(tmp_path, monkeypatch):
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), replacing(tmp_path / "file"):
        monkeypatch.setattr(os, "unlink", refusal(errno.EROFS))
        refusal(errno.EIO)()


def test_a_file_system_without_modes_will_do(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    with replacing(tmp_path / "file") as partial:
        partial.write_text("x")
    assert (tmp_path / "file").read_text() == "x"
