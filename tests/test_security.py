"""Security: nothing that weights hold is run, temporary files are private, bandit finds nothing unexplained."""

import importlib.metadata
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import DATA, ESM_8M, ROOT

from benchmarks.synthetic_weights import write_hugging_face_esm

SMALL = ("--esm-model", ESM_8M)
# What bandit is not asked about, and why.
EXPLAINED = {
    "virnucpro": {
        "B101": "assert is for our own bugs; users' mistakes are exceptions",
        "B311": "seeded random numbers choose samples and test weights; nothing is secret",
        "B404": "doctor imports packages in another Python, for a broken one may end it; weights are hashed in another",
        "B603": "as above: a list of arguments, no shell",
        "B403": "pickle.UnpicklingError is caught, nothing is unpickled by that module",
    },
    "benchmarks": {
        "B101": "as above",
        "B105": "numbers of tokens are taken for passwords",
        "B311": "as above",
        "B404": "the suite starts git, pip and virnucpro: lists of arguments, no shell",
        "B603": "as above",
        "B607": "git is found by PATH",
    },
}


class Attack:
    """What a pickle can do to whoever loads it."""

    def __init__(self, made: Path) -> None:
        self.made = str(made)

    def __reduce__(self):
        return os.makedirs, (self.made, 0o700, True)


def legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def bare(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("save", [torch.save, legacy, bare])
@pytest.mark.parametrize("name", ["classifier", "fair-esm", "Hugging Face ESM-2", "DNABERT-S"])
def test_a_malicious_pickle_is_refused(main, weights, tmp_path, name, save):
    """Instead of a tensor, beside real ones."""
    directory, made = shutil.copytree(weights, tmp_path / "w"), tmp_path / "made"
    if name == "Hugging Face ESM-2":
        (directory / f"{ESM_8M}.pt").unlink()
        write_hugging_face_esm(directory / ESM_8M, 6, 320, 20)
        (directory / ESM_8M / "model.safetensors").unlink()
    path = {
        "classifier": directory / "500_model.pth",
        "fair-esm": directory / f"{ESM_8M}.pt",
        "Hugging Face ESM-2": directory / ESM_8M / "pytorch_model.bin",
        "DNABERT-S": directory / "DNABERT-S" / "pytorch_model.bin",
    }[name]
    save({"cfg": {"model": Attack(made)}, "model": {"x": torch.ones(2)}, "hidden_layer.weight": Attack(made)}, path)
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--weights-dir", directory, *SMALL)
    for arguments in (run, ("weights", "verify", "--weights-dir", directory)):
        code, said = main(*arguments)
        assert code == 2 and "Traceback" not in said
    assert not made.exists() and not (tmp_path / "out").exists()
    with suppress(RuntimeError):  # a bare pickle is run before it is found to be no file of torch's
        torch.load(path, weights_only=False)
    assert made.exists()  # so it would have been


def test_the_attacks_are_said_to_be_refused(main, weights, tmp_path):
    directory = shutil.copytree(weights, tmp_path / "w")
    torch.save({"hidden_layer.weight": Attack(tmp_path / "made")}, directory / "500_model.pth")
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--weights-dir", directory, *SMALL)
    assert "500_model.pth: refused, for it holds more than weights" in main(*run)[1]
    code, said = main("weights", "convert", directory / "500_model.pth", tmp_path / "x.safetensors")
    assert code == 2 and "refused, for it holds more than weights" in said
    assert not (tmp_path / "made").exists()


def test_code_beside_weights_is_not_run(main, weights, tmp_path):
    directory = shutil.copytree(weights, tmp_path / "w")
    folder = directory / "DNABERT-S"
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "bert_layers.BertModel", "AutoConfig": "configuration_bert.BertConfig"}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("bert_layers", "configuration_bert", "__init__"):
        (folder / f"{name}.py").write_text(f"import os; os.mkdir({str(tmp_path / 'made')!r})\n")
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--weights-dir", directory, *SMALL)
    code, said = main(*run)
    assert code == 0, said
    assert not (tmp_path / "made").exists()


def test_an_index_of_weights_does_not_lead_out_of_its_folder(main, weights, tmp_path):
    directory = shutil.copytree(weights, tmp_path / "w")
    folder = directory / "DNABERT-S"
    shutil.move(folder / "pytorch_model.bin", tmp_path / "elsewhere.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"x": "../../elsewhere.bin"}}))
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--weights-dir", directory, *SMALL)
    code, said = main(*run)
    assert code == 2 and f"{folder}/elsewhere.bin: missing, though pytorch_model.bin.index.json names it" in said


def test_temporary_files_are_private_or_beside_their_final_name():
    """mkstemp's are 0600 (test_input_files.py looks), TemporaryDirectory's 0700; the folder for compiled kernels is
    used if it is the user's alone (test_home.py looks)."""
    sources = "\n".join(path.read_text() for path in (ROOT / "virnucpro").rglob("*.py"))
    assert set(re.findall(r"tempfile\.(\w+)", sources)) == {"mkstemp", "TemporaryDirectory", "gettempdir"}
    assert "from tempfile" not in sources


@pytest.mark.parametrize("folder", EXPLAINED)
def test_bandit(folder):
    pytest.importorskip("bandit", reason="bandit is not installed: pip install '.[test]'")
    skipped = ",".join(EXPLAINED[folder])
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "--quiet", "--recursive", folder, "--skip", skipped, "--format", "json"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["metrics"]["_totals"]["loc"] > 1000 and not found["errors"]
    assert not [f"{each['filename']}:{each['line_number']} {each['test_id']}" for each in found["results"]]


@pytest.mark.parametrize(
    "answer, code, said",
    [
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "Audited 1 of 1 packages."),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}]}',
            1,
            "a 1: CVE-1 NOT EXPLAINED",
        ),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', 0, "Audited 0 of 1 packages: the database"),
        ("", 0, "Not audited: pip-audit said ['ConnectionError: no route']"),
    ],
)
def test_what_pip_audit_says_is_heeded(tmp_path, answer, code, said):
    (tmp_path / "pip_audit.py").write_text(
        f"import sys; print({answer!r}); print('ConnectionError: no route', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr


def test_a_broken_pip_audit_is_no_pass(tmp_path):
    (tmp_path / "pip_audit.py").write_text("raise ImportError('cyclonedx')\n")
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py"], env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True
    )
    assert done.returncode == 2


def test_every_dependency_is_explained():
    """The table of docs/security.md names what setup.py asks for, with its lower bound, and nothing else."""
    try:
        importlib.metadata.version("virnucpro")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("virnucpro runs from a checkout here, and is not installed")
    required = [line for line in importlib.metadata.requires("virnucpro") if "extra ==" not in line]
    table = re.findall(r"^\| `([^`]+)` \| [^|]{10,}\|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(required)
    pinned = (ROOT / ".ci" / "constraints.txt").read_text()
    for line in required:
        assert re.search(rf"^{re.escape(line.split('>=')[0])}==", pinned, re.MULTILINE | re.IGNORECASE), line
