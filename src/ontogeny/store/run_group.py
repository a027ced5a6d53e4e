"""Runs side by side: which belong together, what to call them, and their numbers as tidy frames."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from ontogeny.core.passages import ProbeSet
from ontogeny.core.recipe_data import is_trained
from ontogeny.store import recipe_differences as differences

if TYPE_CHECKING:
    import xarray as xr

    from ontogeny.core.analyses import PlainResult, RecordedRun
    from ontogeny.store.run import Run

Role = Literal["trained", "held out", "another part", "replayed", "other", "twins"]
"""Another part: text of a split that is trained on in another part; an earlier run may have learned it."""
_TRAINED_WORDS = frozenset({"train", "trained", "training"})
_HELD_OUT_WORDS = frozenset(
    {"novel", "held", "heldout", "val", "valid", "validation", "test", "testing", "eval", "evaluation", "dev", "unseen"}
)
_NEGATIONS = frozenset({"not", "never", "non", "no", "un", "without"})
"""Beside a word of training: `never_trained`, `non-train`."""


class RunView:
    """A run read once, so that a page is consistent although the run goes on. Reads as `store.run.Run` does."""

    def __init__(self, run: "Run", name: str) -> None:
        self.run = run
        """The run itself, which reads what is there now."""
        self.name = name
        """The run's name; with its seed where two would be alike."""
        self.path: Path = run.path
        self._measures: dict[str, xr.Dataset] = {}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The complete recipe."""
        return self.run.recipe

    @cached_property
    def recipe_yaml(self) -> str:
        """The recipe's text."""
        return self.run.recipe_yaml

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What ran, on what, with which versions."""
        return self.run.provenance

    @cached_property
    def status(self) -> dict[str, Any]:
        """How far it got."""
        return self.run.status

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """Verdicts of the last diagnosis."""
        return self.run.findings

    @cached_property
    def analyses(self) -> "dict[str, PlainResult]":
        """Results of analyses of this run, by kind."""
        return self.run.analyses

    @cached_property
    def metrics(self) -> dict[str, pd.DataFrame]:
        """Rows of the metrics by name: step, name, scope, value."""
        rows = self.run.metrics[["step", "name", "scope", "value"]]
        return {str(name): part for name, part in rows.groupby("name", sort=False, observed=True)}

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Texts that the model wrote."""
        return self.run.samples

    @cached_property
    def probes(self) -> dict[str, ProbeSet]:
        """Probe sets by name."""
        return dict(self.run.probes)

    @cached_property
    def measures(self) -> list[str]:
        """Groups of the measures that recorded something."""
        return self.run.measures

    def series(self, name: str, scope: str | None = None) -> pd.DataFrame:
        """One scalar over time: step, value, scope; of all scopes, or of one."""
        return self.run.series(name, scope)

    @property
    def seed(self) -> int:
        """The seed that weights, order and dropout were drawn from."""
        return differences.seed_of(self)

    def measure(self, group: str) -> "xr.Dataset":
        """What a measure recorded, lazily."""
        if group not in self._measures:
            self._measures[group] = self.run.measure(group)
        return self._measures[group]

    def group_of(self, kind: str) -> str:
        """The group of a kind of measure, whatever the recipe calls it: the one named as the kind, else the first.

        The kind itself where no group is of that kind; empty if a measure of another kind goes by that name.
        """
        groups = [group for group, kind_of_group in self._kinds.items() if kind_of_group == kind]
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
        entries = [entry for entry in self.recipe.get("measures") or () if isinstance(entry, Mapping)]
        listed = {str(entry.get("name") or entry.get("kind")): str(entry.get("kind")) for entry in entries}
        stored = {group: self.measure(group).attrs.get("kind", listed.get(group, group)) for group in self.measures}
        return stored | {name: kind for name, kind in listed.items() if name not in stored}

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


@dataclass(frozen=True, kw_only=True)
class Band:
    """Runs that differ in nothing but the seed."""

    label: str
    runs: tuple[RunView, ...]
    levels: Mapping[str, str]
    """The value of each setting that differs within the group."""
    seeds: tuple[int | str, ...]
    """One per run: train.seed, with the seed of the run it starts from where train.seed alone is not unique."""


class RunGroup:
    """One or several runs, as figures and analyses read them. Frames are tidy: one row per value."""

    def __init__(
        self,
        runs: "Sequence[Run]",
        levels: Sequence[Mapping[str, str]] | None = None,
        results_folder: Path | None = None,
    ) -> None:
        """`levels`: of each run the value of each setting that was varied; by default they are read from the recipes.

        `results_folder`: where results of analyses over these runs may be kept, beside `comparisons.folder_of`.
        """
        names = [run.name for run in runs]
        self.runs = tuple(
            RunView(run, run.name if names.count(run.name) == 1 else f"{run.name} ({i + 1})")
            for i, run in enumerate(runs)
        )
        self.results_folder = results_folder
        self._levels = levels

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Runs grouped by recipe without name, description and seed, labelled by what differs between the groups.

        The seed is train.seed, and that of the run a model comes from where the recipe sets it in model.overrides.
        Given levels take the recipe's place: the label then says all of them.
        """
        together: dict[str, list[int]] = {}
        occurrences: dict[str, int] = {}
        for i, run in enumerate(self.runs):
            content = differences.without_seeds(run) if self._levels is None else {"levels": self._levels[i]}
            key = json.dumps(content, sort_keys=True, default=str) if content else f"run {len(together)}"
            again = f"{key} seed {differences.all_seeds_of(run)}"
            occurrences[again] = occurrences.get(again, 0) + 1
            together.setdefault(f"{key} #{occurrences[again]}", []).append(i)
        places = list(together.values())
        groups = [tuple(self.runs[i] for i in members) for members in places]
        labels, levels = differences.labels(groups), differences.levels(groups)[0]
        if self._levels is not None:
            levels = [dict(self._levels[members[0]]) for members in places]
            words = ["  ".join(f"{key}={value}" for key, value in setting.items()) for setting in levels]
            labels = words if all(words) else labels
        by_seed = all(len({run.seed for run in runs}) == len(runs) for runs in groups)
        seeds = [tuple(run.seed if by_seed else differences.all_seeds_of(run) for run in runs) for runs in groups]
        return tuple(
            Band(label=labels[i], runs=runs, levels=levels[i], seeds=seeds[i]) for i, runs in enumerate(groups)
        )

    @cached_property
    def identities(self) -> list[dict[str, str]]:
        """Each run's directory name, and the fingerprint of its last saved weights, else of the last measured ones."""
        return [
            {"name": view.path.resolve().name, "weights_sha256": _last_weights(view.run) or ""} for view in self.runs
        ]

    @cached_property
    def inseparable(self) -> Mapping[str, tuple[str, ...]]:
        """By setting of the bands' levels: others that change only when it does; none where levels were given."""
        return {} if self._levels is not None else differences.levels([band.runs for band in self.bands])[1]

    @cached_property
    def probe_names(self) -> tuple[str, ...]:
        """Probe sets of all runs by role, as `Role` lists them: trained ones first."""
        order: dict[str, int] = {}
        for run in self.runs:
            for name, role in roles(run).items():
                order.setdefault(name, get_args(Role).index(role))
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
        recorded = [
            (band, run, run.measure(run.group_of(kind)))
            for band, run in self.each()
            if run.group_of(kind) in run.measures
        ]
        return [(band, run, data) for band, run, data in recorded if data.sizes.get("checkpoint", 0)]

    def epochs_at(self, run: RunView, steps: np.ndarray) -> np.ndarray:
        """Epoch of each step, interpolated between recorded ones; NaN where the run recorded none.

        Extrapolated beyond the last from the last two: training records the epoch before each step, not after it.
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
        """Are checkpoints evenly spaced over the logarithm of the step?"""
        return any((run.recipe.get("checkpoints") or {}).get("log_spaced") for run in self.runs)


def _last_weights(run: "Run") -> str | None:
    if checkpoints := run.checkpoints:
        return checkpoints[-1].place.weights_sha256
    measured = [data for group in run.measures if (data := run.measure(group)).sizes.get("checkpoint", 0)]
    states = [(int(data["step"][-1]), str(data["weights_sha256"][-1].item())) for data in measured]
    return max(states, default=(0, None))[1]


def _nothing() -> pd.DataFrame:
    """No rows of `RunGroup.scalars`."""
    kinds = {"band": str, "run": str, "seed": int, "step": int, "epoch": float, "scope": str, "value": float}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def roles(run: "RecordedRun") -> dict[str, Role]:
    """What each probe set is to the run: trained on, held-out text of the same corpus, another part of a text that is
    trained on, text that is replayed, another corpus, twins of others.

    Read from the recipe; a run whose recipe does not say (recorded in somebody else's loop) is judged by the whole
    words of names: `train_rows` is trained on, `never_trained` is held out, `latest_news` is no test.
    """
    data: Mapping[str, Any] = run.recipe.get("data") or {}
    trained_on: list[Mapping[str, Any]] = list(data.get("train") or ())
    replayed = [take for take in (data.get("replay") or {}).values() if take.get("share")]
    takes: Mapping[str, Any] = data.get("probes") or {}
    twins = set(data.get("twins") or ())
    by_recipe = {name: _role(name, takes.get(name) or {}, trained_on, replayed) for name in run.probes}
    return {name: "twins" if name in twins else role for name, role in by_recipe.items()}


def _role(
    name: str, take: Mapping[str, Any], trained_on: list[Mapping[str, Any]], replayed: list[Mapping[str, Any]]
) -> Role:
    of = take.get("of")
    if of is None:
        words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
        if words & _TRAINED_WORDS and words & _NEGATIONS:
            return "held out"
        return "trained" if words & _TRAINED_WORDS else "held out" if words & _HELD_OUT_WORDS else "other"
    if is_trained(take, trained_on):
        return "trained"
    splits = {str(take.get("of")) for take in trained_on}
    if is_trained(take, replayed):
        return "replayed"
    same_corpus = of.partition("/")[0] in {split.partition("/")[0] for split in splits}
    return "other" if not same_corpus else "another part" if of in splits else "held out"
