"""What must not be overlooked about a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontogeny.report.origin import alarms, facts
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


def test_what_is_replayed_is_not_counted_as_new_text(tmp_path: Path) -> None:
    """Of 800 passages and 1,000 tokens, 640 and 700 are those of the code: 160 and 300 are left. A share of 0 replays
    nothing, but its passages are among those counted: 10 and 20.
    """
    replay = {"code": {"of": "code/general", "share": 0.05}, "none": {"of": "verse/train", "share": 0.0}}
    recorded = {
        "train": {"passages": 800, "tokens": 1000},
        "replay": {"code": {"passages": 630, "tokens": 680}, "none": {"passages": 10, "tokens": 20}},
    }
    told = []
    for name, again in (("replay", replay), ("new", {})):
        recipe = {"data": {"train": [{"of": "prose/train"}], "replay": again}}
        data = recorded if again else {"train": recorded["train"]}
        with RunWriter.create(tmp_path / name, recipe_yaml="", recipe=recipe, provenance={"data": data}) as writer:
            writer.add_metric(0, "loss", "train", 1.0)
        told.append(dict(facts(RunGroup([open_run(tmp_path / name)]).runs[0]))["Trained on"])
    assert told == [
        "prose/train, 160 passages, 300 tokens; replayed: code/general, 630 passages, 680 tokens",
        "prose/train, 800 passages, 1,000 tokens",
    ]
