"""Pre-training: an encoder of ESM-2 8M's architecture, by masked-language modelling of proteins, on one GPU in minutes.

    python -m benchmarks.pretraining.main pack metaphlan2-data_2.6.0+ds-4_all.deb proteins.npz
    python -m benchmarks.pretraining.main train proteins.npz out       torch and numpy alone; out/encoder.pt
    python -m benchmarks.pretraining.main convert out/encoder.pt esm2_t6_8M_UR50D

A GPU host without internet needs benchmarks/__init__.py, this folder and proteins.npz. Exit codes: 0 done, or stopped
by SIGTERM or SIGINT with all saved, 1 failed, 2 bad command line. docs/accuracy.md says what came out.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def read_text(source: Path) -> bytes:
    """Proteins, one a line: a text as it is, or those of the Debian package whose sources may be trained on.

    Raises:
        OSError: It cannot be read. ValueError: It is another package.
    """
    if source.suffix != ".deb":
        return source.read_bytes()
    from benchmarks.support import markers
    from virnucpro.errors import BadInput

    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        try:
            genes = markers.unpacked(source, Path(folder), markers.SHA256)
        except BadInput as error:
            raise ValueError(error) from error
        return "".join(f"{protein}\n" for _, protein in markers.proteins(genes)).encode()


def pack(given: argparse.Namespace) -> None:
    """`main pack`."""
    from benchmarks.pretraining import proteins

    packed = proteins.pack(read_text(given.source), given.target, given.limit_mib, given.seed)
    size = given.target.stat().st_size
    print(
        f"{given.target}: {packed.pieces:,} pieces of proteins, {packed.held_out:,} of them held out, "
        f"{packed.residues:,} residues, {size / 2**20:.1f} MiB, {size * 8 / packed.residues:.2f} bits a residue; "
        f"{packed.residues_left:,} residues did not fit"
    )


def train(given: argparse.Namespace) -> None:
    """`main train`."""
    import torch

    from benchmarks.pretraining.encoder import Shape
    from benchmarks.pretraining.fit import Files, fit
    from benchmarks.pretraining.recipe import Recipe
    from benchmarks.pretraining.training import Training

    stops = list[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stops.append(received))
    names = "seconds", "steps", "batch_tokens", "micro_tokens", "rate", "warmup", "crop_share", "seed"
    recipe = Recipe(**{name: getattr(given, name) for name in names}, shape=Shape(*given.shape))
    given.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = given.checkpoint or given.folder / "checkpoint.pt"
    files = Files(given.folder / "encoder.pt", checkpoint, given.folder / "log.jsonl")
    training = Training(recipe, given.data, torch.device(given.device))
    print(
        f"{torch.cuda.get_device_name() if training.on_gpu else 'CPU'}, torch {torch.__version__}: {recipe}, "
        f"{sum(p.numel() for p in training.model.parameters()):,} weights, "
        f"{len(training.batches.lengths_N):,} pieces of proteins of {training.residues:,} residues",
        flush=True,
    )
    if given.resume:
        files.restore(training)
    if training.on_gpu:  # before the clock starts
        begun = time.monotonic()
        print(f"{training.check()} ({time.monotonic() - begun:.0f} s)", flush=True)
        torch.cuda.reset_peak_memory_stats()
    fit(training, files, given.log_every, given.save_every, lambda: bool(stops))
    print(f"{'stopped' if stops else 'over'} after {training.step:,} steps, {training.elapsed:.0f} s: {files.encoder}")


def convert(given: argparse.Namespace) -> None:
    """`main convert`."""
    from benchmarks.pretraining.convert import convert

    convert(given.source, given.folder)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True)

    def command(function: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        one = commands.add_parser(function.__name__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        one.set_defaults(run=function)
        return one

    one = command(pack)
    one.add_argument("source", type=Path, help="the Debian package metaphlan2-data, or a text, a protein a line")
    one.add_argument("target", type=Path, help="an .npz")
    one.add_argument("--limit-mib", type=float, default=58, help="of the file, about")
    one.add_argument("--seed", type=int, default=0, help="of the shuffling")
    one = command(train)
    one.add_argument("data", type=Path, help="of `pack`")
    one.add_argument("folder", type=Path, help="for encoder.pt, checkpoint.pt and log.jsonl")
    one.add_argument("--checkpoint", type=Path, help="at another place: some 90 MB")
    one.add_argument("--resume", action="store_true", help="from the checkpoint")
    one.add_argument("--seconds", type=float, default=960, help="of training, over all calls, by which the rate falls")
    one.add_argument("--steps", type=int, help="to train by these, not by the clock")
    one.add_argument("--batch-tokens", type=int, default=262_144, help="of a step")
    one.add_argument("--micro-tokens", type=int, default=131_072, help="computed at once")
    one.add_argument("--rate", type=float, default=1e-3, help="the highest")
    one.add_argument("--warmup", type=int, default=500, help="steps until the rate is there")
    one.add_argument("--crop-share", type=float, default=0.5, help="of the proteins, cut anew in every epoch")
    one.add_argument("--shape", type=int, nargs=3, default=(6, 320, 20), help="layers, width and heads")
    one.add_argument("--seed", type=int, default=0, help="of weights, order and masks")
    one.add_argument("--device", default="cuda", help="cuda or cpu")
    one.add_argument("--log-every", type=float, default=10, help="seconds")
    one.add_argument("--save-every", type=float, default=120, help="seconds")
    one = command(convert)
    one.add_argument("source", type=Path, help="encoder.pt")
    one.add_argument("folder", type=Path, help="where config.json and model.safetensors are written")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        given.run(given)
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
