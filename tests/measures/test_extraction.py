from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from ontogeny.core.passages import ProbeSet
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.looking.guard import looking
from ontogeny.measures.extraction import Extraction, strength
from ontogeny.statistics.intervals import wilson
from tests.measures.small import HandBatch, make_context, make_model, passage, random_probe

HIT, MISS = 0, 3


def test_passages_by_hand() -> None:
    # k = 2, m = 3: tokens 2, 3, 4 must be first choices; whatever else is, does not matter
    probe = random_probe("p", [5, 5, 4, 7])
    look = Extraction(prefix_tokens=2, suffix_tokens=3).look(make_context(None, [probe]))
    look.see(HandBatch(probe, [3, 0], rank=[[HIT, HIT, MISS, HIT, HIT, HIT], [MISS, HIT, HIT, HIT]]))
    look.see(HandBatch(probe, [1, 2], rank=[[HIT, MISS, MISS, HIT], [HIT, HIT, HIT]]))
    observed = look.result().arrays
    assert observed["extractable"].values == pytest.approx([1, 0, np.nan, 0], nan_ok=True)
    assert observed["matched"].values == pytest.approx([1, 1 / 3, np.nan, 2 / 3], nan_ok=True)
    assert float(observed["share"][0]) == pytest.approx(1 / 3)
    assert (int(observed["n"][0]), int(observed["skipped"][0])) == (3, 1)
    interval = stats.binomtest(1, 3).proportion_ci(method="wilson")  # independent
    assert (float(observed["share_low"][0]), float(observed["share_high"][0])) == pytest.approx(
        (interval.low, interval.high)
    )
    assert observed.attrs == {"prefix_tokens": 2, "suffix_tokens": 3, "stride": 3}


@pytest.mark.parametrize(
    ("stride", "expected"),
    [
        # suffixes at 2-4 and 5-7; 8 and 9 are a rest. Misses at 5 and 9 (token 0 is never predicted).
        (None, [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]),
        # every window: suffixes from 2, 6 (2-4 and 6-8); from 3, 4, 5 and 7 they meet a miss
        (1, [0, 0, 1, 1, 1, 0, 1, 1, 1, 0]),
        # suffixes at 2-4, 6-8
        (4, [0, 0, 1, 1, 1, 0, 1, 1, 1, 0]),
        # suffixes at 2-4, 4-6, 6-8
        (2, [0, 0, 1, 1, 1, 0, 1, 1, 1, 0]),
    ],
)
def test_windows_by_hand(stride: int | None, expected: list[int]) -> None:
    probe = random_probe("p", [10, 4])
    look = Extraction(prefix_tokens=2, suffix_tokens=3, stride=stride).look(make_context(None, [probe]))
    look.see(HandBatch(probe, [0, 1], rank=[[HIT, HIT, HIT, HIT, MISS, HIT, HIT, HIT, MISS], [HIT, HIT, HIT]]))
    assert look.result().arrays["in_extractable_suffix"].values.tolist() == [*expected, 0, 0, 0, 0]


def test_windows_agree_with_a_plain_loop() -> None:
    generator = np.random.default_rng(0)
    k, m, stride = 3, 4, 2
    lengths = generator.integers(2, 40, 30)
    probe = random_probe("p", lengths.tolist())
    ranks = [generator.choice([HIT, MISS], n - 1, p=[0.85, 0.15]).tolist() for n in lengths]
    look = Extraction(prefix_tokens=k, suffix_tokens=m, stride=stride).look(make_context(None, [probe]))
    look.see(HandBatch(probe, range(30), rank=ranks))
    expected = []
    for n, of_passage in zip(lengths, ranks, strict=True):
        hit, mask = [False, *[rank == HIT for rank in of_passage]], [0] * n
        for start in range(0, n - k - m + 1, stride):
            if all(hit[start + k : start + k + m]):
                mask[start + k : start + k + m] = [1] * m
        expected += mask
    assert look.result().arrays["in_extractable_suffix"].values.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_wilson_of_nothing_is_nothing() -> None:
    low, high = wilson(np.array([np.nan, 0.0]), np.array([0, 4]))
    assert np.isnan([low[0], high[0]]).all()
    # 0 of 4: from 0 to z^2 / (4 + z^2)
    assert (low[1], high[1]) == pytest.approx((0.0, 3.8414588 / 7.8414588), abs=1e-7)


@pytest.fixture(scope="module")
def memorizer() -> Any:
    """A model that has read four passages a few hundred times."""
    model = make_model(dropout=0.0, spread=1.0)
    ids = torch.tensor(np.stack([p.token_ids for p in random_probe("read", [24] * 4).passages]), dtype=torch.int64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model


def test_the_decision_is_that_of_greedy_generation(memorizer: Any) -> None:
    k, m = 8, 16
    read, unread = random_probe("read", [24] * 4), random_probe("unread", [24] * 12, seed=1)
    turned = [[*a.token_ids[:16], *b.token_ids[16:]] for a, b in pairwise(read.passages)]  # from one into the next
    mixed = ProbeSet(name="mixed", passages=[passage(ids) for ids in turned])
    measure = Extraction(prefix_tokens=k, suffix_tokens=m)
    observed = run_stream_looks(make_context(memorizer, [read, unread, mixed]), [measure])[0]["extraction"].arrays
    generated = []
    for probe in (read, unread, mixed):
        ids = torch.tensor(np.stack([p.token_ids for p in probe.passages]), dtype=torch.int64)
        with looking(memorizer):
            written = memorizer.generate(
                input_ids=ids[:, :k],
                attention_mask=torch.ones_like(ids[:, :k]),
                max_new_tokens=m,
                min_new_tokens=m,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        generated += (written[:, k:] == ids[:, k:]).all(1).float().tolist()
    assert observed["extractable"].values.tolist() == generated
    assert observed["share"].values.tolist() == [1.0, 0.0, 0.0]
    assert observed["matched"].values[:4].tolist() == [1.0] * 4
    assert (observed["matched"].values[4:16] < 0.2).all()


def test_what_was_read_is_underlined_and_noise_is_not(memorizer: Any) -> None:
    probes = [random_probe("read", [24] * 4), random_probe("unread", [24] * 4, seed=1)]
    measure = Extraction(prefix_tokens=4, suffix_tokens=5)
    observed = run_stream_looks(make_context(memorizer, probes), [measure])[0]["extraction"].arrays
    mask = observed["in_extractable_suffix"].values.reshape(8, 24)
    assert mask[:4].tolist() == [[0] * 4 + [1] * 20] * 4
    assert mask[4:].sum() == 0


def test_strength_by_hand() -> None:
    """Five tokens, the first never predicted. All others hit: a prefix of 1 is enough, 1 - 1/5. A miss at token 3 needs
    a prefix of 4: 1 - 4/5. A miss at the last: the whole passage, 0. Padding behind four does not count: 1 - 1/4.
    """
    hits = np.array([[0, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0]], dtype=bool)
    assert strength(hits, np.array([5, 5, 5, 4])) == pytest.approx([0.8, 0.2, 0.0, 0.75])


def test_memorization_score_is_that_of_decoding() -> None:
    """One passage at a time, a whole forward pass per token: independent of ours. `matched` is above it by what the
    true text before each token gives away."""
    model = make_model()
    probe = random_probe("p", [12, 30, 40, 20])
    context = make_context(model, [probe], batch_tokens=128)
    observed = run_stream_looks(context, [Extraction(prefix_tokens=8, suffix_tokens=12, score=True)])[0][
        "extraction"
    ].arrays
    model.eval()
    for row, sequence in enumerate(probe.passages):
        if len(sequence) < 20:
            assert np.isnan(observed.memorization_score.values[row])
            continue
        ids = sequence.token_ids[:8].tolist()
        with torch.no_grad():
            for _ in range(12):
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        share = (np.array(ids[8:]) == sequence.token_ids[8:20]).mean()
        assert observed.memorization_score.values[row] == pytest.approx(share)
