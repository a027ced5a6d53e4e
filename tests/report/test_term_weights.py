"""When terms rest, in words."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ontogeny.report.term_weights import resting, weighted_terms
from ontogeny.store.run_group import RunView


class Recorded:
    """Metrics by hand: `a` at every step, `b` from step 2 on and not at 5, `c` never; only b's weight changes."""

    path = Path("by-hand")
    recipe: ClassVar[dict[str, Any]] = {
        "objective": [
            {"kind": "a", "weight": 0.5},
            {"kind": "kd", "name": "b", "weight": {}},
            {"kind": "c", "weight": 0},
        ]
    }
    metrics = pd.DataFrame(
        [(s, "weight_b", "train", 0.1 * (s >= 2 and s != 5)) for s in range(7)]
        + [(s, "loss", "train", 1.0) for s in range(7)]
        + [(s, "term_a", "train", 2.0 + s) for s in range(7)]
        + [(s, "term_b", "train", 10.0) for s in (2, 3, 4, 6)],
        columns=["step", "name", "scope", "value"],
    )


def view() -> RunView:
    return RunView(Recorded(), "by hand")  # type: ignore[arg-type]


def test_terms_that_rest_are_named_with_their_steps() -> None:
    assert resting(view()) == {"b": "steps 0 to 1, 5", "c": "any step"}


def test_weighted_terms() -> None:
    frame = weighted_terms(view()).set_index(["term", "step"])
    assert frame.loc[("a", 3), "weighted"] == 0.5 * 5.0
    assert frame.loc[("b", 4), "weighted"] == 0.1 * 10.0
    assert np.isnan(frame.loc[("b", 5), "weighted"])
