"""Power laws of forgetting and learning over sizes, lengths, shares and rates; and predictions from them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, TypedDict

import numpy as np
import pandas as pd

from ontogeny.analyses.across._power_laws import LEAST_SHIFTED, Law, power_law, predict, shifted_law
from ontogeny.analyses.across._words import ADD_THEM, BOTH_TEXTS, NO_CLAIM, block
from ontogeny.analyses.recorded.loss_curves import new_text, outcomes, results
from ontogeny.core.analyses import AnalysisAcross, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics.estimates import counted

if TYPE_CHECKING:
    from ontogeny.core.analyses import ComparedRuns

LEVEL = 0.05
_LENGTH = re.compile(r"train\.(steps|epochs|tokens)")
_HOW_FAR = re.compile(r"train\.(lr(\.value)?|steps|epochs|tokens)")
"""Settings that change how much of the new text a run learns."""
_NUMBER = re.compile(r"train\.(steps|epochs|tokens)|data\.replay\.[^.]+\.(share|at_most|count)|data\.train\.\d+\.\w+")
"""Settings whose value may be the x of a law."""


class FittedLaw(TypedDict):
    """One law, or why there is none."""

    response: str
    against: str
    where: str
    """Values of the other settings."""
    with_floor: bool
    law: Law | None
    why_not: str
    note: str


class ScalingLaws(AnalysisAcross):
    """Power laws y = c x^k of forgetting and of the new text's loss, for each combination of the other settings.

    x is the number of parameters, tokens per parameter, a length or a share; over rates or lengths also how far the new
    text's loss fell: forgetting against learning. Each seed is fitted by itself; from 6 different x on, a law with a
    floor, y = E + c x^-k, is fitted, too.
    """

    section: ClassVar[str] = "forgetting"

    def analyze(self, runs: "ComparedRuns") -> Result:
        """Fit them. Raises StoreError unless the runs differ in something that a law can be of, and have both texts."""
        table = outcomes(runs)
        return self.judge(list(table[0].levels), results(table), new_text(table))

    def judge(self, varied: Sequence[str], rows: pd.DataFrame, new: str) -> Result:
        """The same from the table of results: the settings that differ, and the name of the set of new text."""
        laws = list(fitted_laws(varied, rows, new))
        if not laws:
            raise StoreError(f"lacks different sizes, lengths, shares or rates to vary, or {BOTH_TEXTS}: {ADD_THEM}")
        by_title = groupby(laws, key=lambda law: _title(law, new))
        blocks = [block(title, [_line(law) for law in consecutive]) for title, consecutive in by_title]
        return Result(verdict=_verdict(laws), sentences=(_HEAD, *blocks), reading=_READING, numbers={"laws": laws})


_HEAD = (
    "Power laws y = c x^k, each seed fitted by itself; 95% t intervals of k over seeds, each by itself. "
    f"With a floor, y = E + c x^-k, from {LEAST_SHIFTED} different x on. Shares of 0 are left out."
)
_READING = (
    "A law describes the range that was run: two x determine it completely, and lack of fit is tested from three x on. "
    "Intervals of k are each by itself; for the verdict the laws are corrected by Bonferroni. Whether a law extends "
    "further is tested by a prediction made before the run (`ontogeny sweep --hold-out`). Its interval takes the new "
    "runs to vary as those that were fitted do: noisier ones fall outside more often."
)


def is_number(key: str) -> bool:
    """Is the value of that setting a length or a share?"""
    return bool(_NUMBER.fullmatch(key))


def may_be_size(key: str) -> bool:
    """Is it such a number, or may it change the size of the model?"""
    return is_number(key) or "model" in key.split(".")


def why_no_law(key: str, level: str, others: set[str]) -> str:
    """Why no law of the other levels can predict that one; empty if one can."""
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


def quantities(key: str, rows: pd.DataFrame) -> dict[str, pd.Series]:
    """The numbers that a setting stands for, by name: float [runs]; empty if it stands for none.

    A setting that changes the model counts as its parameters; then, and for lengths, tokens per parameter vary, too.
    """
    if "parameters" not in rows or rows["parameters"].isna().any():
        return {}
    sizes = rows.groupby(key)["parameters"]
    known = rows["tokens"].notna().all()
    per_parameter = {"tokens per parameter": rows["tokens"] / rows["parameters"]} if known else {}
    if sizes.nunique().max() == 1 and sizes.first().nunique() > 1:
        return {"parameters": rows["parameters"].astype(float), **per_parameter}
    values = pd.to_numeric(rows[key], errors="coerce").astype(float)
    if not is_number(key) or not np.isfinite(values).all():
        return {}
    return {key: values, **(per_parameter if _LENGTH.fullmatch(key) else {})}


def fitted_laws(varied: Sequence[str], rows: pd.DataFrame, new: str) -> Iterator[FittedLaw]:
    """Every law that the settings allow; none without losses of new and of general text."""
    if not {"new decrease", "general increase"} <= set(rows):
        return
    for key in varied:
        others = [name for name in varied if name != key]
        for name, values in quantities(key, rows).items():
            for response in ("general increase", f"nll {new}", "new decay"):
                x = _mean_over_seeds(values, varied, rows)
                for where, part in parts(rows, others):
                    at, y = grid(part, x, response)
                    yield _fitted(response, name, where, power_law(at, y))
                    if len(at) >= LEAST_SHIFTED:
                        yield _fitted(response, name, where, shifted_law(at, y), with_floor=True)
        if _HOW_FAR.fullmatch(key) and rows[key].nunique() > 1:
            for where, part in parts(rows, others):
                yield _exchange(part, key, where, new)


def predictions(
    key: str, x: float, seeds: int, rows: pd.DataFrame, varied: Sequence[str], new: str
) -> tuple[str, list[dict[str, object]]]:
    """What the laws of the runs that are there predict for another level of a setting, over so many new seeds.

    `x`: the level's parameters, or its number. Returns the name of x and, by response and combination of the other
    settings, value, low and high of the prediction interval, or why there is none. Raises StoreError where no law is of
    that setting.
    """
    name, values = next(iter(quantities(key, rows).items()), ("", pd.Series(dtype=float)))
    if not name:
        raise StoreError("the runs that came before do not differ in size, so no law can predict it")
    predicted: list[dict[str, object]] = []
    for response in ("general increase", f"nll {new}"):
        for where, part in parts(rows, [other for other in varied if other != key]):
            law = power_law(*grid(part, values, response))
            if isinstance(law, str) or law.seeds < 2:
                answer: dict[str, object] = {"why_not": law if isinstance(law, str) else "needs two seeds"}
            else:
                answer = asdict(predict(law, x, seeds))
            predicted.append({"response": response, "where": where, **answer})
    return name, predicted


def parts(rows: pd.DataFrame, others: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Runs that share their other settings, with these in words."""
    if not others:
        yield "all runs", rows
        return
    for cell, part in rows.groupby(list(others), sort=False):
        yield ", ".join(f"{name}={value}" for name, value in zip(others, cell, strict=True)), part


def grid(part: pd.DataFrame, x: pd.Series, response: str) -> tuple[list[float], np.ndarray]:
    """Different x in rising order, and the response: float [x, seeds]. Seeds that some x lacks are left out.

    So are shares of 0, which have no logarithm.
    """
    wide = part.assign(x=x[part.index]).groupby(["x", "seed"])[response].first().unstack("seed").dropna(axis=1)
    wide = wide[wide.index > 0]
    return [float(value) for value in wide.index], wide.to_numpy(dtype=np.float64)


def _mean_over_seeds(values: pd.Series, varied: Sequence[str], rows: pd.DataFrame) -> pd.Series:
    """Mean within each combination of settings: tokens differ a little from seed to seed."""
    mean: pd.Series = values.groupby([rows[name] for name in varied]).transform("mean")
    return mean


def _exchange(part: pd.DataFrame, key: str, where: str, new: str) -> FittedLaw:
    """Forgetting against learning, each seed at its own falls; levels at which new text rose are left out."""
    falls, rises = (
        part.pivot_table(index=key, columns="seed", values=name, sort=False)
        for name in ("new decrease", "general increase")
    )
    whole = falls.columns[falls.notna().all() & rises.notna().all()]
    falls, rises = falls[whole], rises[whole]
    fell = (falls > 0).all(axis=1)
    law = power_law(falls[fell].to_numpy(dtype=np.float64), rises[fell].to_numpy(dtype=np.float64))
    note = "" if fell.all() else f"without {int((~fell).sum())} at which {new} did not fall"
    return _fitted("general increase", f"the fall of {new}, over {key}", where, law, note=note)


def _fitted(
    response: str, against: str, where: str, law: Law | str, *, with_floor: bool = False, note: str = ""
) -> FittedLaw:
    return FittedLaw(
        response=response,
        against=against,
        where=where,
        with_floor=with_floor,
        law=None if isinstance(law, str) else law,
        why_not=law if isinstance(law, str) else "",
        note=note,
    )


_RESPONSES = {
    "general increase": "Rise of the general loss from first to last, nats per token,",
    "new decay": "Share of the new text's loss that a step takes off on average",
}


def _title(fitted: FittedLaw, new: str) -> str:
    return f"{_RESPONSES.get(fitted['response'], f'Loss of {new} at the end')} against {fitted['against']}"


def _line(fitted: FittedLaw) -> str:
    floor = ", with a floor" if fitted["with_floor"] else ""
    note = f"; {fitted['note']}" if fitted["note"] else ""
    return f"{fitted['where']}{floor}: {_words(fitted)}{note}"


def _words(fitted: FittedLaw) -> str:
    law = fitted["law"]
    if law is None:
        return f"no law: {fitted['why_not']}"
    floor = f"{law.floor:.4g} + " if law.floor else ""
    sign = "-" if law.floor else ""
    text = f"{floor}{law.c:.4g} x^{sign}{law.k:.3g} "
    if law.seeds > 1:
        text += f"(k: 95% {law.k_low:.3g} to {law.k_high:.3g}"
        text += f"; E: {law.floor_low:.4g} to {law.floor_high:.4g})" if law.floor else ")"
    else:
        text += "(no interval)"
    text += f", n = {counted(law.seeds, 'seed')} at {len(law.x)} x"
    if law.k_low <= 0 <= law.k_high:
        text += "; no dependence shown"
    if len(law.x) == 2:
        text += "; through two points any such law goes"
    elif np.isfinite(law.misfit_p):
        text += f"; lack of fit p = {law.misfit_p:.3g}"
    return text + ("" if law.claims else f"; {NO_CLAIM}")


def _verdict(laws: Sequence[FittedLaw]) -> str:
    fitted = [entry["law"] for entry in laws if entry["law"] is not None]
    if not fitted:
        return f"not assessable: no law ({laws[0]['why_not']})"
    if not any(law.claims for law in fitted):
        return f"{len(fitted)} power law{'s' if len(fitted) > 1 else ''} fitted: {NO_CLAIM}"
    shown = sum(law.claims and law.k_p * len(fitted) < LEVEL for law in fitted)
    return f"{shown} of {len(fitted)} power laws show a dependence (corrected by Bonferroni over the laws)"
