"""Which record of the loss counts, and that passages are gathered by document."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.analyses.recorded.items import losses_of
from ontogeny.core.passages import ProbeSet
from tests.report import synthetic
from tests.report.hand_made import probe_set


def evaluation(sets: dict[str, ProbeSet], steps: list[int], level: float, *, by_passage: bool = True) -> xr.Dataset:
    """Every token has an NLL of `level` plus its step."""
    states = []
    for step in steps:
        nll = {
            name: np.concatenate([[np.nan, *[level + step] * (len(p) - 1)] for p in probe.passages])
            for name, probe in sets.items()
        }
        means = xr.Dataset({"nll": ("probe", [level + step] * len(sets))}, {"probe": list(sets)})
        states.append(means.merge(synthetic.passage_losses(sets, nll)) if by_passage else means)
    return xr.concat(states, "checkpoint", data_vars="all", coords="minimal").assign_coords(step=("checkpoint", steps))


def token_nll(sets: dict[str, ProbeSet], steps: list[int], level: float) -> xr.Dataset:
    """The same, token by token."""
    rows = [
        np.concatenate([[np.nan, *[level + step] * (len(p) - 1)] for probe in sets.values() for p in probe.passages])
        for step in steps
    ]
    coordinates = synthetic.token_coordinates(sets)
    values = {"nll_nats": (("checkpoint", "token"), np.array(rows, np.float32))}
    return xr.Dataset(values, coordinates).assign_coords(step=("checkpoint", steps))


def run_of(sets: dict[str, ProbeSet], measured: dict[str, xr.Dataset], **data: Any) -> Any:
    return SimpleNamespace(recipe={"data": data}, probes=sets, measures=list(measured), measure=measured.__getitem__)


SETS = {"a": probe_set("a", 3, 3), "b": probe_set("b", 2, 5, documents=False)}


def test_evaluation_alone_gives_sums_by_document() -> None:
    # Three documents of one passage with two predicted tokens; one document of two passages with four each.
    first, second = losses_of(run_of(SETS, {"evaluation": evaluation(SETS, [0, 10], 1.0)}))
    assert first.total.tolist() == [[2, 2, 2], [22, 22, 22]]
    assert first.weight.tolist() == [2, 2, 2]
    assert (first.items, first.basis) == (3, "3 passages from 3 documents")
    assert second.total.tolist() == [[8], [88]]
    assert second.basis == "2 passages from 1 document"


def test_the_record_with_more_checkpoints_counts_and_of_equal_ones_that_of_evaluation() -> None:
    tokens = token_nll(SETS, [0, 5, 10], 3.0)
    denser = losses_of(run_of(SETS, {"evaluation": evaluation(SETS, [0, 10], 1.0), "token_nll": tokens}))
    assert [items.mean.tolist() for items in denser] == [[3, 8, 13]] * 2
    equal = losses_of(run_of(SETS, {"evaluation": evaluation(SETS, [0, 5, 10], 1.0), "token_nll": tokens}))
    assert [items.mean.tolist() for items in equal] == [[1, 6, 11]] * 2


def test_a_set_that_one_measure_left_out_is_read_from_the_other() -> None:
    of_a = {"a": SETS["a"]}
    both = run_of(SETS, {"evaluation": evaluation(of_a, [0, 10], 1.0), "token_nll": token_nll(SETS, [0, 10], 3.0)})
    assert {items.probe: float(items.mean[0]) for items in losses_of(both)} == {"a": 1, "b": 3}


def test_an_earlier_evaluation_knows_the_mean_alone() -> None:
    (first, _) = losses_of(run_of(SETS, {"evaluation": evaluation(SETS, [0, 10], 1.0, by_passage=False)}))
    assert (first.items, first.basis) == (0, "only the mean of the set is known")
    assert first.mean.tolist() == [1, 11]
    with_tokens = {
        "evaluation": evaluation(SETS, [0, 10], 1.0, by_passage=False),
        "token_nll": token_nll(SETS, [0, 10], 3.0),
    }
    assert [items.items for items in losses_of(run_of(SETS, with_tokens))] == [3, 2]


def test_twins_are_read_only_if_asked_for() -> None:
    run = run_of(SETS, {"evaluation": evaluation(SETS, [0, 10], 1.0)}, twins={"b": {}})
    assert [items.probe for items in losses_of(run)] == ["a"]
    assert [items.probe for items in losses_of(run, twins=True)] == ["a", "b"]
