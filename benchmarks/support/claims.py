"""Claims: how many times as fast as v1.0 whole commands are said to be, and how far from float32; what
`benchmarks.check_speedup` judges. Numbers alone: what has to hold of the runs is in `conditions` and `validity`."""

from __future__ import annotations

from dataclasses import dataclass

# The largest error that a figure may have: of FP16, with 11 significant bits, four times the rounding of one number; of
# float32, which has 24, sixty-four times.
ROUNDED = {"gpu-10k": 2**-9, "cpu-small": 2**-18}
EIGHT_BITS = {"gpu-10k": 0.05}  # of an embedding by its length, of a score as it is
# Accuracy on labelled chunks, of which releases were measured 0.0002 and no label apart.
AUROC_LOST = 0.005  # at most, below the baseline's
AGREEMENT = 99.0  # %, at least, of the chunks with the label of float32


@dataclass(frozen=True)
class Claim:
    """A row of `CLAIMS`."""

    name: str
    benchmark: str  # the candidate's: module and class
    against: str  # the baseline's, on the same input: v1.0 has no other precision than its own
    kind: str  # of input
    precision: str  # that the candidate is asked for by name; "" for its own
    at_least: float  # times as fast
    errors: dict[str, float]  # workload -> the most; there is no claim on other workloads
    no_worse: bool  # whether the error may not be larger than the baseline's, either


CLAIMS = {
    claim.name: claim
    for claim in (
        Claim("proteins", "commands.EmbedProteins", "commands.EmbedProteins", "proteins", "", 4.5, ROUNDED, True),
        # What was aimed at; of contigs, where 4 was and 3.95 was reached, a twentieth below that, as of reads.
        Claim("proteins-int8", "commands.EmbedProteinsInt8", "commands.EmbedProteins", "proteins", "int8",
              11.0, EIGHT_BITS, False),
        Claim("reads-int8", "commands.PredictReadsInt8", "commands.PredictReads", "reads", "int8",
              5.2, EIGHT_BITS, False),
        Claim("contigs-int8", "commands.PredictContigsInt8", "commands.PredictContigs", "contigs", "int8",
              3.75, EIGHT_BITS, False),
    )
}  # fmt: skip
THE_CLAIM = CLAIMS["proteins"]


def of_workload(workload: str) -> list[Claim]:
    return [claim for claim in CLAIMS.values() if workload in claim.errors]
