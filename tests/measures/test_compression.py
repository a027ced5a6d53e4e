"""Compression: by hand, against brute force in float64, against scikit-learn, and where neighbours tie."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.contracts import Observation
from ontogeny.core.passages import ProbeSet
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures import _neighbours
from ontogeny.measures._neighbours import Spread, nearest
from ontogeny.measures.compression import Compression
from tests.measures.small import make_context, make_model, passage, random_probe


def brute(states: torch.Tensor, k: int) -> list[list[int]]:
    """Neighbours by float64 differences, ties by index: row by row, as one would write it down."""
    exact = states.double().numpy()
    found = []
    for i, own in enumerate(exact):
        distances = ((exact - own) ** 2).sum(axis=1)
        distances[i] = np.inf
        found.append(sorted(np.argsort(distances, kind="stable")[:k].tolist()))
    return found


def scored(at: np.ndarray, after: np.ndarray, k: int) -> np.ndarray:
    """The definition, token by token, in float64."""
    neighbours = brute(torch.from_numpy(at), k)
    return np.array([-math.log(after[rows].astype(np.float64).var(axis=0).sum() + 1e-10) for rows in neighbours])


def states_of(model: Any, probe: ProbeSet, *, raw_last: bool = False) -> list[np.ndarray]:
    """States after each block of every passage, one passage at a time: independent of ours."""
    rows: list[list[np.ndarray]] = []
    model.eval()
    caught: list[torch.Tensor] = []
    hook = model.gpt_neox.final_layer_norm.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    for one in probe.passages:
        ids = torch.from_numpy(one.token_ids.astype(np.int64))[None]
        with torch.no_grad():
            hidden = list(model(input_ids=ids, output_hidden_states=True).hidden_states[1:])
        if raw_last:
            hidden[-1] = caught[-1]
        rows.append([state[0].numpy() for state in hidden])
    hook.remove()
    return [np.concatenate(layer) for layer in zip(*rows, strict=True)]


def look(model: Any, sets: list[ProbeSet], **settings: Any) -> Observation:
    return run_stream_looks(make_context(model, sets), [Compression(**settings)])[0]["compression"]


def with_outliers(count: int) -> torch.Tensor:
    """Noise of 1 in 48 dimensions, two of which stand at 3,000 or at -3,000 as well: as some do in language models."""
    random = torch.Generator().manual_seed(0)
    states = torch.randn(count, 48, generator=random)
    states[:, [3, 40]] += 3000 * torch.randn(count, 2, generator=random).sign()
    return states


def test_by_hand() -> None:
    """Five points on a line at L: 0, 1, 3, 7, 15; k = 2. At L + 1 they stand at 0, 2, 4, 10, 20.

    Neighbours of 0: 1 and 3, next at 2 and 4, variance 1. Of 1: 0 and 3, at 0 and 4, variance 4. Of 3: 1 and 0, at 2
    and 0, variance 1. Of 7: 3 and 1, at 4 and 2: 1. Of 15: 7 and 3, at 10 and 4: 9.
    """
    at = torch.tensor([[0.0], [1.0], [3.0], [7.0], [15.0]])
    after = torch.tensor([[0.0], [2.0], [4.0], [10.0], [20.0]])
    assert Spread(after).of(nearest(at, 2)).tolist() == pytest.approx([1, 4, 1, 1, 9])


@pytest.mark.parametrize("kind", ["noise", "clusters", "outliers", "many equal", "few", "offset"])
@pytest.mark.parametrize("in_blocks", [False, True])
def test_neighbours_equal_brute_force(kind: str, in_blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and in blocks. Outliers of 3,000 make float32 products of 10^7 with steps of 1: wider than the gaps."""
    if in_blocks:
        monkeypatch.setattr(_neighbours, "WHOLE_BYTES", 0)
        monkeypatch.setattr(_neighbours, "STRIP_BYTES", 1 << 18)
    random = torch.Generator().manual_seed(0)
    states = torch.randn(1500, 48, generator=random)
    if kind == "clusters":
        states = states[:30].repeat_interleave(50, 0) + 1e-3 * states
    if kind == "outliers":
        states = with_outliers(1500)
    if kind == "many equal":
        states = states[:50].repeat(30, 1)
    if kind == "few":
        states = states[:16]
    if kind == "offset":
        states = states + 100
    found = nearest(states, 15)
    assert [sorted(row) for row in found.tolist()] == brute(states, 15)


def test_plain_float32_picks_other_neighbours_at_outliers() -> None:
    """Without which the care above would be for nothing: most rows differ, centred as they are."""
    states = with_outliers(800)
    states = states - states.mean(dim=0)
    squares = states.square().sum(dim=1)
    plain = squares[:, None] + squares[None] - 2 * states @ states.T
    plain.fill_diagonal_(math.inf)
    other = [sorted(row) for row in plain.argsort(dim=1)[:, :15].tolist()]
    assert sum(one != two for one, two in zip(other, brute(states, 15), strict=True)) > 400


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_equal_scikit_learn(metric: str) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    states = torch.randn(600, 24, generator=torch.Generator().manual_seed(1))
    theirs = neighbors.NearestNeighbors(n_neighbors=16, metric=metric, algorithm="brute").fit(states.double().numpy())
    found = theirs.kneighbors(states.double().numpy(), return_distance=False)
    searched = states / states.norm(dim=1, keepdim=True) if metric == "cosine" else states
    assert [sorted(row) for row in nearest(searched, 15).tolist()] == [
        sorted(j for j in row if j != i)[:15] for i, row in enumerate(found.tolist())
    ]


def test_spread_of_equal_and_of_nearly_equal_states() -> None:
    """Equal: 0 exactly. 1e-4 apart at a length of 1e4: 12 digits cancel, and it is still right to 1e-6."""
    states = torch.full((6, 3), 1e4)
    neighbours = torch.tensor([[1, 2, 3], [2, 3, 4]])
    assert Spread(states).of(neighbours).tolist() == [0, 0]
    states[1, 0] = 1e4 + 2**-9
    exact = states[neighbours[0]].double().var(dim=0, correction=0).sum()
    assert Spread(states).of(neighbours)[0] == pytest.approx(float(exact), rel=1e-6)


def test_scores_of_a_model_follow_the_definition() -> None:
    model = make_model()
    probes = [random_probe("train", [30, 21], seed=0), random_probe("novel", [25], seed=1)]
    whole = ProbeSet(name="all", passages=[*probes[0].passages, *probes[1].passages])
    first, second = states_of(model, whole)
    seen = look(model, probes, k=5).arrays
    expected = scored(first, second, 5)
    assert seen.score.shape == (1, 76)
    np.testing.assert_allclose(seen.score.values[0], expected, rtol=1e-5)
    means = [expected[:30].mean(), expected[30:51].mean(), expected[51:].mean()]
    np.testing.assert_allclose(seen.passage_score.values[0], means, rtol=1e-5)
    neighbours = brute(torch.from_numpy(first), 5)
    ratio = [
        math.log(first[n].astype(np.float64).var(axis=0).sum() / second[n].astype(np.float64).var(axis=0).sum())
        for n in neighbours
    ]
    np.testing.assert_allclose(seen.scale_free.values[0], ratio, rtol=1e-4)


def test_without_the_final_norm() -> None:
    model = make_model()
    probes = [random_probe("train", [40]), random_probe("novel", [30], seed=1)]
    whole = ProbeSet(name="all", passages=[*probes[0].passages, *probes[1].passages])
    first, second = states_of(model, whole, raw_last=True)
    seen = look(model, probes, k=5, final_norm=False).arrays
    np.testing.assert_allclose(seen.score.values[0], scored(first, second, 5), rtol=1e-4)


def test_equal_passages_stand_in_the_pool_once() -> None:
    """A passage in both sets scores as it does alone in one: its copy is no neighbour of it at distance 0."""
    model = make_model()
    shared, other = random_probe("x", [30, 30]).passages
    twice = look(model, [ProbeSet(name="train", passages=[shared, other]), ProbeSet(name="novel", passages=[shared])])
    once = look(model, [ProbeSet(name="train", passages=[shared, other])])
    np.testing.assert_allclose(twice.arrays.score.values[0, :60], once.arrays.score.values[0], rtol=1e-6)
    np.testing.assert_array_equal(twice.arrays.score.values[0, 60:], twice.arrays.score.values[0, :30])


def test_identical_states_score_what_the_definition_says() -> None:
    """One token over and over at every position would differ by position; so the model is made to forget its input."""
    model = make_model()
    with torch.no_grad():
        for parameter in model.gpt_neox.parameters():
            parameter.zero_()
    seen = look(model, [ProbeSet(name="train", passages=[passage([5] * 20)])], k=5)
    np.testing.assert_allclose(seen.arrays.score.values, -math.log(1e-10), rtol=1e-6)
    np.testing.assert_allclose(seen.arrays.scale_free.values, 0, atol=1e-6)


def test_the_pool_is_train_and_novel_where_there_are_both() -> None:
    model = make_model()
    probes = [random_probe(name, [20], seed=i) for i, name in enumerate(["train", "novel", "general"])]
    assert set(look(model, probes).arrays.probe_of_token.values.tolist()) == {"train", "novel"}
    assert look(model, probes, probes=("general",)).arrays.attrs["pool_tokens"] == 20


def test_a_pool_that_is_too_small_scores_nothing() -> None:
    """15 neighbours need 16 tokens."""
    assert np.isnan(look(make_model(), [random_probe("train", [15])]).arrays.score.values).all()
    assert np.isfinite(look(make_model(), [random_probe("train", [16])]).arrays.score.values).all()


def test_many_states_lie_in_a_file_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from ontogeny.measures import compression

    model, probes = make_model(), [random_probe("train", [40, 30])]
    in_memory = look(model, probes)
    monkeypatch.setattr(compression, "IN_MEMORY_BYTES", 0)
    np.testing.assert_array_equal(look(model, probes).arrays.score.values, in_memory.arrays.score.values)
