"""What kind of training a log is of."""

from pathlib import Path

import numpy as np
import pytest

from ontogeny.diagnosis.objective import ObjectiveKind, objective_of
from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importing import read_history
from ontogeny.store.history import History
from tests.diagnosis.curves import history

LOGS = Path(__file__).parents[3] / "shared" / "data" / "foreign_logs" / "hf_trainer_state"
STEPS = range(1, 13)


def _named(name: str, form: str, **values: list[float]) -> History:
    builder = Builder(name, form)
    for row in range(12):
        builder.add(row + 1, {label: found[row] for label, found in values.items()}, step=row + 1)
    return builder.build()


@pytest.mark.parametrize(
    ("label", "objective"),
    [
        ("rewards__margins", ObjectiveKind.PREFERENCE),
        ("logps__chosen", ObjectiveKind.PREFERENCE),
        ("reward", ObjectiveKind.REINFORCEMENT),
        ("rewards__format_reward", ObjectiveKind.REINFORCEMENT),
        ("kd_loss", ObjectiveKind.DISTILLATION),
        ("eval_wer", ObjectiveKind.SPEECH),
        ("eval_f1", ObjectiveKind.CLASSIFICATION),
        ("eval_matthews_correlation", ObjectiveKind.CLASSIFICATION),
        ("eval_cosine_pearson", ObjectiveKind.EMBEDDING),
        ("eval_ndcg@10", ObjectiveKind.EMBEDDING),
        ("metrics__mAP50-95(B)", ObjectiveKind.VISION),
        ("eval_mean_iou", ObjectiveKind.VISION),
        ("eval_fid", ObjectiveKind.DIFFUSION),
        ("eval_rmse", ObjectiveKind.REGRESSION),
        ("eval_overall_f1", ObjectiveKind.CLASSIFICATION),
        ("eval_rouge1", ObjectiveKind.LANGUAGE_MODELING),
        ("grad_norm", ObjectiveKind.LANGUAGE_MODELING),
        ("mean_token_accuracy", ObjectiveKind.LANGUAGE_MODELING),
    ],
)
def test_one_metric_tells_the_objective(label: str, objective: ObjectiveKind) -> None:
    log = history(loss=(STEPS, [2.0] * 12), **{label: (STEPS, [0.5123] * 12)})
    assert objective_of(log)[0] == objective


def test_f1_beside_generated_text_is_the_overlap_of_answers() -> None:
    log = history(loss=(STEPS, [2.0] * 12), eval_f1=(STEPS, [0.5] * 12), eval_exact_match=(STEPS, [0.4] * 12))
    assert objective_of(log)[0] == ObjectiveKind.LANGUAGE_MODELING


def test_an_accuracy_of_examples_is_classification_and_one_of_tokens_is_not() -> None:
    # 16ths, as of a batch of 16; shares of some hundred tokens have no small denominator in common
    examples = [count / 16 for count in (6, 3, 1, 8, 9, 12, 11, 13, 15, 14, 12, 13)]
    assert objective_of(history(loss=(STEPS, [2.3] * 12), accuracy=(STEPS, examples))) == (
        ObjectiveKind.CLASSIFICATION,
        "its accuracy is a fraction of examples (multiples of 1/16)",
    )
    tokens = [count / 397 for count in (61, 99, 130, 160, 170, 181, 190, 200, 211, 222, 230, 231)]
    log = history(loss=(STEPS, [2.3] * 12), accuracy=(STEPS, tokens))
    assert objective_of(log)[0] == ObjectiveKind.LANGUAGE_MODELING


def test_losses_of_both_signs_about_zero_are_a_policy_gradient() -> None:
    policy = [0.028, -0.012, 0.021, 0.033, 0.0, -0.029, 0.01, 0.048, -0.003, 0.017, -0.025, 0.003]
    objective, reason = objective_of(history(loss=(STEPS, policy)))
    assert objective == ObjectiveKind.REINFORCEMENT
    assert reason.startswith("33% of its losses are negative")  # 4 of 12
    memorised = list(np.linspace(0.2, 0.001, 12))
    assert objective_of(history(loss=(STEPS, memorised)))[0] == ObjectiveKind.LANGUAGE_MODELING


def test_a_file_name_counts_only_where_the_loss_begins_at_ln_2() -> None:
    from_ln2 = [0.6914, 0.68, 0.66, 0.6, 0.5, 0.4, 0.3, 0.3, 0.2, 0.2, 0.2, 0.1]
    text = [2.3, 2.2, 2.1, 2.0, 1.9, 1.8, 1.8, 1.8, 1.7, 1.7, 1.7, 1.7]
    assert objective_of(_named("runs/reward-run2.log", "x", loss=from_ln2))[0] == ObjectiveKind.REWARD_MODEL
    assert objective_of(_named("runs/dpo.html", "x", loss=from_ln2))[0] == ObjectiveKind.PREFERENCE
    assert objective_of(_named("runs/dpo.html", "x", loss=text))[0] == ObjectiveKind.LANGUAGE_MODELING
    assert objective_of(_named("runs/sft.html", "x", loss=from_ln2))[0] == ObjectiveKind.LANGUAGE_MODELING


def test_llama_factory_writes_an_accuracy_for_pairs_alone() -> None:
    accuracy = [0.5, 0.25, 0.75, 1.0, 0.5, 0.5, 0.25, 0.75, 0.5, 0.5, 0.75, 1.0]
    log = _named("trainer_log.jsonl", "LLaMA-Factory trainer_log.jsonl", loss=[0.69] * 12, accuracy=accuracy)
    assert objective_of(log)[0] == ObjectiveKind.PREFERENCE


@pytest.mark.skipif(not LOGS.is_dir(), reason="the foreign logs are not here")
@pytest.mark.parametrize(
    ("file", "objective"),
    [
        ("SeanGormann__llm_recovery__dpo-200.json", ObjectiveKind.PREFERENCE),
        ("huggingface__trl__kto-1000.json", ObjectiveKind.PREFERENCE),
        ("ijinyu1113__Learned-Remasking-Policy-for-dLLM__grpo-1000.json", ObjectiveKind.REINFORCEMENT),
        ("ByErenOzer__Whisper_Finetune__whisper-wer.json", ObjectiveKind.SPEECH),
        ("HakitoKun__nlp_project__summ-110k-rouge.json", ObjectiveKind.LANGUAGE_MODELING),
        ("syGOAT__Mistral-v0.2-Translator-bf16__mistral-mt.json", ObjectiveKind.LANGUAGE_MODELING),
    ],
)
def test_foreign_logs(file: str, objective: ObjectiveKind) -> None:
    assert objective_of(read_history(LOGS / file))[0] == objective


def test_an_evaluation_accuracy_in_full_precision_counts_examples() -> None:
    """2/5 and 5/5 of five examples, beside losses with all digits; shares of 180,211 tokens are no such fractions."""
    losses = ([10, 20], [1.5676361322402954, 0.4512345678912345])
    examples = history(loss=([10, 20], [1.5561, 0.5]), eval_loss=losses, eval_accuracy=([10, 20], [0.4, 1.0]))
    expected = (ObjectiveKind.CLASSIFICATION, "its evaluation accuracy is a fraction of 5 examples")
    assert objective_of(examples) == expected
    tokens = ([10, 20], [61_223 / 180_211, 91_117 / 180_211])
    log = history(loss=([10, 20], [3.5, 3.1]), eval_loss=losses, eval_accuracy=tokens)
    assert objective_of(log)[0] == ObjectiveKind.LANGUAGE_MODELING
    rounded = history(
        loss=([10, 20], [3.5, 3.1]), eval_loss=([10, 20], [1.57, 0.45]), eval_accuracy=([10, 20], [0.4, 1.0])
    )
    assert objective_of(rounded)[0] == ObjectiveKind.LANGUAGE_MODELING
