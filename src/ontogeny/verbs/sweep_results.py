"""What a sweep found: the table of its runs, and what analyses say of it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ontogeny.analyses.across import _factorial, _pareto
from ontogeny.analyses.across._endpoints import Ends, ends_of
from ontogeny.analyses.across._least_share import least_share
from ontogeny.analyses.across._matched import PARTS, Matched, Trajectory, matched
from ontogeny.core.analyses import plain
from ontogeny.store import durable
from ontogeny.store.run import open_run
from ontogeny.store.run_group import RunGroup
from ontogeny.verbs import sweep_scaling

TEXTS = ("effects", "pareto", "matched", "scaling")
"""Files <name>.txt of a sweep's folder, in the order in which they are read."""

Row = tuple[Mapping[str, str], int, Path]
"""A finished run: level of each setting that is varied, seed, directory."""
_SHARE = re.compile(r"data\.replay\.[^.]+\.share")


def write(folder: Path, rows: Sequence[Row], levels: Sequence[float] = ()) -> None:
    """results.csv, effects.txt; where runs have new and general text, pareto.txt and .json, and scaling.txt."""
    ends = read(rows)
    table = results(rows, ends)
    durable.write_bytes(folder / "results.csv", table.to_csv(index=False).encode())
    durable.write_bytes(folder / "effects.txt", effects_text(rows, table).encode())
    cells = _cells(rows, table)
    front = _pareto.analyze(*cells) if cells else None
    if front is not None:
        durable.write_json(folder / "pareto.json", plain(front))
        text = pareto_text(front) + no_progress_text(front) + replay_text(rows, table) + decay_text(rows, table)
        durable.write_bytes(folder / "pareto.txt", text.encode())
    said = matched_text(rows, ends, levels)
    if said:
        durable.write_bytes(folder / "matched.txt", said.encode())
    if {"new relative", "general relative"} <= set(table.columns):
        varied, new = list(rows[0][0]), new_text(ends)
        laws = sweep_scaling.laws_text(varied, table, new) + sweep_scaling.verdict_text(folder, varied, table)
        if laws:
            durable.write_bytes(folder / "scaling.txt", laws.encode())


def read(rows: Sequence[Row]) -> list[Ends | None]:
    """What each run came to."""
    return [ends_of(view) for view in RunGroup([open_run(run) for _, _, run in rows]).runs]


def new_text(ends: Sequence[Ends | None]) -> str:
    """Name of the probe set of new text."""
    return next((one.new for one in ends if one is not None and one.new), "")


def results(rows: Sequence[Row], ends: Sequence[Ends | None]) -> pd.DataFrame:
    """One row per run. Losses in nats per token.

    Levels, seed, run; steps, tokens, parameters; of every probe set `nll`, at the last checkpoint, `first` and `best`
    (the least of all checkpoints: too low by chance); `new decrease` and `general increase` from first to last, and
    both as shares of the first, which is the untrained model's; `new decay`, the share of the new text's loss that a
    step takes off on average.
    """
    found = []
    for (levels, seed, run), end in zip(rows, ends, strict=True):
        row: dict[str, object] = {**levels, "seed": seed, "run": run.name}
        if end is not None:
            row |= {"steps": int(end.steps[-1]), "tokens": end.tokens, "parameters": end.parameters}
            for name, losses in end.losses.items():
                row |= {f"nll {name}": losses[-1], f"first {name}": losses[0], f"best {name}": losses.min()}
            if end.new:
                losses = end.losses[end.new]
                relative = losses[-1] / losses[0]
                row |= {"new decrease": losses[0] - losses[-1], "new relative": relative}
                row["new decay"] = (1 - relative) / end.steps[-1]
            if end.general:
                losses = end.losses[end.general]
                row |= {"general increase": losses[-1] - losses[0], "general relative": losses[-1] / losses[0]}
        found.append(row)
    return pd.DataFrame(found)


def effects_text(rows: Sequence[Row], table: pd.DataFrame) -> str:
    """Main effects and interaction on every probe set's final loss, in words; simple effects where they interact."""
    lines = []
    columns = [str(one) for one in table.columns if str(one).startswith("nll ")]
    for column in columns:
        found = _factorial.analyze([one[0] for one in rows], table[column].tolist(), [one[1] for one in rows])
        lines.append(f"Loss on {column[4:]} at the end, nats per token:")
        if found is None:
            lines += ["  effects: not assessable: lacks a complete design with two seeds or more, all finite", ""]
            continue
        size = f"n = {found.seeds} seeds in each of {found.cells} cells"
        lines += [f"  {_effect(one, len(found.effects))}, {size}" for one in found.effects]
        p = min(found.interaction_p * len(columns), 1.0)
        if np.isfinite(p):
            over = f" corrected over {len(columns)} probe sets" if len(columns) > 1 else ""
            lines.append(f"  interaction: F = {found.interaction_f:.2f}, {_p(p)}{over}")
        elif found.simple:
            lines.append("  interaction: not assessable: nothing varies between seeds")
        if p < 0.05:
            lines.append("  so each main effect above is an average of different effects; each by itself:")
            lines += [f"    {_effect(one, len(found.simple))}" for one in found.simple]
        if not found.paired:
            lines.append("  cells have no two seeds in common: not paired, error from the variance within cells")
        if found.left_out:
            lines.append(f"  left out, since a cell lacks them: seeds {', '.join(map(str, found.left_out))}")
        if not found.claims:
            lines.append(f"  fewer than {_factorial.LEAST} seeds: no claim")
        lines.append("")
    return "\n".join(lines) or "no probe set was evaluated\n"


def _effect(one: _factorial.Effect, tests: int) -> str:
    where = ", ".join(f"{name}={value}" for name, value in one.where.items())
    said = f"{where + ': ' if where else ''}{one.factor}: {one.level} against {one.against}: {one.value:+.4f}"
    if not np.isfinite(one.p):
        return f"{said}, not assessable: nothing varies between seeds"
    return f"{said} (95% {one.low:+.4f} to {one.high:+.4f}), {_p(one.p)} corrected over {tests}"


def pareto_text(front: _pareto.Pareto) -> str:
    """The front in words."""
    reference = f"({_pareto.REFERENCE[0]:g}, {_pareto.REFERENCE[1]:g})"
    first, second = (_places(half) for half in front.halves)
    lines = [
        "New text against general text: loss at the end as a share of the untrained model's, mean over "
        f"{front.seeds} seeds (95% t intervals).",
        *([] if front.claims else [f"Fewer than {_pareto.LEAST} seeds: no claim."]),
        "",
        "Non-dominated (* on both halves of the seeds):",
    ]
    for i in front.front:
        new, general = (_ends(values[i]) for values in (front.new, front.general))
        lines.append(f"  {'*' if i in front.kept else ' '} {front.labels[i]}: new {new}, general {general}")
    lines += [
        "",
        f"Hypervolume to the reference {reference}, the untrained model being (1, 1):",
        f"  {_said(front.held_out)}  chosen on half of the seeds, reported on the other half, both ways",
        f"  {_said(front.same_seeds)}  chosen and reported on the same seeds, which is too much",
        f"  the halves, by place of the seed: {first} | {second}",
        "",
        f"Least loss of new text with general text at most {_pareto.BOUND:.0%} up, reported on the other half:",
    ]
    for choice in front.within:
        chose = f"  chosen on {_places(choice.seeds)}: "
        lines.append(
            f"{chose}{choice.label}: new {choice.new:.4f}, general {choice.general:.4f}"
            if choice.label is not None
            else f"{chose}none of those tested"
        )
    return "\n".join(lines) + "\n"


def no_progress_text(front: _pareto.Pareto) -> str:
    """What configurations that learned nothing did to the general text; the untrained model is the control."""
    lines = []
    for label, new, general in zip(front.labels, front.new, front.general, strict=True):
        if _pareto.interval(new).high >= 1:
            one = _pareto.interval(general)
            damage = "up" if one.low > 1 else "down" if one.high < 1 else "neither up nor down beyond chance"
            lines.append(f"  {label}: new {_ends(new)}, general {_said(one)}, {damage}")
    title = "\nLearned nothing of the new text (its interval reaches 1), against the untrained model:\n"
    return title + "\n".join(lines) + "\n" if lines else ""


def decay_text(rows: Sequence[Row], table: pd.DataFrame) -> str:
    """Does general text rise more where new text falls faster? At each replayed share, over the other settings.

    A straight line for each seed over its configurations; the mean of the slopes with a t interval over seeds.
    """
    key = next((name for name in rows[0][0] if _SHARE.fullmatch(name)), None)
    lines = []
    for level, part in table.groupby(key, sort=False) if key else [("", table)]:
        wide = part.pivot(index="seed", columns="run", values=["new decay", "general relative"])
        slopes = []
        for _, own in wide.iterrows():
            decay, general = own["new decay"].dropna(), own["general relative"].dropna()
            if len(decay) >= 3 and np.ptp(decay) > 0:
                slopes.append(float(np.polyfit(decay * 1000, general * 100, 1)[0]))
        if len(slopes) >= 2:
            one = _pareto.interval(np.array(slopes))
            where = f"{key}={level}" if key else "all runs"
            few = "" if len(slopes) >= _pareto.LEAST else f"; fewer than {_pareto.LEAST} seeds: no claim"
            lines.append(f"  {where}: {one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f}), n = {len(slopes)}{few}")
    title = "\nRise of the general loss, % of the untrained model's, for each 0.1% a step that new text falls faster:\n"
    return title + "\n".join(lines) + "\n" if lines else ""


def matched_text(rows: Sequence[Row], ends: Sequence[Ends | None], levels: Sequence[float] = ()) -> str:
    """Every configuration against the first, at the same loss of new text; empty without both kinds of text.

    `levels`: those losses; by default three for each configuration.
    """
    arms: dict[str, dict[int, Trajectory]] = {}
    for (setting, seed, _), end in zip(rows, ends, strict=True):
        if end is None or not end.new or not end.general:
            return ""
        run = Trajectory(steps=end.steps, new=end.losses[end.new], general=end.losses[end.general])
        arms.setdefault(_label(setting), {})[seed] = run
    labels = list(arms)
    if len(labels) < 2:
        return ""
    tests = (len(labels) - 1) * (len(levels) or len(PARTS))
    lines = [
        f"General loss where both have the same loss of new text, minus that of  {labels[0]}  (nats per token, paired "
        f"by seed, 95% t intervals, p corrected by Bonferroni over {tests}: levels x configurations):"
    ]
    for label in labels[1:]:
        seeds = sorted(set(arms[labels[0]]) & set(arms[label]))
        each = matched([arms[labels[0]][seed] for seed in seeds], [arms[label][seed] for seed in seeds], levels)
        lines += [f"  {label}: {_matched(found, tests)}" for found in each]
    return "\n".join(lines) + "\n"


def _matched(found: Matched | str, tests: int) -> str:
    if isinstance(found, str):
        return f"not assessable: {found}"
    return (
        f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f}), {_p(min(found.p * tests, 1))}, n = {found.n}, "
        f"at a loss of {found.level:.4f}, reached after {found.steps[1]:.1f} steps, there after {found.steps[0]:.1f}"
        + ("" if found.claims else f"; fewer than {_pareto.LEAST} seeds: no claim")
    )


def replay_text(rows: Sequence[Row], table: pd.DataFrame) -> str:
    """The smallest replayed share that keeps the general loss within the bound, for each combination of the rest."""
    key = next((name for name in rows[0][0] if _SHARE.fullmatch(name)), None)
    if key is None:
        return ""
    lines = ["", f"The smallest {key} with general text at most {_pareto.BOUND:.0%} up at the end:"]
    rest = [name for name in rows[0][0] if name != key]
    share = pd.to_numeric(table[key])
    for cell, part in table.groupby(rest, sort=False) if rest else [((), table)]:
        at = dict(list(part.groupby(share[part.index])))
        rises = np.array([own["general relative"].to_numpy() - 1 for own in at.values()])
        if len(at) < 2:
            continue
        found = least_share(list(at), rises, _pareto.BOUND)
        least = next(iter(at.values()))
        decay = float(least["new decay"].mean())
        where = ", ".join(f"{name}={value}" for name, value in zip(rest, cell, strict=True)) or "all runs"
        lines.append(f"  {where}: {found.words}; new text falls by {decay:.3%} a step at {min(at):g}")
    return "\n".join(lines) + "\n"


def _cells(rows: Sequence[Row], table: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """Labels and relative losses [configurations, seeds]; None unless every configuration has the same seeds."""
    if not {"new relative", "general relative"} <= set(table.columns):
        return None
    labels = [_label(levels) for levels, _, _ in rows]
    wide = table.assign(label=labels).pivot(index="label", columns="seed", values=["new relative", "general relative"])
    wide = wide.loc[list(dict.fromkeys(labels))]
    if wide.isna().any(axis=None):
        return None
    return list(wide.index), wide["new relative"].to_numpy(), wide["general relative"].to_numpy()


def _label(levels: Mapping[str, str]) -> str:
    return "  ".join(f"{key}={value}" for key, value in levels.items())


def _places(seeds: Sequence[int]) -> str:
    return " ".join(str(place + 1) for place in seeds)


def _ends(values: np.ndarray) -> str:
    return _said(_pareto.interval(values))


def _said(one: _pareto.Interval) -> str:
    return f"{one.value:.4f} ({one.low:.4f} to {one.high:.4f})"


def _p(p: float) -> str:
    return f"p = {p:.4f}" if p >= 5e-5 else "p < 0.0001"
