"""Rules of the family `quality`, on curves written down by hand."""

import numpy as np

from ontogeny.core.verdicts import Clear, Finding, NotAssessable
from ontogeny.diagnosis.examine import examine
from ontogeny.diagnosis.rules.quality import (
    broken_metric,
    flat_quality,
    generation_truncated,
    loss_down_quality_down,
    loss_up_quality_up,
    repetition_collapse,
)
from tests.diagnosis.curves import Curve, history

TEN = [549 * i for i in range(1, 11)]
LOSS: Curve = (TEN, [0.6598, 0.5546, 0.5185, 0.494, 0.4894, 0.4853, 0.4873, 0.4906, 0.4907, 0.4917])
ROUGE = [46.54, 48.03, 50.97, 48.92, 50.04, 49.84, 50.88, 50.49, 51.02, 51.28]


def test_selecting_by_loss_loses_rouge() -> None:
    # lowest loss 0.4853 at 3294 (ROUGE 49.84); at the end 0.4917, +1.3%, with ROUGE 51.28: 1.44 higher, 2.9%
    (verdict,) = examine(history(eval_loss=LOSS, eval_rouge1=(TEN, ROUGE)), [loss_up_quality_up]).verdicts
    assert isinstance(verdict, Finding)
    assert (verdict.severity, verdict.numbers["best_loss_step"], verdict.numbers["best_quality_step"]) == (
        "warning",
        3294,
        5490,
    )
    assert np.isclose(float(verdict.numbers["gain"]), 1.44)
    assert "+1.3%" in verdict.statement or "1.3%" in verdict.statement


def test_a_word_error_rate_that_goes_on_falling_counts_as_quality_that_rises() -> None:
    wer = [100 - value for value in ROUGE]
    assert isinstance(examine(history(eval_loss=LOSS, eval_wer=(TEN, wer)), [loss_up_quality_up]).verdicts[0], Finding)


def test_rouge_that_only_scatters_after_the_turn_is_no_finding() -> None:
    scatter = [46.5, 48.0, 49.6, 50.1, 49.9, 50.2, 49.8, 50.3, 50.0, 50.1]
    log = history(eval_loss=LOSS, eval_rouge1=(TEN, scatter))
    assert isinstance(examine(log, [loss_up_quality_up]).verdicts[0], Clear)


def test_five_evaluations_are_too_few_for_quality_against_loss() -> None:
    log = history(eval_loss=(TEN[:5], LOSS[1][:5]), eval_rouge1=(TEN[:5], ROUGE[:5]))
    for one in (loss_up_quality_up, loss_down_quality_down, broken_metric, flat_quality):
        assert isinstance(examine(log, [one]).verdicts[0], NotAssessable)


def test_bleu_falls_while_the_loss_falls() -> None:
    # best 30.0 at 1647; last three 22.0, 21.0, 20.0, mean 21.0: 30% worse; loss 2.6 -> 1.9 meanwhile
    loss = [3.0, 2.8, 2.6, 2.5, 2.4, 2.3, 2.2, 2.1, 2.0, 1.9]
    bleu = [25.0, 28.0, 30.0, 28.5, 27.0, 25.5, 24.0, 22.0, 21.0, 20.0]
    log = history(eval_loss=(TEN, loss), eval_bleu=(TEN, bleu))
    (verdict,) = examine(log, [loss_down_quality_down]).verdicts
    assert isinstance(verdict, Finding)
    assert np.isclose(float(verdict.numbers["loss_of_quality"]), 0.3)
    rising = history(eval_loss=(TEN, loss), eval_bleu=(TEN, sorted(bleu)))
    assert isinstance(examine(rising, [loss_down_quality_down]).verdicts[0], Clear)


def test_a_metric_that_is_zero_throughout_is_broken_and_one_that_is_perfect_is_not() -> None:
    (verdict,) = examine(history(eval_loss=LOSS, eval_bleu=(TEN, [0.0] * 10)), [broken_metric]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.severity == "warning"
    perfect = history(eval_loss=LOSS, eval_accuracy=(TEN, [1.0] * 10))
    assert isinstance(examine(perfect, [broken_metric]).verdicts[0], Clear)


def test_two_metrics_in_agreement_are_a_note_unless_they_may_agree() -> None:
    same = history(eval_loss=LOSS, eval_rouge1=(TEN, ROUGE), eval_bleu=(TEN, ROUGE))
    (verdict,) = examine(same, [broken_metric]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.severity == "note"
    may = history(eval_loss=LOSS, eval_rougeL=(TEN, ROUGE), eval_rougeLsum=(TEN, ROUGE))
    assert isinstance(examine(may, [broken_metric]).verdicts[0], Clear)


def test_rouge_within_two_percent_while_the_loss_falls_is_flat() -> None:
    loss = [2.336, 2.303, 2.287, 2.269, 2.249, 2.236, 2.215, 2.207, 2.203, 2.195]  # 2.195 / 2.336 - 1 = -6.0%
    flat = [18.29, 18.36, 18.28, 18.52, 18.6, 18.39, 18.69, 18.73, 18.52, 18.58]
    (verdict,) = examine(history(eval_loss=(TEN, loss), eval_rouge1=(TEN, flat)), [flat_quality]).verdicts
    assert isinstance(verdict, Finding)
    assert (verdict.severity, round(float(verdict.numbers["loss_fell_relative"]), 3)) == ("note", 0.06)
    moving = history(eval_loss=(TEN, loss), eval_rouge1=(TEN, ROUGE))
    assert isinstance(examine(moving, [flat_quality]).verdicts[0], Clear)


def test_the_same_length_at_every_evaluation_is_a_limit() -> None:
    cut = [19.0] * 9 + [18.9998]
    (verdict,) = examine(history(eval_gen_len=(TEN, cut)), [generation_truncated]).verdicts
    assert isinstance(verdict, Finding)
    assert (verdict.severity, verdict.certainty, verdict.numbers["length_tokens"]) == ("warning", "certain", 19.0)
    varied = [140.5, 196.4, 159.2, 168.3, 175.8, 164.6, 160.3, 166.1, 167.5, 163.4]
    assert isinstance(examine(history(eval_gen_len=(TEN, varied)), [generation_truncated]).verdicts[0], Clear)
    few = history(eval_gen_len=(TEN[:3], cut[:3]))
    assert isinstance(examine(few, [generation_truncated]).verdicts[0], NotAssessable)


def test_repetition_that_rises_is_a_collapse_and_repetition_at_the_start_is_not() -> None:
    rising = [0.05, 0.06, 0.05, 0.07, 0.06, 0.2, 0.4, 0.6, 0.65, 0.7]
    (verdict,) = examine(history(repetition_4gram=(TEN, rising)), [repetition_collapse]).verdicts
    assert isinstance(verdict, Finding)
    assert np.isclose(float(verdict.numbers["last"]), 0.65)  # median of 0.6, 0.65, 0.7
    recovering = history(repetition_4gram=(TEN, rising[::-1]))
    assert isinstance(examine(recovering, [repetition_collapse]).verdicts[0], Clear)
    assert isinstance(examine(history(eval_loss=LOSS), [repetition_collapse]).verdicts[0], NotAssessable)
