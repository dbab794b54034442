"""Decision tree: what a run has to reach, and where it does not, what to try in which order (docs/validation.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_SUITE = "python -m pytest -s tests/benchmarks"
ELSEWHERE = "More in docs/validation.md, with a copy of the repository."
_PROFILE = "python -m benchmarks.device_time WEIGHTS_DIR INPUT"
_PRODUCTION = f"{_SUITE}/test_production_validation.py"


class Step(NamedTuple):
    """One branch of the decision tree: what may be the matter, and the command to run next."""

    cause: str
    command: str

    @property
    def is_installed(self) -> bool:
        """Whether the command comes with the package; the suite and the benchmarks need a copy of the repository."""
        return all(part.startswith("virnucpro ") for part in self.command.split("; "))


_MEMORY = Step(
    "Does token_budget suit the GPU's memory? What packs of so many tokens take of it is said here; packs that do not "
    "fit are halved, which the log tells, and are slow: then lower it. On a GPU with memory to spare try more.",
    "virnucpro doctor --batch-tokens 32768; virnucpro predict INPUT --output-dir DIR --set token_budget=32768",
)
_AGAIN = Step(
    "Set what the sweep recommends, and run the production validation again with it.",
    f"VIRNUCPRO_VALIDATION_SET='token_budget=8192 num_workers=4' {_PRODUCTION}",
)


@dataclass(frozen=True)
class Requirement:
    """What is asked for, and what to try in which order where it is not met. unit: with its leading blank, if any."""

    name: str
    sign: str
    bound: float
    unit: str
    steps: tuple[Step, ...]

    @property
    def installed_steps(self) -> list[Step]:
        return [step for step in self.steps if step.is_installed]

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.bound:g}{self.unit}"


REQUIREMENTS = {
    "speedup": Requirement(
        "speed-up over v1.0", ">=", 4.5, "x",
        (
            Step("Is the baseline unavailable (no tag, no git, a shallow clone)? Then nothing can be validated here, "
                 "which is no failure. Make the tags; the committed results of an H100 can be judged anywhere.",
                 "python -m benchmarks.releases; python -m benchmarks.check_speedup --machine nvidia-h100"),
            Step("Is the workload too small, so that start-up counts? Compare on 20,000 sequences.",
                 f"VIRNUCPRO_BENCH_SEQUENCES=20000 {_SUITE}/test_v1_comparison.py"),
            Step("Was the GPU hot or throttled? Both sides' temperatures and clocks are in speedup_comparison.json; "
                 "let it cool down and compare again.",
                 f"{_SUITE}/test_v1_comparison.py"),
            Step("Is it genuine? Find the parameter that costs it.", f"{_SUITE}/test_parameter_tuning.py"),
            Step("Find the kernel that costs it (matrix products take 80 % or more of an H200).", _PROFILE),
            Step("Find the commit that costs it.", "asv run 'v2.0^!'; asv run v2.0..HEAD; asv compare v2.0 HEAD"),
        ),
    ),
    "projected_hours": Requirement(
        "6 M sequences", "<", 10, " h",
        (
            Step("Does it run on the GPU, in FP16, with kernels in Triton?", "virnucpro doctor"),
            Step("Is the GPU used less than 70 %? Follow that branch first.", "virnucpro report RUN_DIR"),
            Step("Are there more GPUs than one? Use them all.", "virnucpro predict INPUT --output-dir DIR --parallel"),
            _MEMORY,
            Step("Is another size of packs or windows faster here?", f"{_SUITE}/test_parameter_tuning.py"),
            _AGAIN,
            Step("Is the GPU slow at what it does? Matrix products take 80 % or more of an H200.", _PROFILE),
        ),
    ),
    "gpu_utilization": Requirement(
        "GPU utilisation", ">=", 70, " %",
        (
            Step("Is p95 of the loader's waits 100 ms or more? Follow that branch first.", "virnucpro report RUN_DIR"),
            Step("Was the run too short to tell, start-up being most of it? Measure a longer one.",
                 f"VIRNUCPRO_PRODUCTION_FASTA=INPUT {_PRODUCTION}"),
            Step("Are the windows of reads small, so that the GPU runs dry between them? Make them larger.",
                 "virnucpro predict INPUT --output-dir DIR --set buffer_size=4096"),
            Step("Which numbers of loaders and window sizes keep it busy here?", f"{_SUITE}/test_parameter_tuning.py"),
            _AGAIN,
        ),
    ),
    "packing_efficiency": Requirement(
        "packing", ">=", 90, " %",
        (
            Step("Was a small --batch-tokens given? Long sequences leave such packs unfilled; leave it out.",
                 "virnucpro predict INPUT --output-dir DIR"),
            Step("Are there few reads in a window to choose from, or are most of them copies? Make windows larger.",
                 "virnucpro predict INPUT --output-dir DIR --set buffer_size=4096"),
            _MEMORY,
            Step("Which token_budget and buffer_size pack proteins well?",
                 f"{_SUITE}/test_parameter_tuning.py -k packing"),
            _AGAIN,
        ),
    ),
    "loader_wait": Requirement(
        "p95 loader wait", "<", 100, " ms",
        (
            Step("Does the front end make fewer sequences a second than the GPU takes? Then more loader processes "
                 "help.",
                 "python -m benchmarks.front_end INPUT; virnucpro predict INPUT --output-dir DIR --num-workers 4"),
            Step("Has the job fewer cores than loaders, or is the input on a slow disk? Compare with a local copy.",
                 "virnucpro doctor; virnucpro predict /local/INPUT --output-dir DIR"),
            Step("Which num_workers and prefetch_factor do?", f"{_SUITE}/test_parameter_tuning.py -k loader"),
            _AGAIN,
        ),
    ),
    "scaling": Requirement(
        "two GPUs over one", ">=", 1.9, "x",
        (
            Step("Did both GPUs do work, the same amount within 10 %? See each rank's tokens in scaling.json. If the "
                 "input is short, the last windows are what is missing: measure more of it.",
                 f"VIRNUCPRO_BENCH_SEQUENCES=40000 {_SUITE}/test_scaling_v2.py"),
            Step("Does each GPU run as fast as the one alone? If the waits for the loader grew, cores are missing: ask "
                 "for more of them, or for more loaders.",
                 "virnucpro predict INPUT --output-dir DIR --parallel --num-workers 4"),
            Step("Are the GPUs unlike, or is one of them hot? Compare their names, clocks and temperatures.",
                 "virnucpro report RUN_DIR"),
        ),
    ),
    "checkpoint_overhead": Requirement(
        "checkpoint overhead", "<", 15, " %",
        (
            Step("Is the output on a slow or shared disk? Keep checkpoints on a local one.",
                 "virnucpro predict INPUT --output-dir DIR --set checkpoint_dir=/local/DIR"),
            Step("Are they written too often? Write fewer.",
                 "virnucpro predict INPUT --output-dir DIR --set checkpoint_seq_threshold=50000"),
            Step("Measure the overhead again.", f"{_PRODUCTION} -k checkpoint"),
        ),
    ),
    "audit": Requirement(
        "audit of 8 bits", "<", 1, " bounds missed",
        (
            Step("Are the results those of 8 bits? They are not to be trusted then: have those of FP16 in their place.",
                 "virnucpro predict INPUT --output-dir DIR --precision int8 --resume --audit fallback"),
            Step("Is it the model or the sequences, as peptides are? See what each layer costs, and try others.",
                 "virnucpro parity INPUT --precision int8"),
        ),
    ),
}  # fmt: skip


def branch(requirement: Requirement, in_checkout: bool = True) -> Iterator[str]:
    """Yield what to try, as indented lines.

    Args:
        in_checkout: All steps; else those whose commands every user has, and where the rest is.
    """
    for number, step in enumerate(requirement.steps if in_checkout else requirement.installed_steps, start=1):
        yield f"  {number}. {step.cause}"
        yield f"     $ {step.command}"
    if not in_checkout:
        yield f"  {ELSEWHERE}"
