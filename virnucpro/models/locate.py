"""Locate: where weights are looked for, and what to tell someone who has none."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from virnucpro.errors import BadRequest, BadWeights
from virnucpro.models.catalog import CHUNK_SIZES, DEFAULT_ESM_MODEL, ESM2_SIZES
from virnucpro.models.classifier_card import ClassifierCard, read_card
from virnucpro.models.language_models import LANGUAGE_MODELS, LanguageModel, models_for
from virnucpro.reading.input_kind import InputKind
from virnucpro.system.home import cache_folder, expanded

ENVIRONMENT_VARIABLE = "VIRNUCPRO_WEIGHTS"
HUGGING_FACE_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# What comes with the program; each has a README.
DEMO_FOLDER = Path(__file__).parent / "demo"
DEMO = "demo"  # as --model has it
DEMO_CLASSIFIER = DEMO_FOLDER / "demo.safetensors"
PACKAGED = {"virnucpro_t6_8M": DEMO_FOLDER / "virnucpro_t6_8M"}
_CLASSIFIERS = "300_model.pth, 500_model.pth: https://github.com/Li-Jing-1997/VirNucPro"


@dataclass(frozen=True)
class WeightPaths:
    """Files of one run."""

    models: dict[str, Path]  # of each language model: a file or a folder; of a weightless one, a path to nothing
    classifier: Path | None  # None for a protein input, and where features alone are wanted
    esm_model: str = DEFAULT_ESM_MODEL  # the size of ESM-2's
    card: ClassifierCard = field(default_factory=ClassifierCard)  # of the classifier

    def files(self) -> dict[str, Path]:
        """Every file that is read, by a name without the directory's: weights that were moved are the same weights."""
        paths = [*self.models.values(), *filter(None, [self.classifier])]
        pairs = [(path, file) for path in paths for file in weight_files(path)]
        return {file.name if file == path else f"{path.name}/{file.name}": file for path, file in pairs}


def weight_files(path: Path) -> list[Path]:
    """The files of a model: itself, or what is read of its folder."""
    if path.is_file():
        return [path]
    names = ("*.json", "*.safetensors", "*.bin")
    return sorted(file for name in names for file in path.glob(name) if file.is_file())


def tensor_files(path: Path) -> list[Path]:
    """The files of a model that its tensors are read from; of a folder's formats the one that is preferred."""
    if path.is_file():
        return [path]
    source = next((path / name for name in HUGGING_FACE_FILES if (path / name).is_file()), None)
    if source is None or source.suffix != ".json":
        return [source] if source else []
    return [path / name for name in _shards(source)]


def named_directory(given: str | os.PathLike[str] | None = None) -> Path | None:
    """The directory that a caller gives, else the one of VIRNUCPRO_WEIGHTS; None if nobody names one."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(given) if given else Path(expanded(named)) if named else None


def default_directory() -> Path:
    """Where weights are where nobody says: ./weights if there is such a directory, else in the user's cache.

    Without a home there is no such cache, and it is ./weights.
    """
    here, cache = Path("weights"), cache_folder()
    return here if here.is_dir() or cache is None else cache / "virnucpro" / "weights"


def find_weights(
    directory: Path | None,
    esm_model: str | None,
    model_type: str,
    model_path: Path | None,
    kind: InputKind,
    features: tuple[str, ...] | None = None,
) -> WeightPaths:
    """Find the weights a run needs: the classifier, and the models that it names.

    Args:
        directory: ``--weights-dir``; None if neither it nor VIRNUCPRO_WEIGHTS was given.
        esm_model: A key of `ESM2_SIZES`; None for the classifier's, or where it names none `DEFAULT_ESM_MODEL`.
        model_type: "300", "500" or "custom"; the first two name the classifier's file.
        model_path: The classifier, if given by path.
        features: Of a run without a classifier, which is to give these.
    Raises:
        BadWeights: Something is missing; the one message lists all that was looked for.
        BadRequest: The classifier was trained with another ESM-2.
    """
    place = directory or default_directory()
    models: dict[str, Path] = {}
    looked_for, others, named = list[str](), list[str](), list[str]()
    needs_classifier = kind == InputKind.NUCLEOTIDE and features is None
    classifier = None
    if needs_classifier and model_path is not None:
        classifier = model_path if model_path.is_file() else None
        if classifier is None:
            raise BadWeights(f"{model_path}: no such file. Give the classifier's path with --model or --model-path.")
    elif needs_classifier and (classifier := first_model(place, f"{model_type}_model")) is None:
        named = [f"{place / f'{model_type}_model'}.pth or .safetensors"]
        others = [f"{path} (--model-type {bp})" for bp in CHUNK_SIZES if (path := first_model(place, f"{bp}_model"))]
    # Proteins get no verdict, but the features of the classifier that is named.
    described = classifier or (model_path if model_path is not None and model_path.is_file() else None)
    card = ClassifierCard() if described is None else read_card(described)
    esm_model = _esm_model(esm_model, card, classifier)
    needed = models_for(kind, features or card.features)
    rows = {name: row for name, row in LANGUAGE_MODELS.items() if name in needed}
    for key, row in rows.items():
        name = row.weights_name(esm_model)
        path = place / name if row.weightless else first_model(place, name)
        if path is not None and all((path / file).is_file() for file in row.required):
            models[key] = path
            continue
        looked_for.append(row.described.format(place=place / name))
        if row.name is None:
            sizes = [f"{path} (--esm-model {size})" for size in ESM2_SIZES if (path := first_model(place, size))]
            sizes = [size for size in sizes if str(DEMO_FOLDER) not in size]  # which is asked for by its own name
            others = sizes + others
    if looked_for := looked_for + named:
        where = f"in {place}" if directory else f"(neither --weights-dir nor {ENVIRONMENT_VARIABLE} is set)"
        files = [row for row in rows.values() if not row.weightless]
        names = [row.weights_name(esm_model) for row in files]
        sources = {row.title: row.source.format(name=row.weights_name(esm_model)) for row in files}
        if needs_classifier:
            names += ["500_model", "300_model"]
            sources["classifier"] = _CLASSIFIERS
        raise BadWeights(
            f"Missing weights {where}. Looked for:\n"
            + "".join(f"  {item}\n" for item in looked_for)
            + "".join(f"Another is there: {other}.\n" for other in others)
            + f"`{fetch_command(directory, ' '.join(names))}` fetches them. Or put there yourself:"
            + "".join(f"\n  {title:10}  {source}" for title, source in sources.items())
        )
    return WeightPaths(models, classifier, esm_model, card)


def _esm_model(asked: str | None, card: ClassifierCard, classifier: Path | None) -> str:
    if None not in (asked, card.esm_model) and asked != card.esm_model:
        raise BadRequest(
            f"{classifier} was trained on features of {card.esm_model}, and --esm-model says {asked}. Leave it out."
        )
    return asked or card.esm_model or DEFAULT_ESM_MODEL


def models_asked_for(esm_model: str | None, classifier: Path | None) -> tuple[str, list[LanguageModel]]:
    """Tell the ESM-2, and all models with files, of a run of DNA, for a classifier of one's own or a published one.

    Args:
        esm_model: None where nobody names one. classifier: It may be missing, or broken, which is not told here.
    """
    card = ClassifierCard()
    if classifier is not None and classifier.is_file():
        with suppress(BadWeights):
            card = read_card(classifier)
    rows = [LANGUAGE_MODELS[name] for name in models_for(InputKind.NUCLEOTIDE, card.features)]
    return esm_model or card.esm_model or DEFAULT_ESM_MODEL, [row for row in rows if not row.weightless]


def fetch_command(directory: Path | None, names: str, verb: str = "fetch") -> str:
    """The command that fetches (or verifies) models into a directory; None is where they are looked for by default."""
    place = "" if directory in (None, default_directory()) else f" --weights-dir {shlex.quote(str(directory))}"
    return f"virnucpro weights {verb} {names}{place}"


def candidates(directory: Path, name: str) -> list[Path]:
    """The files and folders that would be the model of that name, the one to be preferred first."""
    if name in (row.name for row in LANGUAGE_MODELS.values() if not row.weightless):
        return [directory / name]
    if name in ESM2_SIZES:
        return [directory / f"{name}.pt", directory / name]
    return [directory / f"{name}.safetensors", directory / f"{name}.pth"]


def first_model(directory: Path, name: str) -> Path | None:
    """The first candidate that is a file, or a folder with a config.json and weights; else what comes with the program.

    Raises:
        BadWeights: The directory may not be looked into.
    """
    for path in candidates(directory, name):
        try:
            if path.is_file():
                return path
            if (path / "config.json").is_file() and any((path / name).is_file() for name in HUGGING_FACE_FILES):
                return path
        except OSError as error:  # what is not there is no error
            raise BadWeights(
                f"{path}: cannot be looked for ({error.strerror}). Ask its owner for access, or give another "
                f"--weights-dir or {ENVIRONMENT_VARIABLE}."
            ) from error
    return PACKAGED.get(name)


def missing_shards(model: Path) -> list[str]:
    """Files that the index of a folder names and that are not there; of a file, or a folder without index, none."""
    files = [model / name for name in HUGGING_FACE_FILES if (model / name).is_file()]
    if not files or any(file.suffix != ".json" for file in files):
        return []
    try:
        return [name for name in _shards(files[0]) if not (model / name).is_file()]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return [files[0].name]


def _shards(index: Path) -> list[str]:
    """The files that the index of a folder names."""
    named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return sorted({Path(name).name for name in named})
