"""Fuzz the readers and the command line until so many records were read; coverage leads the way (atheris).

    pip install atheris
    python tests/fuzz_input.py --records 1000000 --weights-dir W

Every input must end in a documented way: read whole, or one line of error with exit code 1 or 2. Anything else is
printed with its bytes and ends the program with code 77. W holds the small model, as `python -m
benchmarks.synthetic_weights W --esm-model esm2_t6_8M_UR50D` makes it; one input in 1,000 goes through `virnucpro
predict`.
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import atheris

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["CUDA_VISIBLE_DEVICES"] = ""

with atheris.instrument_imports(
    include=[f"virnucpro.{name}" for name in ("reads", "records", "containers", "alphabet", "input_kind", "survey")]
):
    import hostile

from virnucpro.cli import main  # noqa: E402

COMMAND_EVERY = 1000
# By which messages are counted.
REASONS = (
    "have the same id", "has no id", "an id with control characters", "an id that is not UTF-8", "in its sequence",
    "where '+' was expected", "not with '@'", "not all of its four lines", "qualities; the file is", "another header",
    "expected '>' (FASTA) or '@' (FASTQ)", "is no FASTA or FASTQ but", "damaged or cut off", "neither clearly",
    "is DNA by its letters", "DNA, where proteins", "cannot be read",
)  # fmt: skip


class Fuzzer:
    def __init__(self, records: int, weights: Path, folder: Path) -> None:
        self.wanted, self.weights, self.folder = records, weights, folder
        self.began = time.monotonic()
        self.inputs = self.records = self.commands = 0
        self.outcomes: Counter = Counter()
        self.codes: Counter = Counter()

    def one(self, data: bytes) -> None:
        """The first byte says how the rest is read."""
        choice, content = data[:1] or b"\0", data[1:]
        how = choice[0]
        packed = hostile.CODECS[how % len(hostile.CODECS)](content)
        if how & 128:  # cut off
            packed = packed[: len(packed) * 3 // 4]
        path = self.folder / "input.any"
        path.write_bytes(packed)
        kind, rename = ("auto", "auto", "nucleotide", "protein")[how >> 4 & 3], bool(how >> 6 & 1)
        found = hostile.outcome(path, kind, rename)
        self.inputs += 1
        if isinstance(found, str):
            self.outcomes["refused: " + next((reason for reason in REASONS if reason in found), found)] += 1
        else:
            self.records += found.records
            self.outcomes[f"read: {found.kind}"] += 1
        if self.inputs % COMMAND_EVERY == 0:
            self.command(path, kind, rename, found)
        if self.records >= self.wanted:
            self.end()

    def command(self, path: Path, kind: str, rename: bool, found: object) -> None:
        """The same input through the whole program."""
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        run = ["predict", str(path), "--output-dir", str(out), "--weights-dir", str(self.weights), "--input-type", kind]
        run += ["--esm-model", "esm2_t6_8M_UR50D", "--no-progress", *(["--rename-duplicates"] if rename else [])]
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = main(run)
        self.commands += 1
        self.codes[code] += 1
        refused = isinstance(found, str)
        assert code in ((1, 2) if refused else (0,)), (code, said.getvalue())
        assert "Traceback" not in said.getvalue()
        assert said.getvalue().count("virnucpro: error: ") == refused, said.getvalue()
        assert refused != out.exists()

    def end(self) -> None:
        print(f"{self.inputs:,} inputs, {self.records:,} records read, {time.monotonic() - self.began:.0f} s")
        print(f"{self.commands} of them through the command line, exit codes {dict(sorted(self.codes.items()))}")
        for outcome, count in self.outcomes.most_common():
            print(f"  {count:>9,}  {outcome}")
        sys.stdout.flush()
        shutil.rmtree(self.folder)
        os._exit(0)


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--weights-dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="virnucpro-fuzz-", dir=memory if memory.is_dir() else None))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(hostile.SEEDS):
        for how in range(5):
            (corpus / f"{number}-{how}").write_bytes(bytes([how]) + seed)
    words = folder / "words"
    words.write_text(
        '"\\x0a>"\n"\\x0a@"\n"\\x0a+\\x0a"\n"\\x0d\\x0a"\n">a\\x0aACGT\\x0a"\n"@q\\x0aAC\\x0a+\\x0aII\\x0a"\n'
    )
    fuzzer = Fuzzer(arguments.records, arguments.weights_dir, folder)
    options = [
        f"-seed={arguments.seed}",
        f"-dict={words}",
        "-max_len=8192",
        "-len_control=0",
        "-timeout=120",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], fuzzer.one)
    atheris.Fuzz()


if __name__ == "__main__":
    run()
