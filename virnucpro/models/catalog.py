"""Catalogue: the models, sizes, precisions and attention backends that can be asked for. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """A row of `PRECISIONS` says what numbers a language model consists of and computes in, by torch's names of types.

    A new one touches four files: this table; `models/linear.py`, unless its weights are just cast and multiplied;
    `tests/test_rows.py`; and docs/howto/precision.md. Activations of a new type concern `models/attention.py` too.
    """

    name: str
    weights: str  # type of the weights of linear layers
    activations: str  # type of all else: embeddings, norms, and what passes from layer to layer
    weight_bytes: int  # of one number
    activation_bytes: int  # of one number
    wider: str = ""  # precision to try where features are not finite in this one
    made_of: str = ""  # of 8-bit products: the precision that weights are loaded and a run is audited in
    least_cosine: float = 0.999  # to float32, of any feature: what `virnucpro parity` asks for unless told otherwise

    @property
    def reduced(self) -> bool:
        """Whether activations have fewer bits than float32: what fast kernels are for, and what rounds visibly."""
        return self.activation_bytes < 4

    @property
    def quantised(self) -> bool:
        """Whether products are of 8-bit numbers with scales, made from weights of another precision."""
        return bool(self.made_of)

    @property
    def loaded(self) -> Precision:
        """The precision that weights are loaded in."""
        return PRECISIONS[self.made_of] if self.quantised else self


AUTO = "auto"
PRECISIONS = {
    row.name: row
    for row in (
        Precision("fp32", "float32", "float32", 4, 4),
        Precision("bf16", "bfloat16", "bfloat16", 2, 2),  # its range is that of fp32
        Precision("fp16", "float16", "float16", 2, 2, wider="bf16"),
        # Of ESM-2's products alone.
        Precision("int8", "int8", "float16", 1, 2, wider="fp16", made_of="fp16", least_cosine=0.995),
    )
}
GREATEST = 127  # of 8-bit numbers; -128 is not used, so that they are symmetric
LEAST_SCALE = 1e-20  # of a row of zeros in 8 bits
GPU_PRECISION, CPU_PRECISION = "fp16", "fp32"  # unless the user says otherwise
REFERENCE_PRECISION = "fp32"  # what others are compared with
PUBLISHED_PRECISION = "fp16"  # of ESM-2's published files
ATTENTIONS = ("triton", "varlen", "sdpa")  # in order of preference: the rows of `attention.BACKENDS`
# name: (layers, width, attention heads), fair-esm's published sizes, and a model of the same architecture that comes
# with the program: `locate.PACKAGED`.
ESM2_SIZES = {
    "virnucpro_t6_8M": (6, 320, 20),
    "esm2_t6_8M_UR50D": (6, 320, 20),
    "esm2_t12_35M_UR50D": (12, 480, 20),
    "esm2_t30_150M_UR50D": (30, 640, 20),
    "esm2_t33_650M_UR50D": (33, 1280, 20),
    "esm2_t36_3B_UR50D": (36, 2560, 40),
    "esm2_t48_15B_UR50D": (48, 5120, 40),
}
DEFAULT_ESM_MODEL = "esm2_t36_3B_UR50D"  # the published classifiers'
DNABERT_S = "DNABERT-S"
CANONICAL_4MERS = 136  # of 256 words of four letters, one for each pair of reverse complements
CHUNK_SIZES = (300, 500)  # bp, of the published classifiers
MODEL_TYPES = ("300", "500", "custom")  # of the classifier: its chunk size in bp, or a file
