"""Folders made beforehand, names that are too long, and folders that do not go."""

import errno
import os

import pytest
from conftest import ESM_8M, assert_one_message

from virnucpro.errors import BadRequest
from virnucpro.system import folders
from virnucpro.system.files import shortened, temporary_name
from virnucpro.system.folders import check_lengths, is_empty, remove

SMALL = ("--esm-model", ESM_8M, "--model-type", "300")


@pytest.fixture
def run_small(main, tmp_path):
    """A run that takes little: of one protein, named small."""
    (tmp_path / "input").mkdir()
    (tmp_path / "input/small.faa").write_text(">p\nMKVLAAGIVGLLSK\n")
    return lambda out, *more: main("predict", tmp_path / "input/small.faa", "--output-dir", out, *SMALL, *more)


# What is there before: folders end in a slash.
@pytest.mark.parametrize(
    "there, word",
    [
        (["out/"], ()),
        (["out/small_merged/", "out/small_windows/"], ()),
        (["out/small_merged/"], ("--resume",)),
        (["out/small_merged/deeper/and/deeper/"], ("--force",)),
        (["out/.command.sh", "out/.command.run", "out/small.fa"], ()),  # Nextflow's work folder
        (["out/other_run.json", "out/other_merged/contigs.tsv"], ()),  # of another input
    ],
    ids=["empty", "results", "results, resume", "nested, force", "work folder", "another run"],
)
def test_what_holds_no_file_of_this_run_is_used_at_once(run_small, tmp_path, there, word):
    make(tmp_path, there)
    code, said = run_small(tmp_path / "out", *word)
    assert code == 0, said
    assert (tmp_path / "out/small_merged/sequences.tsv").stat().st_size
    assert not (tmp_path / "out/small_windows").exists()
    for name in there:
        if not name.endswith("/"):
            assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("word", [(), ("--resume",), ("--force",)], ids=["no word", "resume", "force"])
@pytest.mark.parametrize(
    "there",
    [
        ["out/small_merged/contigs.tsv"],
        ["out/small_merged/empty/", "out/small_merged/deeper/.hidden"],
        ["out/small_windows/000000.safetensors"],
        ["out/small_protein.faa"],
        ["out/small_chunked500.fa"],
        ["out/telemetry_small.json"],
        ["out/small_merged"],  # a file
    ],
    ids=["results", "hidden", "windows", "proteins", "chunks", "telemetry", "file"],
)
def test_a_file_that_no_run_made_is_protected(run_small, tmp_path, there, word):
    make(tmp_path, there)
    code, said = run_small(tmp_path / "out", *word)
    assert code == 2
    assert_one_message(said, "exists, and no run of virnucpro is recorded in small_run.json")
    for name in there:
        assert name.endswith("/") or (tmp_path / name).read_text() == "mine"


def test_links_that_lead_nowhere_are_no_empty_folders(run_small, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/small_merged").symlink_to(tmp_path / "gone")
    code, said = run_small(tmp_path / "out")
    assert code == 2
    assert_one_message(said, "small_merged exists, and no run")


def test_an_empty_checkpoint_directory_and_links_to_empty_folders_serve(run_small, tmp_path):
    make(tmp_path, ["out/", "elsewhere/results/", "elsewhere/out/", "points/"])
    (tmp_path / "out/small_merged").symlink_to(tmp_path / "elsewhere/results")
    for word in ((), ("--force",)):
        code, said = run_small(tmp_path / "out", f"--set=checkpoint_dir={tmp_path / 'points'}", *word)
        assert code == 0, said
        assert (tmp_path / "elsewhere/results/sequences.tsv").exists()
        assert (tmp_path / "out/small_merged").is_symlink()
        assert list((tmp_path / "points").iterdir()) == []


def make(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).write_text("mine")


@pytest.mark.parametrize(
    "there, empty",
    [([], True), (["a/b/", "c/"], True), (["a/b/.x"], False)],
    ids=["nothing", "folders", "a file"],
)
def test_is_empty(tmp_path, there, empty):
    make(tmp_path, there)
    assert is_empty(tmp_path) is empty


def test_a_link_within_is_something(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert not is_empty(tmp_path)


@pytest.mark.parametrize("letter", ["x", "ö"], ids=["ASCII", "two bytes"])
@pytest.mark.parametrize(
    "size, fits",
    [(240, True), (241, False), (255 - len(".fa"), False)],  # bytes; telemetry_ and .json make the longest name
    ids=["longest", "too long", "longest input"],
)
def test_long_names_work_or_are_refused_at_once(main, tmp_path, monkeypatch, letter, size, fits):
    stem = letter * (size // len(letter.encode())) + "x" * (size % len(letter.encode()))
    (tmp_path / f"{stem}.fa").write_text(">a\n" + "GCTAAAGTTCTG" * 25 + "\n")
    if not fits:
        monkeypatch.setattr("virnucpro.reading.input_files.survey", None)  # nothing is read, and no model
    out = tmp_path / "out"
    code, said = main("predict", tmp_path / f"{stem}.fa", "--output-dir", out, *SMALL, "--keep-intermediate")
    assert code == (0 if fits else 2), said
    if fits:
        assert main("report", out)[0] == 0
        assert (out / f"{stem}_merged/contigs.tsv").exists() and not list(out.glob(".*"))
    else:
        assert_one_message(said, f"{size + 15} bytes, and {out} allows 255. Give the input a shorter name")
        assert not out.exists()


@pytest.mark.parametrize(
    "more, says",
    [
        (["--write-viral", "x" * 256], "Name another file for --write-viral."),
        (["--set", f"checkpoint_dir={'x' * 256}"], "choose another directory"),
        (["--output-dir", "x" * 256], "choose another directory"),
        (["--output-dir", "/".join(["x" * 200] * 21)], "The path "),
        (["--weights-dir", "x" * 256], "cannot be looked for"),
    ],
    ids=["viral", "checkpoints", "output", "path", "weights"],
)
def test_other_long_names_are_refused_at_once(run_small, tmp_path, monkeypatch, more, says):
    monkeypatch.chdir(tmp_path)
    code, said = run_small("out", *more)
    assert code == 2
    assert_one_message(said, says)
    assert not (tmp_path / "out").exists()


def test_a_long_target_of_convert_is_refused(main, weights, tmp_path):
    code, said = main("convert", weights / "300_model.pth", tmp_path / f"{'x' * 250}.safetensors")
    assert code == 2
    assert_one_message(said, "262 bytes")


def test_parity_refuses_a_long_name_before_it_computes(main, tmp_path):
    stem = "x" * 250
    (tmp_path / f"{stem}.fa").write_text(">a\n" + "GCTAAAGTTCTG" * 25 + "\n")
    code, said = main("parity", tmp_path / f"{stem}.fa", "--output-dir", tmp_path / "p", *SMALL)
    assert code == 2
    assert_one_message(said, "262 bytes")


def test_the_file_system_says_what_it_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pathconf", lambda path, kind: {"PC_NAME_MAX": 143, "PC_PATH_MAX": 4096}[kind])  # eCryptfs
    check_lengths([tmp_path / "not" / "yet" / ("x" * 143)], "")
    with pytest.raises(BadRequest, match=r"144 bytes, and .*/yet allows 143\. Do this\."):
        check_lengths([tmp_path / "not" / "yet" / ("x" * 144)], "Do this.")

    def cannot_tell(path, kind):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "pathconf", cannot_tell)
    check_lengths([tmp_path / ("x" * 255)], "")
    with pytest.raises(BadRequest, match="256 bytes"):
        check_lengths([tmp_path / ("x" * 256)], "")


@pytest.mark.parametrize("name", ["a.fa", "x" * 112, "x" * 113, "ö" * 127], ids=["short", "112", "113", "two bytes"])
def test_temporary_names_are_short_and_their_own(tmp_path, name):
    temporary = temporary_name(tmp_path / name)
    assert len(os.fsencode(temporary.name)) + len(".room") <= 143
    assert temporary != temporary_name(tmp_path / f"{name}2")
    assert (shortened(name) == name) == (len(name.encode()) <= 112)


def test_what_a_killed_run_with_a_long_name_left_goes(main, tmp_path):
    stem = "x" * 200
    (tmp_path / f"{stem}.fa").write_text("")
    out = tmp_path / "out"
    names = [f"{stem}_run.json", f"{stem}_protein.faa", f"{stem}_chunked500.fa", f"telemetry_{stem}.json"]
    make(tmp_path, [f"out/{temporary_name(out / name).name}" for name in names])
    make(tmp_path, [f"out/.{shortened(stem)}-input-abcdefgh.tmp"])
    assert main("predict", tmp_path / f"{stem}.fa", "--output-dir", out, *SMALL)[0] == 0
    assert not list(out.glob(".*"))


@pytest.fixture
def stubborn(monkeypatch):
    """Have folders refuse to go so many times; returns the pauses made."""
    pauses = []
    monkeypatch.setattr("virnucpro.system.folders.time.sleep", pauses.append)
    plain = folders.shutil.rmtree

    def make_it(times, number, leave=None):
        left = iter(range(times))

        def rmtree(folder):
            if next(left, None) is None:
                return plain(folder)
            if leave is not None:
                plain(folder)
                folder.mkdir()
                (folder / leave).touch()
            raise OSError(number, os.strerror(number), str(folder))

        monkeypatch.setattr("virnucpro.system.folders.shutil.rmtree", rmtree)
        return pauses

    return make_it


@pytest.mark.parametrize("number", [errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT], ids=["not empty", "busy", "gone"])
def test_a_folder_that_does_not_go_at_once_is_tried_again(stubborn, tmp_path, number):
    pauses = stubborn(2, number)
    make(tmp_path, ["folder/file"])
    remove(tmp_path / "folder")
    assert not (tmp_path / "folder").exists() and len(pauses) == 2
    remove(tmp_path / "folder")  # is not there
    assert len(pauses) == 2


def test_a_file_in_use_on_nfs_stays(stubborn, tmp_path, caplog):
    stubborn(9, errno.ENOTEMPTY, leave=".nfs0000000001a2b3c4")
    make(tmp_path, ["folder/file"])
    remove(tmp_path / "folder")
    assert "folder stays until other processes close what they have open of it." in caplog.text


@pytest.mark.parametrize(
    "number, leave, pauses",
    [(errno.ENOTEMPTY, "contigs.tsv", 3), (errno.EACCES, None, 0)],
    ids=["a file that stays", "no permission"],
)
def test_other_reasons_are_errors(stubborn, tmp_path, number, leave, pauses):
    made = stubborn(9, number, leave)
    make(tmp_path, ["folder/file"])
    with pytest.raises(OSError) as raised:
        remove(tmp_path / "folder")
    assert (raised.value.errno, len(made)) == (number, pauses)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES], ids=["busy", "no permission"])
def test_results_do_not_depend_on_the_windows_going(run_small, stubborn, tmp_path, number):
    stubborn(99, number)
    code, said = run_small(tmp_path / "out")
    assert code == 0
    assert "small_windows is not needed any more, and cannot be removed" in said and "Traceback" not in said
    assert (tmp_path / "out/small_merged/sequences.tsv").exists()
    code, said = run_small(tmp_path / "out", "--resume")
    assert code == 0 and "Nothing to do" in said


def test_no_window_is_open_when_the_windows_go(run_small, tmp_path, monkeypatch):
    """NFS would keep a file that is, and with it the folder."""
    held = []

    def look(folder):
        with open("/proc/self/maps") as maps:
            held.extend(line for line in maps if str(folder) in line)
        held.extend(name for fd in os.listdir("/proc/self/fd") if str(folder) in (name := name_of(fd)))
        assert list(folder.glob("*.safetensors"))

    monkeypatch.setattr("virnucpro.pipeline.run_directory.remove", look)
    assert run_small(tmp_path / "out")[0] == 0
    assert held == []


def name_of(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # of the listing itself
        return ""
