"""`virnucpro weights`: fetched from their places or a mirror, on record, verified, refused where they are wrong."""

import hashlib
import shutil
from dataclasses import replace

import pytest
from conftest import DATA, ESM_8M, ROOT
from server import file, status, web_page

from virnucpro.errors import BadWeights
from virnucpro.models.catalog import DNABERT_S
from virnucpro.models.locate import default_directory
from virnucpro.weights import download, sources
from virnucpro.weights.sources import BY_NAME, DNABERT_S_AT, File, Model

REVISION = "/{}/resolve/{}".format(*DNABERT_S_AT)
TOKENIZER = ROOT / "benchmarks" / "data" / "dnabert_s"


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(download, "LONGEST_WAIT", 0.01)


@pytest.fixture
def places(monkeypatch, server, weights):
    """The authors' places, all on `server`, with the small weights and no sha256 known; {path: model}."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    models = {}
    for model in sources.MODELS:
        files = tuple(
            File(one.path, one.url and f"{server.url}/{one.path}")
            for one in model.files
            if (weights / one.path).is_file()
        )
        models[model.name] = Model(model.name, model.what, files)
        for one in files:
            path = f"{REVISION}/{one.path.split('/')[1]}" if one.url is None else f"/{one.path}"
            server.answers[path] = [file((weights / one.path).read_bytes())]
    monkeypatch.setattr("virnucpro.commands.weights.BY_NAME", models)
    return models


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pinned(model, weights):
    """The same model, with its files' sha256 known."""
    return replace(model, files=tuple(replace(one, sha256=sha256(weights / one.path)) for one in model.files))


def test_what_is_published():
    assert [model.name for model in sources.MODELS][-3:] == ["DNABERT-S", "300_model", "500_model"]
    assert BY_NAME[ESM_8M].files[0].address() == f"https://dl.fbaipublicfiles.com/fair-esm/models/{ESM_8M}.pt"
    (weights, tokenizer, config) = BY_NAME[DNABERT_S].files
    assert weights.address() == (
        "https://huggingface.co/zhihan1996/DNABERT-S/resolve/00e47f96cdea35e4b6f5df89e5419cbe47d490c6/pytorch_model.bin"
    )
    # of these two there are copies here
    assert (tokenizer.sha256, tokenizer.size) == (sha256(TOKENIZER / "tokenizer.json"), 168203)
    assert (config.sha256, config.size) == (sha256(TOKENIZER / "config.json"), 1025)


def test_fetch_list_verify_and_predict(main, places, server, weights, tmp_path, capfd):
    """From an empty directory to a verdict."""
    there = ("--weights-dir", tmp_path / "w")
    names = (ESM_8M, "DNABERT-S", "500_model")
    code, said = main("weights", "fetch", *names, *there)
    assert code == 0, said
    made = sorted(path.relative_to(tmp_path / "w").as_posix() for path in (tmp_path / "w").rglob("*") if path.is_file())
    assert made == [
        "500_model.pth", "DNABERT-S/config.json", "DNABERT-S/pytorch_model.bin", "DNABERT-S/tokenizer.json",
        "SHA256SUMS", f"{ESM_8M}.pt",
    ]  # fmt: skip
    assert (tmp_path / "w" / "SHA256SUMS").read_text() == "".join(
        f"{sha256(weights / name)}  {name}\n" for name in made if name != "SHA256SUMS"
    )

    server.requests.clear()
    code, said = main("weights", "fetch", *names, *there)
    assert (code, server.requests) == (0, []) and f"{ESM_8M} is here already" in said

    assert main("weights", "verify", *there)[0] == 0
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M, *there)
    assert main(*run)[0] == 0
    assert (tmp_path / "out" / "small_merged" / "contigs.tsv").is_file()


def test_list(main, weights, tmp_path, capfd):
    shutil.copytree(weights, tmp_path / "w")
    (tmp_path / "w" / "DNABERT-S" / "tokenizer.json").unlink()
    (tmp_path / "w" / ".esm2_t12_35M_UR50D.pt.part").write_bytes(bytes(2_000_000))
    from virnucpro.cli import main as cli

    assert cli(["weights", "list", "--weights-dir", str(tmp_path / "w")]) == 0
    rows = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines()[1:10])
    assert rows[ESM_8M].split() == ["30", "MB", "features", "of", "proteins", "here"]
    assert rows["esm2_t12_35M_UR50D"].endswith("2 MB have arrived")
    assert rows["esm2_t48_15B_UR50D"].split() == ["unknown", "features", "of", "proteins", "-"]
    assert rows["DNABERT-S"].endswith("not whole")
    assert rows["500_model"].endswith("verdicts on chunks of 500 bp  here")
    assert cli(["weights", "list", "--urls"]) == 0
    urls = capfd.readouterr().out.splitlines()
    assert len(urls) == 11
    assert urls[4].split() == [
        "7de8b4082ba15891959ab368b77ce3886697af1efb16d3c9e9e7b0c5d3f07500",
        "https://dl.fbaipublicfiles.com/fair-esm/models/esm2_t36_3B_UR50D.pt",
        "esm2_t36_3B_UR50D.pt",
    ]


def test_a_mirror_is_a_copy_of_a_weights_directory(main, places, server, weights, tmp_path):
    """An ESM-2 in Hugging Face's format and a classifier in safetensors come along; published places are not asked."""
    from benchmarks import synthetic_weights

    copy = shutil.copytree(weights / DNABERT_S, tmp_path / "copy" / DNABERT_S).parent
    synthetic_weights.write_hugging_face_esm(copy / ESM_8M, 6, 320, 20)
    assert main("weights", "convert", weights / "500_model.pth", copy / "500_model.safetensors")[0] == 0
    assert main("weights", "verify", "--record", "--weights-dir", copy)[0] == 0
    for path in copy.rglob("*"):
        if path.is_file():
            server.answers[f"/mirror/{path.relative_to(copy).as_posix()}"] = [file(path.read_bytes())]
    into = ("--weights-dir", tmp_path / "w", "--mirror", f"{server.url}/mirror/")
    code, said = main("weights", "fetch", ESM_8M, DNABERT_S, "500_model", *into)
    assert code == 0, said
    assert all(path.startswith("/mirror/") for path, _ in server.requests)
    assert (tmp_path / "w" / "SHA256SUMS").read_bytes() == (copy / "SHA256SUMS").read_bytes()
    code, said = main("weights", "fetch", "300_model", *into)
    assert code == 2 and "SHA256SUMS does not list 300_model" in said


def test_a_mirror_with_other_files_than_the_published_is_refused(places, weights):
    model = pinned(places[ESM_8M], weights)
    with pytest.raises(BadWeights, match=r"lists another esm2_t6_8M_UR50D.pt .* than the published one"):
        model.mirrored("http://m", f"{'0' * 64}  {ESM_8M}.pt\n")
    assert model.mirrored("http://m", f"{sha256(weights / f'{ESM_8M}.pt')}  {ESM_8M}.pt\n").files[0].url == (
        f"http://m/{ESM_8M}.pt"
    )


@pytest.mark.parametrize(
    "line",
    ["hello", f"{'0' * 64}  ../500_model.pth", f"{'0' * 64}  /etc/passwd", f"{'0' * 63}  500_model.pth", "0 \x00"],
)
def test_checksums_that_lead_elsewhere_are_refused(main, places, server, tmp_path, line):
    server.answers["/SHA256SUMS"] = [file(f"{'0' * 64}  x\n{line}\n".encode())]
    code, said = main("weights", "fetch", "500_model", "--weights-dir", tmp_path / "w", "--mirror", server.url)
    assert code == 2 and "SHA256SUMS, line 2: expected a sha256" in said
    assert not any((tmp_path / "w").iterdir())


@pytest.mark.parametrize(
    "answer, message",
    [
        (status(404), "the server said 404 Not Found"),
        (web_page, "a web page came instead of the file"),
        (file(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"), "a git-lfs pointer?"),
        (file(b"PK\x03\x04 nothing"), "damaged or not a PyTorch weights file"),
        (status(500), "5 attempts in a row brought nothing"),
    ],
)
def test_what_is_no_model_is_not_kept(main, places, server, tmp_path, answer, message):
    server.answers["/500_model.pth"] = [answer]
    code, said = main("weights", "fetch", "500_model", "--weights-dir", tmp_path / "w")
    assert code == 2 and message in said and "Traceback" not in said
    assert not any((tmp_path / "w").iterdir())


def test_other_bytes_than_the_published_are_not_kept(main, places, server, weights, tmp_path):
    places["500_model"] = pinned(places["500_model"], weights)
    server.answers["/500_model.pth"] = [file((weights / "300_model.pth").read_bytes())]
    code, said = main("weights", "fetch", "500_model", "--weights-dir", tmp_path / "w")
    assert code == 2 and "not the published file" in said
    assert not any((tmp_path / "w").iterdir())


def test_verify_finds_what_was_changed(main, places, weights, tmp_path, capfd):
    directory = shutil.copytree(weights, tmp_path / "w")
    there = ("--weights-dir", directory)
    places["500_model"] = pinned(places["500_model"], weights)
    from virnucpro.cli import main as cli

    def verify(*more):
        code = cli(["weights", "verify", "--weights-dir", str(directory), *more])
        return code, capfd.readouterr().out.splitlines()

    code, lines = verify()
    assert code == 0
    assert "ok   500_model.pth: as published" in lines and "ok   300_model.pth: no sha256 on record" in lines
    assert "ok   300_model.pth: as recorded" in verify("--record")[1]
    assert "ok   300_model.pth: as recorded" in verify()[1]

    for name in ("300_model.pth", "500_model.pth"):
        with open(directory / name, "ab") as end:
            end.write(b" ")
    code, lines = verify("300_model", "500_model")
    assert code == 2
    assert lines[0].startswith(f"BAD  {directory}/300_model.pth: not the file on record (sha256 ")
    assert lines[1].startswith(f"BAD  {directory}/500_model.pth: not the file that is published (sha256 ")
    assert f"(virnucpro weights fetch 500_model --weights-dir {directory} --force)" in lines[1]
    assert verify("500_model", "--record")[0] == 2  # it differs from what is published
    assert verify("500_model", "--record", "--force")[1] == ["ok   500_model.pth: as recorded, not the published file"]
    code, said = main("weights", "fetch", "500_model", "300_model", "--force", *there)
    assert code == 0, said
    assert verify("300_model", "500_model")[0] == 0


def test_verify_reports_every_file_of_a_model(main, places, weights, tmp_path, capfd):
    directory = shutil.copytree(weights, tmp_path / "w")
    places["DNABERT-S"] = pinned(places["DNABERT-S"], weights)
    for name in ("tokenizer.json", "pytorch_model.bin"):
        with open(directory / "DNABERT-S" / name, "ab") as end:
            end.write(b" ")
    from virnucpro.cli import main as cli

    assert cli(["weights", "verify", "DNABERT-S", "--weights-dir", str(directory)]) == 2
    lines = {line.split(": ")[0] for line in capfd.readouterr().out.splitlines()}
    place = f"{directory}/DNABERT-S"
    assert lines >= {f"BAD  {place}/pytorch_model.bin", f"BAD  {place}/tokenizer.json", "ok   DNABERT-S/config.json"}


def test_verify_reads_what_no_sha256_is_known_of(main, places, weights, tmp_path):
    directory = shutil.copytree(weights, tmp_path / "w")
    (directory / f"{ESM_8M}.pt").write_bytes((weights / "500_model.pth").read_bytes())
    code, said = main("weights", "verify", ESM_8M, "--weights-dir", directory)
    assert code == 2 and "1 of 1 models cannot be used" in said
    code, said = main("weights", "verify", "--weights-dir", tmp_path / "none")
    assert code == 2 and "holds no model. Fetch what is needed: virnucpro weights fetch" in said


def test_where_weights_are_by_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert str(default_directory()) == "/home/ada/.cache/virnucpro/weights"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert str(default_directory()) == "/cache/virnucpro/weights"
    (tmp_path / "weights").mkdir()
    assert str(default_directory()) == "weights"


def test_sums_of_another_spelling_are_the_same_files(places, weights, tmp_path):
    """`sha256sum ./*.pt` writes ./ before each; a file from Windows has other line ends."""
    from virnucpro.weights.checksums import parse_checksums

    assert parse_checksums(f"{'0' * 64}  ./a.pt\r\n{'1' * 64} *b//c\n", "x") == {"a.pt": "0" * 64, "b/c": "1" * 64}
    model = pinned(places[ESM_8M], weights)
    with pytest.raises(BadWeights, match="lists another"):
        model.mirrored("http://m", f"{'0' * 64}  ./{ESM_8M}.pt\n")
    with pytest.raises(BadWeights, match="does not list"):
        model.mirrored("http://m", f"{'0' * 64}  {ESM_8M}.pt/x\n{'0' * 64}  {ESM_8M}/a/b\n")


def test_force_keeps_a_good_file_until_a_better_one_is_there(main, places, server, weights, tmp_path):
    directory = shutil.copytree(weights, tmp_path / "w")
    server.answers["/500_model.pth"] = [file(b"version https://git-lfs.github.com/spec/v1\n")]
    code, said = main("weights", "fetch", "500_model", "--force", "--weights-dir", directory)
    assert code == 2 and "a git-lfs pointer?" in said
    assert (directory / "500_model.pth").read_bytes() == (weights / "500_model.pth").read_bytes()


def test_what_came_before_a_break_is_on_record(main, places, server, weights, tmp_path):
    there = ("--weights-dir", tmp_path / "w")
    good = server.answers[f"{REVISION}/tokenizer.json"]
    server.answers[f"{REVISION}/tokenizer.json"] = [status(404)]
    assert main("weights", "fetch", DNABERT_S, *there)[0] == 2
    server.answers[f"{REVISION}/tokenizer.json"] = good
    assert main("weights", "fetch", DNABERT_S, *there)[0] == 0
    listed = [line.split()[1] for line in (tmp_path / "w" / "SHA256SUMS").read_text().splitlines()]
    assert listed == ["DNABERT-S/config.json", "DNABERT-S/pytorch_model.bin", "DNABERT-S/tokenizer.json"]


def test_a_file_that_is_not_the_published_one_is_told(main, places, weights, tmp_path):
    directory = shutil.copytree(weights, tmp_path / "w")
    (published_file,) = places["500_model"].files
    places["500_model"] = replace(places["500_model"], files=(replace(published_file, size=10),))
    code, said = main("weights", "fetch", "500_model", "--weights-dir", directory)
    assert code == 0 and "bytes, the published file 10. --force replaces it." in said


def test_a_file_that_hides_what_came_is_named(main, places, weights, tmp_path):
    directory = shutil.copytree(weights, tmp_path / "w")
    (directory / "500_model.safetensors").write_text("broken")
    code, said = main("weights", "fetch", "500_model", "--force", "--weights-dir", directory)
    assert code == 0 and "500_model.safetensors lies there, too, and is what runs use. Remove it" in said
    assert (directory / "500_model.pth").is_file()


def test_another_file_than_the_first_is_told(main, places, server, weights, tmp_path):
    there = ("--weights-dir", tmp_path / "w")
    assert main("weights", "fetch", "500_model", *there)[0] == 0
    server.answers["/500_model.pth"] = [file((weights / "300_model.pth").read_bytes() + b" ")]
    (tmp_path / "w" / "500_model.pth").unlink()
    said = main("weights", "fetch", "500_model", *there)[1]
    assert "500_model.pth is another file than the one on record" in said


def test_a_model_in_parts_is_whole_with_all_of_them(weights, tmp_path):
    from virnucpro.weights.inventory import holding

    folder = tmp_path / ESM_8M
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}')
    for number, whole in ((1, False), (2, True)):
        (folder / f"{number}.safetensors").write_text("")
        assert holding(tmp_path, BY_NAME[ESM_8M]).whole is whole


@pytest.mark.parametrize("command", [("list",), ("fetch", "500_model"), ("verify",)])
def test_a_weights_directory_that_is_a_file(main, tmp_path, command):
    (tmp_path / "w").write_text("")
    code, said = main("weights", *command, "--weights-dir", tmp_path / "w")
    assert code == 2 and "w is a file, not a directory. Choose another --weights-dir." in said


def test_an_interrupted_fetch_says_how_to_go_on(main, places, server, tmp_path):
    import os
    import signal

    def interrupt(handler):
        os.kill(os.getpid(), signal.SIGINT)

    server.answers["/500_model.pth"] = [interrupt]
    code, said = main("weights", "fetch", "500_model", "--weights-dir", tmp_path / "w")
    assert code == 130
    assert "interrupted. What has arrived is kept: repeat the command to go on." in said


def test_what_cannot_be_read_does_not_go_on_record(main, weights, tmp_path):
    directory = shutil.copytree(weights, tmp_path / "w")
    (directory / "500_model.pth").write_bytes((weights / "500_model.pth").read_bytes()[:-500])
    assert main("weights", "verify", "--record", "500_model", "--weights-dir", directory)[0] == 2
    assert not (directory / "SHA256SUMS").exists()


def test_progress_of_a_fetch_and_of_its_check(places, weights, tmp_path):
    from contextlib import nullcontext

    from virnucpro.weights.inventory import fetch, put_on_record, verify

    seen = []

    def shown(title):
        return nullcontext(lambda done, total: seen.append((title, done, total)))

    size = (weights / "500_model.pth").stat().st_size
    fetch(places["500_model"], tmp_path, shown=shown)
    assert seen[-1] == ("500_model.pth", size, size)
    put_on_record(places["500_model"], tmp_path)
    seen.clear()
    verify(places["500_model"], tmp_path, shown)
    assert seen[-1] == ("500_model.pth", size, size)
