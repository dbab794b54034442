"""Pre-training: proteins packed, batched and masked as they should be, and an encoder that is fair-esm's ESM-2 in
training and virnucpro's afterwards; tiny, on the CPU.

Axes: T tokens, S segments, M places to be told, D width, H heads, K width of one.
"""

import ast
import json
import math
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import packing
import pytest
import torch
from conftest import ESM_8M, ROOT
from hypothesis import given
from hypothesis import strategies as st
from references import worst
from surroundings import HANG

from benchmarks.pretraining import alphabet, attention, main, masking, proteins, weights
from benchmarks.pretraining.alphabet import DROPOUT_SCALE, FEWEST_RESIDUES, LETTERS, MOST_RESIDUES
from benchmarks.pretraining.attention import padded, varlen
from benchmarks.pretraining.batches import Batches, Segments
from benchmarks.pretraining.convert import convert
from benchmarks.pretraining.encoder import Encoder, Shape
from benchmarks.pretraining.fit import Files, fit
from benchmarks.pretraining.masking import dropout_scale, gathered, masked
from benchmarks.pretraining.proteins import Proteins
from benchmarks.pretraining.recipe import Recipe
from benchmarks.pretraining.training import Training
from benchmarks.support import markers
from virnucpro.models.attention import BACKENDS
from virnucpro.models.catalog import ESM2_SIZES
from virnucpro.models.esm2 import TOKEN_DROPOUT_SCALE, load_esm2
from virnucpro.models.esm2_checkpoint import read_esm2
from virnucpro.models.ops import Plain
from virnucpro.models.tokens import CLS, EOS, PAD, VOCABULARY, esm2_tokens
from virnucpro.reading.proteins import ESM_LETTERS

pytestmark = pytest.mark.usefixtures("one_thread")
FOLDER = ROOT / "benchmarks" / "pretraining"
CPU = torch.device("cpu")
TINY = Shape(layers=2, width=32, heads=4)
# Float32 after two layers: outputs of up to 5, whose last bits are 2^-22, from sums of up to 128 products.
ROUNDING = 64 * 2.0**-22


def motifs(count, seed=0):
    """Proteins with something to learn, as lines: repeats of a few motifs, with errors."""
    random = np.random.default_rng(seed)
    pieces = random.integers(0, 20, (8, 12))
    lines = []
    for _ in range(count):
        places = np.concatenate([pieces[i] for i in random.integers(0, 8, random.integers(3, 34))])
        errors = random.random(len(places)) < 0.05
        lines.append("".join(LETTERS[i] for i in np.where(errors, random.integers(0, 20, len(places)), places)))
    return "\n".join(lines).encode()


@pytest.fixture(scope="module", autouse=True)
def small_window():
    """The compressor takes a quarter of a gigabyte else, and a while to clear it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(proteins.FILTER, "dict_size", 2**16)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory, small_window):
    path = tmp_path_factory.mktemp("data") / "proteins.npz"
    proteins.pack(motifs(120), path)
    return path


def plan(**changes):
    settled = {"batch_tokens": 2048, "micro_tokens": 1024, "warmup": 5, "rate": 4e-3, "shape": TINY}
    return Recipe(**settled | changes)


def files_in(folder):
    return Files(folder / "encoder.pt", folder / "checkpoint.pt", folder / "log.jsonl")


def spelt(part):
    """Proteins of a file as text."""
    return [
        "".join(LETTERS[token - alphabet.FIRST] for token in part.tokens_R[begin : begin + length])
        for begin, length in zip(part.begins_N, part.lengths_N, strict=True)
    ]


def test_tokens_are_those_of_virnucpro():
    assert LETTERS == ESM_LETTERS
    own = alphabet.CLS, alphabet.PAD, alphabet.EOS, alphabet.VOCABULARY, alphabet.DROPOUT_SCALE
    assert own == (CLS, PAD, EOS, VOCABULARY, TOKEN_DROPOUT_SCALE)
    assert list(esm2_tokens([b"LX"])) == [alphabet.CLS, alphabet.FIRST, alphabet.X, alphabet.EOS]
    assert (Shape().layers, Shape().width, Shape().heads) == ESM2_SIZES[ESM_8M]


# --- proteins ---------------------------------------------------------------------------------------------------------


def test_what_is_packed_is_what_can_be_trained_on(tmp_path):
    kept = ["ACDEFGHIKL" * 3, "mnpqrstvwy" * 4 + "**", "ACDEFGHIKLMNPQRSTVWY" + "X" + "J" + "ACDEFGHIKLMNPQRSTVWY"]
    lost = ["ACDEFGHIKL" * 2 + "ACDEFGHIK", "ACDEFGHIKL" * 3 + "*", "ACDEFGHIKLMNPQRSTVWY" * 2 + "XJU"]
    packed = proteins.pack("\n".join([*kept, *lost, ""]).encode(), tmp_path / "p.npz")
    training, held_out = proteins.read(tmp_path / "p.npz")
    assert (packed.pieces, packed.held_out, packed.residues, packed.residues_left) == (3, 1, 112, 0)
    assert sorted(spelt(training) + spelt(held_out)) == sorted(
        ["ACDEFGHIKL" * 3, "MNPQRSTVWY" * 4, "ACDEFGHIKLMNPQRSTVWY" + "XX" + "ACDEFGHIKLMNPQRSTVWY"]
    )


LINES = st.lists(st.text(LETTERS[:20], min_size=FEWEST_RESIDUES, max_size=MOST_RESIDUES), min_size=2, unique=True)


@given(LINES, st.integers(0, 3))
def test_short_proteins_come_back_whole(tmp_path_factory, lines, seed):
    path = tmp_path_factory.mktemp("packed") / "p.npz"
    proteins.pack("\n".join(lines).encode(), path, seed=seed)
    training, held_out = map(spelt, proteins.read(path))
    assert sorted(training + held_out) == sorted(lines)
    assert len(held_out) == max(1, len(lines) // 10)


@pytest.mark.parametrize("seed", range(4))
def test_a_long_protein_is_cut_and_loses_only_ends(tmp_path, seed):
    """Two, of which one is held out; of that only a piece is kept."""
    random = np.random.default_rng(0)
    one, two = ("".join(LETTERS[i] for i in random.integers(0, 20, 2000)) for _ in range(2))
    proteins.pack(f"{one}\n{two}".encode(), tmp_path / "p.npz", seed=seed)
    training, (held_out,) = map(spelt, proteins.read(tmp_path / "p.npz"))
    whole, other = (one, two) if held_out in two else (two, one)
    assert held_out in other
    assert len(held_out) == MOST_RESIDUES
    assert "".join(training) in whole  # in order, without gaps
    assert all(len(piece) == MOST_RESIDUES for piece in training[1:-1])
    assert all(FEWEST_RESIDUES <= len(piece) <= MOST_RESIDUES for piece in training)
    assert sum(map(len, training)) > 2000 - 2 * FEWEST_RESIDUES


def test_a_file_has_what_fits(tmp_path):
    """Room for nothing beside what the compressor keeps back: it is looked at after 2,000 pieces, and full."""
    random = np.random.default_rng(0)
    lines = ["".join(LETTERS[i] for i in random.integers(0, 20, 50)) for _ in range(5000)]
    packed = proteins.pack("\n".join(lines).encode(), tmp_path / "p.npz", limit_mib=1.5)
    assert packed == proteins.Packed(pieces=2000, residues=2000 * 50, held_out=500, residues_left=3000 * 50)
    assert sum(len(part.lengths_N) for part in proteins.read(tmp_path / "p.npz")) == 2000


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no protein to train on"):
        proteins.pack(b"MKV\n", tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("MKV")
    np.savez(tmp_path / "other.npz", lengths_N=np.zeros(3))
    for name in ("text", "other"):
        with pytest.raises(ValueError, match=f"{name}.npz: no file of packed proteins"):
            proteins.read(tmp_path / f"{name}.npz")


def test_a_package_gives_the_proteins_of_sources_that_may_be_trained_on(tmp_path, monkeypatch):
    genes = tmp_path / "genes.fasta"  # AORK01 is left out: tests/test_markers.py
    genes.write_text(f">gi|3|ref|NZ_KB911256.1|:9-14\n{'ATG' * 50}\n>gi|2|ref|NZ_AORK01000012.1|:9-14\n{'GCC' * 50}\n")
    monkeypatch.setattr(markers, "unpacked", lambda package, folder, sha256: genes)
    assert main.read_text(tmp_path / "data.deb") == b"M" * 50 + b"\n"


# --- batches ----------------------------------------------------------------------------------------------------------


def laid(lengths):
    lengths_N = np.array(lengths)
    return Proteins(np.zeros(lengths_N.sum(), np.uint8), np.cumsum(lengths_N) - lengths_N, lengths_N)


def test_a_batch_is_filled_up_with_padding():
    batches = Batches(laid([200, 100, 250]), 550, shuffle=False)
    first, second = batches.rest_of_epoch()
    assert first.begins_S[:4].tolist() == [0, 200, -1, -1]
    assert first.lengths_S[:4].tolist() == [202, 102, 246, 0]
    assert second.begins_S[:4].tolist() == [300, -1, -1, -1]
    assert second.lengths_S[:4].tolist() == [252, 256, 42, 0]  # no segment is longer than 256, not even of padding
    assert batches.epochs == 1


@given(
    st.lists(st.integers(FEWEST_RESIDUES, MOST_RESIDUES), min_size=1, max_size=200),
    st.integers(256, 3000),
    st.sampled_from([0, 0.5, 1]),
    st.integers(0, 3),
)
def test_every_protein_comes_once_an_epoch(lengths, tokens, crop_share, seed):
    whole = laid(lengths)
    batches = Batches(whole, tokens, crop_share, seed)
    for _ in range(2):
        batches.seek(batches.epoch, 0)
        own = list[int]()
        for begins_S, lengths_S in batches.rest_of_epoch():
            assert lengths_S.sum() == tokens
            assert lengths_S.max() <= 256
            assert len(begins_S) == len(lengths_S) == batches.most + 1
            for begin, length in zip(begins_S[begins_S >= 0], lengths_S[begins_S >= 0] - 2, strict=True):
                protein = int(np.searchsorted(whole.begins_N, begin, side="right")) - 1
                own.append(protein)
                assert begin + length <= whole.begins_N[protein] + lengths[protein]
                assert length == lengths[protein] or (crop_share and 64 <= length < lengths[protein])
        assert sorted(own) == list(range(len(lengths)))
        batches.seek(batches.epoch + 1, 0)


def test_batches_are_the_same_again_after_a_resume():
    whole = laid(np.random.default_rng(0).integers(30, 255, 60))
    batches, batches_seen, places = Batches(whole, 1000, 0.5, seed=1), list[Segments](), list[tuple[int, int]]()
    while batches.epochs < 2:
        places.append((batches.epoch, batches.place))
        batches_seen.append(batches.next())
    later = Batches(whole, 1000, 0.5, seed=1)
    for start in (3, len(places) - 2):
        later.seek(*places[start])
        for expected in batches_seen[start:]:
            assert all(map(np.array_equal, later.next(), expected))


def test_each_epoch_and_each_seed_has_another_order():
    whole, orders = laid([100] * 60), list[list[int]]()
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        batches = Batches(whole, 1000, seed=seed)
        batches.seek(epoch, 0)
        orders.append([int(begin) for segments in batches.rest_of_epoch() for begin in segments.begins_S if begin >= 0])
    kept = Batches(whole, 1000, shuffle=False).rest_of_epoch()
    orders.append([int(begin) for segments in kept for begin in segments.begins_S if begin >= 0])
    assert orders[-1] == list(range(0, 6000, 100))
    assert len({tuple(order) for order in orders}) == 4


# --- masking ----------------------------------------------------------------------------------------------------------

L, A, G, V, S, E, X, MASK = 4, 5, 6, 7, 8, 9, 24, 32


def literal():
    """LAGV and SXE, and 3 tokens of padding."""
    return gathered(
        torch.tensor([L, A, G, V, S, X, E], dtype=torch.uint8),
        Segments(np.array([0, 4, -1, -1]), np.array([6, 5, 3, 0])),
    )


def test_tokens_are_gathered():
    batch = literal()
    assert batch.tokens_T.tolist() == [CLS, L, A, G, V, EOS, CLS, S, X, E, EOS, PAD, PAD, PAD]
    assert batch.segment_T.tolist() == [0] * 6 + [1] * 5 + [2] * 3
    assert batch.position_T.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 0, 1, 2]
    assert batch.edges_S1.tolist() == [0, 6, 11, 14, 14]
    assert set(batch.scale_T.tolist()) == {np.float32(0.88)}
    assert set(batch.labels_M.tolist()) == {-100}


def test_masking_by_hand(monkeypatch):
    no, told = 0.15, 0.1499  # under 0.15 is told
    #          <cls>   L    A     G     V   <eos> <cls>  S     X     E   <eos>  -     -     -
    which_T = [told, told, no, told, told, told, told, told, told, no, told, told, told, told]
    how_T = [0.0, 0.79, 0.0, 0.81, 0.91, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.tensor([which_T, how_T]))
    monkeypatch.setattr(torch, "randint", lambda low, high, size, **_: torch.full(size, 23))
    batch = masked(literal(), 0)
    assert batch.tokens_T.tolist() == [CLS, MASK, A, 23, V, EOS, CLS, MASK, X, E, EOS, PAD, PAD, PAD]
    assert batch.chosen_M.tolist()[:5] == [1, 3, 4, 7, 0]
    assert batch.labels_M.tolist()[:5] == [L, G, V, S, -100]
    # 1 of 6 masked, 1 of 5, none
    expected_T = [0.88 / (5 / 6)] * 6 + [0.88 / (4 / 5)] * 5 + [0.88] * 3
    expected_T[1] = expected_T[7] = 0
    torch.testing.assert_close(batch.scale_T, torch.tensor(expected_T))


def test_masking_shares_and_that_nothing_else_changes():
    random = np.random.default_rng(0)
    whole = laid(random.integers(30, 255, 1000))
    data_R = torch.from_numpy(random.integers(4, 25, len(whole.tokens_R)).astype(np.uint8))
    plain = gathered(data_R, Batches(whole, 65_536, 0.5).next())
    batch = masked(plain, 5)
    told_M = batch.labels_M >= 0
    place_M = batch.chosen_M[told_M]
    amino_T = (plain.tokens_T >= 4) & (plain.tokens_T < 24)
    assert amino_T[place_M].all()
    assert len(place_M.unique()) == len(place_M)
    assert torch.equal(batch.labels_M[told_M], plain.tokens_T[place_M])
    other_T = torch.ones_like(amino_T).index_fill(0, place_M, False)
    assert torch.equal(batch.tokens_T[other_T], plain.tokens_T[other_T])
    now_M, count = batch.tokens_T[place_M], len(place_M)
    shares = {
        0.15: (count, int(amino_T.sum())),
        0.8: (int((now_M == MASK).sum()), count),
        # replaced, but for 1 in 20, by chance the same
        0.095: (int(((now_M != MASK) & (now_M != batch.labels_M[told_M])).sum()), count),
    }
    for share, (some, total) in shares.items():
        assert abs(some - share * total) < 5 * math.sqrt(share * (1 - share) * total)
    again, other = masked(plain, 5), masked(plain, 6)
    assert torch.equal(again.tokens_T, batch.tokens_T)
    assert not torch.equal(other.tokens_T, batch.tokens_T)


def test_the_scale_is_that_of_fair_esm():
    """x * (1 - 0.15 * 0.8) / (1 - masked / length), and 0 where masked; literally for 3 of 10."""
    batch = gathered(torch.full((8,), L, dtype=torch.uint8), Segments(np.array([0]), np.array([10])))
    masked_T = torch.zeros(10, dtype=torch.bool).index_fill(0, torch.tensor([1, 4, 8]), True)
    scale = 0.88 / 0.7
    expected_T = torch.tensor([scale, 0, scale, scale, 0, scale, scale, scale, 0, scale])
    torch.testing.assert_close(dropout_scale(masked_T, batch), expected_T)


# --- the model --------------------------------------------------------------------------------------------------------


def unlike(shape=TINY, seed=0):
    """An encoder of which no weight is 0 or 1, so that no two can be confused; all fit into half precision."""
    torch.manual_seed(seed)
    model = Encoder(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * (0.3 if parameter.dim() == 1 else 0.05))
            parameter.copy_(parameter.half())
    return model.eval()


def batch_of(texts):
    """Proteins end to end."""
    data_R = torch.tensor([LETTERS.index(letter) + 4 for letter in "".join(texts)], dtype=torch.uint8)
    lengths_S = np.array([len(text) for text in texts])
    return gathered(data_R, Segments(np.cumsum(lengths_S) - lengths_S, lengths_S + 2))


PROTEINS = packing.random_proteins((166, 99, 254), seed=1)


@pytest.fixture
def converted(tmp_path):
    model = unlike()
    weights.save(model, tmp_path / "encoder.pt", {"steps": 7})
    convert(tmp_path / "encoder.pt", tmp_path / "folder")
    return model, tmp_path / "folder"


@torch.no_grad()
def test_virnucpro_computes_what_was_trained(converted):
    model, folder = converted
    batch = batch_of(PROTEINS)
    pack = packing.pack_of([list(esm2_tokens([text.encode()])) for text in PROTEINS])
    assert torch.equal(batch.tokens_T, pack.token_ids_T)
    x_TD = load_esm2(folder, CPU)(pack, BACKENDS["sdpa"].load(), Plain())
    assert x_TD.abs().max() < 8
    assert worst(model(batch, padded) - x_TD) < ROUNDING


@torch.no_grad()
def test_fair_esm_computes_the_same_of_masked_proteins(converted):
    """Representations and logits, with its own token dropout."""
    from esm.data import Alphabet
    from esm.model.esm2 import ESM2

    model, folder = converted
    theirs = ESM2(TINY.layers, TINY.width, TINY.heads, Alphabet.from_architecture("ESM-1b")).eval()
    head = {
        name: tensor.float()
        for name, tensor in weights.to_hugging_face(model.state_dict()).items()
        if name.startswith("lm_head.")
    }
    state = {name: tensor.float() for name, tensor in read_esm2(folder)[1].items()} | head
    absent = theirs.load_state_dict(state | {"lm_head.weight": state["embed_tokens.weight"]}, strict=False)
    assert all(name.startswith("contact_head.") for name in absent.missing_keys)
    assert not absent.unexpected_keys
    batch = masked(batch_of(PROTEINS), 3)
    x_TD = model(batch, padded)
    logits = model.logits(x_TD)
    for begin, end in pairwise(batch.edges_S1.tolist()):
        assert (batch.tokens_T[begin:end] == MASK).any()
        expected = theirs(batch.tokens_T[None, begin:end], repr_layers=[TINY.layers])
        assert worst(expected["representations"][TINY.layers][0] - x_TD[begin:end]) < ROUNDING
        assert worst(expected["logits"][0] - logits[begin:end]) < ROUNDING


def test_names_of_weights_go_there_and_back():
    state = unlike().state_dict()
    back = weights.from_hugging_face(weights.to_hugging_face(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_attention_with_and_without_padding_are_one(monkeypatch):
    """With a stand-in for PyTorch's, which needs a GPU: each sequence by itself; the last is empty."""

    def by_sequence(q_THK, k_THK, v_THK, edges_S1, same_S1, most, same):
        assert torch.equal(edges_S1, same_S1)
        assert edges_S1.dtype == torch.int32
        assert most == same == 256
        parts = list[torch.Tensor]()
        for begin, end in pairwise(edges_S1.tolist()):
            own = (x_THK[begin:end].transpose(0, 1) for x_THK in (q_THK, k_THK, v_THK))
            parts.append(torch.nn.functional.scaled_dot_product_attention(*own).transpose(0, 1))
        return torch.cat(parts)

    monkeypatch.setattr(attention, "varlen_attn", by_sequence)
    model, batch = unlike(), masked(literal(), 1)
    losses, gradients = list[torch.Tensor](), list[torch.Tensor]()
    for attend in (varlen, padded):
        losses.append(model.loss(masked(literal(), 1), attend))
        losses[-1].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        model.zero_grad()
    assert batch.edges_S1.diff()[-1] == 0
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step, progress, rate",
    [
        (0, 0, 1e-3 / 500),
        (249, 0, 0.5e-3),
        (499, 0, 1e-3),
        (499, 0.5, 0.5e-3),
        (9000, 0.9, 1e-4),
        (9000, 0.995, 1e-5),  # 1 % at least
    ],
)
def test_the_rate_goes_up_and_down(step, progress, rate):
    assert Recipe().rate_at(step, progress) == pytest.approx(rate)


def test_progress_goes_by_the_clock_or_by_steps():
    assert Recipe(seconds=960).progress(step=5, elapsed=240) == 0.25
    assert Recipe(steps=20).progress(step=5, elapsed=900) == 0.25


def test_a_step_is_a_whole_number_of_batches():
    with pytest.raises(ValueError, match="a whole number of times"):
        plan(batch_tokens=3000, micro_tokens=2000)
    with pytest.raises(ValueError, match="at least 256 at once"):
        plan(batch_tokens=512, micro_tokens=128)


def test_the_loss_falls(data):
    """To what tells that there are 20 amino acids, not all as frequent."""
    training = Training(plan(micro_tokens=2048, rate=1e-2, steps=30), data, CPU)
    assert abs(training.evaluate() - math.log(VOCABULARY)) < 0.3  # all of 33 tokens are as likely
    for _ in range(30):
        training.take_step()
    assert training.evaluate() < math.log(20)


def test_a_resume_gives_what_no_interruption_gives(data, tmp_path):
    through = Training(plan(steps=4), data, CPU)
    fit(through, files_in(tmp_path))
    (tmp_path / "two").mkdir()
    files = files_in(tmp_path / "two")
    first = Training(plan(steps=4), data, CPU)
    fit(first, files, stop=lambda: first.step == 2)
    second = Training(plan(steps=4), data, CPU)
    files.restore(second)
    assert (second.step, second.tokens, second.elapsed) == (2, 4096, first.elapsed)
    fit(second, files)
    one, two = through.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(first.model.head.weight, second.model.head.weight)
    assert second.step == 4
    with pytest.raises(ValueError, match="another recipe"):
        files.restore(Training(plan(steps=5), data, CPU))


def test_other_attention_is_noticed(data):
    training = Training(plan(steps=4), data, CPU)
    assert training.check() == "loss differs by 0.0e+00, cosine of the gradients 1.00000"
    training.attend = lambda q_THK, k_THK, v_THK, batch: v_THK * 50
    with pytest.raises(RuntimeError, match="Attention is wrong here"):
        training.check()
    assert (training.batches.epoch, training.batches.place) == (0, 0)


def test_a_training_that_goes_astray_leaves_the_last_weights(data, tmp_path):
    training, files = Training(plan(steps=9, warmup=1), data, CPU), files_in(tmp_path)

    def stop():
        if training.step == 2:
            with torch.no_grad():
                training.model.head.bias.fill_(math.nan)
        return False

    with pytest.raises(ValueError, match="the loss is no number"):
        fit(training, files, log_every=0, save_every=0, stop=stop)
    assert weights.load(files.encoder).facts["steps"] == 1


def test_from_proteins_to_a_folder_by_the_command_line(tmp_path, capsys):
    (tmp_path / "proteins.txt").write_bytes(motifs(60))
    data, out = str(tmp_path / "proteins.npz"), str(tmp_path / "out")
    small = ["--device", "cpu", "--shape", "2", "32", "4", "--batch-tokens", "1024", "--micro-tokens", "1024"]
    assert main.main(["pack", str(tmp_path / "proteins.txt"), data]) == 0
    assert main.main(["train", data, out, *small, "--steps", "2", "--log-every", "0"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[-1]["held_out_perplexity"] == pytest.approx(math.exp(rows[-1]["held_out_loss"]), abs=1e-2)
    assert main.main(["convert", f"{out}/encoder.pt", str(tmp_path / "folder")]) == 0
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["virnucpro_pretraining"]["steps"] == 2
    assert read_esm2(tmp_path / "folder")[0].width == 32
    assert main.main(["train", data, out, *small, "--steps", "3", "--resume"]) == 1  # falls by another number of steps
    assert "another recipe" in capsys.readouterr().err


# --- the host that trains ---------------------------------------------------------------------------------------------


def test_training_needs_torch_and_numpy_alone(data, tmp_path):
    """The files that docs/accuracy.md tells to carry, in a process in which nothing else can be imported."""
    (tmp_path / "benchmarks").mkdir()
    shutil.copy(ROOT / "benchmarks" / "__init__.py", tmp_path / "benchmarks")
    shutil.copytree(FOLDER, tmp_path / "benchmarks" / "pretraining", ignore=shutil.ignore_patterns("__pycache__"))
    small = ["--device", "cpu", "--shape", "1", "32", "4", "--batch-tokens", "1024", "--micro-tokens", "1024"]
    code = (
        "import sys; sys.modules.update(virnucpro=None, safetensors=None, tokenizers=None)\n"
        "from benchmarks.pretraining.main import main\n"
        f"sys.exit(main(['train', {str(data)!r}, 'out', *{small!r}, '--steps', '1']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"OMP_NUM_THREADS": "1"}, timeout=HANG)
    assert done.returncode == 0
    assert (tmp_path / "out" / "encoder.pt").exists()


def test_the_folder_is_one_of_short_modules_and_no_package():
    names = {path.name: len(path.read_text().splitlines()) for path in FOLDER.glob("*.py")}
    assert max(names.values()) <= 250
    assert "__init__.py" not in names
    assert all(ast.get_docstring(ast.parse((FOLDER / name).read_text())) for name in names)


def test_places_to_be_told_never_run_out(monkeypatch):
    """As many as there could be by six standard deviations; more are not told, and stay as they are."""
    batch = batch_of(["A" * 250])
    monkeypatch.setattr(masking, "SHARE", 1.1)
    told = masked(batch, 0)
    assert (told.labels_M >= 0).all()
    assert len(told.labels_M) < 250
    last = int(told.chosen_M.max())
    assert torch.equal(told.tokens_T[last + 1 :], batch.tokens_T[last + 1 :])
    assert math.isclose(
        float(told.scale_T[-1]), DROPOUT_SCALE / (1 - float((told.tokens_T == MASK).sum()) / 252), rel_tol=1e-6
    )
