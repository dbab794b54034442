"""The house: which module may import which, and which must never import torch; told from the syntax trees alone."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "pictures" / "house.svg"
ORDER = (  # a folder or a module imports from lines above its own, and from its own folder; never from below or beside
    ("errors", "_version"),
    ("system",),
    ("reading",),
    ("models",),
    ("config", "weights"),
    ("engine",),
    ("telemetry",),
    ("reporting",),
    ("executors", "output", "diagnostics"),
    ("evaluation",),
    ("training",),
    ("pipeline",),
    ("api", "streaming", "commands"),
    ("cli",),
)
ALONE = {"telemetry": {"system", "errors"}, "reporting": {"telemetry", "system", "errors", "_version"}}  # on these
RANK = {folder: rank for rank, line in enumerate(ORDER) for folder in line}
TORCH = {
    "diagnostics.layer_costs",
    "diagnostics.parity",
    "diagnostics.self_test",
    "engine.model_runner",
    "engine.pending_result",
    "engine.startup",
    "engine.window_loop",
    "executors.local",
    "models.attention",
    "models.attention_triton",
    "models.classifier",
    "models.dnabert_s",
    "models.dnabert_s_checkpoint",
    "models.esm2",
    "models.esm2_checkpoint",
    "models.kmers",
    "models.linear",
    "models.ops",
    "models.ops_hopper",
    "models.ops_triton",
    "models.pack",
    "models.product_hopper",
    "models.product_triton",
    "models.quantised_esm2",
    "models.tensor_files",
    "models.upload",
    "pipeline.training_files",
    "training.fit",
    "training.scoring",
}  # what may load torch when it is imported; nothing else may, or whatever imports it


class House:
    """The modules of a package, and what each imports.

    Args:
        root: The folder in which the package is.
    """

    def __init__(self, root: Path) -> None:
        self.paths = {}
        for path in sorted((root / "virnucpro").rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            self.paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        self.trees = {name: ast.parse(path.read_text()) for name, path in self.paths.items()}
        self.anywhere = {name: set(self._imports(name, deep=True)) for name in self.trees}
        self.at_once = {name: set(self._imports(name, deep=False)) for name in self.trees}

    def _imports(self, name: str, deep: bool) -> Iterator[str]:
        """The modules that one imports: anywhere, or as soon as it is imported itself."""
        nodes = ast.walk(self.trees[name]) if deep else _at_once(self.trees[name])
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert not node.level, f"{name}: a relative import, whose folder this test does not tell"
                within = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (each if each in self.trees else node.module for each in within)

    def faults(self) -> Iterator[str]:
        """One line for each import that goes against the order, and for each circle; modules without `virnucpro.`."""
        for name, imported in self.anywhere.items():
            for other in sorted(imported & set(self.trees)):
                if not _allowed(_room(name), _room(other)):
                    yield f"{_short(name)} imports {_short(other)}"
        yield from (f"circle: {' '.join(map(_short, circle))}" for circle in self.circles())

    def circles(self) -> set[tuple[str, ...]]:
        """The modules of each circle: those that import one another, directly or by others, wherever in them."""
        below = {name: imported & set(self.trees) for name, imported in self.anywhere.items()}
        for _ in self.trees:
            below = {name: near.union(*(below[other] for other in near)) for name, near in below.items()}
        return {tuple(sorted(n for n in near if name in below[n])) for name, near in below.items() if name in near}

    def reaches(self, target: str) -> set[str]:
        """The modules that load another one, directly or by what they import, when they are imported."""
        found = {name for name, imported in self.at_once.items() if any(_top(each) == target for each in imported)}
        while more := {name for name in self.trees if name not in found and self._loads(name) & found}:
            found |= more
        return found

    def _loads(self, name: str) -> set[str]:
        parts = name.split(".")
        return self.at_once[name] | {".".join(parts[:n]) for n in range(1, len(parts))}


def _at_once(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module that run when it is imported: not those of functions, nor what only types ask for."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _at_once(node)


def _top(module: str) -> str:
    return module.split(".")[0]


def _short(name: str) -> str:
    return name.removeprefix("virnucpro.")


def _room(name: str) -> str:
    """The folder of the package that a module lies in, or the module, if it lies in none."""
    within = name.removeprefix("virnucpro").lstrip(".")
    return within.split(".")[0]


def _allowed(room: str, other: str) -> bool:
    if room == other or room in ("", "__main__", "utils"):  # the front door, and the contract's paths to what is below
        return True
    if room in ALONE:
        return other in ALONE[room]
    return other in RANK and RANK[other] < RANK.get(room, -1)


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


def test_every_import_follows_the_order(house: House) -> None:
    assert sorted(house.faults()) == []


def test_every_module_has_its_place(house: House) -> None:
    places = {*RANK, "", "__main__", "utils"}
    assert {name for name in house.trees if _room(name) not in places} == set()


def test_torch_is_loaded_by_what_computes_alone(house: House) -> None:
    assert house.reaches("torch") == {f"virnucpro.{name}" for name in TORCH}


def test_no_module_is_long(house: House) -> None:
    lines = {name: len(house.paths[name].read_text().splitlines()) for name in house.paths}
    assert {name: count for name, count in lines.items() if count > 250} == {}
    assert len(lines) > 100


@pytest.mark.parametrize(
    ("module", "statement", "fault"),
    [
        (
            "reading/reads.py",
            "from virnucpro.engine.model_runner import ModelRunner",
            "reading.reads imports engine.model_runner",
        ),
        (
            "output/tables.py",
            "def late():\n    from virnucpro.executors import worker",
            "output.tables imports executors.worker",
        ),
        (
            "reporting/html.py",
            "from virnucpro.reading import reads",
            "reporting.html imports reading.reads",
        ),
        (
            "reading/chunks.py",
            "if TYPE_CHECKING:\n    from virnucpro.reading import windows",
            "circle: reading.chunks reading.windows",
        ),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, module: str, statement: str, fault: str) -> None:
    shutil.copytree(ROOT / "virnucpro", tmp_path / "virnucpro", ignore=shutil.ignore_patterns("__pycache__"))
    planted = tmp_path / "virnucpro" / module
    planted.write_text(f"{planted.read_text()}\n\n{statement}\n")
    assert fault in House(tmp_path).faults()


def test_a_planted_import_of_torch_is_found(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "virnucpro", tmp_path / "virnucpro", ignore=shutil.ignore_patterns("__pycache__"))
    planted = tmp_path / "virnucpro" / "errors.py"
    planted.write_text(f"{planted.read_text()}\n\nimport torch\n")
    assert {"virnucpro.errors", "virnucpro.cli"} <= House(tmp_path).reaches("torch")


def picture() -> str:
    """docs/pictures/house.svg: the folders in the order of ORDER, each with its docstring."""
    package, shapes, y = ROOT / "virnucpro", [], 20
    for line in ORDER:
        folders = [name for name in line if (package / name).is_dir()]
        texts = [ast.get_docstring(ast.parse((package / name / "__init__.py").read_text())) or "" for name in folders]
        x = 20.0
        for name, text in zip(folders, texts, strict=True):
            width = 880 * len(text) / len("".join(texts))  # as much as its text takes
            shapes.append(f'<rect x="{x:.0f}" y="{y}" width="{width - 10:.0f}" height="50" rx="6"/>')
            shapes.append(f'<text x="{x + 10:.0f}" y="{y + 20}" class="name">{name}</text>')
            shapes.append(f'<text x="{x + 10:.0f}" y="{y + 39}">{escape(text)}</text>')
            x += width
        y += 60 if folders else 0
    style = "rect{fill:#f2f5f9;stroke:#8899aa}text{font:12px sans-serif;fill:#223}.name{font-weight:bold}"
    caption = "A folder imports from those above it, never from below or beside."
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 910 {y + 30}" role="img"><style>{style}</style>'
    return "\n".join([head, *shapes, f'<text x="20" y="{y + 15}">{caption}</text>', "</svg>", ""])


def test_the_picture_of_the_house_is_up_to_date() -> None:
    """`python tests/test_house.py` draws it anew."""
    assert PICTURE.read_text() == picture()


if __name__ == "__main__":
    PICTURE.write_text(picture())
