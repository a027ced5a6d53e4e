"""The order in which analyses are shown, and the section in which each stands."""

import re
from pathlib import Path

from ontogeny.report.analyses import in_order
from ontogeny.report.page import write_report
from ontogeny.store import durable
from ontogeny.store.run import open_run
from tests.store.test_run_group import write_metrics


def test_what_speaks_of_forgetting_stands_there(tmp_path: Path) -> None:
    """Retention, collapse, transfer under Forgetting; groups, and what is not installed here, under memorization."""
    run = write_metrics(tmp_path / "run", [(0, "loss", "train", 1.0)])
    (run.path / "analyses").mkdir()
    kinds = ("retention", "collapse", "transfer", "forgetting", "rises", "order_memory", "groups", "elsewhere")
    for kind in kinds:
        result = {"verdict": f"verdict of {kind}", "sentences": [], "reading": "", "numbers": {}}
        durable.write_json(run.path / "analyses" / f"{kind}.json", result)
    page = write_report([open_run(run.path)], live=True).read_text(encoding="utf-8")
    sections = dict(re.findall(r'<section id="(\w+)" class="part">(.*?)</section>', page, re.S))
    where = {kind: [id for id, text in sections.items() if f"erdict of {kind}." in text] for kind in kinds}
    assert where == {**{kind: ["forgetting"] for kind in kinds}, "groups": ["dynamics"], "elsewhere": ["dynamics"]}


def test_analyses_are_shown_in_the_order_in_which_questions_arise() -> None:
    """Each says its place; those that say none follow by name, and so does a kind that is not known here."""
    kinds = [
        "rises",
        "retention",
        "collapse",
        "transfer",
        "forgetting",
        "velocity",
        "layers",
        "shape",
        "twins",
        "onset",
    ]
    kinds += ["content", "groups", "elsewhere", "groups-reconstruction"]
    assert [kind for kind, _ in in_order({kind: {} for kind in kinds})] == [
        "groups",
        "content",
        "onset",
        "twins",
        "shape",
        "layers",
        "velocity",
        "forgetting",
        "transfer",
        "collapse",
        "retention",
        "elsewhere",
        "groups-reconstruction",
        "rises",
    ]
