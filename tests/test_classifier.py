"""Classifier files: the published pickle, safetensors, and what must not be unpickled."""

import os
import pickle

import pytest
import torch

from benchmarks import synthetic_weights
from virnucpro.errors import BadRequest, BadWeights
from virnucpro.models.classifier import Classifier, MLPClassifier, check_fit, convert, load_classifier, scores
from virnucpro.models.classifier_card import ClassifierCard


@pytest.fixture
def pth(tmp_path):
    path = tmp_path / "500_model.pth"
    synthetic_weights.write_classifier(path, 12)
    return path


def test_the_published_pickle_is_a_whole_module_of_main(pth):
    content = pth.read_bytes()
    assert b"__main__" in content
    assert b"MLPClassifier" in content


def test_scores_are_those_of_the_pickled_module(pth):
    x_SF = torch.randn(600, 12, generator=torch.Generator().manual_seed(1))
    plain = synthetic_weights.classifier(12).eval()
    hidden = torch.relu(plain.bn1(plain.hidden_layer(x_SF)))
    expected = torch.softmax(plain.output_layer(hidden), dim=1)
    found = scores(load_classifier(pth).model, x_SF)
    assert torch.allclose(found, expected.detach(), atol=1e-6)
    assert torch.allclose(found.sum(dim=1), torch.ones(600))
    assert scores(load_classifier(pth).model, x_SF[:0]).shape == (0, 2)


def test_frames_scored_one_by_one_do_not_depend_on_each_other(pth):
    model = load_classifier(pth).model
    x_SF = torch.randn(50, 12, generator=torch.Generator().manual_seed(1))
    found = scores(model, x_SF, 1)
    assert torch.allclose(found, scores(model, x_SF), atol=1e-6)
    assert all(torch.equal(found[i : i + 1], scores(model, x_SF[i : i + 1])) for i in range(50))
    assert torch.equal(scores(model, x_SF.flip(0), 1), found.flip(0))


def test_name_gives_chunk_size_and_file_says_synthetic(pth):
    classifier = load_classifier(pth)
    assert (classifier.chunk_size, classifier.features, classifier.synthetic) == (500, 12, True)


def test_conversion_keeps_values_and_records_the_chunk_size(pth, tmp_path):
    assert convert(pth, tmp_path / "other.safetensors", None) == 500
    before, after = load_classifier(pth), load_classifier(tmp_path / "other.safetensors")
    assert (after.chunk_size, after.synthetic) == (500, True)
    for name, tensor in before.model.state_dict().items():
        assert after.model.state_dict()[name].dtype == tensor.dtype
        assert torch.equal(after.model.state_dict()[name], tensor)


@pytest.mark.parametrize("name", ["2024_model_final.pth", "0_model.pth", "mine.pth"])
def test_other_names_give_no_chunk_size(pth, tmp_path, name):
    assert load_classifier(pth.rename(tmp_path / name)).chunk_size is None


def test_a_pickled_state_dict_is_read_too(pth, tmp_path):
    torch.save(synthetic_weights.classifier(12).state_dict(), tmp_path / "300_model.pth")
    assert load_classifier(tmp_path / "300_model.pth").chunk_size == 300


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_other_objects_are_never_unpickled(tmp_path, save):
    path, made = tmp_path / "500_model.pth", tmp_path / "made"
    save({"hidden_layer.weight": Attack(str(made))}, path)
    with pytest.raises(BadWeights, match=r"refused|damaged"):
        load_classifier(path)
    assert not made.exists()


def test_a_pickle_of_classes_beside_the_published_ones_is_refused(tmp_path):
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "500_model.pth")
    with pytest.raises(BadWeights, match="refused, for it holds more than weights"):
        load_classifier(tmp_path / "500_model.pth")


@pytest.mark.parametrize("name", ["500_model.pth", "500_model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut off"])
def test_broken_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadWeights, match=f"{name}: .*Fetch it again|fetch the published file again"):
        load_classifier(path)


def test_a_cut_off_file(pth):
    pth.write_bytes(pth.read_bytes()[:-1000])
    with pytest.raises(BadWeights, match="damaged"):
        load_classifier(pth)


def test_another_model_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "500_model.pth")
    with pytest.raises(BadWeights, match="no classifier of VirNucPro"):
        load_classifier(tmp_path / "500_model.pth")


@pytest.mark.parametrize(
    "features, recorded, asked, message",
    [
        (344, 500, 300, "trained on chunks of 500 bp, but --model-type 300 asks for 300 bp"),
        (344, None, None, r"does not say which chunk size.*virnucpro convert"),
        (3328, 500, 500, r"takes 3328 features, but esm2_t6_8M_UR50D \(320\) .* give 344.*\(esm2_t36_3B_UR50D\)"),
        (345, 500, 500, r"takes 345 features"),
    ],
)
def test_misfits_are_refused(tmp_path, features, recorded, asked, message):
    classifier = Classifier(MLPClassifier(features, 4), ClassifierCard(chunk_size=recorded))
    with pytest.raises(BadRequest, match=message):
        check_fit(classifier, tmp_path / "x.pth", asked, {"esm2_t6_8M_UR50D": 320, "DNABERT-S": 24})


@pytest.mark.parametrize("recorded, asked, used", [(500, 500, 500), (None, 300, 300), (450, None, 450)])
def test_the_chunk_size_used(tmp_path, recorded, asked, used):
    classifier = Classifier(MLPClassifier(344, 4), ClassifierCard(chunk_size=recorded))
    assert check_fit(classifier, tmp_path / "x.pth", asked, {"esm2_t6_8M_UR50D": 320, "DNABERT-S": 24}) == used
