"""File systems that cannot do everything: network disks, shared folders of virtual machines, files in user space."""

import errno
import fcntl
import os
from pathlib import Path

import h5py
import pytest
from conftest import ESM_8M

from virnucpro.output.embeddings_file import write_embeddings
from virnucpro.system.files import locked, temporary_name, whole_file

CANNOT = [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM]
IDS = ["EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM"]


def refusing(number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    return refuse


def without_renaming_over(plain, number):
    def replace(source, target):
        if os.path.exists(target):
            raise OSError(number, os.strerror(number))
        plain(source, target)

    return replace


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EPERM], ids=["ENOLCK", "EOPNOTSUPP", "EPERM"])
def test_a_run_on_one_that_can_do_little(main, tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL))
    monkeypatch.setattr(os, "posix_fallocate", refusing(errno.ENOSYS))
    monkeypatch.setattr(os, "replace", without_renaming_over(os.replace, errno.EPERM))
    (tmp_path / "in.faa").write_text(">p\nMKVLAAGIVGLLSK\n>q\nMKVLAAG\n")
    out = tmp_path / "out"
    more = ("--esm-model", ESM_8M, "--set=checkpoint_seq_threshold=1", "--set=buffer_size=1", "--save-embeddings")
    for word in ((), ("--force",)):
        code, said = main("predict", tmp_path / "in.faa", "--output-dir", out, *more, *word)
        assert code == 0, said
        assert sorted(path.name for path in out.iterdir()) == ["in_merged", "in_run.json", "telemetry_in.json"]
        with h5py.File(out / "in_merged/embeddings.h5", locking=False) as file:
            assert file["ids"].asstr()[:].tolist() == ["p", "q"]


def test_embeddings_need_no_lock(tmp_path):
    """A lock that somebody holds is refused to HDF5 as one that a file system does not have."""
    path = tmp_path / "embeddings.h5"
    with open(temporary_name(path), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert write_embeddings(path, [], "protein", {}) == 0
    assert path.exists()


@pytest.mark.parametrize("number", CANNOT, ids=IDS)
def test_a_file_is_whole_where_the_disk_cannot_be_waited_for(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", refusing(number))
    write(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=["full", "broken", "quota"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_is_an_error_and_the_old_file_stays(tmp_path, monkeypatch, number, call):
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, call, refusing(number))
    with pytest.raises(OSError):
        write(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("number", [*CANNOT, errno.EEXIST], ids=[*IDS, "EEXIST"])
def test_a_file_is_replaced_where_no_name_can_be_taken_over(tmp_path, monkeypatch, number):
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "replace", without_renaming_over(os.replace, number))
    write(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "new"


def test_a_folder_is_never_replaced(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "file", "new")


def write(path, text):
    with whole_file(path) as file:
        file.write(text)


@pytest.mark.parametrize("number", CANNOT, ids=IDS)
def test_room_that_cannot_be_asked_for_is_taken(tmp_path, monkeypatch, number, window):
    monkeypatch.setattr(os, "posix_fallocate", refusing(number))
    assert write_embeddings(tmp_path / "e.h5", [window], "protein", {}) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT], ids=["full", "too large", "quota"])
def test_room_that_is_not_there_is_an_error(tmp_path, monkeypatch, number, window):
    """HDF5 ends in a segmentation fault on a full disk."""
    monkeypatch.setattr(os, "posix_fallocate", refusing(number))
    with pytest.raises(OSError) as raised:
        write_embeddings(tmp_path / "e.h5", [window], "protein", {})
    assert raised.value.errno == number
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def window():
    import numpy as np

    from virnucpro.engine.results import FinishedWindow

    one = np.ones(1, np.int64)
    open_C = np.ones(1, np.uint8)
    return FinishedWindow(
        0, ["p"], one * 9, one * 0, one, open_C, 0, 0, {}, features={"esm2": np.ones((1, 4), np.float32)}
    )


def test_files_that_are_numbered_anew_at_each_look_do_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with locked(tmp_path / "lock", "w") as file:
        assert Path(file.name).exists()


def test_a_lock_file_that_cannot_be_removed_harms_nobody(main, tmp_path, monkeypatch):
    """As on a Windows share while it is open."""
    plain = Path.unlink

    def unlink(path, missing_ok=False):
        if path.name.endswith(".lock"):
            raise OSError(errno.EBUSY, "Device or resource busy")
        plain(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    (tmp_path / "in.faa").write_text(">p\nMKVLAAGIVGLLSK\n")
    for word in ((), ("--resume",)):
        code, said = main(
            "predict", tmp_path / "in.faa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M, *word
        )
        assert code == 0, said
