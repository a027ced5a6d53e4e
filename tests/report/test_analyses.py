"""The order in which analyses are shown."""

from ontogeny.report.analyses import in_order


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
