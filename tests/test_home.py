"""Users without a home, and what stands for it: ``~``, the weights' default place, Triton's cache."""

import os
import pwd
import stat
from pathlib import Path

import pytest
from conftest import ESM_8M, assert_one_message

import virnucpro
from virnucpro.config.settings import Settings
from virnucpro.diagnostics.doctor import examine
from virnucpro.diagnostics.finding import NOTE
from virnucpro.errors import BadRequest, BadWeights
from virnucpro.models.locate import default_directory, fetch_command, first_model, named_directory
from virnucpro.system.home import TRITON_CACHE, expanded, give_triton_a_cache, home


@pytest.fixture
def nobody(monkeypatch):
    """A user id without an entry, and no HOME: `docker run -u 12345`."""

    def no_entry(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "VIRNUCPRO_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_home_the_weights_are_here(nobody, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert home() is None
    assert str(default_directory()) == "weights"
    assert fetch_command(tmp_path, "300_model") == f"virnucpro weights fetch 300_model --weights-dir {tmp_path}"


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (["weights", "list"], 0, ""),
        (["weights", "verify", "--weights-dir", "w"], 2, "w holds no model"),
        (["predict", "in.fa", "--output-dir", "out"], 2, "Missing weights"),
        (["predict", "in.fa", "--output-dir", "out", "--weights-dir", "w"], 2, "Missing weights in w"),
        (["predict", "in.fa", "--output-dir=~/out"], 2, "~/out: no home directory is known for ~"),
    ],
    ids=["list", "verify", "predict", "predict with a place", "tilde"],
)
def test_without_a_home_commands_say_what_is_missing(main, nobody, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIRNUCPRO_WEIGHTS", raising=False)
    (tmp_path / "w").mkdir()
    (tmp_path / "in.fa").write_text(">a\nACGTACGTACGT\n")
    found, told = main(*arguments)
    assert found == code
    assert said in told and "Traceback" not in told
    assert not (tmp_path / "~").exists()


def test_a_run_without_a_home(main, weights, nobody, tmp_path):
    (tmp_path / "in.faa").write_text(">p\nMKVLAAGIVGLLSK\n")
    out = tmp_path / "out"
    code, said = main(
        "predict", tmp_path / "in.faa", "--output-dir", out, "--weights-dir", weights, "--esm-model", ESM_8M
    )
    assert (code, "Traceback" in said) == (0, False)
    assert main("report", out)[0] == 0  # imports matplotlib, which keeps settings in a home


@pytest.mark.parametrize(
    "path, whole",
    [
        ("~/x", "/home/me/x"),
        ("~", "/home/me"),
        ("a~/x", "a~/x"),
        ("./~/x", "./~/x"),
        ("~no-such-user/x", "~no-such-user/x"),
        ("-", "-"),
    ],
)
def test_a_leading_tilde_is_written_out(monkeypatch, path, whole):
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded(path) == whole


def test_every_path_may_begin_with_a_tilde(main, weights, tmp_path, monkeypatch):
    """As a shell leaves it in --option=~/x, and a batch system in VIRNUCPRO_WEIGHTS."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w").symlink_to(weights)
    (tmp_path / "in.fa").write_text(">a\n" + "GCTAAAGTTCTG" * 25 + "\n")
    common = ["--esm-model", ESM_8M, "--model-path=~/w/300_model.pth", "--model-type=300"]
    code, said = main(
        "predict", "~/in.fa", "--output-dir=~/out", "--weights-dir=~/w", "--write-viral=~/v.fa",
        "--set=checkpoint_dir=~/points", *common,
    )  # fmt: skip
    assert code == 0, said
    assert (tmp_path / "out/in_merged/contigs.tsv").exists() and (tmp_path / "v.fa").exists()
    assert (tmp_path / "points").exists() and not (tmp_path / "~").exists()
    monkeypatch.setenv("VIRNUCPRO_WEIGHTS", "~/w")
    assert named_directory() == tmp_path / "w"
    assert named_directory("~/x").parts[0] == "~"  # a caller's own path is taken as it is, as by open()
    virnucpro.predict("in.fa", "again", esm_model=ESM_8M, model_type="300")
    assert main("report", "~/out")[0] == 0
    assert main("convert", "~/w/300_model.pth", "~/300.safetensors", "--chunk-size=300")[0] == 0
    assert (tmp_path / "300.safetensors").exists()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty TMPDIR; and whatever is set is forgotten afterwards."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in (TRITON_CACHE, "TRITON_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path / f"virnucpro-triton-{os.getuid()}"


def test_without_a_home_triton_gets_a_cache(nobody, temporary):
    give_triton_a_cache()
    assert os.environ[TRITON_CACHE] == str(temporary)
    assert stat.S_IMODE(temporary.stat().st_mode) == 0o700


@pytest.mark.parametrize("place", ["file", "read-only"])
def test_with_a_home_that_takes_nothing_triton_gets_a_cache(temporary, monkeypatch, place):
    own = temporary.parent / "home"
    monkeypatch.setenv("HOME", str(own))
    if place == "file":
        own.touch()
    else:
        own.mkdir()
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    give_triton_a_cache()
    assert os.environ[TRITON_CACHE] == str(temporary)


@pytest.mark.parametrize("squatter", ["link", "open to all"])
def test_what_another_user_could_write_is_no_cache(nobody, temporary, tmp_path, squatter):
    """Compiled kernels are run."""
    if squatter == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        temporary.symlink_to(tmp_path / "elsewhere")
    else:
        temporary.mkdir()
        temporary.chmod(0o777)
    give_triton_a_cache()
    assert TRITON_CACHE not in os.environ


def test_a_cache_that_is_named_or_at_home_stays(temporary, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    give_triton_a_cache()
    assert TRITON_CACHE not in os.environ
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("TRITON_HOME", "/elsewhere")
    give_triton_a_cache()
    assert TRITON_CACHE not in os.environ


def test_a_tilde_without_a_home_is_refused(nobody):
    with pytest.raises(BadRequest, match=r"~/x: no home directory is known"):
        expanded("~/x")


def test_a_home_that_may_not_be_read_is_no_traceback(main, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(BadWeights, match=r"esm2.*: cannot be looked for \(Permission denied\). Ask its owner"):
        first_model(tmp_path, ESM_8M)


def test_a_home_that_is_a_file_takes_no_weights(main, tmp_path, monkeypatch):
    (tmp_path / "home").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("VIRNUCPRO_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    code, said = main("weights", "fetch", "300_model")
    assert code == 2
    assert_one_message(said, "Not a directory. Choose another --weights-dir.")


def test_doctor_says_that_there_is_no_home(nobody, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("virnucpro.diagnostics.doctor.import_errors", lambda: {"torch": "not looked at"})
    settings = Settings(("-",), tmp_path, esm_model=ESM_8M)
    (found,) = [finding for finding in examine(settings, quick=True) if finding.subject == "home"]
    assert found.verdict == NOTE and "./weights" in found.text
