"""The post-mortems: what their authors saw is seen again, and the audit says what was so."""

from pathlib import Path

import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.integrations.audit.check import all_checks
from ontogeny.integrations.audit.stories import optimizer_never_steps, reference_in_prompt
from ontogeny.integrations.audit.stories._distillation import FAULTS, Distillation, taught
from ontogeny.integrations.audit.stories.identical_evaluations import CLEAN, symptoms
from ontogeny.integrations.audit.stories.story import stories, tell_story


def test_all_are_found_by_name() -> None:
    assert set(stories()) == {
        "postmortem/identical_evaluations",
        "postmortem/optimizer_never_steps",
        "postmortem/reference_in_prompt",
    }
    with pytest.raises(OntogenyError, match="did you mean 'postmortem/reference_in_prompt'"):
        tell_story("postmortem/reference_in_promt", print)


@pytest.mark.slow
def test_the_optimizer_never_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BATCHES", 32), ("EVERY", 8), ("TEACHER_BATCHES", 30)):
        monkeypatch.setattr(optimizer_never_steps, name, value)
    heard: list[str] = []
    story = tell_story("postmortem/optimizer_never_steps", heard.append)
    assert len({row[2] for row in story.as_it_was.rows}) == 1  # the evaluation's loss, to every digit
    assert {row[3:5] for row in story.as_it_was.rows} == {("485165195.41", "0.000e+00")}
    found = {one.rule for one in story.as_it_was.report.findings}
    assert found >= {"no_optimizer_step", "evaluation_objective", "perplexity_of_nll"}
    assert story.as_it_was.report.mishaps == ()
    assert not story.mended.report.at_or_above("warning")
    assert len({row[2] for row in story.mended.rows}) == 4
    assert "0 optimizer steps" in heard[1]
    assert "8 optimizer steps" in heard[2]  # 32 batches, 4 to a step


@pytest.mark.slow
def test_the_reference_in_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("READING_STEPS", 40), ("STEPS", 60), ("PAIRS", 8)):
        monkeypatch.setattr(reference_in_prompt, name, value)
    story = tell_story("postmortem/reference_in_prompt", lambda _: None)
    (_, _, losses), (_, _, qualities) = story.as_it_was.series
    assert losses[-1] < losses[0] / 4
    assert qualities[-1] < qualities[0]
    worse = [one.rule for one in story.as_it_was.report.findings if one.severity != "note"]
    assert worse == ["reference_in_prompt"]
    (_, _, same), (_, _, better) = story.mended.series
    assert same == losses  # the training is the same to the last bit
    assert better[-1] > better[0] + 0.2
    assert not story.mended.report.at_or_above("warning")


def test_chrf_by_hand() -> None:
    # "abc" and "abd": characters 2 of 3, pairs 1 of 2, triples 0 of 1, nothing longer: (2/3 + 1/2) / 6.
    assert reference_in_prompt.chrf("abc", "abd") == pytest.approx((2 / 3 + 1 / 2) / 6)
    assert reference_in_prompt.chrf("", "abd") == 0
    assert reference_in_prompt.chrf("a text of some length", "a text of some length") == 1


def test_each_fault_has_a_check_of_its_own() -> None:
    checks = [fault.check for fault in FAULTS]
    assert len(set(checks)) == len(checks)
    assert set(checks) <= {check.id for check in all_checks()}


@pytest.mark.slow
def test_each_fault_alone_all_together_and_none() -> None:
    heard: list[str] = []
    story = tell_story("postmortem/identical_evaluations", heard.append)
    assert story.table is not None
    by_name = {row[0]: row for row in story.table.rows}
    assert by_name[CLEAN][2:4] == ("nothing", "nothing")
    assert story.mended.report.findings == ()
    assert story.as_it_was.report.mishaps == story.mended.report.mishaps == ()
    assert {fault.name: by_name[fault.name][2] for fault in FAULTS} == {fault.name: fault.check for fault in FAULTS}
    # Together, some hide others; what is named is mended, until every fault was named.
    together = list(by_name).index("all together")
    rounds = [row[2].split(", ") for row in story.table.rows[together:]]
    assert len(rounds) > 1
    assert sorted(check for named in rounds for check in named) == sorted(fault.check for fault in FAULTS)
    whole = by_name["all together"][3]
    for symptom in ("same eval loss", "perplexity e^20", "rate 0", "kd of tens", "kd stands still"):
        assert symptom in whole
    for symptom, makers in {
        "rate 0": {"asking_counts"},
        "kd of tens": {"kd_by_rows"},
        "lm too low": {"labels_unshifted"},
        "eval far from train": {"evaluated_in_full", "average_evaluated"},
        "perplexity e^20": set[str](),  # takes two
        "same eval loss": set[str](),  # takes two
    }.items():
        assert {fault.name for fault in FAULTS if symptom in by_name[fault.name][3]} == makers, symptom
    assert "same eval loss" in by_name["asking_counts + evaluated_in_full"][3]
    assert "perplexity e^20" in by_name["kd_by_rows + perplexity_of_all"][3]
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    for row in story.table.rows:
        assert "| " + " | ".join(row[:4]) + " |" in page


def test_symptoms_by_hand() -> None:
    loop = Distillation(teacher=taught(0, lambda _: None), batches=2, every=1)

    def logged(*lines: tuple[float, float, str, str, float, float]) -> tuple[str, ...]:
        loop.rows = [("", "", f"{loss:.4f}", ppl, rate, "") for _, loss, ppl, rate, _, _ in lines]
        loop.numbers = [
            {"train_loss": train, "loss": loss, "lm": lm, "kd": kd, "hidden": lm, "true_nll": 4.0}
            for train, loss, _, _, lm, kd in lines
        ]
        return symptoms(loop)

    # 4.5 / 5 - 1 = -0.1; kd is 10 x lm, not more; every term falls by a half or a fifth.
    assert logged((5.0, 4.5, "9.00", "1.000e-03", 5.0, 50.0), (4.0, 3.8, "8.00", "1.000e-03", 4.0, 25.0)) == ()
    # 6.4 / 5 - 1 = 0.28; 51 > 10 x 5; 4.9 > 0.97 x 5 = 4.85 and 50 > 0.97 x 51 = 49.47.
    still = logged((5.0, 6.4, "485165195.41", "0.000e+00", 5.0, 51.0), (5.0, 6.4, "2.00", "0.000e+00", 4.9, 50.0))
    assert still == (
        "same eval loss",
        "perplexity e^20",
        "rate 0",
        "eval far from train",
        "kd of tens",
        "lm stands still",
        "kd stands still",
        "hidden stands still",
    )
    # 3.9 < 0.99 x 4 = 3.96
    assert logged((5.0, 5.0, "", "", 5.0, 1.0), (4.0, 4.0, "", "", 3.9, 0.5)) == ("lm too low",)
