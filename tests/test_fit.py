"""Fit: the classifier learns, is that of its best epoch, takes features as they are, and comes out the same again."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.models.classifier import scores
from virnucpro.training.fit import Frames, fit, scaling
from virnucpro.training.recipes import RECIPES, Recipe

WIDTH = 6
QUICK = Recipe("quick", "adamw", 1e-2, 16, 12, 4, weight_decay=0.01, hidden=8)


def frames(count, seed, shift=1.0, viral=0.5):
    """Frames that the sum of the first two features tells apart, more or less, on scales of their own."""
    rng = np.random.default_rng(seed)
    virus_S = rng.random(count) < viral
    features_SF = rng.normal(size=(count, WIDTH)) + shift * virus_S[:, None] * (np.arange(WIDTH) < 2)
    features_SF = features_SF * 10.0 ** np.arange(-2, WIDTH - 2) + 5
    return Frames(features_SF.astype(np.float32), np.arange(count), virus_S)


@pytest.fixture(scope="module")
def fitted():
    return fit(frames(400, 1), frames(100, 2), QUICK, seed=3)


def test_it_learns(fitted):
    test = frames(200, 4)
    called_S = scores(fitted.model, torch.from_numpy(test.features_SF))[:, 1] > 0.5
    # Bayes' error of classes that are sqrt(2) standard deviations apart is 24 %; five deviations of 200 draws are 15 %.
    assert np.mean(called_S.numpy() == test.virus_S) > 0.76 - 0.15


def test_the_same_again_is_the_same(fitted):
    again, other = (fit(frames(400, 1), frames(100, 2), QUICK, seed=seed) for seed in (3, 4))
    assert again.losses == fitted.losses and again.best == fitted.best
    for name, tensor in fitted.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert other.losses != fitted.losses


def test_the_random_numbers_of_others_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    fit(frames(50, 1), frames(20, 2), QUICK, seed=3)
    assert torch.equal(torch.rand(2), expected)


def test_the_classifier_is_that_of_the_best_epoch(fitted):
    losses = [validation for _, validation in fitted.losses]
    assert losses[fitted.best - 1] == min(losses)
    assert len(losses) == min(QUICK.epochs, fitted.best + QUICK.patience)
    validation = frames(100, 2)
    with torch.inference_mode():
        logits_S2 = fitted.model(torch.from_numpy(validation.features_SF))
    loss = F.cross_entropy(logits_S2, torch.from_numpy(validation.virus_S.astype(int)), frames(400, 1).class_weights())
    # Folding multiplies by 1 / deviation before the sum instead of after it: rounding of float32, at features of up to
    # 1e4 times their deviation here.
    assert float(loss) == pytest.approx(min(losses), abs=1e-3)


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=20))
def test_scaling(values):
    column_S = np.array(values, np.float32)
    mean_F, deviation_F = scaling(Frames(column_S[:, None], np.arange(len(values)), np.zeros(len(values), bool)))
    assert float(mean_F) == pytest.approx(column_S.mean(dtype=np.float64), abs=1e-9)
    deviation = column_S.std(dtype=np.float64)
    assert float(deviation_F) == pytest.approx(deviation if deviation >= 1e-6 else 1.0, rel=1e-9)


def test_classes_weigh_the_same():
    few = Frames(np.empty((0, 1), np.float32), np.arange(10), np.arange(10) < 2)
    assert few.class_weights().tolist() == pytest.approx([10 / 16, 10 / 4])


def test_the_published_recipe_is_what_it_was_published_as(monkeypatch):
    recipe, made = RECIPES["published"], []
    plain = torch.optim.SGD

    def watched(parameters, rate, momentum):
        made.append((rate, momentum))
        return plain(parameters, rate, momentum)

    monkeypatch.setattr(torch.optim, "SGD", watched)
    result = fit(frames(64, 1), frames(32, 2), recipe, seed=0)
    assert made == [(2e-4, 0.9)]
    assert (recipe.batch, recipe.epochs, recipe.patience, recipe.dropout, recipe.hidden) == (32, 200, 5, 0.5, 512)
    assert result.model.hidden_layer.weight.shape == (512, WIDTH)
    # Xavier: uniform up to sqrt(6 / (in + out)), which training at that rate hardly leaves.
    assert 0.8 < float(result.model.hidden_layer.weight.abs().max()) / np.sqrt(6 / (512 + WIDTH)) < 1.3


@pytest.mark.parametrize("epoch, rate", [(1, 1.0), (10, 1.0), (11, 0.85), (21, 0.7225), (200, 0.85**19)])
def test_the_published_steps(epoch, rate):
    from virnucpro.training.fit import _rate

    assert _rate(RECIPES["published"], epoch) == pytest.approx(2e-4 * rate)
    assert _rate(RECIPES["default"], epoch) == 1e-3


def test_a_last_batch_of_one_frame_is_left_out():
    assert len(fit(frames(33, 1), frames(9, 2), Recipe("r", "adamw", 1e-3, 32, 1, 1), seed=0).losses) == 1
