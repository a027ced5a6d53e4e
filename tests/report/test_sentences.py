"""Sentences on runs whose numbers are worked by hand.

Tables are nll[checkpoint][passage][token]; the first token is never predicted (NaN). Every passage has two predicted
tokens and comes from a document of its own unless said otherwise, so t has passages - 1 degrees of freedom.
"""

from typing import Any

import pytest

from ontogeny.report.sentences import Sentence, nats, percent, points, sentences, signed
from ontogeny.statistics.estimates import Estimate
from ontogeny.store import durable
from ontogeny.store.run import Run, open_run
from ontogeny.store.run_group import RunGroup
from tests.report.hand_made import MakeRun
from tests.report.synthetic import RECIPE

NAN = float("nan")


def passages(*means: float) -> list[list[float]]:
    """One passage per mean: NaN, then two tokens of that loss."""
    return [[NAN, mean, mean] for mean in means]


# Changes per passage in nats (both tokens): -6, -10, -8, -8: mean -4 per token, interval -5.30 to -2.70.
TRAIN = [passages(5, 5, 5, 5), passages(2, 0, 1, 1)]
# +2, -2, +2, -2: mean 0, residuals the same, SE = sqrt(4/3 * 16) / 8 = 0.577, half 1.837.
NOVEL = [passages(5, 5, 5, 5), passages(6, 4, 6, 4)]
# +2, +4, +2, +4: mean 1.5, residuals +-1, SE = sqrt(4/3 * 4) / 8 = 0.2887, half 0.919: 0.58 to 2.42.
GENERAL = [passages(2, 2, 2, 2), passages(3, 4, 3, 4)]


def said(*runs: Run) -> dict[str, Sentence]:
    (band,) = RunGroup(runs).bands
    return {one.about: one for one in sentences(band)}


def test_what_was_learned_with_numbers(make_run: MakeRun) -> None:
    one = said(make_run({"train": TRAIN, "novel": NOVEL, "general": GENERAL}))["learned"]
    assert one.text == (
        "It learned the text it was trained on: the loss on train fell from 5.00 to 1.00 nats per token; on unseen "
        "text of the same kind (novel) it did not change measurably (5.00 to 5.00)."
    )
    assert "train −4.00 (−5.30 to −2.70; 4 passages from 4 documents)" in one.small
    assert "step 0 to step 10" in one.small
    assert "paired" in one.small


def test_what_was_learned_is_known_from_unseen_text_alone(make_run: MakeRun) -> None:
    """The numbers of TRAIN on a held-out set: -4.00; without a trained set, and where nothing fell, too."""
    one = said(make_run({"novel": TRAIN, "general": GENERAL}))["learned"]
    assert one.text == (
        "It learned: on unseen text of the kind that it trains on, the loss fell from 5.00 to 1.00 on novel, in nats "
        "per token."
    )
    assert "novel −4.00 (−5.30 to −2.70; 4 passages from 4 documents)" in one.small
    still = said(make_run({"novel": NOVEL, "general": GENERAL}, "still"))["learned"]
    assert still.text.startswith(
        "It did not measurably learn: on unseen text of the kind that it trains on, the loss did"
    )
    nothing = said(make_run({"general": GENERAL}, "none"))["learned"]
    assert nothing.text == "What it learned is not known: no probe set holds text that it trains on."


def test_what_was_learned_is_read_from_the_matrix_of_tasks(make_run: MakeRun) -> None:
    """R: prose 5.00 to 4.00 in its stage, verse 3.00 to 2.50 in its own, whatever the last loss is."""
    run = make_run({"prose": NOVEL, "verse": NOVEL})
    learned = [
        {"task": "prose/train", "difference": {"value": 1.0, "low": 0.8, "high": 1.2, "documents": 9}},
        {"task": "verse/general", "difference": {"value": 0.5, "low": 0.1, "high": 0.9, "documents": 7}},
    ]
    (run.path / "analyses").mkdir()
    numbers = {"R": [[5.0, 3.2], [4.0, 3.0], [4.9, 2.5]], "probes": ["prose", "verse"], "learned": learned}
    durable.write_json(
        run.path / "analyses" / "transfer.json", {"verdict": "", "sentences": [], "reading": "", "numbers": numbers}
    )
    one = said(open_run(run.path))["learned"]
    assert one.text == (
        "It learned each task in its own stage: on its unseen text the loss fell from 5.00 to 4.00 on prose and fell "
        "from 3.00 to 2.50 on verse, in nats per token."
    )
    assert "prose −1.00 (−1.20 to −0.80; 9 documents); verse −0.50 (−0.90 to −0.10; 7 documents)." in one.small
    learned[1]["difference"] |= {"low": -0.1}
    durable.write_json(
        run.path / "analyses" / "transfer.json", {"verdict": "", "sentences": [], "reading": "", "numbers": numbers}
    )
    assert "Task by task: " in said(open_run(run.path))["learned"].text


@pytest.mark.parametrize("general", [True, False])
def test_what_later_tasks_took_is_read_from_the_matrix(make_run: MakeRun, general: bool) -> None:
    """R: prose 4.00 after its own stage, 4.90 at the end; verse 2.50 and 2.60, of which the interval is in doubt. Code
    is the last. A set of general text is told of first. A loss that is not a number leaves nothing to say.
    """
    data = {
        "train": [{"of": "prose/train"}, {"of": "verse/train"}, {"of": "code/train"}],
        "probes": {"prose": {"of": "prose/novel"}, "verse": {"of": "verse/novel"}, "general": {"of": "old/novel"}},
    }
    sets = {"prose": NOVEL, "verse": NOVEL} | ({"general": GENERAL} if general else {})
    run = make_run(sets, recipe={"data": data})
    backward = [
        {"task": "prose/train", "difference": {"value": -0.9, "low": -1.1, "high": -0.7, "documents": 9}},
        {"task": "verse/general", "difference": {"value": -0.1, "low": -0.3, "high": 0.1, "documents": 7}},
    ]
    numbers: dict[str, Any] = {
        "R": [[5.0, 3.2, 6.0], [4.0, 3.0, 6.0], [4.9, 2.5, 6.0], [4.9, 2.6, 3.0]],
        "probes": ["prose", "verse", "code"],
        "learned": [{"difference": {"value": 1.0, "low": 0.8, "high": 1.2, "documents": 9}}] * 3,
        "backward": backward,
    }

    def forgot() -> Sentence:
        stored = {"verdict": "", "sentences": [], "reading": "", "numbers": numbers}
        (run.path / "analyses").mkdir(exist_ok=True)
        durable.write_json(run.path / "analyses" / "transfer.json", stored)
        return said(open_run(run.path))["forgot"]

    before = "It forgot: on general the loss rose from 2.00 to 3.50 nats per token. " if general else ""
    worse = "It forgot of the tasks before the last: after its own stage the loss rose from 4.00 to 4.90 on prose"
    assert forgot().text == f"{before}{worse}, in nats per token."
    assert "prose +0.90 (+0.70 to +1.10; 9 documents); verse +0.10 (−0.10 to +0.30; 7 documents)." in forgot().small
    backward[0]["difference"]["high"] = 0.7  # type: ignore[index]
    nothing = (
        "It forgot nothing measurable of earlier tasks: after its own stage the loss went from 4.00 to 4.90 on prose"
    )
    assert forgot().text == f"{before}{nothing} and from 2.50 to 2.60 on verse, in nats per token."
    numbers["R"][3][1] = None
    assert ("What it forgot is not known" in forgot().text) == (not general)
    assert "earlier tasks" not in forgot().text


def test_what_was_forgotten_with_numbers(make_run: MakeRun) -> None:
    one = said(make_run({"train": TRAIN, "general": GENERAL}))["forgot"]
    assert one.text == "It forgot: on general the loss rose from 2.00 to 3.50 nats per token."
    assert "general +1.50 (+0.58 to +2.42; 4 passages from 4 documents)" in one.small


@pytest.mark.parametrize(
    ("general", "text"),
    [
        (NOVEL, "It forgot nothing measurable: on general the loss went from 5.00 to 5.00 nats per token."),
        (TRAIN, "It forgot nothing: on general the loss fell from 5.00 to 1.00 nats per token."),
    ],
)
def test_nothing_forgotten_is_said(make_run: MakeRun, general: Any, text: str) -> None:
    assert said(make_run({"general": general}))["forgot"].text == text


def test_nothing_learned_is_said(make_run: MakeRun) -> None:
    text = said(make_run({"train": NOVEL}))["learned"].text
    assert text.startswith("It did not measurably learn the text it was trained on: the loss on train went from 5.00")


def test_a_model_from_random_weights_has_nothing_to_forget(make_run: MakeRun) -> None:
    text = said(make_run({"general": TRAIN}, recipe={"model": {"kind": "ladder"}}))["forgot"].text
    assert text.startswith(
        "It started from random weights and had nothing to forget: on general the loss fell from 5.00"
    )


def test_one_document_is_too_little_for_a_verdict(make_run: MakeRun) -> None:
    one = said(make_run({"train": TRAIN}, documents=False))["learned"]
    assert one.text.startswith(
        "It is uncertain whether it learned the text it was trained on, since there is no interval"
    )
    assert "1 document, too few for an interval" in one.small


@pytest.mark.parametrize("metrics", [False, True])
def test_whether_one_document_was_forgotten_is_uncertain(make_run: MakeRun, metrics: bool) -> None:
    # A single passage has neither an interval nor a standard error.
    one = said(make_run({"general": [passages(5.14), passages(6.53)]}, metrics=metrics))["forgot"]
    assert one.text == (
        "It is uncertain whether it forgot, since there is no interval: on general the loss went from 5.14 to 6.53 "
        "nats per token."
    )
    assert "too few for an interval" in one.small


def test_without_a_standard_error_it_is_uncertain_what_was_learned(make_run: MakeRun) -> None:
    one = said(make_run({"train": [passages(5), passages(1)]}, metrics=True))["learned"]
    assert one.text.startswith(
        "It is uncertain whether it learned the text it was trained on, since there is no interval"
    )


def test_a_turn_needs_evidence_on_both_sides(make_run: MakeRun) -> None:
    # Fall as TRAIN, then the same back: both intervals exclude 0.
    turned = said(make_run({"novel": [*TRAIN, TRAIN[0]], "train": [*TRAIN, TRAIN[1]]}, "turned"))["learned"]
    assert turned.text.endswith("(novel) it fell from 5.00 to 1.00 by step 10 and then rose to 5.00.")
    assert "+4.00 (+2.70 to +5.30) since the lowest of 3 checkpoints, which other documents chose" in turned.small
    # Down by 1 on average (SE 0.577 as in NOVEL, half 1.84) and back: a dip within noise.
    noise = [passages(5, 5, 5, 5), passages(5, 3, 5, 3), passages(5, 5, 5, 5)]
    calm = said(make_run({"novel": noise, "train": [*TRAIN, TRAIN[1]]}, "calm"))["learned"]
    assert calm.text.endswith("(novel) it did not change measurably (5.00 to 5.00).")


def test_what_was_memorized(make_run: MakeRun) -> None:
    found = {"train": [[0, 0, 0, 0], [1, 1, 1, NAN]], "general": [[0, 0, 0, 0], [0, 0, 0, 0]]}
    one = said(make_run({"train": TRAIN, "general": GENERAL}, extractable=found))["memorized"]
    assert one.text == (
        "It memorized 3 of 3 passages from 3 documents of train: given their first 32 tokens, it writes the next 32 "
        "word for word; of text that this run did not train on, it completes 0 of 4 passages from 4 documents of "
        "general."
    )
    # Three documents, all memorized: one end at 5%, 0.05^(1/3) = 36.8%.
    assert "train 3 of 3 passages from 3 documents, 36.8% to 100%, 1 too short (0%)" in one.small


@pytest.mark.parametrize("replay", [{}, {"old": {"of": "code/train", "share": 0.5}}])
def test_replayed_text_is_no_control_of_what_was_memorized(make_run: MakeRun, replay: dict[str, object]) -> None:
    """Text that is replayed is trained on, too: that it is completed word for word says nothing about unseen text."""
    data = {**RECIPE["data"], "replay": replay}
    data["probes"] = {**data["probes"], "old": {"of": "code/train"}}
    found = {"train": [[0] * 4, [1] * 4], "old": [[0] * 4, [1] * 4]}
    told = said(make_run({"train": TRAIN, "old": GENERAL}, extractable=found, recipe={"data": data}))
    assert ("did not train on, it completes 4 of 4" in told["memorized"].text) == (not replay)
    assert "on old the loss" in told["forgot"].text


def test_nothing_memorized_is_said_with_a_bound(make_run: MakeRun) -> None:
    one = said(make_run({"train": TRAIN}, extractable={"train": [[0] * 4, [0] * 4]}))["memorized"]
    # None of four documents: 1 - 0.05^(1/4) = 52.7%.
    assert one.text == (
        "Nothing was memorized verbatim: 0 of 4 passages from 4 documents of train, at most 52.7% by a 95% bound."
    )


def test_one_document_bounds_no_share(make_run: MakeRun) -> None:
    one = said(make_run({"train": TRAIN}, extractable={"train": [[0] * 4, [0] * 4]}, documents=False))["memorized"]
    assert one.text == (
        "Nothing was memorized verbatim: 0 of 4 passages from 1 document of train, too few documents to say how much "
        "may be."
    )
    assert "take them from more documents (data.probes)" in one.small


@pytest.mark.parametrize("kinds", [True, False])
def test_measures_are_found_by_their_kind(make_run: MakeRun, kinds: bool) -> None:
    # The kind is that of the stored group, or else that of the recipe.
    called = {"extraction": "ext", "token_nll": "tokens"}
    recipe = {} if kinds else {"measures": [{"kind": kind, "name": name} for kind, name in called.items()]}
    found = {"train": [[0] * 4, [1, 1, 1, 0]]}
    one = said(make_run({"train": TRAIN}, extractable=found, called=called, kinds=kinds, recipe=recipe))
    assert one["memorized"].text.startswith("It memorized 3 of 4 passages from 4 documents of train")
    assert one["learned"].text.startswith("It learned the text it was trained on")


def test_metrics_are_found_by_their_kind(make_run: MakeRun) -> None:
    recipe = {"measures": [{"kind": "evaluation", "name": "ev"}]}
    one = said(make_run({"train": TRAIN}, metrics=True, called={"evaluation": "ev"}, recipe=recipe))
    assert one["learned"].text.startswith("It learned the text it was trained on")


def test_what_was_not_measured_names_the_measure(make_run: MakeRun) -> None:
    found = said(make_run({"train": TRAIN}))
    assert found["memorized"].text == "What it memorized is not known: extraction was not measured."
    assert "--kind extraction" in found["memorized"].small
    assert found["forgot"].text == (
        "What it forgot is not known: no probe set holds text of a corpus that it does not train on."
    )


def test_without_single_tokens_standard_errors_serve(make_run: MakeRun) -> None:
    one = said(make_run({"train": TRAIN}, metrics=True))["learned"]
    # SE before 0, after sd(2, 0, 1, 1) / 2 = 0.8165 / 2 = 0.40825: -4 +- 1.96 * 0.40825 = 0.80017.
    assert "train −4.00 (−4.80 to −3.20; 4 passages from 4 documents)" in one.small
    assert "not paired" in one.small
    assert "--kind token_nll" in one.small


# Passages of very different levels, all of which rise, by 0.1 or 0.2: mean 0.15, residuals of the sums over two tokens
# +-0.1, SE = sqrt(4/3 * 0.04) / 8 = 0.02887, half 0.0919. Unpaired, sd(1, 2, 3, 4) / 2 = 0.645 at each end.
SMALL_RISE = [passages(1, 2, 3, 4), passages(1.1, 2.2, 3.1, 4.2)]


def test_what_evaluation_keeps_of_passages_pairs_the_change(make_run: MakeRun) -> None:
    one = said(make_run({"general": SMALL_RISE}, evaluation=True))["forgot"]
    assert one.text == "It forgot: on general the loss rose from 2.50 to 2.65 nats per token."
    assert "general +0.15 (+0.058 to +0.24; 4 passages from 4 documents)" in one.small
    assert "t intervals over documents, paired" in one.small
    means = said(make_run({"general": SMALL_RISE}, "means", metrics=True))["forgot"]
    assert means.text.startswith("It forgot nothing that two evaluations which are not paired can tell")


def test_passages_of_one_document_have_no_interval(make_run: MakeRun) -> None:
    """The same numbers, from one document: nothing can be said of documents."""
    one = said(make_run({"general": SMALL_RISE}, evaluation=True, documents=False))["forgot"]
    assert one.text.startswith("It is uncertain whether it forgot, since there is no interval")
    assert "4 passages from 1 document, too few for an interval" in one.small


def test_a_null_result_of_what_is_not_paired_says_so(make_run: MakeRun) -> None:
    # NOVEL's changes are +1, -1, +1, -1 per token: nothing, whether paired or not.
    one = said(make_run({"train": TRAIN, "novel": NOVEL, "general": NOVEL}, metrics=True))
    assert "(novel) it did not change by more than two evaluations that are not paired can tell" in one["learned"].text
    assert one["forgot"].text.startswith("It forgot nothing that two evaluations which are not paired can tell")


def test_a_loss_that_is_not_a_number_is_no_learning(make_run: MakeRun) -> None:
    broken = [TRAIN[0], passages(NAN, 1, 1, 1)]
    text = said(make_run({"train": broken, "general": broken}))["learned"].text
    assert text == "What it learned cannot be assessed: the loss on train is not a number at step 10."


def test_a_single_look_is_not_a_change(make_run: MakeRun) -> None:
    text = said(make_run({"train": TRAIN[:1]}))["learned"].text
    assert text == "What it learned is not known yet: fewer than two evaluations of train."


def seeds(make_run: MakeRun, name: str, ends: tuple[float, ...], **more: Any) -> list[Run]:
    """Runs whose loss on `name` goes from 5 to each of these."""
    return [
        make_run({name: [passages(5, 5, 5, 5), passages(*[end] * 4)]}, f"seed{i}", seed=i, **more)
        for i, end in enumerate(ends)
    ]


def test_seeds_speak_together(make_run: MakeRun) -> None:
    # Changes per seed: -4, -3, -2, -3, -3: mean -3, sd 0.70711, SE 0.31623, t(4) = 2.77645: half 0.878.
    one = said(*seeds(make_run, "train", (1, 2, 3, 2, 2)))["learned"]
    assert one.text == "It learned the text it was trained on: the loss on train fell from 5.00 to 2.00 nats per token."
    assert "train −3.00 (−3.88 to −2.12; 5 seeds)" in one.small


def test_few_seeds_speak_for_themselves_alone(make_run: MakeRun) -> None:
    one = said(*seeds(make_run, "train", (1, 2, 3)))["learned"]
    assert one.text == "In these 3 runs the loss on train fell from 5.00 to 2.00 nats per token."
    assert one.small == (
        "Change from step 0 to step 10: train −3.00 (range −4.00 to −2.00; 3 seeds). 3 seeds: too few for an interval "
        "over seeds (5 are needed)."
    )


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((6, 7), "In these 2 runs on general the loss rose from 5.00 to 6.50 nats per token."),
        ((4, 7), "In these 2 runs on general the loss went from 5.00 to 5.50 nats per token."),
    ],
)
def test_few_seeds_make_no_claim_of_forgetting(make_run: MakeRun, ends: tuple[float, ...], text: str) -> None:
    assert said(*seeds(make_run, "general", ends))["forgot"].text == text


def test_few_seeds_memorized_for_themselves(make_run: MakeRun) -> None:
    found = [{"train": [[0] * 4, last]} for last in ([1, 0, 0, 0], [1, 1, 1, 0])]
    runs = [make_run({"train": TRAIN}, f"s{i}", seed=i, extractable=one) for i, one in enumerate(found)]
    one = said(*runs)["memorized"]
    assert one.text.startswith(
        "These 2 runs memorized, on average, 50% of the 4 passages from 4 documents of train: given"
    )
    assert "train 50%, range 25% to 75% (0%). 2 seeds: too few for an interval over seeds (5 are needed)." in one.small


def test_numbers() -> None:
    assert (nats(1.234), nats(0.0512), nats(-2.5), nats(NAN)) == ("1.23", "0.051", "−2.50", "not a number")
    assert (signed(0.5), signed(-0.5)) == ("+0.50", "−0.50")
    assert (percent(0.0741), percent(1.0), percent(0.1)) == ("7.4%", "100%", "10%")


def test_a_share_that_no_document_moves_has_no_interval() -> None:
    """All differences are 0: a t interval would be from 0 to 0, as if others could not differ either."""
    settings = {"n": 48, "basis": "48 items from 48 documents", "how": "95% t"}
    still = Estimate(value=0.0, low=0.0, high=0.0, **settings)
    moved = Estimate(value=0.0, low=-0.021, high=0.021, **settings)
    assert points(still) == "+0.0 points (no interval, since none differs; 48 items from 48 documents)"
    assert points(moved) == "+0.0 points (−2.1 to +2.1; 48 items from 48 documents)"
