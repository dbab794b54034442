"""Runtime configuration: what is accepted, and what a refusal says."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.config.runtime import _RULES
from virnucpro.errors import BadRequest
from virnucpro.pipeline.runtime_config import RuntimeConfig

NAN, INFINITY = float("nan"), float("inf")


def test_defaults():
    assert dataclasses.asdict(RuntimeConfig()) == {
        "enable_checkpointing": True,
        "checkpoint_dir": None,
        "force_restart": False,
        "checkpoint_seq_threshold": 10_000,
        "checkpoint_time_threshold": 300.0,
        "timeout_per_attempt": None,
        "max_retries_transient": 3,
        "max_retries_poison": 2,
        "enable_elastic_redistribution": True,
        "num_workers": None,
        "prefetch_factor": 2,
        "token_budget": None,
        "buffer_size": None,
    }


RANGES = [  # field, values that it takes, values that it does not
    ("enable_checkpointing", [True, False], [None, 1, 0, "true"]),
    ("checkpoint_dir", [None, Path("x")], ["x", 1, True]),
    ("force_restart", [True, False], [None, 1, "false"]),
    ("checkpoint_seq_threshold", [1, 10**9], [None, 0, -1, 1.0, True, "1", NAN]),
    ("checkpoint_time_threshold", [0.5, 1, 10**400], [None, 0, -1.0, NAN, INFINITY, True, "1"]),
    ("timeout_per_attempt", [None, 0.5, 60], [0, 0.0, -1, NAN, INFINITY, True, "60"]),
    ("max_retries_transient", [0, 3], [None, -1, 1.0, False, "3"]),
    ("max_retries_poison", [1, 2], [None, 0, -1, 1.0, True, "2"]),
    ("enable_elastic_redistribution", [True, False], [None, 1, "true"]),
    ("num_workers", [None, 0, 4], [-1, 1.0, True, "4"]),
    ("prefetch_factor", [1, 2], [None, 0, 1.5, True, "2"]),
    ("token_budget", [None, 1, 65_536], [0, -1, 1.0, True, "4096", NAN]),
    ("buffer_size", [None, 1, 5_000], [0, -1, 1.0, True, "1"]),
]


def test_every_field_has_a_range_here():
    assert [name for name, *_ in RANGES] == [field.name for field in dataclasses.fields(RuntimeConfig)]


@pytest.mark.parametrize("name, accepted, refused", RANGES)
def test_types_and_ranges(name, accepted, refused):
    for value in accepted:
        assert getattr(RuntimeConfig(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(BadRequest, match=f"^{name} is "):
            RuntimeConfig(**{name: value})


def test_a_refusal_says_what_was_found_what_is_expected_and_what_to_do():
    with pytest.raises(BadRequest) as refusal:
        RuntimeConfig(num_workers="4")
    assert str(refusal.value) == (
        "num_workers is '4' (str), but must be a whole number of 0 or more or none: give it such a value."
    )


def test_it_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RuntimeConfig().num_workers = 1


def test_pairs():
    pairs = [
        "enable_checkpointing=FALSE",
        "checkpoint_dir=/tmp/a=b",
        "checkpoint_time_threshold=60",
        "timeout_per_attempt=None",
        " num_workers = 0 ",
        "token_budget=16_384",
    ]
    assert RuntimeConfig.from_pairs(pairs) == RuntimeConfig(
        enable_checkpointing=False,
        checkpoint_dir=Path("/tmp/a=b"),
        checkpoint_time_threshold=60.0,
        num_workers=0,
        token_budget=16_384,
    )
    assert RuntimeConfig.from_pairs([]) == RuntimeConfig()


@pytest.mark.parametrize(
    "pairs, message",
    [
        (["num_workers"], "--set num_workers has no '=': write --set key=value."),
        (["num_worker=1"], "unknown key: choose one of enable_checkpointing, .*, num_workers, .*, buffer_size."),
        (["=1"], "unknown key"),
        (["num_workers=1", "num_workers=2"], "--set num_workers=2 gives num_workers a second time: give it once."),
        (
            ["num_workers=two"],
            "has the value 'two', but num_workers must be a whole number of 0 or more or none: write",
        ),
        (["num_workers=1.0"], "has the value '1.0'"),
        (["num_workers=-1"], "^num_workers is -1"),
        (["prefetch_factor=none"], "has the value 'none'"),
        (["force_restart=yes"], "has the value 'yes', but force_restart must be true or false"),
        (["force_restart=1"], "has the value '1'"),
        (["force_restart="], "has the value ''"),
        (["checkpoint_dir="], "has the value '', but checkpoint_dir must be the path of a directory or none"),
        (["timeout_per_attempt=nan"], "timeout_per_attempt is nan"),
        (["checkpoint_time_threshold=inf"], "checkpoint_time_threshold is inf"),
    ],
)
def test_pairs_that_are_refused(pairs, message):
    with pytest.raises(BadRequest, match=message):
        RuntimeConfig.from_pairs(pairs)


VALUES = {
    bool: st.booleans(),
    int: st.integers(min_value=1, max_value=10**12),
    float: st.floats(min_value=1e-300, allow_infinity=False, exclude_min=True),
    Path: st.just(Path("some/where")),
}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none() | VALUES[rule.kind] if rule.optional else VALUES[rule.kind] for name, rule in _RULES.items()
        },
    )
)
def test_a_configuration_written_as_pairs_comes_back(values):
    assert RuntimeConfig.from_pairs(f"{name}={value}" for name, value in values.items()) == RuntimeConfig(**values)


@pytest.mark.parametrize(
    "module",
    ["pipeline.runtime_config", "pipeline.progress_reporter", "utils.telemetry", "reporting.performance_report"],
)
def test_torch_is_not_imported(module):
    code = f"import sys, virnucpro.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent).returncode == 0
