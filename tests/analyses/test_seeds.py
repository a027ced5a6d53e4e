"""What recurs over seeds."""

from ontogeny.analyses._seeds import over_seeds


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
