"""Where weights are looked for, and what is told to who has none."""

from pathlib import Path

import pytest

from virnucpro.errors import BadWeights
from virnucpro.models.locate import find_weights
from virnucpro.reading.input_kind import InputKind

ESM_2 = """\
Missing weights in nowhere. Looked for:
  nowhere/esm2_t36_3B_UR50D.pt, or a Hugging Face folder nowhere/esm2_t36_3B_UR50D/
"""
FROM_ESM_2 = """\
  ESM-2       https://dl.fbaipublicfiles.com/fair-esm/models/esm2_t36_3B_UR50D.pt
              or the folder of https://huggingface.co/facebook/esm2_t36_3B_UR50D"""
MESSAGES = {
    InputKind.PROTEIN: f"""\
{ESM_2}\
`virnucpro weights fetch esm2_t36_3B_UR50D --weights-dir nowhere` fetches them. Or put there yourself:
{FROM_ESM_2}""",
    InputKind.NUCLEOTIDE: f"""\
{ESM_2}\
  nowhere/DNABERT-S/ with config.json, tokenizer.json and model weights
  nowhere/500_model.pth or .safetensors
`virnucpro weights fetch esm2_t36_3B_UR50D DNABERT-S 500_model 300_model --weights-dir nowhere` fetches them. \
Or put there yourself:
{FROM_ESM_2}
  DNABERT-S   the folder of https://huggingface.co/zhihan1996/DNABERT-S (no code in it is run)
  classifier  300_model.pth, 500_model.pth: https://github.com/Li-Jing-1997/VirNucPro""",
}


@pytest.mark.parametrize("kind", InputKind)
def test_who_has_no_weights_is_told_what_this_input_needs(kind):
    with pytest.raises(BadWeights) as caught:
        find_weights(Path("nowhere"), "esm2_t36_3B_UR50D", "500", None, kind)
    assert str(caught.value) == MESSAGES[kind]
