"""What recurs over seeds."""

from types import SimpleNamespace

import pytest

from ontogeny.analyses.across.seeds import OverSeeds, over_seeds
from ontogeny.core.errors import StoreError


def _run(shape: str, verdict: str = "exposure") -> dict:
    return {
        "groups": {"numbers": {"verdict": verdict}},
        "shape": {"numbers": {"shapes": {"epoch": [{"name": shape}, {"name": "flat"}]}}},
    }


def test_a_turn_in_four_of_five_seeds_recurs() -> None:
    found = over_seeds([_run(one) for one in ("U", "U", "linear", "U", "U")])
    assert found is not None
    assert found.numbers["shapes"]["epoch"] == ["U", "flat"]
    assert found.verdict == "over 5 seeds: a turn recurs at blocks [0]"
    assert found.sentences[0] == "signs of, in 5 seeds: exposure in 5"


def test_a_turn_in_three_of_five_does_not() -> None:
    found = over_seeds([_run(one) for one in ("U", "U", "linear", "linear", "U")])
    assert found is not None
    assert found.numbers["shapes"]["epoch"] == ["linear", "flat"]
    assert found.verdict == "over 5 seeds: no turn recurs"


def test_few_seeds_claim_nothing() -> None:
    found = over_seeds([_run("U")] * 4)
    assert found is not None
    assert found.verdict == "over 4 seeds: what recurs is not assessable with fewer than 5"
    assert over_seeds([_run("U"), {}]) is None


def test_how_often_a_rate_was_too_high_over_seeds() -> None:
    """Shares 0.2 and 0.4: mean 0.3, error 0.1, t(0.975, 1) = 12.706: from -97% to 157%."""
    runs = [{"rises": {"verdict": "", "numbers": {"new": {"share": share}}}} for share in (0.2, 0.4)]
    found = over_seeds(runs)
    assert found is not None
    assert found.verdict == "over 2 seeds: fewer than 5, so nothing is claimed"
    assert found.sentences == (
        "a step raised the loss of held-out new text at 30% of the looked-at steps (95% t interval over 2 seeds: -97% "
        "to 157%)",
    )


def group(**configurations: list[dict]) -> SimpleNamespace:
    """Runs by configuration, of which only the analyses are read."""
    bands = [
        SimpleNamespace(label=label, runs=[SimpleNamespace(analyses=run) for run in runs])
        for label, runs in configurations.items()
    ]
    return SimpleNamespace(bands=bands)


def test_each_configuration_is_counted_by_itself() -> None:
    alone = OverSeeds().analyze(group(a=[_run("U")] * 5))
    assert alone.verdict == "over 5 seeds: a turn recurs at blocks [0]"
    both = OverSeeds().analyze(group(a=[_run("U")] * 5, b=[_run("linear")] * 5, c=[_run("U")]))
    assert both.verdict == "a: over 5 seeds: a turn recurs at blocks [0]; b: over 5 seeds: no turn recurs"
    assert both.sentences[0] == "a: signs of, in 5 seeds: exposure in 5"
    assert set(both.numbers["configurations"]) == {"a", "b"}
    with pytest.raises(StoreError, match="lacks two seeds of one configuration"):
        OverSeeds().analyze(group(a=[_run("U")], b=[{}, {}]))
