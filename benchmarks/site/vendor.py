"""Vendor: the scripts and styles of others that asv's pages need, so that the published site asks no other host.

    python -m benchmarks.site.vendor

asv 0.6.6 links them from CDNs; the source distribution of asv 0.5.1 carries them. They are fetched once, into
.asv/vendor, and never committed. Exit code 0: they are there; 1: they are not, and the message says what to do.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.support.output import outlive_readers

CACHE = Path(__file__).resolve().parents[2] / ".asv" / "vendor"
NOTICE = "NOTICE.txt"
SOURCE = "asv-0.5.1"
REQUIREMENT = "asv==0.5.1 --hash=sha256:805fc3cc46c0bcf3e7baeaa16a12e4b92f1276c25490db4cb80fc541afa52bfc"

# The file that asv 0.6.6 links from a CDN -> the file in asv 0.5.1. Both are what asv's own scripts were written for.
ASSETS = {
    "jquery-3.3.1.min.js": "jquery-3.3.1.min.js",
    "jquery.flot.min.js": "jquery.flot-0.8.3.min.js",
    "jquery.flot.time.min.js": "jquery.flot-0.8.3.time.min.js",
    "jquery.flot.selection.min.js": "jquery.flot-0.8.3.selection.min.js",
    "jquery.flot.categories.min.js": "jquery.flot-0.8.3.categories.min.js",
    "jquery.flot.orderBars.js": "jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupidtable.js",
    "md5.min.js": "md5.js",
    "bootstrap.min.js": "bootstrap-3.1.0.min.js",
    "bootstrap.min.css": "bootstrap-3.1.0.min.css",
}

# Header comments: those marked to be kept, and whatever a file begins with.
_HEADERS = re.compile(r"/\*!.*?\*/|\A/\*.*?\*/", re.DOTALL)
_FONTS = re.compile(r"@font-face\{[^}]*\}")
_INTRODUCTION = f"""\
The scripts and styles in this folder are not virnucpro's. They come from the source distribution of {SOURCE}, where
they lie in asv/www/vendor. One is changed: the bootstrap style sheet is without its @font-face rule, since no page
here uses its icons. Each is under the MIT licence, whose text is at the end; md5.js is based on a work under a BSD
licence. What the files say of themselves:
"""
_MIT = """\
The MIT licence, for those files that name it only:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


class AssetsMissing(RuntimeError):
    """They are neither in the cache nor to be had."""


def ensure(folder: Path = CACHE) -> Path:
    """The folder with all assets and their NOTICE.txt; fetches nothing if it is whole.

    Raises:
        AssetsMissing: pip could not fetch them, or not as they are known.
    """
    if all((folder / name).is_file() for name in (*ASSETS.values(), NOTICE)):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="vendor-") as scratch:
        texts = _unpack(_download(Path(scratch)))
        unfinished = Path(scratch, "vendor")
        unfinished.mkdir()
        for name, text in {**texts, NOTICE: _notice(texts)}.items():
            (unfinished / name).write_text(text, encoding="utf-8", newline="")
        shutil.rmtree(folder, ignore_errors=True)  # whatever lies there is not whole
        os.replace(unfinished, folder)
    return folder


def _download(folder: Path) -> Path:
    """The source distribution, by pip: where packages come from is for pip's configuration to say.

    pip asks a source distribution for its metadata, which runs its setup.py; but with --require-hashes no byte of it is
    used before its hash is found to be the one that is pinned.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(REQUIREMENT, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--no-binary=asv", "--require-hashes", "--requirement", str(requirements), "--dest", str(folder)]
    # Our constraints pin the asv that runs, which is another one.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    for more in ("--no-build-isolation", "--use-pep517"):  # with the setuptools here, else with one that pip fetches
        done = subprocess.run([*command, more], capture_output=True, text=True, env=environment)
        if done.returncode == 0:
            break
    if done.returncode != 0:
        errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        said = errors[0] if errors else done.stderr.strip()
        raise AssetsMissing(
            f"pip cannot fetch {SOURCE}.tar.gz, which has the scripts of asv's pages ({said[:200]}). "
            "Run `python -m benchmarks.site.vendor` where pip can, and copy .asv/vendor from there."
        )
    return folder / f"{SOURCE}.tar.gz"


def _unpack(archive: Path) -> dict[str, str]:
    """Name -> text. Nothing is extracted: the named members alone are read."""
    texts = {}
    with tarfile.open(archive, "r:gz") as content:
        for name in ASSETS.values():
            with content.extractfile(f"{SOURCE}/asv/www/vendor/{name}") as file:
                texts[name] = file.read().decode("utf-8")
    style = ASSETS["bootstrap.min.css"]
    texts[style] = _FONTS.sub("", texts[style])  # the fonts are not in the distribution
    return texts


def _notice(texts: dict[str, str]) -> str:
    headers = [f"## {name}\n\n" + "\n".join(_HEADERS.findall(text)) + "\n" for name, text in texts.items()]
    return "\n".join([_INTRODUCTION, *headers, _MIT])


def main() -> int:
    try:
        print(ensure())
    except AssetsMissing as error:
        print(f"vendor: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main())
