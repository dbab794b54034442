"""Classifier card: what a classifier's file says of itself. No torch: a card decides which models are looked for."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from virnucpro.errors import BadRequest, BadWeights, one_line
from virnucpro.models.calibration import Calibration
from virnucpro.models.catalog import CHUNK_SIZES, ESM2_SIZES
from virnucpro.models.language_models import LANGUAGE_MODELS, PUBLISHED_FEATURES, parse_features, spelled

METADATA = "virnucpro"  # the one entry of a trained classifier's metadata: several would be in no certain order
MIN_CHUNK_SIZE = 3  # bp, a codon


@dataclass(frozen=True)
class ClassifierCard:
    """What a classifier was trained on; of the published ones, which say nothing of themselves, what is known of them.

    features: names of `LANGUAGE_MODELS`, in order. widths: of the features by name, and sha256 of the models' weights,
    both empty of published ones. document: all that the file says, JSON.
    """

    features: tuple[str, ...] = PUBLISHED_FEATURES
    chunk_size: int | None = None  # bp; None where nobody says
    esm_model: str | None = None  # whose features it takes; None where nobody says, or where it takes none
    widths: dict[str, int] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    synthetic: bool = False
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """A line on what it is good for; empty where it has none."""
        text = " ".join(str(self.document.get("note", "")).split())
        return "".join(letter for letter in text if letter.isprintable())


def read_card(path: Path) -> ClassifierCard:
    """Read the card of a classifier, ``.safetensors`` or ``.pth``; of the latter the name alone says something.

    Raises:
        BadWeights: Damaged, or it names a feature, a model or a size that this version does not know.
    """
    by_name = next((size for size in CHUNK_SIZES if path.name.startswith(f"{size}_model")), None)
    if path.suffix != ".safetensors":
        return ClassifierCard(chunk_size=by_name)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise BadWeights(f"{path}: damaged or not a safetensors file ({one_line(error)}). Fetch it again.") from error
    if METADATA in metadata:
        return _trained(metadata[METADATA], path)
    recorded = metadata.get("chunk_size", "")
    chunk_size = int(recorded) if recorded.isdecimal() and int(recorded) >= MIN_CHUNK_SIZE else by_name
    return ClassifierCard(chunk_size=chunk_size, synthetic=metadata.get("virnucpro_synthetic") == "true")


def _trained(text: str, path: Path) -> ClassifierCard:
    """The card of a classifier that `virnucpro train` wrote."""
    try:
        document = json.loads(text)
        features, models = parse_features(document["features"]), document["models"]
        card = ClassifierCard(
            features,
            int(document["chunk_size"]),
            models["esm2"]["name"] if "esm2" in features else None,
            {name: int(document["widths"][name]) for name in features},
            {name: str(model["sha256"]) for name, model in models.items() if "sha256" in model},
            Calibration.of(document),
            bool(document.get("synthetic", False)),
            document,
        )
        for name in features:
            if not LANGUAGE_MODELS[name].weightless and not re.fullmatch("[0-9a-f]{64}", card.sha256.get(name, "")):
                raise KeyError(f"sha256 of {name}")
    except (BadRequest, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadWeights(
            f"{path}: a classifier whose description cannot be used ({one_line(error)}). Update virnucpro, or train it "
            "again."
        ) from error
    if card.chunk_size is None or card.chunk_size < MIN_CHUNK_SIZE or card.esm_model not in (None, *ESM2_SIZES):
        what = f"chunks of {card.chunk_size} bp, ESM-2 {card.esm_model}"
        raise BadWeights(f"{path}: a classifier for {what}, which is unknown here. Update virnucpro.")
    return card


def metadata_of(card: ClassifierCard, document: dict[str, Any]) -> dict[str, str]:
    """What a safetensors file carries so that `read_card` reads the card again; `document` is added to it.

    Keys are sorted, so that the same classifier is the same bytes.
    """
    models: dict[str, dict[str, str]] = {name: {"sha256": sha256} for name, sha256 in card.sha256.items()}
    if card.calibration is not None:
        document = document | {"calibration": asdict(card.calibration)}
    if card.esm_model is not None:
        models["esm2"] = {"name": card.esm_model, **models.get("esm2", {})}
    own = {
        "features": spelled(card.features),
        "widths": card.widths,
        "chunk_size": card.chunk_size,
        "models": models,
        "synthetic": card.synthetic,
    }
    return {METADATA: json.dumps(document | own, sort_keys=True)}
