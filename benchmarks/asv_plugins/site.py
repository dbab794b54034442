"""Site: an asv plugin. What `asv publish` writes works without internet, and opens with our own front page.

index.html is our page; asv's own, one click away, is history.html. Its scripts know no file name of their page, since
all their links are #fragments, but the feed of regressions does. This relies on asv 0.6.6, which is pinned; a page that
it does not know ends the command.
"""

from __future__ import annotations

import re
import shutil
from html import escape
from importlib.metadata import distribution
from pathlib import Path

from asv.publishing import OutputPublisher
from asv.util import UserError

from benchmarks.releases import ROOT, BadRelease
from benchmarks.site import front_page, vendor
from benchmarks.support.git import GitFailed, NoGit, git
from benchmarks.support.results import BadResults

_FAR = re.compile(r'<(script|link)\b[^>]*\b(src|href)="https?://[^"]*/([^"/]+)"[^>]*>')
COMMITS = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>virnucpro: commits</title>
<style>body {{ font: 16px sans-serif; margin: 2rem }} td {{ padding: 0.2rem 1rem 0.2rem 0 }}
tr:target, tr:has(td:target) {{ background: #fff3bf }} td:first-child {{ font-family: monospace }}</style></head>
<body><p><a href="index.html">Speed by release</a></p>
<p>What has results here. In a clone of the repository, <code>git show</code> with its first digits shows a commit.</p>
<table>
{}
</table></body></html>
"""
_FIRST_BUTTON = '<li id="nav-li-" '
_OUR_BUTTON = '<li><a href="index.html">Speed by release</a></li>\n\t'


class Site(OutputPublisher):
    """The last publisher, since asv orders those without an `order` after its own."""

    @classmethod
    def publish(cls, conf, repo, benchmarks, graphs, revisions):
        """
        Raises:
            UserError: asv's page is not that of 0.6.6, its scripts cannot be had, or results cannot be read.
        """
        site = Path(conf.html_dir)
        try:
            shutil.copytree(vendor.ensure(), site / "vendor")
            front = front_page.page(Path(conf.results_dir))
            measured = commits_page(list(revisions))
        except (vendor.AssetsMissing, BadResults, BadRelease, GitFailed, NoGit) as error:
            raise UserError(str(error)) from error
        (site / "LICENSE-asv.rst").write_text(distribution("asv").read_text("licenses/LICENSE.rst"), encoding="utf-8")
        index, feed = site / "index.html", site / "regressions.xml"
        (site / "history.html").write_text(without_internet(index.read_text(encoding="utf-8")), encoding="utf-8")
        feed.write_text(feed.read_text(encoding="utf-8").replace("index.html#", "history.html#"), encoding="utf-8")
        index.write_text(front, encoding="utf-8")
        (site / "commits.html").write_text(measured, encoding="utf-8")


def commits_page(hashes: list[str], repo: Path = ROOT) -> str:
    """The page that asv's links to a commit lead to: nobody need know where the repository is published.

    Raises:
        benchmarks.support.git.GitFailed: A commit is not in this clone.
    """
    form = "--format=%H%x09%cs%x09%s"
    known = git(repo, "log", "--no-walk=sorted", form, "--stdin", stdin="\n".join(hashes)) if hashes else ""
    rows = []
    for line in known.splitlines():
        commit, day, subject = line.split("\t", 2)
        # asv links the first eight digits, its feed all of them.
        rows.append(
            f'<tr id="{commit[:8]}"><td id="{commit}">{commit}</td><td>{day}</td><td>{escape(subject)}</td></tr>'
        )
    return COMMITS.format("\n".join(rows))


def without_internet(page: str) -> str:
    """asv's page with its scripts from vendor/, and a button for our front page.

    Raises:
        UserError: It links what we do not have, or has no row of buttons.
    """

    def near(link: re.Match[str]) -> str:
        if link[3] not in vendor.ASSETS:
            raise UserError(f"asv's page links {link[3]}, which asv 0.6.6 does not; install asv==0.6.6.")
        kind = 'rel="stylesheet" ' if link[1] == "link" else ""
        return f'<{link[1]} {kind}{link[2]}="vendor/{vendor.ASSETS[link[3]]}">'

    if page.count(_FIRST_BUTTON) != 1:
        raise UserError("asv's page has not the buttons of asv 0.6.6; install asv==0.6.6.")
    return _FAR.sub(near, page).replace(_FIRST_BUTTON, _OUR_BUTTON + _FIRST_BUTTON)
