"""The page of an audit."""

from ontogeny.core.verdicts import Clear, Finding, NotAssessable
from ontogeny.report.audit_page import AuditedTraining, AuditPage, render

FOUND = Finding(
    rule="label_shift",
    severity="error",
    statement="90% <b>of it</b>",
    numbers={"share_shift_0": 0.9},
    threshold="50%",
    certainty="certain",
    otherwise="a copier",
    refuted_by="nothing",
    remedy="shift once",
    evidence=(),
)
NOTE = Finding(**{**FOUND.__dict__, "rule": "other", "severity": "note", "statement": "a note"})


def test_findings_first_and_the_rest_counted() -> None:
    verdicts = (NOTE, FOUND, Clear(rule="x", numbers={}), NotAssessable(rule="y", lacks="a tokenizer"))
    page = render(
        AuditPage(title="mine", trainings=(AuditedTraining(verdicts=verdicts, mishaps=("end: KeyError",)),)),
        {"label_shift": "Labels shifted", "x": "Title of x"},
    )
    assert page.index("Labels shifted") < page.index("A note.")
    assert "1 error, 1 note" in page
    assert "90% &lt;b&gt;of it&lt;/b&gt;" in page
    for part in ("1 checks clear", "Title of x", "y: needs a tokenizer", "end: KeyError", "share shift 0 <b>0.9</b>"):
        assert part in page
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "Evidence" not in page


def test_a_log_stands_beside_its_curve() -> None:
    part = AuditedTraining(
        verdicts=(),
        title="As it was",
        columns=("step", "loss"),
        rows=(("0", "2.0"), ("1", "1.5")),
        series=(("loss", (0.0, 1.0), (2.0, 1.5)),),
    )
    page = render(AuditPage(title="t", trainings=(part, part), concluded=("This.",), was_so="That."), {})
    assert page.count("<polyline") == 2
    assert page.count("What its author concluded") == 1
    assert page.count("What its author saw") == 1
    assert "nothing found" in page
