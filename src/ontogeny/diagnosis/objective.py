"""Infer a run's training objective from the metrics that it logs. Rules apply to some objectives and not to others."""

from collections.abc import Iterator
from enum import StrEnum
from fractions import Fraction
from math import lcm, log
from pathlib import PurePath
from re import split
from typing import Final

import numpy as np

from ontogeny.store.history import TRAIN, History, Series


class ObjectiveKind(StrEnum):
    """A kind of training."""

    LANGUAGE_MODELING = "language modeling"
    REINFORCEMENT = "reinforcement learning"
    PREFERENCE = "preference learning"
    REWARD_MODEL = "reward modeling"
    DISTILLATION = "distillation"
    CLASSIFICATION = "classification"
    SPEECH = "speech recognition"
    EMBEDDING = "embedding learning"
    VISION = "vision"
    DIFFUSION = "diffusion"
    REGRESSION = "regression"


LANGUAGE_MODELING: Final = frozenset({ObjectiveKind.LANGUAGE_MODELING})
LIKELIHOOD: Final = frozenset({ObjectiveKind.LANGUAGE_MODELING, ObjectiveKind.DISTILLATION, ObjectiveKind.SPEECH})
"""The loss is, or contains, a mean negative log-likelihood of tokens."""
SUPERVISED: Final = LIKELIHOOD | {ObjectiveKind.CLASSIFICATION, ObjectiveKind.REWARD_MODEL, ObjectiveKind.PREFERENCE}
"""The loss should fall towards a floor, and evaluation uses the same loss."""
EVERY: Final = frozenset(ObjectiveKind)

_PREFERENCE_METRICS = {
    "rewards/margins",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/chosen",
    "logps/rejected",
    "logps/chosen",
}
_CLASSIFICATION_METRICS = {
    "f1",
    "macro_f1",
    "f1_macro",
    "micro_f1",
    "f1_micro",
    "weighted_f1",
    "f1_weighted",
    "precision",
    "recall",
    "auc",
    "roc_auc",
    "matthews_correlation",
    "mcc",
    "pearson",
    "spearmanr",
    "overall_f1",
    "overall_precision",
    "overall_recall",
    "balanced_accuracy",
    "top_1_accuracy",
    "accuracy_top_1",
}
_EMBEDDING_BEGINNINGS = ("cosine_", "dot_", "euclidean_", "manhattan_", "ndcg", "mrr", "map_", "recall_", "infonce")
_VISION_BEGINNINGS = (
    "map50",
    "m_ap50",
    "metrics_map50",
    "miou",
    "mean_iou",
    "bbox_map",
    "coco_",
    "acc_1",
    "acc_5",
    "psnr",
    "ssim",
)
_VISION_TERMS = {"term/box", "term/dfl", "term/cls", "term/rpn_cls", "term/giou", "term/bbox"}
_DIFFUSION_NAMES = {"fid", "v_loss", "term/vlb", "vlb", "term/denoising", "term/diffusion", "clip_score"}
_REGRESSION_NAMES = {"mse", "rmse", "mae", "r2", "r_squared", "mean_squared_error", "mean_absolute_error"}
_DIFFUSION_WORDS = {"diffusion", "ddpm", "unet", "dreambooth", "sdxl", "ddim"}
_MOST_COUNTED = 20_000
"""Most evaluation examples of which an accuracy that is printed in full is recognised as a fraction."""
_TEXT_METRICS = (
    "rouge",
    "bleu",
    "sacrebleu",
    "chrf",
    "meteor",
    "gen_len",
    "perplexity",
    "exact_match",
    "bits_per_byte",
)
"""Beginnings of the names of metrics of generated or modelled text. F1 beside them is the overlap of answers."""
_LN2 = log(2.0)
_NEAR_LN2 = 0.04
"""Largest relative distance of the first loss from ln 2; the first entry may be a mean over the first steps."""
_MOST_EXAMPLES = 64
"""Largest batch whose accuracy is recognised as a fraction of counted examples."""


def objective_of(history: History) -> tuple[ObjectiveKind, str]:
    """The objective, and in a few words why.

    By the metrics logged: chosen and rejected answers mean preference learning; a reward without them, reinforcement
    learning; a KD term, distillation; a word error rate, speech recognition; similarities and ranks, embeddings; boxes
    and overlaps, vision; squared errors, regression; F1 and the like without any metric of text, or an accuracy that
    is a fraction of counted examples, classification. A log of the loss alone is judged by
    its values (both signs, about zero: a policy gradient), or by the file's name if the loss begins at ln 2 as well.
    Everything else is language modeling.
    """
    stated = str(history.config.get("objective", ""))
    if stated in set(ObjectiveKind):
        return ObjectiveKind(stated), "the log says so"
    names = {series.name for segment in history.segments for series in segment}
    return (
        _by_names(names)
        or _by_form(history, names)
        or _by_values(history, names)
        or (ObjectiveKind.LANGUAGE_MODELING, _why_language_modeling(names))
    )


def _why_language_modeling(names: set[str]) -> str:
    return (
        "it logs a loss and no metric of another objective"
        if "loss" in names
        else "it logs no metric of another objective"
    )


def _by_names(names: set[str]) -> tuple[ObjectiveKind, str] | None:
    """The objective that the names of the metrics imply."""
    if preference := names & _PREFERENCE_METRICS:
        return ObjectiveKind.PREFERENCE, f"it logs {min(preference)}"
    if {"min_reward", "max_reward"} <= names and names & {"margin", "accuracy"}:
        return ObjectiveKind.REWARD_MODEL, "it logs rewards and their margin, but no policy"
    rewards = {name for name in names if name == "reward" or name.startswith(("reward_", "rewards_", "rewards/"))}
    if rewards:
        return ObjectiveKind.REINFORCEMENT, f"it logs {min(rewards, key=lambda name: (len(name), name))}"
    if {"completion_length", "clipped_ratio"} <= names:
        return ObjectiveKind.REINFORCEMENT, "it logs the length of completions and the share clipped"
    if distilled := {name for name in names if name.startswith("term/") and _is_distillation(name)}:
        return ObjectiveKind.DISTILLATION, f"it logs a term {min(distilled).removeprefix('term/')}"
    if error_rates := names & {"wer", "cer"}:
        return ObjectiveKind.SPEECH, f"it logs {max(error_rates)}"
    for kind, named in _by_beginnings(names):
        return kind, f"it logs {min(named)}"
    has_text_metric = any(name.startswith(_TEXT_METRICS) for name in names)
    if (classification := names & _CLASSIFICATION_METRICS) and not has_text_metric:
        return ObjectiveKind.CLASSIFICATION, f"it logs {min(classification)}"
    return None


def _by_beginnings(names: set[str]) -> Iterator[tuple[ObjectiveKind, set[str]]]:
    """Objectives that names of metrics imply by their beginnings, each with these names."""
    if len(terms := names & _VISION_TERMS) >= 2:
        yield ObjectiveKind.VISION, terms
    if vision := {name for name in names if name.startswith(_VISION_BEGINNINGS)}:
        yield ObjectiveKind.VISION, vision
    if embedding := {name for name in names if name.startswith(_EMBEDDING_BEGINNINGS)}:
        yield ObjectiveKind.EMBEDDING, embedding
    if diffusion := names & _DIFFUSION_NAMES:
        yield ObjectiveKind.DIFFUSION, diffusion
    if (regression := names & _REGRESSION_NAMES) and not any(name.startswith(_TEXT_METRICS) for name in names):
        yield ObjectiveKind.REGRESSION, regression


def _is_distillation(name: str) -> bool:
    words = set(name.removeprefix("term/").replace("/", "_").split("_"))
    return bool(words & {"kd", "distill", "distillation", "kldiv", "teacher"})


def _by_form(history: History, names: set[str]) -> tuple[ObjectiveKind, str] | None:
    """In LLaMA-Factory's log, `accuracy` is its trainer's rewards/accuracies and nothing else."""
    form = history.form.lower().replace("-", "").replace(" ", "")
    if "llamafactory" in form and "accuracy" in names:
        return ObjectiveKind.PREFERENCE, "LLaMA-Factory logs an accuracy only in preference learning"
    return None


def _by_values(history: History, names: set[str]) -> tuple[ObjectiveKind, str] | None:
    """The objective that the values imply, or the file's name if the first loss agrees with it."""
    train = [series for segment in history.segments for series in segment if series.scope == TRAIN]
    accuracy = next((series for series in train if series.name == "accuracy"), None)
    examples = _examples_counted(accuracy) if accuracy is not None else 0
    if examples and not any(name.startswith(_TEXT_METRICS) for name in names):
        return ObjectiveKind.CLASSIFICATION, f"its accuracy is a fraction of examples (multiples of 1/{examples})"
    evaluated = [series for segment in history.segments for series in segment if series.scope != TRAIN]
    if not any(name.startswith((*_TEXT_METRICS, "token_accuracy")) for name in names):
        counted = _examples_of([series for series in evaluated if series.name == "accuracy"], evaluated)
        if counted:
            return ObjectiveKind.CLASSIFICATION, f"its evaluation accuracy is a fraction of {counted} examples"
    words = set(split(r"[^a-z0-9]+", PurePath(history.path).name.lower()))
    if diffusion := words & _DIFFUSION_WORDS:
        return ObjectiveKind.DIFFUSION, f"the file's name says {min(diffusion)}"
    loss = np.concatenate([np.zeros(0), *(series.clean().values for series in train if series.name == "loss")])
    if len(loss) < 10:
        return None
    negative = float(np.mean(loss < 0))
    if 0.05 < negative < 0.95 and float(np.median(np.abs(loss))) < 0.5 and abs(float(loss[0])) < 0.5:
        return (ObjectiveKind.REINFORCEMENT, f"{negative:.0%} of its losses are negative, near 0: a policy gradient")
    if abs(float(loss[0]) / _LN2 - 1) < _NEAR_LN2:
        if "reward" in words or {"rm"} & words:
            return ObjectiveKind.REWARD_MODEL, "the file's name says reward, and its loss begins at ln 2"
        if methods := words & {"dpo", "ipo", "cdpo"}:
            return ObjectiveKind.PREFERENCE, f"the file's name says {min(methods)}, and its loss begins at ln 2"
    return None


def _examples_of(accuracies: list[Series], evaluated: list[Series]) -> int:
    """The examples of which evaluation accuracies in full precision are fractions; 0 if they are not, or are rounded.

    Of tokens there are more than `_MOST_COUNTED`. A log that does not round its evaluation losses rounds no accuracy.
    """
    losses = [series for series in evaluated if series.name == "loss"]
    values = np.concatenate([np.zeros(0), *(series.clean().values for series in accuracies)])
    if len(np.unique(values)) < 2 or any(series.decimals is not None for series in losses) or not losses:
        return 0
    if values.min() < 0 or values.max() > 1:
        return 0
    common = 1
    for value in values.tolist():
        fraction = Fraction(value).limit_denominator(_MOST_COUNTED)
        if abs(float(fraction) - value) > 1e-12:
            return 0
        common = lcm(common, fraction.denominator)
        if common > _MOST_COUNTED:
            return 0
    return common


def _examples_counted(accuracy: Series) -> int:
    """The batch size b of an accuracy over examples: all values are multiples of 1/b. 0 if they are not, or are few.

    A token accuracy hardly ever falls on such a grid: at b = 64 and six decimals, one value in 10^4.
    """
    values = accuracy.clean().values
    if len(values) < 10 or len(np.unique(values)) < 3 or values.min() < 0 or values.max() > 1:
        return 0
    tolerance = 1e-6 if accuracy.decimals is None else max(accuracy.step_size, 1e-6)
    if tolerance > 1e-3:
        return 0
    for examples in range(2, _MOST_EXAMPLES + 1):
        scaled = values * examples
        if np.all(np.abs(scaled - np.round(scaled)) <= tolerance * examples):
            return examples
    return 0
