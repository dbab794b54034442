"""The published site, in a browser and without internet: a toy history measured on a GPU machine and on a CPU one."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_suite

from benchmarks.site import vendor

pytest.importorskip("asv", reason="asv is not installed: pip install '.[bench]'")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
PROTEINS = "commands.EmbedProteins.track_wall_seconds"
PAGES = {
    "index": "index.html",
    "grid": "history.html#/",
    "list": "history.html#/summarylist",
    "graph": f"history.html#{PROTEINS}?p-workload='gpu-10k'",
    "regressions": "history.html#/regressions",
}


@pytest.fixture(scope="module")
def assets() -> Path:
    try:
        return vendor.ensure()
    except vendor.AssetsMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def toy(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "toy"
    commits = toy_suite.make(folder)
    first, second, head = (commits[name] for name in ("v1.0", "v2.0", "HEAD"))
    more = {
        commit: toy_suite.figures(toy_suite.GPU[release], "gpu-10k", newest=release == "v2.0")
        for commit, release in ((first, "v1.0"), (second, "v2.0"), (head, "v2.0"))
    }
    more[head]["commands.PredictReads.track_wall_seconds", "gpu-10k", "default"] = 20.0  # a step back
    more[head]["steady.SteadyInt8.track_joules_per_10k", "gpu-10k", "frames"] = 6600.0
    toy_suite.results(folder, "nvidia-h100", second, more[second])
    runs = [(first, "default", 230.2)]
    for seconds in (29.0, 28.0, 30.0):
        runs += [(head, "default", seconds), (first, "one", 217.5)]
    toy_suite.turns(folder, "nvidia-h100", runs, more=more)
    for release in ("v1.0", "v2.0"):
        found = toy_suite.figures(toy_suite.CPU[release], "cpu-small", newest=release == "v2.0")
        toy_suite.results(folder, "toy-cpu", commits[release], found)
    shutil.copytree(assets, folder / ".asv" / "vendor")
    return folder


@pytest.fixture(scope="module")
def site(toy: Path) -> Iterator[str]:
    """Where `asv publish` is served."""
    done = toy_suite.asv(toy, "publish", home=toy)
    assert done.returncode == 0, done.stdout + done.stderr
    handler = functools.partial(Quiet, directory=toy / ".asv" / "html")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on PATH: install it to see the site tested")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, site: str, tmp_path: Path):
    """A function: name of a page -> the page, drawn. Afterwards: nothing failed, and no other host was asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab, wrong = context.new_page(), []
    tab.on("request", lambda request: request.url.startswith((site, "data:")) or wrong.append(f"asks {request.url}"))
    tab.on("requestfailed", lambda request: wrong.append(f"failed {request.url}"))
    tab.on("response", lambda answer: answer.status < 400 or wrong.append(f"{answer.status} {answer.url}"))
    tab.on("console", lambda message: message.type != "error" or wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))

    def go(name: str):
        tab.goto(site + PAGES[name], wait_until="networkidle")
        folder = Path(os.environ.get("VIRNUCPRO_SCREENSHOTS", tmp_path))
        folder.mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=folder / f"{name}.png", full_page=name == "index")
        return tab

    yield go
    context.close()
    assert wrong == []


def test_the_site_opens_with_the_verdict_and_the_pictures(visit, site):
    tab = visit("index")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.goto(site, wait_until="networkidle")  # what asv preview opens
    assert tab.locator(".verdict strong").all_inner_texts() == ["PASS", "NOT MEASURED"]
    said = tab.locator(".verdict").first.inner_text()
    assert "Ratio 7.50, with 95 % between 7.25 and 7.77 (3 pairs); target 4.5: PASS." in said
    assert "HEAD (" in said and "was measured itself." in said and "torch 2.13.0" in said
    assert tab.locator("h2").all_inner_texts() == ["nvidia-h100", "toy-cpu"]
    charts = tab.locator(".bars")
    assert charts.count() == 4  # of each machine the commands and the steps
    boxes = [chart.bounding_box() for chart in charts.all()]
    assert all(box["width"] > 500 and box["height"] > 60 for box in boxes)
    bars = [bar.bounding_box()["width"] for bar in charts.first.locator("i").all()]
    assert bars[0] / bars[1] == pytest.approx(217.5 / 29.0, rel=0.05)  # v1.0 and v2.0 on proteins, to a pixel


def test_the_history_shows_every_commit_how_often_it_ran_and_steps_back(visit):
    tab = visit("index")
    rows = [" | ".join(row.locator("td").all_inner_texts()) for row in tab.locator("tr").all()]
    (head,) = [row for row in rows if "28.0\u201330.0, n = 3" in row]
    assert head.split(" | ")[2:5] == ["29.0 28.0\u201330.0, n = 3", "20.0 ↑", "24.0"]


def test_a_table_has_the_figures_or_says_that_there_is_none(visit):
    tab = visit("index")
    rows = [" | ".join(row.locator("td").all_inner_texts()) for row in tab.locator("tr").all()]
    assert "embed proteins (10,000) | v1.0 | default | 230.2 | 43.4 | 38.4 | 24.0 GB | 6.3 GB | 4.0e-07" in rows
    assert "fair-esm sorted by length, s for 10,000 proteins | not measured | 88.0 | 88.0" in rows
    assert "transformers sorted by length, s for 10,000 proteins" + 3 * " | not measured" in rows
    assert [row for row in rows if "warm, " in row and "10,000 " in row] == [
        "INT8 warm, J for 10,000 frames | not measured | not measured | 6,600.0"
    ]
    (cpu,) = [row for row in rows if row.startswith("embed proteins (200) | v2.0")]
    assert cpu.split(" | ")[3:8] == ["18.4", "10.9", "153.3", "not measured", "6.3 GB"]


def test_the_front_page_leads_to_the_graphs(visit):
    tab = visit("index")
    for name, shows in (("All figures as graphs", "#summarygrid-display"), ("as a list", "#summarylist-body")):
        tab.get_by_role("link", name=name).click()
        tab.locator(shows).wait_for(state="visible")
        tab.wait_for_load_state("networkidle")  # leaving earlier would cut requests off
        tab.get_by_role("link", name="Speed by release").click()
    tab.get_by_role("link", name="embed proteins (10,000)").first.click()
    tab.locator("#main-graph canvas.flot-base").wait_for()
    assert tab.locator("#title").inner_text() == PROTEINS
    tab.get_by_role("link", name="Speed by release").click()
    tab.locator(".verdict").first.wait_for()


def test_the_grid_shows_every_benchmark(visit):
    tab = visit("grid")
    assert tab.locator(".benchmark-container").count() == len(toy_suite.BENCHMARKS)
    tab.locator(".benchmark-container canvas").first.wait_for()


def test_a_graph_is_drawn_with_both_releases(visit):
    tab = visit("graph")
    tab.locator("#main-graph canvas.flot-base").wait_for()
    coloured = """canvas => {
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, seen = new Set();
        for (let i = 0; i < data.length; i += 4) if (data[i + 3]) seen.add(data.slice(i, i + 3).join());
        return seen.size }"""
    assert tab.locator("#main-graph canvas.flot-base").evaluate(coloured) > 10
    text = tab.locator("#main-graph").inner_text()
    assert "v1.0" in text and "v2.0" in text


def test_the_list_has_a_row_for_each_figure(visit):
    tab = visit("list")
    tab.get_by_text("track_wall_seconds").first.wait_for()
    assert tab.locator("#summarylist-body tbody tr").count() > len(toy_suite.BENCHMARKS)


def test_regressions_are_listed(visit):
    tab = visit("regressions")
    tab.locator("#regressions-body").wait_for()
    tab.get_by_role("link", name="Feed (Atom)").wait_for()
    assert tab.locator("#regressions-body tbody tr").filter(has_text="start_up.Help.track_seconds").count() >= 1


def test_the_feed_links_asvs_page(toy, site):
    feed = (toy / ".asv" / "html" / "regressions.xml").read_text(encoding="utf-8")
    assert "history.html#start_up.Help.track_seconds" in feed and "index.html#" not in feed


def test_a_commit_is_shown_by_the_site_itself(toy, site):
    """asv's pages link the first eight digits, its feed all of them; nobody knows where the repository is published."""
    folder = toy / ".asv" / "html"
    page = (folder / "commits.html").read_text(encoding="utf-8")
    about = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert (about["project_url"], about["show_commit_url"]) == ("index.html", "commits.html#")
    hashes = about["revision_to_hash"].values()
    measured = [each for each in hashes if list((toy / "results").glob(f"*/{each[:8]}-*.json"))]
    assert len(measured) == 3
    linked = re.findall("commits.html#([0-9a-f]+)", (folder / "regressions.xml").read_text(encoding="utf-8"))
    assert linked
    assert all(f'id="{each}"' in page for each in [*linked, *measured, *(each[:8] for each in measured)])
    assert "<td>v2.0</td>" in page  # its subject


def test_licences_are_published_with_what_they_are_for(toy, site):
    folder = toy / ".asv" / "html"
    notice = (folder / "vendor" / vendor.NOTICE).read_text(encoding="utf-8")
    assert all(f"## {name}\n" in notice for name in vendor.ASSETS.values())
    for holder in (
        "JS Foundation",
        "IOLA and Ole Laursen",
        "Joseph McCullough",
        "Sebastian Tschan",
        "Benjamin BUFFET",
        "Twitter",
    ):
        assert holder in notice
    assert "url(" not in (folder / "vendor" / vendor.ASSETS["bootstrap.min.css"]).read_text(
        encoding="utf-8"
    )  # no fonts
    assert "asv Developers" in (folder / "LICENSE-asv.rst").read_text(encoding="utf-8")


def test_what_cannot_be_fetched_is_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(
        vendor.AssetsMissing, match=r"cannot fetch asv-0\.5\.1\.tar\.gz.*python -m benchmarks\.site\.vendor"
    ) as error:
        vendor.ensure(tmp_path / "vendor")
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_a_page_of_another_asv_is_refused():
    from asv.util import UserError

    from benchmarks.asv_plugins.site import without_internet

    with pytest.raises(UserError, match=re.escape("links new.min.js, which asv 0.6.6 does not")):
        without_internet('<script src="https://cdn/new.min.js"></script><li id="nav-li-" class="active">')
