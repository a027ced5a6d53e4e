"""False-claim rate and power of the analyses of forgetting, on draws from curves of known shape.

Twelve checkpoints, dense at first, or thirty evenly spaced ones. Noise of 0.1 nats per document and checkpoint,
independent, or with a shock that all documents of a run share. Shares of 200 draws (300 along a run).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ontogeny.analyses._change_points import change_point
from ontogeny.analyses.collapse import Collapse
from ontogeny.analyses.forgetting import Forgetting
from ontogeny.analyses.transfer import Transfer
from ontogeny.statistics.correlations import compare_arms, correlation_along_run

DRAWS = 200
DENSE = np.array([0, 1, 2, 3, 5, 8, 12, 20, 40, 60, 80, 100])
EVEN = np.arange(30) * 10
LATE = 0.2 * np.clip((DENSE - 20) / 80, 0, 1)
"""Nothing until step 20, then up to 0.2 nats."""


def _share(claims: Callable[[int], bool], draws: int = DRAWS) -> float:
    return round(sum(claims(seed) for seed in range(draws)) / draws, 3)


def _forgetting() -> dict[str, Any]:
    from tests.analyses.items import items

    bump = np.interp(DENSE, [0, 8, 40, 100], [0, 0.2, 0.05, 0.05])
    best = np.interp(DENSE, [0, 20, 100], [0, -0.2, 0])
    figures: dict[str, Any] = {}
    for documents in (5, 12, 30):
        for about, shock in (("own noise", 0.0), ("a shared shock of 0.05", 0.05)):
            for name, curve in {
                "flat": 0 * bump,
                "up by 0.2 at the end": LATE,
                "up by 0.2 and back to 0.05": bump,
                "down by 0.2 and back": best,
            }.items():
                worse = {"since_first": 0, "since_best": 0, "naive": 0}
                gaps, held, held_naive = 0, 0, 0.0
                true_best = float(curve[-1] - curve.min())
                for seed in range(DRAWS):
                    made = items(curve, seed, step=DENSE, documents=documents, shock=shock)
                    numbers = Forgetting(seed=seed).judge([made]).numbers
                    general = numbers["sets"]["general: loss"]
                    for key in ("since_first", "since_best"):
                        worse[key] += general["p_adjusted"][key] < 0.05 and general[key].value > 0
                    gaps += numbers["stability_gap"]["general"]["claimed"]
                    held += general["since_best"].low <= true_best <= general["since_best"].high
                    held_naive += general["naive"] / DRAWS
                figures[f"{name}, {documents} documents, {about}"] = {
                    "worse than before training": round(worse["since_first"] / DRAWS, 3),
                    "worse than at its best": round(worse["since_best"] / DRAWS, 3),
                    "stability gap": round(gaps / DRAWS, 3),
                    "interval since the best holds the true one": round(held / DRAWS, 3),
                    "last minus best without correction, mean in nats": round(held_naive, 3),
                    "true": round(true_best, 3),
                }
    return figures


def _transfer_verdict(matrix: np.ndarray, documents: int, seed: int) -> str:
    from tests.analyses.test_transfer import tasks

    return Transfer(seed=seed).compare(tasks(matrix, seed, 0.1, documents)).verdict


def _transfer() -> dict[str, Any]:
    from tests.analyses.test_transfer import R

    flat = np.full((4, 3), 4.0)
    small = flat + 0.2 * (R - R[0]) / np.abs(R - R[0]).max()
    figures = {}
    for name, matrix in (("no transfer", flat), ("later tasks take 0.06 nats and 0.05", small)):
        for documents in (5, 12, 30):
            verdict = partial(_transfer_verdict, matrix, documents)
            took = _share(lambda seed, verdict=verdict: "took from" in verdict(seed))
            any_claim = _share(lambda seed, verdict=verdict: verdict(seed) != "no task surely changed another")
            figures[f"transfer, {name}, {documents} documents"] = {"took from a task": took, "any": any_claim}
    return figures


def _collapse() -> dict[str, Any]:
    from tests.analyses.items import items

    def claims(curve: np.ndarray, documents: int, shock: float = 0.0) -> float:
        return _share(
            lambda seed: (
                Collapse(seed=seed)
                .judge(
                    [
                        items(curve, 10 * seed + i, step=EVEN, documents=documents, shock=shock, probe=f"g{i}")
                        for i in range(3)
                    ]
                )
                .verdict.startswith("worse")
            )
        )

    def bends(curve: np.ndarray, documents: int, shock: float = 0.0) -> float:
        return _share(
            lambda seed: bool(
                change_point(
                    items(curve, seed, step=EVEN, documents=documents, shock=shock), np.random.default_rng(seed)
                )["claimed"]
            )
        )

    figures: dict[str, Any] = {}
    for documents in (5, 12, 30):
        figures[f"three general numbers, {documents} documents: worse at the end"] = {
            "flat": claims(0.0 * EVEN, documents),
            "up by 0.1": claims(0.1 * (EVEN >= 150), documents),
            "flat, a shared shock of 0.05": claims(0.0 * EVEN, documents, 0.05),
        }
        figures[f"change point, {documents} documents"] = {
            "flat": bends(0.0 * EVEN, documents),
            "a line, up by 0.5": bends(EVEN / 580, documents),
            "flat to the middle, then up by 0.25": bends(np.maximum(EVEN - 145, 0) / 580, documents),
            "flat, a shared shock of 0.05": bends(0.0 * EVEN, documents, 0.05),
        }
    return figures


def _together() -> dict[str, Any]:
    from tests.statistics.test_correlations import rough

    def claims(count: int, correlation: float, shared: float) -> float:
        step = np.arange(count + 1) * 5

        def claimed(seed: int) -> bool:
            random = np.random.default_rng(seed)
            common = shared * rough(random, count, correlation)
            rise = 8 / (1 + step[1:] / 20)
            curves = [np.cumsum([0, *(rise + common + rough(random, count, correlation))]) for _ in range(6)]
            return bool(min(correlation_along_run(step, np.array(curves[:5]), curves[5])["p"]) < 0.05)

        return _share(claimed, 300)

    def differ(n: int, r: float) -> float:
        def claimed(seed: int) -> bool:
            random = np.random.default_rng(seed)
            x, y = random.normal(size=(2, 2, n))
            y[0] = r * x[0] + np.sqrt(1 - r * r) * y[0]
            return bool(
                compare_arms({name: list(zip(x[i], y[i], strict=True)) for i, name in enumerate("ab")})["p"] < 0.05
            )

        return _share(claimed, 400)

    figures: dict[str, Any] = {
        f"MAD and loss along a run, {count} intervals, rates AR({correlation})": {
            "independent": claims(count, correlation, 0.0),
            "half of the variance shared": claims(count, correlation, 1.0),
        }
        for count in (32, 40, 80)
        for correlation in (0.0, 0.6)
    }
    for n in (5, 10, 20):
        figures[f"correlations over runs differ, {n} runs in each arm"] = {
            "both 0": differ(n, 0.0),
            "0.9 and 0": differ(n, 0.9),
        }
    return figures


def main() -> dict[str, Any]:
    """All figures."""
    return {**_forgetting(), **_transfer(), **_collapse(), **_together()}
