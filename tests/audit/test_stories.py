"""The post-mortems: what their authors saw is seen again, and the audit says what was so."""

import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.integrations.audit.stories import optimizer_never_steps, reference_in_prompt
from ontogeny.integrations.audit.stories.story import stories, tell_story


def test_both_are_found_by_name() -> None:
    assert set(stories()) == {"postmortem/optimizer_never_steps", "postmortem/reference_in_prompt"}
    with pytest.raises(OntogenyError, match="did you mean 'postmortem/reference_in_prompt'"):
        tell_story("postmortem/reference_in_promt", print)


@pytest.mark.slow
def test_the_optimizer_never_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BATCHES", 32), ("EVERY", 8), ("TEACHER_BATCHES", 30)):
        monkeypatch.setattr(optimizer_never_steps, name, value)
    heard: list[str] = []
    story = tell_story("postmortem/optimizer_never_steps", heard.append)
    assert len({row[2] for row in story.as_it_was.rows}) == 1  # the evaluation's loss, to every digit
    assert {row[3:] for row in story.as_it_was.rows} == {("485165195.41", "0.000e+00")}
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
