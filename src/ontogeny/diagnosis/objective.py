"""What a run optimises, told from the metrics that it logs: rules hold for some objectives and not for others."""

from enum import StrEnum
from typing import Final

from ontogeny.store.history import History


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

_KTO = {"kl", "logps/chosen", "rewards/chosen"}


def objective_of(history: History) -> tuple[Objective, str]:
    """The objective, and the reason for thinking so in a few words.

    By what is logged: rewards with chosen and rejected sides are preference learning; a reward without sides is
    reinforcement learning; a KD term is distillation; a word error rate is speech; accuracy without any token metric,
    with a loss that starts below 2 and no perplexity, is left as language modeling unless F1 or the like stands beside.
    """
    names = {one.name for segment in history.segments for one in segment}
    said = str(history.config.get("objective", ""))
    if said in set(Objective):
        return Objective(said), "the log says so"
    sides = {name for name in names if name.startswith(("rewards/", "logps/"))}
    if sides & {"rewards/margins", "rewards/rejected", "rewards/accuracies", "logps/rejected"}:
        return Objective.PREFERENCE, f"it logs {sorted(sides)[0]}"
    rewards = {name for name in names if name == "reward" or name.startswith(("reward_", "rewards/"))}
    if rewards or {"completion_length", "clipped_ratio"} <= names:
        return Objective.REINFORCEMENT, f"it logs {sorted(rewards or names & {'completion_length'})[0]}"
    distilled = {name for name in names if name.startswith("term/") and _is_distillation(name)}
    if distilled:
        return Objective.DISTILLATION, f"it logs {sorted(distilled)[0].removeprefix('term/')} loss"
    if names & {"wer", "cer"}:
        return Objective.SPEECH, f"it logs {sorted(names & {'wer', 'cer'})[0]}"
    if names & {"f1", "matthews_correlation", "precision", "recall", "auc", "macro_f1", "f1_macro", "pearson"}:
        return Objective.CLASSIFICATION, f"it logs {sorted(names & {'f1', 'precision', 'recall', 'auc'} or names)[0]}"
    return Objective.LANGUAGE_MODELING, "it logs a loss and nothing of another objective"


def _is_distillation(name: str) -> bool:
    words = set(name.removeprefix("term/").replace("/", "_").split("_"))
    return bool(words & {"kd", "distill", "distillation", "kldiv", "teacher"})
