from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ontogeny.core.errors import DataError
from ontogeny.core.measures import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.core.passages import ProbeSet
from ontogeny.looking.batch_plan import plan_batches
from ontogeny.looking.forward_passes import ForwardedBatch, forward_probe_set, run_stream_looks
from ontogeny.looking.guard import looking
from ontogeny.measures.continuation import Continuation
from ontogeny.measures.token_nll import TokenNll
from ontogeny.models.body_and_head import BodyAndHead
from tests.measures.small import log_probabilities, make_context, make_model, random_probe
from tests.models.test_body_and_head import family

ALL: frozenset[Need] = frozenset({"nll", "rank", "entropy", "top1"})


def forwarded(
    model: Any, probe: ProbeSet, needs: frozenset[Need] = ALL, batch_tokens: int = 64
) -> list[ForwardedBatch]:
    with looking(model):
        return list(forward_probe_set(BodyAndHead(model), probe, needs, batch_tokens))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["GPTNeoX", "OPT", "Gemma2"])
def test_predictions_agree_with_a_full_softmax_in_float64(name: str, dtype: torch.dtype) -> None:
    model = family(name).to(dtype)
    probe = random_probe("some", [1, 5, 31, 12, 2, 31, 7], vocabulary=90)
    seen = []
    for batch in forwarded(model, probe):
        assert batch.probe == "some"
        for place, row in enumerate(batch.rows):
            ids, n = probe.passages[row].token_ids, len(probe.passages[row])
            seen.append(int(row))
            with torch.no_grad():  # the batch's own logits: in bfloat16, other shapes give other bits
                logits = model(input_ids=batch.input_ids).logits[place, : n - 1].double().numpy()
            log_p = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
            targets = ids[1:].astype(int)
            of_target = np.take_along_axis(logits, targets[:, None], 1)
            before = (logits > of_target) | ((logits == of_target) & (np.arange(90) < targets[:, None]))
            assert np.allclose(batch.nll[place, 1:n], -np.take_along_axis(log_p, targets[:, None], 1)[:, 0], atol=2e-6)
            assert np.allclose(batch.entropy[place, 1:n], -(np.exp(log_p) * log_p).sum(1), atol=2e-6)
            assert batch.rank[place, 1:n].tolist() == before.sum(1).tolist()
            assert batch.top1[place, 1:n].tolist() == logits.argmax(1).tolist()
            undefined = np.r_[0, np.arange(n, batch.input_ids.shape[1])]
            assert batch.nll[place, undefined].isnan().all()
            assert batch.entropy[place, undefined].isnan().all()
            assert (batch.rank[place, undefined] == -1).all()
            assert (batch.top1[place, undefined] == -1).all()
    assert sorted(seen) == list(range(7))


def test_a_passage_is_seen_as_if_it_were_alone() -> None:
    model = make_model()
    probe = random_probe("some", [50, 3, 20, 33])
    for batch in forwarded(model, probe, frozenset({"nll"}), batch_tokens=1000):
        for place, row in enumerate(batch.rows):
            ids = probe.passages[row].token_ids.astype(int)
            alone = -log_probabilities(model, ids)[np.arange(len(ids) - 1), ids[1:]]
            assert np.allclose(batch.nll[place, 1 : len(ids)], alone, atol=1e-5)


def test_what_is_asked_for_never_changes_the_rest() -> None:
    model = make_model(vocabulary=700)
    probe = random_probe("some", [40, 7, 25], vocabulary=700)
    everything = ALL | {"logits", "hidden_states", "attentions"}
    full = forwarded(model, probe, everything)
    subsets: list[frozenset[Need]] = [frozenset({need}) for need in ALL] + [frozenset({"nll", "rank"})]
    for needs in subsets:
        for part, whole in zip(forwarded(model, probe, needs), full, strict=True):
            for need in needs:
                left, right = getattr(part, need), getattr(whole, need)
                assert np.array_equal(left.numpy().view(np.uint8), right.numpy().view(np.uint8)), need


def test_what_nobody_asked_for_is_not_there() -> None:
    batch = forwarded(make_model(), random_probe("some", [5]), frozenset({"nll"}))[0]
    with pytest.raises(AttributeError, match="no 'entropy': add it to `needs`"):
        _ = batch.entropy
    with pytest.raises(AttributeError, match=r"^nonsense$"):
        _ = batch.nonsense


def test_logits_and_states_have_the_models_own_layout() -> None:
    model = make_model(dropout=0.0)
    batch = forwarded(model, random_probe("some", [6, 4]), frozenset({"logits", "hidden_states", "attentions"}))[0]
    with torch.no_grad():
        assert torch.equal(batch.logits, model.eval()(input_ids=batch.input_ids).logits)
    assert [h.shape for h in batch.hidden_states] == [(2, 6, 24)] * 3
    assert [a.shape for a in batch.attentions] == [(2, 2, 6, 6)] * 2


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


def test_all_logits_never_exist_at_once() -> None:
    vocabulary, lengths = 3000, [100] * 8
    model = make_model(vocabulary=vocabulary)
    probe = random_probe("some", lengths, vocabulary=vocabulary)
    with Largest() as watched:
        forwarded(model, probe, batch_tokens=800)
    assert watched.elements <= 256 * vocabulary < 800 * vocabulary
    with Largest() as watched:  # the watch sees them where they are asked for
        forwarded(model, probe, frozenset({"logits"}), batch_tokens=800)
    assert watched.elements == 800 * vocabulary


def test_a_passage_beyond_the_context_is_refused() -> None:
    with pytest.raises(DataError, match="probe set 'long' holds a passage of 129 tokens, the model takes 128"):
        forwarded(make_model(), random_probe("long", [3, 129]))


def test_plan_by_hand() -> None:
    # longest first, equal ones in order; at most 12 tokens with padding: 2 x 5, then 3 x 4, then 2 and 1
    plan = plan_batches([4, 5, 1, 4, 5, 4, 2], 12)
    assert [rows.tolist() for rows in plan] == [[1, 4], [0, 3, 5], [6, 2]]
    assert [rows.tolist() for rows in plan_batches([30, 2], 12)] == [[0], [1]]
    assert plan_batches([], 12) == []


def test_plan_cuts_where_padding_would_cost_more_than_a_batch() -> None:
    # 500 beside 430 is 70 tokens of padding, more than the 64 that a batch costs; 437 beside 500 is 63, less
    assert [rows.tolist() for rows in plan_batches([500, 430], 4096)] == [[0], [1]]
    assert [rows.tolist() for rows in plan_batches([500, 437], 4096)] == [[0, 1]]
    # 200 beside 250 twice: 50 < 64, one batch; the short one apart: 250 - 20 > 64
    assert [rows.tolist() for rows in plan_batches([20, 250, 200, 250], 4096)] == [[1, 3, 2], [0]]


def test_plan_is_the_best_of_all_cuts() -> None:
    lengths = [int(n) for n in np.random.default_rng(0).geometric(1 / 120, size=11)]
    longest_first = sorted(lengths, reverse=True)

    def cost(cut: list[list[int]]) -> int:
        return sum(len(batch) * batch[0] + 64 for batch in cut)

    def cuts(rest: list[int]) -> Iterator[list[list[int]]]:
        if not rest:
            yield []
        for count in range(1, len(rest) + 1):
            if count == 1 or count * rest[0] <= 500:
                yield from ([rest[:count], *later] for later in cuts(rest[count:]))

    plan = [[lengths[row] for row in rows] for rows in plan_batches(lengths, 500)]
    assert cost(plan) == min(cost(cut) for cut in cuts(longest_first))


class Counting(StreamMeasure):
    """Counts what it is shown."""

    needs = frozenset({"top1"})

    def look(self, context: Context) -> Look:
        return CountingLook()


class CountingLook:
    def __init__(self) -> None:
        self.shown: list[tuple[str, list[int]]] = []

    def see(self, batch: ForwardBatch) -> None:
        assert batch.top1.shape == batch.input_ids.shape
        self.shown.append((batch.probe, batch.rows.tolist()))

    def result(self) -> Observation:
        import xarray as xr

        return Observation(arrays=xr.Dataset(attrs={"shown": repr(self.shown)}))


@pytest.fixture
def passes(model: Any) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of all inputs that went through the body."""
    seen: list[tuple[int, ...]] = []
    hook = model.gpt_neox.embed_in.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0].shape))
    yield seen
    hook.remove()


@pytest.fixture
def model() -> Any:
    return make_model()


def test_one_pass_serves_all_looks(model: Any, passes: list[tuple[int, ...]]) -> None:
    probes = [random_probe("train", [40, 30]), random_probe("novel", [20, 10], seed=1)]
    context = make_context(model, probes)
    seen, seconds = run_stream_looks(
        context, [Counting(name="all"), Counting(name="one", probes=("novel",)), TokenNll()]
    )
    assert seen["all"].arrays.attrs["shown"] == repr([("train", [0]), ("train", [1]), ("novel", [0, 1])])
    assert seen["one"].arrays.attrs["shown"] == repr([("novel", [0, 1])])
    assert passes[-3:] == [(1, 40), (1, 30), (2, 20)]
    assert len(passes) - 3 == 2  # the check of the halves
    assert set(seconds) == {"forward", "all", "one", "token_nll"}
    assert all(value >= 0 for value in seconds.values())


def test_identical_derived_sets_are_run_once(model: Any, passes: list[tuple[int, ...]]) -> None:
    context = make_context(model, [random_probe("train", [40] * 5)], batch_tokens=10_000)
    twins = [Continuation(name="a"), Continuation(name="b")]
    seen, _ = run_stream_looks(context, twins)
    assert passes[2:] == [(20, 40)]
    assert seen["a"].arrays.identical(seen["b"].arrays)
    del passes[:]
    run_stream_looks(context, [*twins, Continuation(name="c", ending_tokens=8), TokenNll()])
    assert len(passes) - 2 == 3


def test_no_measure_no_pass(model: Any, passes: list[tuple[int, ...]]) -> None:
    assert run_stream_looks(make_context(model, [random_probe("train", [4])]), []) == ({}, {"forward": 0.0})
    assert passes == []
