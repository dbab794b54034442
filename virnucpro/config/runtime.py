"""Runtime configuration: how a run saves its work, retries and loads its data.

It changes no result but for rounding: packs and windows of another size add in another order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

from virnucpro.errors import BadRequest
from virnucpro.system.home import expanded

# Fields of whole numbers that may not be 0
_FROM_ONE = {"checkpoint_seq_threshold", "max_retries_poison", "prefetch_factor", "token_budget", "buffer_size"}


class _Rule(NamedTuple):
    """What a field may hold."""

    kind: type  # bool, int, float (above 0 and finite) or Path
    least: int = 0  # for int
    optional: bool = False  # None is allowed

    @property
    def expected(self) -> str:
        texts = {
            bool: "true or false",
            int: f"a whole number of {self.least} or more",
            float: "a finite number above 0",
            Path: "the path of a directory",
        }
        return texts[self.kind] + (" or none" if self.optional else "")

    def accepts(self, value: object) -> bool:
        if value is None:
            return self.optional
        if self.kind in (bool, Path):
            return isinstance(value, self.kind)
        if isinstance(value, bool):  # True is an int to Python, but a slip of the pen here
            return False
        if self.kind is int:
            return isinstance(value, int) and value >= self.least
        return isinstance(value, (int, float)) and 0 < value < math.inf  # false for NaN, too

    def parse(self, text: str) -> object:
        """Turn a text into a value; ValueError or KeyError if it is none of this kind."""
        if self.optional and text.lower() == "none":
            return None
        if not text:
            raise ValueError("empty")
        if self.kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return Path(expanded(text)) if self.kind is Path else self.kind(text)


@dataclass(frozen=True)
class RuntimeConfig:
    """How a run saves its work, retries and loads its data; the defaults suit most runs.

    Raises:
        BadRequest: A field of the wrong type or out of range.
    """

    enable_checkpointing: bool = True  # save finished sequences, so that a run can be resumed
    checkpoint_dir: Path | None = None  # None: beside the results
    force_restart: bool = False  # start over, whatever checkpoints there are
    checkpoint_seq_threshold: int = 10_000  # finished sequences after which a checkpoint is written ...
    checkpoint_time_threshold: float = 300.0  # ... or seconds since the last one, whichever comes first
    timeout_per_attempt: float | None = None  # seconds a worker may take for one window; None: no limit
    max_retries_transient: int = 3  # times a worker or loader that died is replaced without success
    max_retries_poison: int = 2  # failures of one window before it is halved to find the sequence behind them
    enable_elastic_redistribution: bool = True  # a lost worker's window goes to another worker
    num_workers: int | None = None  # loader processes for each GPU; None: chosen by device; 0: none
    prefetch_factor: int = 2  # windows prepared ahead by each loader process
    token_budget: int | None = None  # most tokens in one pack; None: chosen by device
    buffer_size: int | None = None  # most sequences packed together, a window; None: chosen by device

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            value = getattr(self, name)
            if not rule.accepts(value):
                raise BadRequest(
                    f"{name} is {value!r} ({type(value).__name__}), but must be {rule.expected}: give it such a value."
                )

    @classmethod
    def from_pairs(cls, pairs: Iterable[str]) -> RuntimeConfig:
        """Make a configuration from ``key=value`` texts, as `--set` gives them.

        Args:
            pairs: Booleans are ``true`` or ``false``; ``none`` stands for None where that is allowed.
        Raises:
            BadRequest: No ``=``, an unknown or repeated key, or a value that does not fit.
        """
        values: dict[str, Any] = {}  # each checked by its rule
        for pair in pairs:
            key, equals, text = (part.strip() for part in pair.partition("="))
            if not equals:
                raise BadRequest(f"--set {pair} has no '=': write --set key=value.")
            if key not in _RULES:
                raise BadRequest(f"--set {pair} names an unknown key: choose one of {', '.join(_RULES)}.")
            if key in values:
                raise BadRequest(f"--set {pair} gives {key} a second time: give it once.")
            rule = _RULES[key]
            try:
                values[key] = rule.parse(text)
            except (ValueError, KeyError) as error:
                raise BadRequest(
                    f"--set {pair} has the value '{text}', but {key} must be {rule.expected}: write one after '='."
                ) from error
        return cls(**values)


_RULES = {
    name: _Rule(kind, int(name in _FROM_ONE), bool(optional))
    for name, hint in get_type_hints(RuntimeConfig).items()
    for kind, *optional in [get_args(hint) or [hint]]  # `Path | None`, or just `bool`
}
