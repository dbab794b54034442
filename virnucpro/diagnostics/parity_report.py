"""Parity report: what a comparison with float32 found, as text, table, JSON and a page with pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from virnucpro._version import __version__
from virnucpro.diagnostics.comparison import Agreement
from virnucpro.models.language_models import LANGUAGE_MODELS
from virnucpro.system.files import whole_file

MODELS = {name: row.title for name, row in LANGUAGE_MODELS.items()}
MOST_NAMED = 10  # sequences with another label, in the text
WORST = 5  # layers, in the text
EDGES = [10.0**power for power in np.arange(-9, 0.01, 0.25)]  # of 1 - cosine, and of differences of scores
FOUND_NEXT = "Scores near 0.5 are turned by any rounding; if others are, choose another --precision."


def shortfalls(summary: dict[str, Any], least_cosine: float, least_agreement: float) -> list[str]:
    """List what is below its threshold, in words; nothing if all is well."""
    lines = []
    if summary["failed"]:
        lines.append(f"{summary['failed']} of {summary['sequences']} sequences could not be computed")
    for key, model in MODELS.items():
        least = summary.get(f"{key}_cosine", {}).get("least")
        if least is not None and least < least_cosine:
            lines.append(f"least cosine of {model} {least:.6f}, allowed {least_cosine}")
    for key, what in (("frame_labels_agree", "frames"), ("chunk_labels_agree", "chunks")):
        if summary.get(key, 1.0) < least_agreement:
            lines.append(f"{100 * summary[key]:.2f} % of {what} keep their label, required {100 * least_agreement:g} %")
    return lines


def text(agreement: Agreement, summary: dict[str, Any], about: dict[str, Any], short: list[str]) -> str:
    """For the terminal."""
    lines = [f"virnucpro {__version__} parity of {about['input']}"]
    lines += [f"  {name:<22} {value}" for name, value in (*_about(about), *_rows(summary))]
    odd = [f"failed: {agreement.names[place]}: {reason}" for place, reason in agreement.failures.items()]
    if agreement.scores_S2 is not None:
        for place in np.flatnonzero(~agreement.frame_labels_agree()).tolist():
            if place not in agreement.failures:
                ours, theirs = agreement.scores_S2[place, 1], agreement.reference_S2[place, 1]
                odd.append(f"other label: {agreement.names[place]}, virus {ours:.4f} instead of {theirs:.4f}")
    lines += [f"  {line}" for line in odd[:MOST_NAMED]]
    if len(odd) > MOST_NAMED:
        lines.append(f"  ... and {len(odd) - MOST_NAMED} more")
    lines.append(f"FAIL: {'; '.join(short)}. {FOUND_NEXT}" if short else "PASS")
    return "\n".join(lines) + "\n"


def _about(about: dict[str, Any]) -> list[tuple[str, str]]:
    what = f"{about['drawn']:,} chunks or proteins; chunks without an open frame have nothing to compare"
    return [("drawn", what), ("compared", about["compared"]), ("with", about["reference"])]


def _rows(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    unit = f"frames of {summary['chunks']:,} chunks" if "chunks" in summary else "proteins"
    yield "sequences", f"{summary['sequences']:,} {unit}, {summary['failed']} failed"
    for key, model in MODELS.items():
        if (figures := summary.get(f"{key}_cosine", {})).get("least") is not None:
            yield f"1 - cosine, {model}", f"largest {1 - figures['least']:.1e}, median {1 - figures['median']:.1e}"
        if (figures := summary.get(f"{key}_error", {})).get("mean") is not None:
            yield f"relative error, {model}", f"largest {figures['largest']:.1e}, mean {figures['mean']:.1e}"
    if (figures := summary.get("score_difference", {})).get("largest") is not None:
        yield "difference of scores", f"largest {figures['largest']:.1e}, mean {figures['mean']:.1e}"
    if "frame_labels_agree" in summary:
        kept = (summary["frame_labels_agree"], summary["chunk_labels_agree"])
        yield "same label", "{:.2f} % of frames, {:.2f} % of chunks".format(*(100 * part for part in kept))
    if costs := summary.get("layer_costs"):
        error, falls = costs["error"], sorted(enumerate(costs["layers"]), key=lambda pair: -pair[1])
        mean = f"mean error {error:.2e} of {costs['sequences']:,} sequences"
        yield "cost of 8 bits", f"{mean}; with these in 16 bits less by"
        named = [(f"layer {number}", fall) for number, fall in falls[:WORST]]
        named += [(f"{name}, all layers", fall) for name, fall in costs["products"].items()]
        yield from ((f"  {name}", f"{fall:.1e} ({100 * fall / error:.0f} %)") for name, fall in named)


def write(
    folder: Path, stem: str, agreement: Agreement, summary: dict[str, Any], about: dict[str, Any], short: list[str]
) -> Path:
    """Write parity_{stem}.tsv, .json and .html; return the page's path."""
    with whole_file(folder / f"parity_{stem}.tsv") as file:
        file.writelines("\t".join(row) + "\n" for row in _table(agreement))
    with whole_file(folder / f"parity_{stem}.json") as file:
        json.dump({"virnucpro": __version__, **about, **summary, "shortfalls": short}, file, indent=2)
        file.write("\n")
    page = folder / f"parity_{stem}.html"
    with whole_file(page) as file:
        file.write(_page(agreement, summary, about, short))
    return page


def _table(agreement: Agreement) -> Iterator[list[str]]:
    """A row for each sequence."""
    models = list(agreement.cosines)
    head = ["Sequence_ID", *(f"cosine_{model}" for model in models)]
    if agreement.scores_S2 is not None:
        head += ["score1", "score2", "score1_fp32", "score2_fp32"]
    yield [*head, "failure"]
    for place, name in enumerate(agreement.names):
        row = [name, *(f"{agreement.cosines[model][place]:.9f}" for model in models)]
        if agreement.scores_S2 is not None:
            row += map(str, (*agreement.scores_S2[place], *agreement.reference_S2[place]))
        yield [*row, agreement.failures.get(place, "")]


def _page(agreement: Agreement, summary: dict[str, Any], about: dict[str, Any], short: list[str]) -> str:
    from virnucpro.reporting import pictures  # imports matplotlib
    from virnucpro.reporting.html import render

    distances = {
        MODELS[model]: [1 - value for value in values_S if np.isfinite(value)]
        for model, values_S in agreement.cosines.items()
    }
    allowed = 1 - about["thresholds"]["min_cosine"]
    drawn = [("Features", pictures.histogram(distances, EDGES, "1 - cosine to float32", allowed or None))]
    if agreement.scores_S2 is not None:
        finite_S = np.isfinite(agreement.scores_S2[:, 1]) & np.isfinite(agreement.reference_S2[:, 1])
        ours_S, theirs_S = agreement.scores_S2[finite_S, 1], agreement.reference_S2[finite_S, 1]
        differences = {"virus": agreement.score_differences()[finite_S].tolist()}
        drawn.append(("Scores", pictures.histogram(differences, EDGES, "difference of the score from float32")))
        axes = ("score of virus, float32", "in the precision compared")
        changed_S = ~agreement.frame_labels_agree()[finite_S]
        drawn.append(("Labels", pictures.against(theirs_S, ours_S, changed_S, "Each frame", axes)))
    if costs := agreement.layer_costs:
        for what, falls in (("layer", dict(enumerate(costs.layers))), ("product", costs.products)):
            shares = {str(name): 100 * fall / costs.error for name, fall in falls.items()}
            drawn.append((f"Cost of 8 bits by {what}", pictures.columns(shares, (what, "% of the mean error"))))
    return render(
        "parity_page.html",
        input=about["input"],
        rows=[*_about(about), *_rows(summary)],
        short=short,
        next_step=FOUND_NEXT,
        synthetic=about["synthetic_weights"],
        pictures=drawn,
    )
