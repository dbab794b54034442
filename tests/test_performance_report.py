"""The performance report: its text whole, its page, each requirement at its bound, and the decision tree."""

import json
import math
import re
from html.parser import HTMLParser

import pytest
from conftest import ESM_8M, ROOT, assert_one_message
from recorded import logger

from benchmarks.support import verdict
from virnucpro.errors import BadInput
from virnucpro.reporting.decisions import REQUIREMENTS
from virnucpro.reporting.performance_report import generate_performance_report
from virnucpro.reporting.requirements import FAIL, NOT_MEASURED, PASS, Finding, decimals, find, unmet
from virnucpro.utils.telemetry import aggregate_telemetry_shards, calculate_scaling_efficiency

RESULTS = {
    "speedup_comparison": {
        "ratio": 6.92,
        "verdict": "PASS",
        "breakdown_from": "an H200",
        "baseline": {"version": "v1.0", "precision": "BF16", "packing": "padded", "elapsed_sec": 225.4},
        "candidate": {"version": "v2.0", "precision": "FP16", "packing": "packed", "elapsed_sec": 32.6},
        "breakdown": [["padded bf16", 203.65, None], ["packed fp16", 22.25, 181.4], ["packed fp8", "skipped", None]],
    },
    "scaling": {"speedup": 1.96, "seconds_one": 46.0, "seconds_many": 23.5, "world_size": 2, "devices": "GPUs"},
    "checkpoint_overhead": {"overhead_percent": 1.25},
    "tuning": {
        "recommendation": "Keep the defaults.",
        "packing_grid": {
            "token_budgets": [4096, 8192], "buffer_sizes": [512, 2048], "none": "out of memory",
            "tokens_per_second": [[90_000.0, 91_000.0], [95_000.0, None]],
        },
    },
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A directory with the telemetry of a run on two GPUs, one of them too slow at its work."""
    telemetry = logger(
        tmp_path / "out",
        [
            {"rank": rank, "device": f"cuda:{rank}", "seconds": 0.002, "gpu_utilization": percent}
            for rank, percent in ((0, 99.0), (1, 60.0)) * 3
        ],
        run_id="a<b",
        warmup_batches=1,
    )
    telemetry.set_run_metadata(
        hardware={"python": "3.11", "gpus": [{"name": "H200"}], "torch": None, "reason": None},
        stage_seconds={"loading the models": 1.0, "computing": 3.0},
    )
    telemetry.finalize()
    return tmp_path / "out"


def test_the_text_whole(tmp_path):
    telemetry = logger(
        tmp_path,
        [{"gpu_utilization": 60.0, "copies": 3}, {"seconds": 0.002, "gpu_utilization": 65.5}],
        warmup_batches=1,
    )
    telemetry.set_run_metadata(
        model="3B",
        hardware={"python": "3.11", "gpus": [{"name": "H200"}], "torch": None, "reason": None},
        stage_seconds={"loading the models": 1.0, "computing": 3.0},
    )
    document = json.loads(telemetry.finalize().read_text())
    text = generate_performance_report(document, tmp_path / "new" / "report.txt", RESULTS)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["report.html", "report.txt"]
    assert (tmp_path / "new" / "report.txt").read_text() == text
    advice = "".join(
        f"    {number}. {step.cause}\n       $ {step.command}\n"
        for number, step in enumerate(REQUIREMENTS["gpu_utilization"].installed_steps, start=1)
    )
    advice += "    More in docs/validation.md, with a copy of the repository.\n"
    assert text == (
        "virnucpro performance report\n"
        "============================\n"
        "\n"
        "Run\n"
        "  run_id               run\n"
        "  model                3B\n"
        "\n"
        "Hardware\n"
        "  python               3.11\n"
        "  torch                not known\n"
        "  gpu 0                name H200\n"
        "\n"
        "Totals\n"
        "  sequences            20\n"
        "  copies, not computed 3\n"
        "  tokens               1,800\n"
        "  packs                2\n"
        "  batches              2\n"
        "  time                 2 s\n"
        "  checkpoint writes    0 s\n"
        "  checkpoint overhead  0 %\n"
        "\n"
        "Stages\n"
        "  loading the models   1 s (25 %)\n"
        "  computing            3 s (75 %)\n"
        "\n"
        "Steady state (left out as warm-up: 1 of 2 batches, 2.0 s)\n"
        "  tokens/s             450,000\n"
        "  sequences/s          5,000\n"
        "  sequences/h          18,000,000\n"
        "  packing              90 %\n"
        "  GPU utilisation      65.5 %\n"
        "  GPU idle             not known\n"
        "  p95 loader wait      0.5 ms\n"
        "  batches starved      0 %\n"
        "\n"
        "Each optimisation, seconds per 10,000 proteins (an H200)\n"
        "  padded bf16          203.65 s\n"
        "  packed fp16          22.25 s (181.4 s less)\n"
        "  packed fp8           skipped\n"
        "\n"
        "Parameters\n"
        "  recommended          Keep the defaults.\n"
        "\n"
        "Requirements\n"
        "  speed-up over v1.0 >= 4.5x: PASS 6.92x\n"
        "  6 M sequences < 10 h, by sequences: PASS 0.33 h\n"
        "  6 M sequences < 10 h, by tokens: PASS 0.33 h\n"
        "  GPU utilisation >= 70 %, rank 0 (cuda:0): FAIL 65.5 %\n"
        "  packing >= 90 %, rank 0 (cuda:0): PASS 90 %\n"
        "  p95 loader wait < 100 ms: PASS 0.5 ms\n"
        "  two GPUs over one >= 1.9x: PASS 1.96x\n"
        "  checkpoint overhead < 15 %: PASS 1.25 %\n"
        "\n"
        "What to do next\n"
        "  GPU utilisation >= 70 %, rank 0 (cuda:0): FAIL 65.5 %\n"
        f"{advice}"
        "\n"
        "Rank 0 (cuda:0)\n"
        "  sequences            20\n"
        "  tokens               1,800\n"
        "  time                 2 s\n"
        "  tokens/s             450,000\n"
        "  packing              90 %\n"
        "  GPU utilisation      65.5 %\n"
    )


@pytest.mark.parametrize(
    "name, value, line",
    [
        ("speedup", 4.5, "speed-up over v1.0 >= 4.5x: PASS 4.5x"),
        ("speedup", 4.4999, "speed-up over v1.0 >= 4.5x: FAIL 4.4999x"),
        ("speedup", None, "speed-up over v1.0 >= 4.5x: NOT MEASURED"),
        ("projected_hours", 9.999, "6 M sequences < 10 h: PASS 9.999 h"),
        ("projected_hours", 10.0, "6 M sequences < 10 h: FAIL 10 h"),
        ("projected_hours", 1234.5, "6 M sequences < 10 h: FAIL 1,234.5 h"),
        ("gpu_utilization", 70.0, "GPU utilisation >= 70 %: PASS 70 %"),
        ("gpu_utilization", 69.99, "GPU utilisation >= 70 %: FAIL 69.99 %"),
        ("packing_efficiency", 90.0, "packing >= 90 %: PASS 90 %"),
        ("packing_efficiency", 89.96, "packing >= 90 %: FAIL 89.96 %"),
        ("loader_wait", 99.5, "p95 loader wait < 100 ms: PASS 99.5 ms"),
        ("loader_wait", 100.0, "p95 loader wait < 100 ms: FAIL 100 ms"),
        ("scaling", 1.9, "two GPUs over one >= 1.9x: PASS 1.9x"),
        ("scaling", 1.89, "two GPUs over one >= 1.9x: FAIL 1.89x"),
        ("checkpoint_overhead", 14.9, "checkpoint overhead < 15 %: PASS 14.9 %"),
        ("checkpoint_overhead", 15.0, "checkpoint overhead < 15 %: FAIL 15 %"),
        ("checkpoint_overhead", math.nan, "checkpoint overhead < 15 %: FAIL nan %"),
    ],
)
def test_each_requirement_at_its_bound(name, value, line):
    assert str(Finding(REQUIREMENTS[name], value)) == line


@pytest.mark.parametrize(
    "value, text", [(99.4, "99.4"), (90, "90"), (0, "0"), (0.0034, "0.003"), (1234567.891, "1,234,567.89")]
)
def test_decimals(value, text):
    assert decimals(value) == text


def test_what_holds_for_each_gpu_is_not_averaged(tmp_path):
    """79.5 % on average, and one of them too low."""
    ranks = [{"rank": 0, "gpu_utilization": 99.0}, {"rank": 1, "gpu_utilization": 60.0, "tokens": 600}]
    found = find(logger(tmp_path, ranks).get_summary(), {})
    findings = {(finding.requirement.name, finding.of): finding for finding in found}
    assert findings["GPU utilisation", "rank 0 (cuda:0)"].verdict == PASS
    assert findings["GPU utilisation", "rank 1 (cuda:1)"].verdict == FAIL
    assert findings["packing", "rank 1 (cuda:1)"].value == 60
    assert findings["speed-up over v1.0", ""].verdict == findings["two GPUs over one", ""].verdict == NOT_MEASURED


def test_rates_of_a_run_that_ended_in_its_warm_up_are_not_measured(tmp_path):
    short = logger(tmp_path, [{"tokens": 100, "loader_wait_ms": 900.0, "gpu_utilization": 1.0}], warmup_seconds=60.0)
    assert unmet(find(short.get_summary(), {})) == ""
    whole = logger(tmp_path, [{"tokens": 100, "loader_wait_ms": 900.0, "gpu_utilization": 1.0}])
    assert [str(finding) for finding in find(whole.get_summary(), {}) if finding.verdict == FAIL] == [
        "6 M sequences < 10 h, by sequences: FAIL 333.33 h",
        "6 M sequences < 10 h, by tokens: FAIL 333.33 h",
        "GPU utilisation >= 70 %, rank 0 (cuda:0): FAIL 1 %",
        "packing >= 90 %, rank 0 (cuda:0): FAIL 10 %",
        "p95 loader wait < 100 ms: FAIL 900 ms",
    ]


def test_the_hours_asked_of_a_gpu_are_not_held_against_the_cpu(tmp_path):
    of_cpu = find(logger(tmp_path, [{"device": "cpu", "tokens": 100}]).get_summary(), {})
    assert [str(finding) for finding in of_cpu if finding.requirement.name == "6 M sequences"] == [
        "6 M sequences < 10 h, by sequences: NOT MEASURED",
        "6 M sequences < 10 h, by tokens: NOT MEASURED",
    ]
    assert "packing >= 90 %, rank 0 (cpu): FAIL 10 %" in map(str, of_cpu)


def test_a_report_advises_what_its_reader_has(tmp_path):
    """The suite and the benchmarks are in the repository only."""
    slow = logger(tmp_path, [{"tokens": 100, "loader_wait_ms": 900.0, "gpu_utilization": 1.0}]).get_summary()
    bad = {"speedup_comparison": {"verdict": FAIL, "ratio": 1.0}}
    commands = [line for line in unmet(find(slow, bad), in_checkout=False).splitlines() if line.startswith("     $ ")]
    assert len(commands) >= 8
    assert all(command.startswith("     $ virnucpro ") for command in commands)
    assert "pytest" in unmet(find(slow, bad)) and "pytest" not in unmet(find(slow, bad), in_checkout=False)
    document = json.loads(logger(tmp_path, [{"tokens": 100}]).finalize().read_text())
    text = generate_performance_report(document, tmp_path / "r.txt")
    assert "pytest" not in text and "pytest" not in (tmp_path / "r.html").read_text()


def test_copies_that_were_not_counted_are_not_known(tmp_path):
    document = json.loads(logger(tmp_path, [{}]).finalize().read_text())
    del document["summary"]["copies"]
    assert "\n  copies, not computed not known\n" in generate_performance_report(document, tmp_path / "r.txt")


def test_a_run_without_a_batch(tmp_path):
    findings = find(logger(tmp_path, []).get_summary(), {})
    assert {finding.verdict for finding in findings} == {NOT_MEASURED}
    assert len(findings) == 8


def test_a_run_in_which_one_worker_ended_within_its_warm_up(tmp_path):
    """Its throughput would be that of the other alone."""
    ranks = [{"rank": rank, "seconds": 60.0} for rank in (0, 0, 1)]
    findings = find(logger(tmp_path, ranks, warmup_batches=1).get_summary(), {})
    assert {finding.verdict for finding in findings if finding.requirement.name != "checkpoint overhead"} == {
        NOT_MEASURED
    }


@pytest.mark.parametrize(
    "name, content, verdict",
    [
        ("speedup_comparison", {"ratio": 3.0, "verdict": "FAIL"}, FAIL),
        ("speedup_comparison", {"ratio": 3.0, "verdict": "NOT JUDGED"}, NOT_MEASURED),
        ("speedup_comparison", {"ratio": None, "verdict": "SKIPPED"}, NOT_MEASURED),
        ("scaling", {"speedup": 1.95, "devices": "GPUs", "world_size": 2}, PASS),
        ("scaling", {"speedup": 1.95, "devices": "GPUs", "world_size": 8}, NOT_MEASURED),
        ("scaling", {"speedup": 1.0, "devices": "CPU workers", "world_size": 2}, NOT_MEASURED),
    ],
)
def test_results_that_say_nothing_of_a_requirement(tmp_path, name, content, verdict):
    findings = find(logger(tmp_path, []).get_summary(), {name: content})
    assert [finding.verdict for finding in findings if finding.verdict != NOT_MEASURED] == (
        [] if verdict == NOT_MEASURED else [verdict]
    )


def test_checkpoints_are_a_share_of_the_time_that_passed(tmp_path):
    """Two workers at the same time; 3 s of writing in 10 are 30 %, and without any nothing was measured."""

    def verdict(write_ms):
        ranks = [{"rank": rank, "seconds": 10.0, "checkpoint_write_ms": write_ms} for rank in (0, 1)]
        (found,) = (
            finding
            for finding in find(logger(tmp_path, ranks).get_summary(), {})
            if finding.requirement.name == "checkpoint overhead"
        )
        return str(found)

    assert verdict(1500.0) == "checkpoint overhead < 15 %: FAIL 30 %"
    assert verdict(None) == "checkpoint overhead < 15 %: NOT MEASURED"


class Page(HTMLParser):
    """Its headings and its code; what it would fetch; elements that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.code, self.fetched, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "br"):
            self._open.append(tag)
        assert tag not in ("script", "iframe", "link")
        for name, value in attributes:
            if name in ("src", "href", "xlink:href") and not value.startswith(("#", "data:")):
                self.fetched.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if self._open and self._open[-1] == "code":
            self.code.append(data)


def test_the_page(run, main):
    for name, content in RESULTS.items():
        (run / f"{name}.json").write_text(json.dumps(content))
    before = (run / "telemetry_a<b.json").read_bytes()
    code, said = main("report", run)
    assert code == 0
    assert f"Page: {run}/performance_report_a<b.html" in said
    html = (run / "performance_report_a<b.html").read_text()
    page = Page(html)
    assert page.headings == [
        "virnucpro: performance of a<b",
        "Requirements",
        "What to do next: GPU utilisation >= 70 %",
        "What the time went into",
        "Tokens a second, window by window",
        "GPU utilisation, %, window by window",
        "Packing, %, window by window",
        "Wait for the loader, ms, window by window",
        "This version and v1.0",
        "What each optimisation is worth (an H200)",
        "The same work on 2 GPUs",
        "Sizes of packs and windows",
        "Run",
        "Hardware",
        "Totals",
        "Stages",
        "Steady state (left out as warm-up: 2 of 6 batches, 0.0 s)",
        "Each optimisation, seconds per 10,000 proteins (an H200)",
        "Parameters",
        "Rank 0 (cuda:0)",
        "Rank 1 (cuda:1)",
    ]
    assert page.fetched == []
    assert not re.search(r"url\((?!#)|@import", html)
    assert page.code == [step.command for step in REQUIREMENTS["gpu_utilization"].installed_steps]
    assert html.count("<svg ") == 9
    for text in ("rank 1 (cuda:1)", "required: 70", "not measured", "out of memory", "95,000", "6.91x as fast"):
        assert text in html
    assert (run / "telemetry_a<b.json").read_bytes() == before


def test_the_page_of_a_run_alone(run, main, capfd):
    assert main("report", run / "telemetry_a<b.json")[0] == 0
    page = Page((run / "performance_report_a<b.html").read_text())
    assert "This version and v1.0" not in page.headings


def test_a_report_on_a_real_run(program, tmp_path):
    done = program("predict", ROOT / "tests/data/small.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    assert done.returncode == 0, done.stderr
    reported = program("report", tmp_path / "out")
    assert reported.returncode == 0, reported.stderr
    assert reported.stdout == (tmp_path / "out" / "performance_report_small.txt").read_text()
    assert '"esm_model": "esm2_t6_8M_UR50D"' in reported.stdout
    assert "  GPU utilisation >= 70 %, rank 0 (cpu): NOT MEASURED\n" in reported.stdout
    Page((tmp_path / "out" / "performance_report_small.html").read_text())


def test_long_telemetry_gives_a_page_that_can_be_opened(tmp_path):
    windows = [{"rank": rank, "seconds": 0.1} for _ in range(2000) for rank in range(4)]
    path = logger(tmp_path, windows).finalize()
    generate_performance_report(json.loads(path.read_text()), tmp_path / "report.txt")
    assert (tmp_path / "report.html").stat().st_size < 2**20


def test_the_callers_pictures_stay_as_they_are(run, main):
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert main("report", run)[0] == 0
    assert dict(matplotlib.rcParams) == before


def test_a_name_that_is_no_text(run, main, capfd):
    """Names of files are bytes; this one is not UTF-8."""
    telemetry = json.loads((run / "telemetry_a<b.json").read_text())
    telemetry["run_metadata"]["input"] = "reads\udcff.fa"
    (run / "telemetry_a<b.json").write_text(json.dumps(telemetry))
    assert main("report", run)[0] == 0
    assert "reads?.fa" in (run / "performance_report_a<b.txt").read_text()


def test_the_text_is_printed_where_no_file_can_be_written(run, weights, monkeypatch, capfd):
    def no_room(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("virnucpro.reporting.performance_report.whole_file", no_room)
    from virnucpro.cli import main

    assert main(["report", str(run)]) == 0
    printed = capfd.readouterr()
    assert printed.out.startswith("virnucpro performance report\n")
    assert "WARNING No files are written: [Errno 28]" in printed.err
    assert "Page:" not in printed.err


@pytest.mark.parametrize(
    "spoil, code, message",
    [
        (lambda run: (run / "telemetry_a<b.json").unlink(), 1, "has no telemetry_*.json"),
        (lambda run: (run / "telemetry_b.json").touch(), 2, "has 2 files of telemetry (telemetry_a<b.json, "),
        (lambda run: (run / "telemetry_a<b.json").write_text("[]"), 1, "is broken (not an object)"),
        (lambda run: (run / "telemetry_a<b.json").write_text("{}"), 1, "is not what it has to be"),
        (lambda run: (run / "scaling.json").write_text("{"), 1, "scaling.json is broken"),
        (lambda run: (run / "scaling.json").write_text('{"speedup": "2"}'), 1, "is not what it has to be"),
    ],
)
def test_a_broken_directory(run, main, spoil, code, message):
    spoil(run)
    found, said = main("report", run)
    assert found == code
    assert_one_message(said, message)
    assert not list(run.glob("performance_report*"))


def test_shards_merged_take_the_hardware_of_the_first(tmp_path):
    paths = []
    for rank in (0, 1):
        shard = logger(tmp_path, [{"rank": rank}], f"rank{rank}")
        shard.set_run_metadata(hardware={"gpus": [{"temperature_celsius": 30 + rank}]})
        paths.append(shard.finalize())
    text = generate_performance_report(aggregate_telemetry_shards(paths), tmp_path / "report.txt")
    assert "  shard 1, run_id      rank1\n" in text
    assert "  gpu 0                temperature_celsius 30\n" in text
    assert "Rank 1 (cuda:1)" in text and "temperature_celsius 31" not in text


@pytest.mark.parametrize("telemetry", [{}, [], None, {"run_metadata": {}, "summary": {}}])
def test_a_report_of_something_else(tmp_path, telemetry):
    with pytest.raises(BadInput, match="is not what it has to be"):
        generate_performance_report(telemetry, tmp_path / "report.txt")
    assert not list(tmp_path.iterdir())


def test_a_target_is_the_same_wherever_it_stands():
    """The checker runs at commits that have no requirements, so that it has its own."""
    assert REQUIREMENTS["speedup"].bound == verdict.TARGET
    bound = REQUIREMENTS["scaling"].bound
    assert calculate_scaling_efficiency(bound, 1.0, 2)["meets_target"]
    assert not calculate_scaling_efficiency(bound - 0.01, 1.0, 2)["meets_target"]


def test_the_documentation_has_the_decision_tree():
    blocks = []
    for requirement in REQUIREMENTS.values():
        blocks.append(f"### {requirement}, and it is not")
        # A command is a block to GitHub and to the site alike.
        for number, step in enumerate(requirement.steps, start=1):
            blocks.append(f"{number}. {step.cause}\n\n    ```\n    {step.command}\n    ```")
    assert "\n\n".join(blocks) + "\n" in (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
