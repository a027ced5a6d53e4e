"""Laws over the sizes, lengths and shares of a sweep; and a held-out one, predicted before it is run."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ontogeny.analyses.across._scaling import LEAST, LEAST_SHIFTED, Law, power_law, predict, shifted_law
from ontogeny.core.errors import OntogenyError
from ontogeny.store import durable

PREDICTION = "prediction.json"
_LENGTH = re.compile(r"train\.(steps|epochs|tokens)")
_HOW_FAR = re.compile(r"train\.(lr(\.value)?|steps|epochs|tokens)")
"""Settings by which a run learns more or less of the new text."""
_NUMBER = re.compile(r"train\.(steps|epochs|tokens)|data\.replay\.[^.]+\.(share|at_most|count)|data\.train\.\d+\.\w+")
"""Settings whose value is what a law may be of."""


def is_number(key: str) -> bool:
    """Is the value of that setting a length or a share?"""
    return bool(_NUMBER.fullmatch(key))


def why_no_law(key: str, level: str, others: set[str]) -> str:
    """Why no law of other levels could speak of that one; empty if one may."""
    if len(others) < 2:
        return f"two other levels must be run, {len(others)} is"
    if not is_number(key):
        return ""
    values = pd.to_numeric(pd.Series([level, *sorted(others)]), errors="coerce")
    if not np.isfinite(values).all():
        return f"a law is of numbers, not of {', '.join(sorted({level, *others}))}"
    if values[0] <= 0 or (values[1:] > 0).sum() < 2:
        return "a law needs a positive number, and two others that are positive"
    return ""


def may_be_size(key: str) -> bool:
    """Is it such a number, or may it change how large the model is?"""
    return is_number(key) or "model" in key.split(".")


def quantities(key: str, table: pd.DataFrame) -> dict[str, pd.Series]:
    """What a setting that is varied is a number of, by name: float [runs]; empty if it is none.

    A setting that changes the model counts as its parameters; then, and for lengths, tokens per parameter vary, too.
    """
    if "parameters" not in table or table["parameters"].isna().any():
        return {}
    sizes = table.groupby(key)["parameters"]
    known = table["tokens"].notna().all()
    per_parameter = {"tokens per parameter": table["tokens"] / table["parameters"]} if known else {}
    if sizes.nunique().max() == 1 and sizes.first().nunique() > 1:
        return {"parameters": table["parameters"].astype(float), **per_parameter}
    values = pd.to_numeric(table[key], errors="coerce").astype(float)
    if not is_number(key) or not np.isfinite(values).all():
        return {}
    return {key: values, **(per_parameter if _LENGTH.fullmatch(key) else {})}


def laws_text(varied: Sequence[str], table: pd.DataFrame, new: str) -> str:
    """Power laws of forgetting and of the new text's loss, for each combination of the other settings, in words.

    Against sizes, lengths and shares; of forgetting, over rates or lengths, against how far the new text's loss fell.
    """
    lines: list[str] = []

    def tell(title: str, rest: Sequence[str], x: pd.Series, response: str) -> None:
        lines.append(f"{title}:")
        for where, part in _parts(table, rest):
            at, y = grid(part, x, response)
            lines.append(f"  {where}: {_said(power_law(at, y))}")
            if len(at) >= LEAST_SHIFTED:
                lines.append(f"  {where}, with a floor: {_said(shifted_law(at, y))}")
        lines.append("")

    for key in varied:
        rest = [name for name in varied if name != key]
        for name, each in quantities(key, table).items():
            for response in ("general increase", f"nll {new}", "new decay"):
                title = f"{_WORDS.get(response, f'Loss of {new} at the end')} against {name}"
                tell(title, rest, _of_cells(each, varied, table), response)
        if _HOW_FAR.fullmatch(key) and table[key].nunique() > 1:
            lines.append(f"{_WORDS['general increase']} against the fall of {new}, over {key}:")
            lines += [f"  {where}: {_exchange(part, key, new)}" for where, part in _parts(table, rest)]
            lines.append("")
    if not lines:
        return ""
    return (
        "Power laws y = c x^k, each seed fitted by itself; 95% t intervals of k over seeds, each by itself. "
        f"With a floor, y = E + c x^-k, from {LEAST_SHIFTED} different x on. Shares of 0 are left out.\n\n"
        + "\n".join(lines)
    )


def _exchange(part: pd.DataFrame, key: str, new: str) -> str:
    """What is forgotten for what is learned, each seed at its own falls; levels at which new text rose are left out."""
    falls, rises = (
        part.pivot_table(index=key, columns="seed", values=name, sort=False)
        for name in ("new decrease", "general increase")
    )
    whole = falls.columns[falls.notna().all() & rises.notna().all()]
    falls, rises = falls[whole], rises[whole]
    fell = (falls > 0).all(axis=1)
    said = _said(power_law(falls[fell].to_numpy(dtype=np.float64), rises[fell].to_numpy(dtype=np.float64)))
    return said + (f"; without {int((~fell).sum())} at which {new} did not fall" if not fell.all() else "")


def _of_cells(each: pd.Series, varied: Sequence[str], table: pd.DataFrame) -> pd.Series:
    """Mean over the seeds of a combination: tokens differ a little from seed to seed."""
    found: pd.Series = each.groupby([table[one] for one in varied]).transform("mean")
    return found


_WORDS = {
    "general increase": "Rise of the general loss from first to last, nats per token,",
    "new decay": "Share of the new text's loss that a step takes off on average",
}


def grid(part: pd.DataFrame, x: pd.Series, response: str) -> tuple[list[float], np.ndarray]:
    """Different x in rising order, and the response: float [x, seeds]. Seeds that some x lacks are left out.

    So are shares of 0, which have no logarithm.
    """
    wide = part.assign(x=x[part.index]).groupby(["x", "seed"])[response].first().unstack("seed").dropna(axis=1)
    wide = wide[wide.index > 0]
    return [float(one) for one in wide.index], wide.to_numpy(dtype=np.float64)


def foretell(
    folder: Path,
    held: tuple[str, str],
    x: float,
    seeds: int,
    rows: pd.DataFrame,
    varied: Sequence[str],
    new: str,
    already_run: bool,
) -> None:
    """Write what the laws of the runs that are there say of a level that is held out; never over an earlier one.

    `x`: parameters of that level, or its number; `already_run`: was any of its runs finished by then?
    """
    if (folder / PREDICTION).exists():
        return
    key, level = held
    name, values = next(iter(quantities(key, rows).items()), ("", pd.Series(dtype=float)))
    if not name:
        raise OntogenyError(f"--hold-out {key}: the runs that came before do not differ in size, so no law is of it")
    found: list[dict[str, Any]] = []
    for response in ("general increase", f"nll {new}"):
        for where, part in _parts(rows, [one for one in varied if one != key]):
            at, y = grid(part, values, response)
            law = power_law(at, y)
            lack = law if isinstance(law, str) else "needs two seeds" if law.seeds < 2 else ""
            told = {"why_not": lack} if lack else asdict(predict(law, x, seeds))  # type: ignore[arg-type]
            found.append({"response": response, "where": where, **told})
    content = {
        "made_unix_s": time.time(),
        "held_out": f"{key}={level}",
        "against": name,
        "from_runs": list(rows["run"]),
        "already_run": already_run,
        "predictions": found,
    }
    durable.write_json(folder / PREDICTION, content)


def verdict_text(folder: Path, varied: Sequence[str], table: pd.DataFrame) -> str:
    """Did what was predicted come out? Empty where nothing was."""
    if not (folder / PREDICTION).exists():
        return ""
    told = durable.read_json(folder / PREDICTION)
    key, _, level = told["held_out"].partition("=")
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(told["made_unix_s"]))
    lines = [f"Predicted for {told['held_out']} on {made}, from {len(told['from_runs'])} other runs:"]
    if told["already_run"]:
        lines.append("  runs of it were there already, so that this is no prediction")
    seen = table[table[key].astype(str) == level]
    parts = dict(_parts(seen, [one for one in varied if one != key]))
    for one in told["predictions"]:
        lines.append(f"  {one['response']}, {one['where']}: {_outcome(one, parts.get(one['where']))}")
    return "\n".join(lines) + "\n"


def _outcome(told: Mapping[str, Any], part: pd.DataFrame | None) -> str:
    if told.get("why_not"):
        return f"no prediction: {told['why_not']}"
    between = f"{told['value']:.4g} (95% {told['low']:.4g} to {told['high']:.4g})"
    if part is None or part.empty:
        return f"{between}; not run"
    values = part[told["response"]].to_numpy(dtype=np.float64)
    if not (values > 0).all():
        return f"{between}; it was not positive in {int((~(values > 0)).sum())} of {len(values)} seeds: outside"
    mean = float(np.exp(np.log(values).mean()))
    return f"{between}; it was {mean:.4g}, {'inside' if told['low'] <= mean <= told['high'] else 'outside'}"


def _parts(table: pd.DataFrame, rest: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Runs that share the other settings, with these in words."""
    if not rest:
        yield "all runs", table
        return
    for cell, part in table.groupby(list(rest), sort=False):
        yield ", ".join(f"{name}={value}" for name, value in zip(rest, cell, strict=True)), part


def _said(law: Law | str) -> str:
    if isinstance(law, str):
        return f"no law: {law}"
    floor = f"{law.floor:.4g} + " if law.floor else ""
    sign = "-" if law.floor else ""
    text = f"{floor}{law.c:.4g} x^{sign}{law.k:.3g} (k: 95% {law.k_low:.3g} to {law.k_high:.3g}"
    text += f"; E: {law.floor_low:.4g} to {law.floor_high:.4g})" if law.floor else ")"
    text += f", n = {law.seeds} seeds at {len(law.x)} x"
    if law.k_low <= 0 <= law.k_high:
        text += "; no dependence shown"
    if len(law.x) == 2:
        text += "; through two points any such law goes"
    elif np.isfinite(law.misfit_p):
        text += f"; lack of fit p = {law.misfit_p:.3g}"
    return text + ("" if law.claims else f"; fewer than {LEAST} seeds: no claim")
