"""Translators: a start finds torch's bytecode made by others, in the order in which it will ask for it."""

import py_compile
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from surroundings import HANG

from virnucpro.system import translators
from virnucpro.system.translators import sources

PACKAGE = {
    "torch/__init__.py": "from torch import (  # those of a comment\n    a,\n    b as c,\n)\nfrom . import nn, func\n",
    "torch/func/__init__.py": "",
    "torch/a.py": 'import torch.last as last, os\n"""\nimport prose of a kind\n"""\n',
    "torch/b.py": "def later():\n    import torch.seldom\nif not later:\n    from torch import seldom\n",
    "torch/seldom.py": "",
    "torch/last.py": "# encoding: latin-1\nNAME = '\xe9'\nfrom .nn.deep.deeper import *\n",
    "torch/nn/__init__.py": "from ..b import later\nfrom .. import a\n",
    "torch/nn/deep/__init__.py": "",
    "torch/nn/deep/deeper.py": "from ...nn import deep\nfrom ..deep import (deeper,)\n",
}
ORDER = ["torch", "torch.a", "torch.last", "torch.nn", "torch.b", "torch.nn.deep", "torch.nn.deep.deeper", "torch.func"]


@pytest.fixture
def site(tmp_path):
    for name, text in PACKAGE.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1")
    return tmp_path / "site"


@pytest.fixture
def no_torch(monkeypatch, site):
    """As at the beginning of a start, with the toy package for torch."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(site)
    translators._spec.cache_clear()
    yield
    translators._spec.cache_clear()


def test_modules_come_in_the_order_of_their_imports_and_none_is_run(no_torch, site):
    found = dict(sources("torch"))
    assert list(found) == ORDER
    assert found["torch.nn.deep"] == f"{site}/torch/nn/deep/__init__.py"
    assert "torch" not in sys.modules


def test_what_is_imported_already_is_left_out_with_what_it_imports(no_torch, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.a", None)
    assert [name for name, _ in sources("os", "torch")] == ["torch", "torch.b", "torch.nn", "torch.func"]


def test_what_lies_in_a_zip_file_or_cannot_be_found_is_left_out(no_torch, site, monkeypatch):
    with zipfile.ZipFile(site / "packed.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "import torch.seldom\n")
    monkeypatch.syspath_prepend(site / "packed.zip")
    (site / "torch/b.py").write_text("import zipped, odd, torch.seldom\n")
    plain = translators.find_spec
    monkeypatch.setattr(translators, "find_spec", lambda name: 1 / 0 if name == "odd" else plain(name))
    assert plain("zipped").origin.endswith(".py")
    assert {name for name, _ in sources("torch")} == {*ORDER, "torch.seldom"}


def run(site: Path, code: str, cpus: int = 8, **variables: str) -> str:
    head = f"import sys; from virnucpro.system import helpers, translators; helpers.usable_cpus = lambda: {cpus}\n"
    known = {"PYTHONPATH": f"{site}:{ROOT}", "XDG_CACHE_HOME": f"{site}/cache"}
    done = subprocess.run(
        [sys.executable, "-c", head + code], env=known | variables, check=True, capture_output=True, text=True,
        timeout=HANG,
    )  # fmt: skip
    return done.stdout.strip()


AHEAD = """
translators.translate_ahead("torch")
import multiprocessing
for process in multiprocessing.active_children():
    process.join()
from importlib.util import cache_from_source
import os
print(*(name for name, path in translators.sources("torch") if os.path.exists(cache_from_source(path))))
"""


@pytest.mark.parametrize("cpus", [2, 4, 64])
def test_every_module_is_translated_and_can_be_imported(site, cpus):
    assert run(site, AHEAD, cpus).split() == ORDER
    written = {path: path.stat().st_mtime_ns for path in site.rglob("*.pyc")}
    assert len(written) == len(ORDER)
    run(site, "import torch.nn.deep.deeper")
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*.pyc")} == written, "it was made anew"


def test_each_module_is_translated_by_one_of_them(site, tmp_path):
    told = (
        "import os\n"
        "plain = translators.SourceFileLoader.get_code\n"
        "def get_code(loader, name):\n"
        f"    file = os.open({str(tmp_path / 'told')!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY)\n"
        "    os.write(file, f'{name} {os.getpid()}\\n'.encode() if name.startswith('torch') else b'')\n"
        "    return plain(loader, name)\n"
        "translators.SourceFileLoader.get_code = get_code\n"
    )
    run(site, told + AHEAD, cpus=6)
    names, processes = zip(*(line.split() for line in (tmp_path / "told").read_text().splitlines()), strict=True)
    assert sorted(names) == sorted(ORDER) and len({*processes}) == 3


def test_a_file_in_hand_is_finished(site, tmp_path):
    """Else what Python writes it to first would lie there for ever."""
    code = (
        "import os, time\n"
        "plain = translators.SourceFileLoader.get_code\n"
        "def get_code(loader, name):\n"
        "    if name == 'torch':\n"
        f"        open({str(tmp_path / 'begun')!r}, 'w').close()\n"
        "        time.sleep(1)\n"
        "    return plain(loader, name)\n"
        "translators.SourceFileLoader.get_code = get_code\n"
        "translators.translate_ahead('torch')\n"
        f"while not os.path.exists({str(tmp_path / 'begun')!r}):\n"
        "    time.sleep(0.01)\n"
        "translators.stop()\n"
    )
    run(site, code, cpus=2)
    assert [path.name.partition(".")[0] for path in site.rglob("*.pyc*")] == ["__init__"]


def test_a_module_that_is_no_python_costs_no_other(site):
    (site / "torch/b.py").write_text("from torch import seldom\nprint 'of Python 2'\n")
    names = run(site, AHEAD, cpus=2).split()
    assert "torch.b" not in names and {*names} == {*ORDER, "torch.seldom"} - {"torch.b"}


NUMBER = "helpers.started = lambda bodies: print(len([*bodies])) or []; translators.translate_ahead('torch')"


@pytest.mark.parametrize(
    "why, before, variables",
    [
        ("torch is imported", "import torch", {}),
        ("nobody would keep it", "", {"PYTHONDONTWRITEBYTECODE": "1"}),
        ("there is one processor", "helpers.usable_cpus = lambda: 1", {}),
        ("there is no torch", "sys.path = [path for path in sys.path if 'site' not in path]", {}),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith(("t", "n")) else "",
)
def test_nothing_is_translated_where(site, why, before, variables):
    assert run(site, f"{before}\n{NUMBER}", **variables) in ("", "0")


def test_nothing_is_translated_twice(site):
    assert run(site, NUMBER) == "4"
    assert run(site, AHEAD).split() == ORDER
    assert run(site, NUMBER) == ""


def test_a_start_that_was_interrupted_is_made_good(site):
    py_compile.compile(str(site / "torch/__init__.py"))
    assert run(site, NUMBER) == "4"


@pytest.mark.parametrize(
    "command, modules",
    [
        ("predict none.fa --output-dir out", "virnucpro.pipeline.run virnucpro.executors.local"),
        ("parity none.fa --output-dir out", "virnucpro.diagnostics.parity"),
        ("doctor --quick", "torch"),
        ("report none", ""),
        ("predict --help", ""),
    ],
)
def test_commands_that_import_torch_have_it_translated(site, command, modules):
    (site / "torch/__init__.py").write_text("raise SystemExit(0)")
    code = (
        "helpers.started = lambda bodies: print('started for', *[body.args[0] for body in bodies][0]) or []\n"
        "from virnucpro.cli import main\n"
        f"main({command.split()})"
    )
    started = [line for line in run(site, code).splitlines() if line.startswith("started")]
    assert started == ([f"started for {modules}"] if modules else [])


def test_most_of_the_real_torch_is_foreseen():
    """Of about a thousand modules those are missed that hang on a condition; those of functions are left."""
    code = (
        "from virnucpro.system.translators import sources\n"
        "before = {*sys.modules}\n"
        "foreseen = {name for name, _ in sources('virnucpro.pipeline.run', 'virnucpro.executors.local')}\n"
        "import virnucpro.pipeline.run, virnucpro.executors.local\n"
        "files = {name: getattr(sys.modules[name], '__file__', None) or '' for name in {*sys.modules} - before}\n"
        "needed = {name for name, file in files.items() if file.endswith('.py')}\n"
        "print(len(needed), len(needed & foreseen), len(foreseen - needed))"
    )
    needed, found, in_vain = map(int, run(ROOT, code).split())
    assert needed > 500 and found > 0.8 * needed and in_vain < 0.1 * needed, (needed, found, in_vain)
