"""What must not be overlooked about a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontogeny.report.origin import alarms
from ontogeny.store.run import open_run
from ontogeny.store.run_group import RunGroup
from ontogeny.store.writer import RunWriter

BEGUN = {"packages": {"torch": "2.13.0", "numpy": "2.4.6"}, "threads": 2, "device": "cpu", "cores": 2}


def alarms_of(path: Path, **provenance: Any) -> list[str]:
    origin: Mapping[str, Any] = {"environment": BEGUN, **provenance}
    with RunWriter.create(path / "run", recipe_yaml="", recipe={}, provenance=origin) as writer:
        writer.add_metric(0, "loss", "train", 1.0)
    return alarms(RunGroup([open_run(path / "run")]).runs[0])


def test_an_extension_is_an_alarm(tmp_path: Path) -> None:
    (alarm,) = alarms_of(tmp_path, extensions=[{"at_step": 1000, "from_steps": 1200, "to_steps": 2400}])
    assert alarm == "run was extended from 1,200 to 2,400 steps at step 1,000: schedules were stretched."


def test_other_versions_and_threads_are_an_alarm(tmp_path: Path) -> None:
    changed = {**BEGUN, "packages": {"torch": "2.14.0", "numpy": "2.4.6"}, "threads": 1}
    (alarm,) = alarms_of(tmp_path, resumes=[{"step": 18, "environment": changed}])
    assert alarm == (
        "run was resumed at step 18 under other versions or threads: resuming is not exact across them "
        "(torch 2.13.0, then 2.14.0; threads 2, then 1)."
    )


def test_resuming_in_the_same_environment_is_no_alarm(tmp_path: Path) -> None:
    # Only the number of cores differs; an old resume does not record its environment.
    resumes = [{"step": 18, "environment": {**BEGUN, "cores": 8}}, {"step": 20}]
    assert alarms_of(tmp_path, resumes=resumes, extensions=[]) == []
