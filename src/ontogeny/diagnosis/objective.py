"""What a run optimises, told from the metrics that it logs: rules hold for some objectives and not for others."""

from enum import StrEnum
from math import log
from pathlib import PurePath
from re import split
from typing import Final

import numpy as np

from ontogeny.store.history import TRAIN, History, Series


class Objective(StrEnum):
    """A kind of training."""

    LANGUAGE_MODELING = "language modeling"
    REINFORCEMENT = "reinforcement learning"
    PREFERENCE = "preference learning"
    REWARD_MODEL = "reward modeling"
    DISTILLATION = "distillation"
    CLASSIFICATION = "classification"
    SPEECH = "speech recognition"


LANGUAGE_MODELING: Final = frozenset({Objective.LANGUAGE_MODELING})
LIKELIHOOD: Final = frozenset({Objective.LANGUAGE_MODELING, Objective.DISTILLATION, Objective.SPEECH})
"""The loss is (or holds) a mean negative log-likelihood of tokens."""
SUPERVISED: Final = LIKELIHOOD | {Objective.CLASSIFICATION, Objective.REWARD_MODEL, Objective.PREFERENCE}
"""The loss is meant to fall towards a floor, and evaluation uses the same loss."""
EVERY: Final = frozenset(Objective)

_SIDES = {
    "rewards/margins",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/chosen",
    "logps/rejected",
    "logps/chosen",
}
_CLASSIFIED = {
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
}
_GENERATED = ("rouge", "bleu", "sacrebleu", "chrf", "meteor", "gen_len", "perplexity", "exact_match", "bits_per_byte")
"""Names that go with generated or modelled text: F1 beside them is overlap of answers."""
_LN2 = log(2.0)
_NEAR_LN2 = 0.04
"""Relative distance of a first loss from ln 2; the first entry may be a mean over the first steps."""
_MOST_EXAMPLES = 64
"""Largest batch whose accuracy is recognised as a count of examples."""


def objective_of(history: History) -> tuple[Objective, str]:
    """The objective, and the reason for thinking so in a few words.

    By what is logged: chosen and rejected sides are preference learning; a reward without sides is reinforcement
    learning; a KD term is distillation; a word error rate is speech; F1 and the like without any metric of text, or an
    accuracy that counts examples, is classification. A log of the loss alone is told by its values where they leave no
    choice (both signs about zero), or by the file's own name where the loss begins at ln 2 as well. Everything else is
    language modeling.
    """
    said = str(history.config.get("objective", ""))
    if said in set(Objective):
        return Objective(said), "the log says so"
    names = {one.name for segment in history.segments for one in segment}
    return (
        _by_names(names)
        or _by_form(history, names)
        or _by_values(history, names)
        or (Objective.LANGUAGE_MODELING, _nothing_else(names))
    )


def _nothing_else(names: set[str]) -> str:
    return "it logs a loss and nothing of another objective" if "loss" in names else "it logs nothing of another kind"


def _by_names(names: set[str]) -> tuple[Objective, str] | None:
    """What the names of the metrics say by themselves."""
    if sides := names & _SIDES:
        return Objective.PREFERENCE, f"it logs {min(sides)}"
    if {"min_reward", "max_reward"} <= names and names & {"margin", "accuracy"}:
        return Objective.REWARD_MODEL, "it logs rewards with their margin, and no policy"
    rewards = {name for name in names if name == "reward" or name.startswith(("reward_", "rewards_", "rewards/"))}
    if rewards:
        return Objective.REINFORCEMENT, f"it logs {min(rewards, key=lambda name: (len(name), name))}"
    if {"completion_length", "clipped_ratio"} <= names:
        return Objective.REINFORCEMENT, "it logs lengths of completions and how many were clipped"
    if distilled := {name for name in names if name.startswith("term/") and _is_distillation(name)}:
        return Objective.DISTILLATION, f"it logs a term {min(distilled).removeprefix('term/')}"
    if spoken := names & {"wer", "cer"}:
        return Objective.SPEECH, f"it logs {max(spoken)}"
    text = any(name.startswith(_GENERATED) for name in names)
    if (classified := names & _CLASSIFIED) and not text:
        return Objective.CLASSIFICATION, f"it logs {min(classified)}"
    return None


def _is_distillation(name: str) -> bool:
    words = set(name.removeprefix("term/").replace("/", "_").split("_"))
    return bool(words & {"kd", "distill", "distillation", "kldiv", "teacher"})


def _by_form(history: History, names: set[str]) -> tuple[Objective, str] | None:
    """LLaMA-Factory's log calls `accuracy` what its trainer calls rewards/accuracies, and nothing else."""
    form = history.form.lower().replace("-", "").replace(" ", "")
    if "llamafactory" in form and "accuracy" in names:
        return Objective.PREFERENCE, "LLaMA-Factory writes an accuracy for preference learning alone"
    return None


def _by_values(history: History, names: set[str]) -> tuple[Objective, str] | None:
    """What the values leave no other choice for, and names of files where the loss agrees."""
    train = [one for segment in history.segments for one in segment if one.scope == TRAIN]
    accuracy = next((one for one in train if one.name == "accuracy"), None)
    examples = _batch_of(accuracy) if accuracy is not None else 0
    if examples and not any(name.startswith(_GENERATED) for name in names):
        return Objective.CLASSIFICATION, f"its accuracy counts examples (multiples of 1/{examples})"
    loss = np.concatenate([np.zeros(0), *(one.clean().values for one in train if one.name == "loss")])
    if len(loss) < 10:
        return None
    negative = float(np.mean(loss < 0))
    if 0.05 < negative < 0.95 and float(np.median(np.abs(loss))) < 0.5 and abs(float(loss[0])) < 0.5:
        return Objective.REINFORCEMENT, f"{negative:.0%} of its losses are negative, about zero: a policy gradient's"
    words = set(split(r"[^a-z0-9]+", PurePath(history.path).name.lower()))
    if abs(float(loss[0]) / _LN2 - 1) < _NEAR_LN2:
        if "reward" in words or {"rm"} & words:
            return Objective.REWARD_MODEL, "the file's name says reward, and its loss begins at ln 2"
        if said := words & {"dpo", "ipo", "cdpo"}:
            return Objective.PREFERENCE, f"the file's name says {min(said)}, and its loss begins at ln 2"
    return None


def _batch_of(accuracy: Series) -> int:
    """The batch whose examples an accuracy counts: all values are multiples of 1/b. 0 if they are not, or too few.

    Shares of 20 or more different tokens hardly ever fall on such a grid: at b = 64 and six decimals, one in 10^4.
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
