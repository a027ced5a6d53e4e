"""Runs to report on: one that looks real, and tiny ones whose numbers are worked out by hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.store.run import Run, open_run
from ontogeny.store.writer import RunWriter
from tests.report import synthetic

MakeRun = Callable[..., Run]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run with every measure."""
    return synthetic.write_run(tmp_path_factory.mktemp("report") / "whole", checkpoints=5, count=6, length=40)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Make a run from tables of NLL by hand: `make_run({"train": nll[checkpoint][passage][token]}, ...)`.

    `metrics`: as an earlier `evaluation` kept them, means alone; `evaluation`: with the loss of passages; else what
    `token_nll` keeps.
    """

    def make(
        nll: Mapping[str, Any],
        name: str = "hand",
        *,
        metrics: bool = False,
        evaluation: bool = False,
        extractable: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        documents: bool = True,
        seed: int = 0,
        called: Mapping[str, str] | None = None,
        kinds: bool = True,
    ) -> Run:
        groups = Groups(called or {}, kinds)
        tables = {key: np.asarray(value, dtype=np.float64) for key, value in nll.items()}
        sets = {key: probe_set(key, *table.shape[1:], documents) for key, table in tables.items()}
        settings = {**synthetic.RECIPE, **(recipe or {}), "train": {**synthetic.RECIPE["train"], "seed": seed}}
        path = tmp_path / name
        with RunWriter.create(
            path, recipe_yaml="name: hand\n", recipe=settings, provenance=synthetic.PROVENANCE
        ) as writer:
            for one in sets.values():
                writer.put_probes(one)
            for i in range(len(next(iter(tables.values())))):
                at = {key: table[i] for key, table in tables.items()}
                if evaluation:
                    _evaluate(writer, 10 * i, at, sets, groups)
                else:
                    _look(writer, 10 * i, at, sets, metrics, groups)
                if extractable:
                    found = {key: flags[i] for key, flags in extractable.items()}
                    groups.put(writer, "extraction", 10 * i, extraction(found))
        return open_run(path)

    return make


@dataclass(frozen=True)
class Groups:
    """What the recipe calls measures (kind -> name), and whether the stored groups say their kind."""

    called: Mapping[str, str]
    say_kind: bool

    def put(self, writer: RunWriter, kind: str, step: int, data: xr.Dataset) -> None:
        """Store what a measure saw under the name that it goes by."""
        attrs = {"kind": kind} if self.say_kind else {}
        writer.put_measure(self.called.get(kind, kind), synthetic.place(step), data.assign_attrs(attrs))


def probe_set(name: str, passages: int, tokens: int, documents: bool = True) -> ProbeSet:
    """Passages of so many two-letter tokens, each from a document of its own, or all from one."""
    made = [
        Passage(
            text="ab" * tokens,
            token_ids=np.arange(tokens, dtype=np.int32) + 100 * i,
            byte_offsets=np.arange(tokens + 1, dtype=np.int32) * 2,
            source=f"corpus:{name}{i if documents else ''}#{i}",
            supervised=np.ones(tokens, dtype=bool),
        )
        for i in range(passages)
    ]
    return ProbeSet(name=name, passages=made)


def _look(
    writer: RunWriter,
    step: int,
    nll: Mapping[str, np.ndarray],
    sets: Mapping[str, ProbeSet],
    metrics: bool,
    groups: Groups,
) -> None:
    evaluation = groups.called.get("evaluation", "evaluation")
    for name, table in nll.items() if metrics else ():
        means = np.nanmean(table, axis=1)
        writer.add_metric(step, f"{evaluation}/nll", name, float(np.nanmean(table)))
        error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.nan
        writer.add_metric(step, f"{evaluation}/nll_se", name, float(error))
    if metrics:
        return
    flat = np.concatenate([table.ravel() for table in nll.values()]).astype(np.float32)
    values = {
        "nll_nats": synthetic.variable("token", flat, "nats"),
        "rank": synthetic.variable("token", np.where(np.isfinite(flat), np.rint(flat), -1).astype(np.int32)),
        "entropy_nats": synthetic.variable("token", flat / 2, "nats"),
    }
    groups.put(writer, "token_nll", step, xr.Dataset(values, synthetic.token_coordinates(dict(sets))))


def _evaluate(
    writer: RunWriter, step: int, nll: Mapping[str, np.ndarray], sets: dict[str, ProbeSet], groups: Groups
) -> None:
    """What `evaluation` keeps: means as metrics, and the loss of each passage."""
    _look(writer, step, nll, sets, True, groups)
    flat = {name: table.ravel() for name, table in nll.items()}
    means = xr.Dataset(
        {"nll": synthetic.variable("probe", [float(np.nanmean(table)) for table in nll.values()], "nats")},
        {"probe": np.array(list(nll), dtype=np.str_)},
    )
    groups.put(writer, "evaluation", step, means.merge(synthetic.passage_losses(sets, flat)))


def extraction(found: Mapping[str, Any]) -> xr.Dataset:
    """The measure's result from flags per passage (NaN: too short to ask), 32 tokens given and asked."""
    counts = [len(flags) for flags in found.values()]
    coordinates = {
        "probe_of_passage": ("passage", np.repeat(np.array(list(found), dtype=np.str_), counts)),
        "passage_id": ("passage", np.concatenate([np.arange(n) for n in counts]).astype(np.int32)),
    }
    flags = np.concatenate([np.asarray(one, np.float32) for one in found.values()])
    data = {"extractable": synthetic.variable("passage", flags)}
    return xr.Dataset(data, coordinates, {"prefix_tokens": 32, "suffix_tokens": 32})
