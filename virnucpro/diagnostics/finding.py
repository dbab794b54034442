"""Finding: one thing that the doctor saw, as the lines that are printed of it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"
WIDTH, INDENT = 110, " " * 22  # of the lines that are printed


@dataclass(frozen=True)
class Finding:
    """What is so, of what, and whether that is well."""

    verdict: str  # OK, NOTE or PROBLEM
    subject: str
    text: str
    advice: str = ""  # what to do; empty where there is nothing to do

    def __str__(self) -> str:
        # paths and addresses stay whole
        wrap = textwrap.TextWrapper(WIDTH, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)
        wrap.initial_indent = f"{self.verdict:<8} {self.subject:<12} "
        lines = wrap.wrap(self.text)
        wrap.initial_indent = f"{INDENT[:-3]}-> "
        return "\n".join(lines + wrap.wrap(self.advice))  # of no advice there are no lines
