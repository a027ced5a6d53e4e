"""Runs side by side: which belong together, what to call them, and their numbers as tidy frames."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ontogeny.core.passages import ProbeSet
from ontogeny.core.recipe_data import is_trained

if TYPE_CHECKING:
    import xarray as xr

    from ontogeny.store.run import Run

Role = Literal["trained", "held out", "other", "twins"]
_SEED = "train.seed="


class RunView:
    """A run read once: the page is of one piece although the run goes on. Reads as `store.run.Run` does."""

    def __init__(self, run: "Run", name: str) -> None:
        self._run = run
        self.name = name
        """The run's name; with its seed where two would be alike."""
        self.path: Path = run.path
        self._measures: dict[str, xr.Dataset] = {}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The complete recipe."""
        return self._run.recipe

    @cached_property
    def recipe_yaml(self) -> str:
        """The recipe's text."""
        return self._run.recipe_yaml

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What ran, on what, with which versions."""
        return self._run.provenance

    @cached_property
    def status(self) -> dict[str, Any]:
        """How far it got."""
        return self._run.status

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """Verdicts of the last diagnosis."""
        return self._run.findings

    @cached_property
    def analyses(self) -> dict[str, dict[str, Any]]:
        """What was analyzed, by kind."""
        return self._run.analyses

    @cached_property
    def metrics(self) -> dict[str, pd.DataFrame]:
        """Rows of the metrics by name: step, name, scope, value."""
        rows = self._run.metrics[["step", "name", "scope", "value"]]
        return {str(name): part for name, part in rows.groupby("name", sort=False, observed=True)}

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Texts that the model wrote."""
        return self._run.samples

    @cached_property
    def probes(self) -> dict[str, ProbeSet]:
        """Probe sets by name."""
        return dict(self._run.probes)

    @cached_property
    def measures(self) -> list[str]:
        """Names of the measures that saw something."""
        return self._run.measures

    def series(self, name: str, scope: str | None = None) -> pd.DataFrame:
        """One scalar over time: step, value, scope; of all scopes, or of one."""
        return self._run.series(name, scope)

    @property
    def seed(self) -> int:
        """The seed that weights, order and dropout were drawn from."""
        return int((self.recipe.get("train") or {}).get("seed") or 0)

    def measure(self, group: str) -> "xr.Dataset":
        """What a measure saw, lazily."""
        if group not in self._measures:
            self._measures[group] = self._run.measure(group)
        return self._measures[group]

    def group_of(self, kind: str) -> str:
        """The group of a kind of measure, whatever the recipe calls it: the one named as the kind, else the first.

        The kind itself where no group is of that kind; empty if a measure of another kind goes by that name.
        """
        groups = [group for group, its in self._kinds.items() if its == kind]
        if kind in groups or not groups:
            return kind if self._kinds.get(kind, kind) == kind else ""
        return groups[0]

    def name_of(self, metric: str) -> str:
        """The name of a metric in this run, from <kind>/<variable>; any other name is left as it is."""
        kind, slash, variable = metric.partition("/")
        return f"{self.group_of(kind)}/{variable}" if slash else metric

    @cached_property
    def _kinds(self) -> dict[str, str]:
        """Kind by group; a group that does not say its kind has that of the recipe, or is called after it."""
        listed = [one for one in self.recipe.get("measures") or () if isinstance(one, Mapping)]
        known = {str(one.get("name") or one.get("kind")): str(one.get("kind")) for one in listed}
        found = {group: self.measure(group).attrs.get("kind", known.get(group, group)) for group in self.measures}
        return found | {name: kind for name, kind in known.items() if name not in found}

    @cached_property
    def epochs(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps and their epochs, float64 [n] each, by step: those of checkpoints, and of every optimizer step."""
        known: dict[float, float] = {}
        if (rows := self.metrics.get("epoch")) is not None:
            known |= dict(zip(rows["step"].to_numpy(float), rows["value"].to_numpy(float), strict=True))
        for group in self.measures:
            data = self.measure(group)
            if {"step", "epoch"} <= set(data.coords):
                known |= dict(zip(data["step"].to_numpy().astype(float), data["epoch"].to_numpy(), strict=True))
        steps = np.array(sorted(step for step, epoch in known.items() if np.isfinite(epoch)))
        return steps, np.array([known[step] for step in steps], dtype=np.float64)


@dataclass(frozen=True)
class Band:
    """Runs that differ in nothing but the seed."""

    label: str
    runs: tuple[RunView, ...]


class RunGroup:
    """One or several runs, as figures see them. Frames are tidy: one row per value."""

    def __init__(self, runs: "Sequence[Run]") -> None:
        names = [run.name for run in runs]
        self.runs = tuple(
            RunView(run, run.name if names.count(run.name) == 1 else f"{run.name} ({i + 1})")
            for i, run in enumerate(runs)
        )

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Runs grouped by recipe without name, description and seed, labelled by what differs between the groups.

        The seed is train.seed, and that of the run a model comes from where the recipe sets it in model.overrides.
        """
        together: dict[str, list[RunView]] = {}
        occurrences: dict[str, int] = {}
        for run in self.runs:
            content = _content(run)
            key = json.dumps(content, sort_keys=True, default=str) if content else f"run {len(together)}"
            again = f"{key} seed {_seeds(run)}"
            occurrences[again] = occurrences.get(again, 0) + 1
            together.setdefault(f"{key} #{occurrences[again]}", []).append(run)
        groups = list(together.values())
        return tuple(Band(label, tuple(runs)) for label, runs in zip(_labels(groups), groups, strict=True))

    @cached_property
    def probe_names(self) -> tuple[str, ...]:
        """Probe sets of all runs: trained ones first, then held out from the same corpus, then others."""
        order: dict[str, int] = {}
        for run in self.runs:
            for name, role in roles(run).items():
                order.setdefault(name, ("trained", "held out", "other", "twins").index(role))
        return tuple(sorted(order, key=lambda name: (order[name], name)))

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """Names of all metrics, in order of first appearance."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.metrics))

    def scalars(self, name: str, scopes: Iterable[str] | None = None, literal: bool = False) -> pd.DataFrame:
        """One metric of all runs: columns band, run, seed, step, epoch, scope, value; a state's last value counts.

        Those of measures go by <kind>/<variable>; `literal`: by the name in the store, <group>/<variable>.
        """
        wanted = None if scopes is None else set(scopes)
        parts = []
        for band, run in self.each():
            frame = run.metrics.get(name if literal else run.name_of(name))
            if frame is None:
                continue
            frame = frame if wanted is None else frame[frame["scope"].isin(wanted)]
            frame = frame.drop_duplicates(["step", "scope"], keep="last").sort_values("step", kind="stable")
            parts.append(
                pd.DataFrame(
                    {
                        "band": band.label,
                        "run": run.name,
                        "seed": run.seed,
                        "step": frame["step"].to_numpy(),
                        "epoch": self.epochs_at(run, frame["step"].to_numpy()),
                        "scope": frame["scope"].astype(str).to_numpy(),
                        "value": frame["value"].to_numpy(dtype=np.float64),
                    }
                )
            )
        return pd.concat(parts, ignore_index=True) if parts else _nothing()

    def each(self) -> Iterator[tuple[Band, RunView]]:
        """Every run with its band."""
        for band in self.bands:
            for run in band.runs:
                yield band, run

    def measures(self, kind: str) -> "list[tuple[Band, RunView, xr.Dataset]]":
        """One measure of all runs that have it with at least one checkpoint."""
        found = [
            (band, run, run.measure(run.group_of(kind)))
            for band, run in self.each()
            if run.group_of(kind) in run.measures
        ]
        return [(band, run, data) for band, run, data in found if data.sizes.get("checkpoint", 0)]

    def epochs_at(self, run: RunView, steps: np.ndarray) -> np.ndarray:
        """Epoch of each step, interpolated between recorded ones; NaN where the run recorded none.

        Beyond the last it goes on as between the last two: training notes the epoch before each step, not after it.
        """
        known, epochs = run.epochs
        if not len(known):
            return np.full(len(steps), np.nan)
        inside = np.interp(steps, known, epochs)
        if len(known) < 2:
            return inside
        slope = (epochs[-1] - epochs[-2]) / (known[-1] - known[-2])
        return inside + slope * np.maximum(np.asarray(steps) - known[-1], 0)

    @cached_property
    def log_spaced(self) -> bool:
        """Are checkpoints spread evenly over the logarithm of the step?"""
        return any((run.recipe.get("checkpoints") or {}).get("log_spaced") for run in self.runs)


def _nothing() -> pd.DataFrame:
    """No rows of `RunGroup.scalars`."""
    kinds = {"band": str, "run": str, "seed": int, "step": int, "epoch": float, "scope": str, "value": float}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def roles(run: RunView) -> dict[str, Role]:
    """What each probe set is to the run: trained on, unseen text of the same corpus, another corpus, twins of others.

    Read from the recipe; a run whose recipe does not say (recorded in somebody else's loop) is judged by names.
    """
    data: Mapping[str, Any] = run.recipe.get("data") or {}
    trained_on: list[Mapping[str, Any]] = list(data.get("train") or ())
    takes: Mapping[str, Any] = data.get("probes") or {}
    twins = set(data.get("twins") or ())
    found = {name: _role(name, takes.get(name) or {}, trained_on) for name in run.probes}
    return {name: "twins" if name in twins else role for name, role in found.items()}


def _role(name: str, take: Mapping[str, Any], trained_on: list[Mapping[str, Any]]) -> Role:
    of = take.get("of")
    if of is None:
        plain = name.lower()
        if plain.startswith("train"):
            return "trained"
        return "held out" if any(word in plain for word in ("novel", "held", "val", "test", "eval")) else "other"
    if is_trained(take, trained_on):
        return "trained"
    splits = {str(one.get("of")) for one in trained_on}
    same_corpus = of.partition("/")[0] in {split.partition("/")[0] for split in splits}
    return "held out" if same_corpus and of not in splits else "other"  # a part beside what is trained on is neither


def _content(run: RunView) -> dict[str, Any]:
    """The recipe without what may differ inside a band."""
    content = {key: value for key, value in run.recipe.items() if key not in ("name", "about")}
    if isinstance(content.get("train"), Mapping):
        content["train"] = {key: value for key, value in content["train"].items() if key != "seed"}
    if isinstance(content.get("model"), Mapping):
        model = dict(content["model"])
        overrides = [one for one in model.pop("overrides", None) or () if not str(one).startswith(_SEED)]
        base = dict(str(one).partition("=")[::2] for one in overrides)
        content["model"] = {**model, "base": base} if base else model
    return content


def _seeds(run: RunView) -> list[str]:
    """The run's seed, and the one that its recipe gives the run it starts from."""
    overrides = (run.recipe.get("model") or {}).get("overrides") or ()
    return [str(run.seed), *(str(one) for one in overrides if str(one).startswith(_SEED))]


def _labels(groups: list[list[RunView]]) -> list[str]:
    """A short, unique label per group: what differs between their recipes, else the run's name."""
    names = [runs[0].name if len(runs) == 1 else str(runs[0].recipe.get("name", runs[0].name)) for runs in groups]
    if len(groups) == 1:
        return names
    flat = [dict(_flatten(_content(runs[0]), "")) for runs in groups]
    keys = dict.fromkeys(key for one in flat for key in one)
    differing = [key for key in keys if len({json.dumps(one.get(key), default=str) for one in flat}) > 1]
    labels = [", ".join(f"{_short(key)} {one.get(key)}" for key in differing if key in one) for one in flat]
    usable = 0 < len(differing) <= 3 and len(set(labels)) == len(labels) and all(labels)
    if not usable or max(map(len, labels)) > 48:
        labels = names
    repeated = {label for label in labels if labels.count(label) > 1}
    return [f"{label} ({i + 1})" if label in repeated else label for i, label in enumerate(labels)]


def _short(key: str) -> str:
    """The last telling part of a dotted key: train.lr.value -> lr."""
    parts = [part for part in key.split(".") if part not in ("value", "kind")]
    return parts[-1] if parts else key


def _flatten(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list | tuple) and any(isinstance(item, Mapping) for item in node):
        for i, item in enumerate(node):
            yield from _flatten(item, f"{prefix}.{i}")
    else:
        yield prefix, node
