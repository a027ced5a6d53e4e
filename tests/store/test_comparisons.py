"""Results over several runs are kept beside the first, and belong to exactly these runs."""

import pytest

from ontogeny.core.analyses import PlainResult
from ontogeny.store import comparisons
from ontogeny.store.run import Run
from ontogeny.store.run_group import RunGroup
from tests.report.hand_made import MakeRun

RESULT: PlainResult = {"verdict": "beside", "sentences": [], "reading": "", "numbers": {}}
NLL = {"train": [[[float("nan"), 1.0]]]}


@pytest.fixture
def two(make_run: MakeRun) -> list[Run]:
    return [make_run(NLL, name, recipe={"batch": name}) for name in "ab"]


def test_kept_for_these_runs_in_this_order(two: list[Run]) -> None:
    runs = RunGroup(two)
    folder = comparisons.folder_of(runs)
    assert folder.parent == two[0].path.parent
    comparisons.keep(folder, "pareto", RESULT, runs)
    assert comparisons.kept(RunGroup(two)) == {"pareto": {**RESULT, "runs": runs.identities}}
    assert comparisons.kept(RunGroup(two[::-1])) == {}
    assert comparisons.kept(RunGroup(two[:1])) == {}


def test_a_folder_of_the_group_comes_first(two: list[Run]) -> None:
    elsewhere = two[0].path.parent / "sweep"
    of_sweep: PlainResult = {**RESULT, "verdict": "of the sweep"}
    comparisons.keep(comparisons.folder_of(RunGroup(two)), "pareto", RESULT, RunGroup(two))
    comparisons.keep(elsewhere, "pareto", of_sweep, RunGroup(two))
    assert comparisons.kept(RunGroup(two, results_folder=elsewhere))["pareto"]["verdict"] == "of the sweep"
    others = RunGroup([two[1], two[0]], results_folder=elsewhere)
    assert comparisons.kept(others) == {}


def test_weights_tell_runs_of_one_name_apart(two: list[Run]) -> None:
    """The fingerprint is that of the last measured state where no checkpoint was saved."""
    expected = str(two[0].measure("token_nll").isel(checkpoint=-1)["weights_sha256"].item())
    assert RunGroup(two).identities[0] == {"name": "a", "weights_sha256": expected}
