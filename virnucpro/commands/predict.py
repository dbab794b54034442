"""virnucpro predict."""

from __future__ import annotations

from typing import Any

import click

from virnucpro.commands import options as shared
from virnucpro.config.placement import CPU_TOKENS, GPU_TOKENS
from virnucpro.config.runtime import RuntimeConfig
from virnucpro.config.settings import AUDITS, INPUT_TYPES, Settings
from virnucpro.errors import Interrupted
from virnucpro.system import processes
from virnucpro.system.translators import translate_ahead

PARTIAL = 3


@click.command(epilog=shared.EXIT_CODES)
@click.argument("input", callback=shared.written_out)
@shared.path("--output-dir", required=True, help="Directory for the results; made if missing.")
@shared.models
@shared.choice("--input-type", INPUT_TYPES, "auto", "Proteins are embedded only: features, no verdicts.")
@shared.gpus
@shared.flag("--parallel", help="All GPUs named by --gpus, a process each (or several processes on the CPU).")
@shared.number("--workers-per-gpu", help="Processes with --parallel on the CPU; a GPU has one.  [default: 2]")
@shared.number(
    "--batch-tokens",
    help="Tokens in a pack: residues and two for each sequence.  "
    f"[default: {GPU_TOKENS} on a GPU, {CPU_TOKENS} on the CPU]",
)
@shared.number(
    "--num-workers", help="Processes that translate, tokenise and pack for each GPU.  [default: up to 2; on the CPU 0]"
)
@shared.arithmetic
@click.option(
    "--audit",
    type=click.Choice(AUDITS),
    help="With 8 bits a sample of the sequences is computed in FP16, too. Where these differ too much: say so and end "
    "with exit code 3, or compute all in FP16.  [default: report]",
)
@shared.flag(
    "--deterministic",
    help="Every sequence by itself: its numbers do not depend, to the last bit, on its neighbours. Slower.",
)
@shared.flag("--save-embeddings", help="Write the features too, to embeddings.h5.")
@shared.path(
    "--write-viral",
    metavar="FASTA",
    help="Write the records called Viral in contigs.tsv there, too; compressed if it ends in .gz, .bz2, .xz or .zst.",
)
@click.option(
    "--prevalence",
    type=float,
    metavar="SHARE",
    help="Share of viruses that is expected among the records, such as 0.05. With a classifier that has a calibration, "
    "contigs.tsv then has probabilities for that, and expected false discovery rates.  [default: equal classes]",
)
@click.option(
    "--max-fdr",
    type=float,
    metavar="SHARE",
    help="With --prevalence: which contigs are within this expected false discovery rate; --write-viral writes these.",
)
@shared.flag("--keep-intermediate", help="Keep the chunk, frame and protein FASTA files.")
@click.option(
    "--set",
    "runtime",
    multiple=True,
    callback=lambda context, parameter, pairs: RuntimeConfig.from_pairs(pairs),
    metavar="KEY=VALUE",
    help="Fine tuning, such as buffer_size=1000 (sequences packed together); the keys are the fields of RuntimeConfig.",
)
@shared.flag("--resume", help="Go on with the run in the output directory.")
@shared.flag("--force", help="Start the run in the output directory over.")
@shared.flag("--rename-duplicates", help="Append _1, _2, ... to repeated ids instead of refusing them.")
@shared.no_progress
@shared.verbosity
def predict(input: str, no_progress: bool, **options: Any) -> int:
    """Classify the sequences of INPUT: FASTA or FASTQ, plain, .gz, .bz2, .xz or .zst; - is standard input.

    Writes prediction_results.txt (frames), prediction_results_highestscore.csv (chunks), contigs.tsv and
    sequences.tsv (the fate of every record) to DIR/{name of INPUT}_merged/.
    """
    settings = Settings((input,), show_progress=not no_progress, **options)
    translate_ahead("virnucpro.pipeline.run", "virnucpro.executors.local")
    from virnucpro.pipeline.run import run

    try:
        summary = run(settings, started=lambda computation: processes.stop_with(computation.stop))
    except KeyboardInterrupt:
        raise Interrupted from None
    return PARTIAL if summary.partial else 0
