"""Site: an asv plugin. What `asv publish` writes works without internet, and opens with our own front page.

index.html is our page; asv's own, one click away, is history.html. Its scripts know no file name of their page, since
all their links are #fragments, but the feed of regressions does. This relies on asv 0.6.6, which is pinned; a page that
it does not know ends the command.
"""

from __future__ import annotations

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

from asv.publishing import OutputPublisher
from asv.util import UserError

from benchmarks import front_page, vendor
from benchmarks.releases import BadRelease, NoGit
from benchmarks.results import BadResults

_FAR = re.compile(r'<(script|link)\b[^>]*\b(src|href)="https?://[^"]*/([^"/]+)"[^>]*>')
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
            front = front_page.page(Path(conf.results_dir), conf.project_url)
        except (vendor.AssetsMissing, BadResults, BadRelease, NoGit) as error:
            raise UserError(str(error)) from error
        (site / "LICENSE-asv.rst").write_text(distribution("asv").read_text("licenses/LICENSE.rst"), encoding="utf-8")
        index, feed = site / "index.html", site / "regressions.xml"
        (site / "history.html").write_text(without_internet(index.read_text(encoding="utf-8")), encoding="utf-8")
        feed.write_text(feed.read_text(encoding="utf-8").replace("index.html#", "history.html#"), encoding="utf-8")
        index.write_text(front, encoding="utf-8")


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
