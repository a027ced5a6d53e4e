"""The meaning of a log's metric names: scope, our name, and unit."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ontogeny.store.history import EVAL, TRAIN


class Meaning(NamedTuple):
    """A metric in our terms."""

    scope: str
    name: str
    unit: str = ""


_UNITS = {"loss": "nats", "nll": "nats", "bits_per_byte": "bits", "bits_per_character": "bits", "entropy": "nats"}

_EVAL_WORDS = {"eval", "evaluation", "val", "valid", "validation", "dev", "test", "tel", "heldout", "holdout"}
_TRAIN_WORDS = {"train", "training", "trl", "tr"}

_SYNONYMS = {
    "loss": (
        "loss",
        "lm loss",
        "total loss",
        "ce loss",
        "cross entropy",
        "cross entropy loss",
        "xent",
        "loss step",
        "step loss",
        "batch loss",
        "loss total",
        "epoch loss",
        "average loss",
        "avg loss",
        "ce",
        "lossf",
        "avg train loss",
        "average train loss",
        "loss epoch",
        "running loss",
        "loss metrics global avg loss",
        "loss mean",
        "mean loss",
        "cost",
        "gpt loss",
        "reduced train loss",
        "tot loss",
        "language cross entropy",
        "crossentropy loss",
        "objective cross entropy",
        "lm loss value",
        "ce mean words",
        "objective",
    ),
    "nll": ("nll", "nll loss", "negative log likelihood"),
    "perplexity": (
        "perplexity",
        "ppl",
        "perplexity step",
        "perplexity epoch",
        "epoch perplexity",
        "lm loss ppl",
        "language perplexity",
    ),
    "bits_per_byte": ("bpb", "bits per byte"),
    "bits_per_character": ("bpc", "bits per character", "bits per char"),
    "learning_rate": (
        "learning rate",
        "lr",
        "learningrate",
        "lr step",
        "current lr",
        "learning rates",
        "lr 0",
        "lr group 0",
        "lr pg 1",
        "l r",
        "actor lr",
        "optim lr",
        "optim0 lr0",
        "optim learning rate",
        "optim learning rate group 0",
        "lr cur",
    ),
    "learning_rate_multiplier": ("lrm",),
    "grad_norm": (
        "grad norm",
        "gradient norm",
        "gradnorm",
        "gnorm",
        "norm",
        "total norm",
        "total grad norm",
        "global grad norm",
        "grad norm total",
        "g norm",
        "actor grad norm",
        "optim total grad norm",
        "optim grad norm",
        "policy grad norm",
    ),
    "accuracy": ("accuracy", "acc"),
    "token_accuracy": ("mean token accuracy", "token accuracy", "token acc"),
    "entropy": ("entropy", "mean entropy", "policy entropy", "actor entropy"),
    "tokens_seen": (
        "num tokens",
        "tokens",
        "total tokens",
        "num input tokens seen",
        "tokens seen",
        "tokens trained",
        "n tokens",
        "consumed tokens",
    ),
    "loss_scale": ("loss scale", "scale", "grad scale", "scaler scale"),
    "tokens_per_second": ("tok sec", "tokens per second", "tps", "throughput", "tokens per second per gpu", "tok s"),
    "hellaswag": ("hella", "hellaswag", "hellaswag accuracy"),
}
_BY_WORDS = {synonym: name for name, synonyms in _SYNONYMS.items() for synonym in synonyms}

_REINFORCEMENT = {
    "reward": (
        "reward",
        "mean reward",
        "rewards mean",
        "env reward mean",
        "critic rewards mean",
        "score mean",
        "objective rlhf reward",
        "objective scores",
        "ep rew mean",
        "rollout ep rew mean",
        "return",
    ),
    "reward_std": ("reward std", "rewards std", "std reward", "reward std mean"),
    "kl": (
        "kl",
        "objective kl",
        "mean kl",
        "approx kl",
        "actor kl loss",
        "kl mean",
        "policy approxkl avg",
        "actor ppo kl",
    ),
    "completion_length": (
        "completion length",
        "completions mean length",
        "mean length",
        "response length mean",
        "completion length mean",
    ),
    "clipped_ratio": ("completions clipped ratio", "response length clip ratio"),
    "zero_std_share": ("frac reward zero std", "zero std ratio"),
}
_BY_WORDS |= {synonym: name for name, synonyms in _REINFORCEMENT.items() for synonym in synonyms}

_QUALITIES = (
    "bleu",
    "sacrebleu",
    "chrf",
    "meteor",
    "rouge1",
    "rouge2",
    "rougel",
    "rougelsum",
    "f1",
    "exact_match",
    "wer",
)
KNOWN_NAMES = frozenset({*_BY_WORDS.values(), *_QUALITIES, "cer", "precision", "recall", "mrr", "bertscore_f1"})
"""Our names of the quantities that a log's labels are understood as."""

PREFERENCE_NAMES = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
    "logits/chosen",
    "logits/rejected",
)

_OF_TRAINING = {"loss", "learning_rate", "grad_norm", "tokens_seen", "loss_scale"}
"""Metrics that a table has of training alone."""

_AUXILIARY = {
    *(
        "cls",
        "box",
        "dfl",
        "aux",
        "kl",
        "mtp",
        "z",
        "router",
        "balance",
        "balancing",
        "load",
        "commitment",
        "ctc",
        "att",
    ),
    *("simple", "pruned", "l1", "l2", "reg", "moe", "obj", "giou", "bbox", "mask", "rpn", "vq", "contrastive"),
}
"""Words of a loss that is a part of another, not one of a further evaluation set."""

_NOT_METRICS = {
    "step",
    "steps",
    "global step",
    "epoch",
    "iter",
    "iteration",
    "current steps",
    "total steps",
    "timestamp",
    "runtime",
    "elapsed time",
    "remaining time",
    "percentage",
    "wall time",
    "seed",
    "elapsed",
    "eta",
    "total flos",
    "time",
    "dt",
    "global step max steps",
    "train speed iter s",
    "remaining",
    "batch",
    "step time",
    "mfu",
    "tflops",
}
_TIMING = re.compile(
    r"(runtime|per_second|_time|time_|memory|mem_|steps_per_sec|samples_per_sec|mfu|tflops|elapsed|_ms$|seconds)",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PARTS = re.compile(r"[\s_/\-.:|()\[\]]+")


def words_of(label: str) -> list[str]:
    """The words of a label in lower case: ``evalLoss/code_set`` has eval, loss, code and set."""
    return [word for word in _PARTS.split(_CAMEL.sub("_", label).lower()) if word]


@lru_cache(maxsize=65_536)
def understand(label: str) -> Meaning | None:
    """The meaning of a log's label; None if it is no metric (steps, times, memory).

    ``eval_loss`` is ("eval", "loss"); ``eval_code_loss`` is ("code", "loss"); ``Loss/Validation`` is ("eval", "loss");
    ``train/kd_loss`` is ("train", "term/kd"). An unknown metric keeps its own name, in its scope.
    """
    stripped = label.strip()
    preference = _preference(stripped)
    if preference is not None:
        return preference
    if stripped.startswith("term/"):  # named by an importer that knows it is a term of a composite loss
        return Meaning(TRAIN, stripped, "nats")
    words = words_of(stripped)
    if not words or " ".join(words) in _NOT_METRICS:
        return None
    if words == ["train", "train", "loss"]:  # the mean over the whole run, as Trainer hands it to its loggers
        return None
    scope, rest = _scope(words)
    rest = [word for word in rest if word not in _TRAIN_WORDS] or rest
    rest = rest[1:] if rest[0:1] == ["metrics"] and len(rest) > 1 else rest
    if len(rest) > 1 and rest[0] == "lr" and rest[-1].startswith("group"):
        rest = ["lr"]
    phrase = " ".join(rest)
    if phrase in _NOT_METRICS:
        return None
    name = _BY_WORDS.get(phrase) or _BY_WORDS.get(" ".join(words))
    if name:
        return Meaning(scope, name, _UNITS.get(name, ""))
    if not rest:  # `train` and `val` alone are losses
        return Meaning(scope, "loss", "nats")
    if _TIMING.search(stripped):
        return None
    if scope == EVAL and len(rest) > 1 and rest[-1] == "loss" and set(rest[:-1]) <= _AUXILIARY:
        return Meaning(scope, f"term/{'_'.join(rest[:-1])}", "")
    if scope == EVAL and len(rest) > 1 and (name := _BY_WORDS.get(rest[-1])) in ("loss", "perplexity", "accuracy"):
        return Meaning("_".join(rest[:-1]), name, _UNITS.get(name, ""))
    if rest[-1] == "loss" and len(rest) > 1:
        return Meaning(scope, f"term/{'_'.join(rest[:-1])}", "nats")
    return Meaning(scope, "_".join(rest))


def of_evaluations(columns: Sequence[str]) -> list[str]:
    """Labels of the columns of Trainer's table: beside a validation loss, every other metric is of the evaluation."""
    meanings = [understand(column) for column in columns]
    if not any(meaning is not None and (meaning.scope, meaning.name) == (EVAL, "loss") for meaning in meanings):
        return list(columns)
    return [
        column if meaning is None or meaning.scope != TRAIN or meaning.name in _OF_TRAINING else f"eval {column}"
        for column, meaning in zip(columns, meanings, strict=True)
    ]


def _scope(words: list[str]) -> tuple[str, list[str]]:
    """`eval` or `train`, and the words of the label without the one that names the scope."""
    if words[0] == "predict" and len(words) > 1:
        return "predict", words[1:]
    for words_of_scope, scope in ((_EVAL_WORDS, EVAL), (_TRAIN_WORDS, TRAIN)):
        for position in (0, len(words) - 1):
            if words[position] in words_of_scope:
                return scope, words[:position] + words[position + 1 :]
        for position, word in enumerate(words):
            if word in words_of_scope and scope == EVAL:
                return scope, words[:position] + words[position + 1 :]
    return TRAIN, words


def _preference(label: str) -> Meaning | None:
    """Preference metrics keep their names: all trainers use the same ones. None for any other label."""
    bare = label.removeprefix("train/")
    scope = TRAIN
    for prefix in ("eval_", "eval/"):
        if bare.startswith(prefix):
            bare, scope = bare.removeprefix(prefix), EVAL
    if bare in PREFERENCE_NAMES:
        return Meaning(scope, bare)
    return None
