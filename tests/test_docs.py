"""The documentation: it builds without a warning, fetches nothing, leaves nothing out, and its commands can be run."""

import doctest
import importlib.util
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from conftest import ROOT
from surroundings import HANG

import virnucpro
from benchmarks.site import accuracy_picture, speed_picture
from virnucpro import errors
from virnucpro.cli import cli
from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference
from virnucpro.pipeline.progress_reporter import InferenceProgressReporter
from virnucpro.pipeline.run import Summary
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.streaming import EmbeddedWindow, Embedder, Preparation, prepare
from virnucpro.utils import telemetry

DOCS = ROOT / "docs"
SOURCES = sorted(DOCS.rglob("*.md"))
TOOLS = ("mkdocs", "material", "mkdocstrings_handlers.python", "mkdocs_click")
CODE = ("code", "pre", "h1", "h2", "h3", "h4")  # and what else is no running text
LEFT_OVER = re.compile(r"^ *(?:[-*|] |\d+\. |```|:::|>>> |--8<--).*|.*(?:\]\(|\*\*|`).*", re.MULTILINE)
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "image": "href"}


class Page(HTMLParser):
    """A built page: its text, its prose (no code, no menus), its headings' anchors, its links, and what it fetches."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.prose = "", ""
        self.anchors, self.links, self.fetched = set(), set(), set()
        self._code = self._hidden = self._article = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list) -> None:
        known = dict(attributes)
        self._code += tag in CODE
        self._hidden += tag in ("script", "style")
        self._article += tag == "article"
        if tag in ("p", "li", "td", "br"):
            self.prose += "\n"
        if tag[0] == "h" and "id" in known:
            self.anchors.add(known["id"])
        if tag == "a":
            self.links.add(known.get("href"))
        if known.get(FETCHED.get(tag)) and known.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.add(known.get(FETCHED[tag]))

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in CODE
        self._hidden -= tag in ("script", "style")
        self._article -= tag == "article"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data
            self.prose += data if self._article and not self._code else ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the site is built, with every broken link an error."""
    for tool in TOOLS:
        if importlib.util.find_spec(tool.partition(".")[0]) is None:
            pytest.skip(f"{tool} is not installed: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ".ci/mkdocs.yml", "-d", folder]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


def built(source: Path) -> str:
    """The page that is made of a source."""
    name = source.relative_to(DOCS).with_suffix(".html").as_posix()
    return name.replace("README.html", "index.html")


def test_nothing_is_fetched_from_elsewhere(site, pages):
    for name, page in pages.items():
        assert page.fetched, name
        assert [each for each in page.fetched if re.match("(https?:)?//", each)] == [], name
        here = [(site if each[0] == "/" else (site / name).parent) / each.lstrip("/") for each in page.fetched]
        assert [path for path in here if not path.is_file()] == []
    for sheet in site.rglob("*.css"):
        assert re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")) is None, sheet


def test_search_works_from_disk(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    if (program := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium on PATH: install it to see the site tested")
    with playwright.sync_playwright() as started:
        tab = started.chromium.launch(executable_path=program, args=["--no-sandbox"]).new_page()
        asked, wrong = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto((site / "howto" / "cluster.html").as_uri(), wait_until="networkidle")
        tab.locator("input[name=query]").click()
        tab.keyboard.type("deterministic")
        found = tab.locator("a.md-search-result__link").first
        found.wait_for()
        assert (site / "architecture.html").as_uri() in {
            link.get_attribute("href").partition("?")[0] for link in tab.locator("a.md-search-result__link").all()
        }
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert wrong == []


def test_every_page_is_in_the_navigation(pages):
    for source in SOURCES:
        assert built(source) in pages["index.html"].links | {"index.html"}, source


def test_no_markdown_is_left_over(pages):
    for source in SOURCES:
        assert LEFT_OVER.findall(pages[built(source)].prose) == [], source


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for word, each in getattr(command, "commands", {}).items():
        yield from commands(each, f"{name} {word}")


@pytest.mark.parametrize(("name", "command"), list(commands(cli, "virnucpro")))
def test_every_command_and_option_is_described(pages, name, command):
    text = pages["reference/commands.html"].text
    section = text[text.index(f"{name} [OPTIONS]") :]
    section = section[: section.find("[OPTIONS]", len(name) + 2) % len(section)]
    assert inspect.cleandoc(command.help).partition("\n")[0].replace("`", "") in text
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert all(option in section for option in parameter.opts), parameter.opts


def public() -> Iterator[str]:
    """Names that users may import, and the parts of them that they use."""
    yield from (f"virnucpro.{name}" for name in virnucpro.__all__)
    yield from (f"virnucpro.utils.telemetry.{name}" for name in telemetry.__all__)
    yield from (f"virnucpro.errors.{name}" for name, each in vars(errors).items() if inspect.isclass(each))
    contract = {RuntimeConfig: "pipeline.runtime_config", InferenceProgressReporter: "pipeline.progress_reporter"}
    streams = (Embedder, EmbeddedWindow, prepare, Preparation)
    for each in (run_multi_gpu_inference, Summary, *contract, *streams):
        name = (
            f"virnucpro.{contract[each]}.{each.__name__}" if each in contract else f"{each.__module__}.{each.__name__}"
        )
        yield name
        yield from (f"{name}.{field}" for field in getattr(each, "__dataclass_fields__", ()))


@pytest.mark.parametrize("name", list(public()))
def test_every_public_name_is_described(pages, name):
    assert name in pages["reference/api.html"].anchors


def described() -> Iterator[object]:
    """Public functions, classes and methods that describe their parameters."""
    telemetry_s = [getattr(telemetry, name) for name in telemetry.__all__]
    functions = virnucpro.predict, virnucpro.embed, run_multi_gpu_inference, prepare
    for each in (*functions, Embedder, InferenceProgressReporter, *telemetry_s):
        methods = vars(each).values() if inspect.isclass(each) else ()
        yield from (one for one in (each, *methods) if "Args:" in (getattr(one, "__doc__", None) or ""))


@pytest.mark.parametrize("each", list(described()), ids=lambda each: each.__qualname__)
def test_no_parameter_is_left_out(each):
    for name in inspect.signature(each).parameters:
        assert name == "self" or re.search(rf"^ +{name}: ", each.__doc__, re.MULTILINE), name


def shown() -> Iterator[tuple[str, str, bool]]:
    """Every command that the documentation shows: where, the line, and whether it stands for itself."""
    for path in (*SOURCES, ROOT / "README.md", ROOT / "CHANGELOG.md"):
        where, fenced = path.relative_to(ROOT).as_posix(), False
        text = re.sub(r"\\\n +", "", path.read_text(encoding="utf-8"))  # lines that go on
        for number, line in enumerate(text.splitlines(), start=1):
            if line.lstrip().startswith("```"):
                fenced = not fenced
            elif fenced or line.startswith("    "):
                for part in re.split(r"&&|[;|]", line.partition(" #")[0]):
                    words = re.sub(r"^\s*(\$ |srun (--\S+ )*|\.venv/bin/)*", "", part)
                    if re.match(r"(python -m )?virnucpro [a-z-]", words):
                        yield f"{where}:{number}", words.removeprefix("python -m "), True
            else:
                for words in re.findall(r"`(virnucpro [a-z-][^`]*)`", line):
                    yield f"{where}:{number}", words, False


SHOWN = [each for each in shown() if "|" not in each[1]]  # virnucpro weights list|fetch is no command


@pytest.mark.parametrize(("where", "line", "whole"), SHOWN, ids=[f"{where} {line}" for where, line, _ in SHOWN])
def test_every_command_shown_is_one(monkeypatch, where, line, whole):
    """Options and their values; no file has to be there."""
    _, *words = shlex.split(line.partition(">")[0])
    command, name = cli, "virnucpro"
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, line
        command = command.commands[name]
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            monkeypatch.setattr(parameter.type, "exists", False)
    try:
        command.make_context(name, words)
    except click.exceptions.Exit:
        pass  # --help
    except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
        assert not whole, line  # in running text a command may be named alone


def test_every_setting_shown_is_one():
    pairs = [
        pair for path in SOURCES for pair in re.findall(r"--set ([a-z_]+=[^\s`]+)", path.read_text(encoding="utf-8"))
    ]
    assert len(pairs) > 5
    for pair in pairs:
        RuntimeConfig.from_pairs([pair])


def test_commands_are_found():
    assert len(SHOWN) > 40 and sum(whole for *_, whole in SHOWN) > 20


def test_the_method_s_examples_are_right():
    failed, tried = doctest.testfile(str(DOCS / "method.md"), module_relative=False)
    assert failed == 0 and tried > 5


def test_the_pictures_are_those_of_the_results():
    matplotlib = pytest.importorskip("matplotlib")
    pins = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8")
    if f"matplotlib=={matplotlib.__version__}\n" not in pins:
        pytest.skip(f"matplotlib {matplotlib.__version__} may draw otherwise than the pinned one")
    for module in (speed_picture, accuracy_picture):
        for path, svg in module.drawn().items():
            assert (ROOT / path).read_text(encoding="utf-8") == svg, f"{path}: run python -m {module.__name__}"


def test_what_was_measured_names_no_place_of_one_machine():
    files = [path for name in ("docs/validation", "results") for path in (ROOT / name).rglob("*") if path.is_file()]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    named = [str(path) for path, text in texts.items() if re.search("/(root|home|work|tmp)/", text)]
    assert len(texts) > 50 and named == []


def test_the_tests_that_security_names_are_there():
    table = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").split("## Faults that", 1)[1]
    named = set(re.findall(r"\w+\.py", table))
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / "tests" / name).exists()]


def test_the_pictures_text_has_the_pictures_figures_wherever_it_is_shown():
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/index.md")]
    texts = [re.search(r"!\[(Wall seconds[^\]]*)\]", page)[1] for page in pages]
    assert texts[0].split() == texts[1].split()
    figures = re.findall(r"(?:v\d\.\d|in 8 bits) ([\d.]+) s", texts[0])
    picture = (ROOT / "docs" / "pictures" / "speedup.svg").read_text()
    assert len(figures) == 12 and [figure for figure in figures if figure not in picture] == []
    gained = r"gain ([\d.]+) and ([\d.]+) times \(([\d.]+) and ([\d.]+) in 8 bits\), as the picture shows"
    gains = re.search(gained, pages[1]).groups()
    assert [gain for gain in gains if f"({gain}x as fast)" not in picture] == []
