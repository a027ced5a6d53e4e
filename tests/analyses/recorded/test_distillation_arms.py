"""What a teacher read, and how long a step took, by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from ontogeny.analyses.recorded.distillation_arms import _seconds_of_steps, _tokens_read

STATES, TOKENS = np.array([0, 2, 4]), np.array([0.0, 200, 400])
KD = {"kind": "kd", "teachers": {"teacher": 1.0}}


def run(objective: list[Any], weights: dict[str, list[float]] | None = None, **provenance: Any) -> Any:
    """A run of four steps of 100 tokens; `weights`: of each step, where they change."""
    rows = {
        f"weight_{name}": pd.DataFrame({"step": range(len(values)), "value": values})
        for name, values in (weights or {}).items()
    }
    return SimpleNamespace(recipe={"objective": objective}, metrics=rows, provenance=provenance)


def test_a_teacher_with_a_constant_weight_reads_every_token() -> None:
    assert _tokens_read(run([KD]), "teacher", STATES, TOKENS).tolist() == [0, 200, 400]


def test_it_reads_where_some_term_has_a_weight() -> None:
    """kd at steps 0 and 1 alone, the other at step 3: two of four steps by the end, both of the first two."""
    other = {"kind": "hidden", "teacher": "teacher"}
    weights = {"kd": [0.5, 0.5, 0, 0], "hidden": [0, 0, 0, 0.1]}
    assert _tokens_read(run([KD, other], weights), "teacher", STATES, TOKENS).tolist() == [0, 200, 300]
    assert _tokens_read(run([KD], {"kd": [0, 0, 0, 0]}), "teacher", STATES, TOKENS).tolist() == [0, 0, 0]
    assert _tokens_read(run([KD | {"weight": 0}]), "teacher", STATES, TOKENS).tolist() == [0, 0, 0]


def test_a_cached_teacher_has_read_its_cache_before_the_first_step() -> None:
    cached = run([KD], cached_targets={"teacher": {"tokens_read": 90}})
    assert _tokens_read(cached, "teacher", STATES, TOKENS).tolist() == [90, 90, 90]
    assert _tokens_read(cached, "another", STATES, TOKENS).tolist() == [0, 0, 0]


def test_seconds_are_medians_over_seeds() -> None:
    """The third seed paused at step 1, and stopped after it; step 2 is known of two."""

    def timed(*seconds: float) -> Any:
        rows = pd.DataFrame({"step": range(len(seconds)), "value": seconds})
        return SimpleNamespace(series=lambda name, scope: rows)

    runs = [timed(1, 2, 3), timed(1, 2.5, 5), timed(4, 60)]
    assert _seconds_of_steps(runs).tolist() == [1, 2.5, 4]
    assert len(_seconds_of_steps([timed()])) == 0
