"""Recall and false-alarm rate of every rule, on 200 planted faults and their 200 clean twins.

Each fault is planted into a new synthetic log: power-law loss with autocorrelated noise, 60 to 3,000 entries, log
intervals from 1 to 50 steps, schedules with warm-up, rounding to 4 decimals in half of them. The twin is the same log
without the fault. Intervals: Wilson, 95%. The last row counts healthy logs with any
error or warning.
"""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.faults._clean import clean
from benchmarks.faults._recall import scores
from ontogeny.diagnosis.examine import examine

DRAWS = 200


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95% interval of a share (Wilson, 1927)."""
    z, share = 1.96, hits / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(center - half, 0.0), min(center + half, 1.0)


def main(draws: int = DRAWS) -> dict[str, Any]:
    """All rules."""
    figures: dict[str, Any] = {}
    for score in scores(draws):
        low, high = wilson(score.found, draws)
        alarm_low, alarm_high = wilson(score.false_alarms, draws)
        figures[score.rule] = {
            "recall": f"{score.found / draws:.3f} ({low:.3f} to {high:.3f})",
            "false_alarms": f"{score.false_alarms / draws:.3f} ({alarm_low:.3f} to {alarm_high:.3f})",
            "n": draws,
        }
    healthy = (clean(np.random.default_rng([1, draw])).history() for draw in range(draws))
    alarmed = sum(any(finding.severity != "note" for finding in examine(log).findings) for log in healthy)
    low, high = wilson(alarmed, draws)
    figures["any error or warning on a healthy log"] = {
        "share": f"{alarmed / draws:.3f} ({low:.3f} to {high:.3f})",
        "n": draws,
    }
    return figures


if __name__ == "__main__":
    for rule, figures in main().items():
        print(rule, figures)
