"""What it means that every gradient is clipped: it depends on the optimizer."""

from dataclasses import dataclass

from ontogeny.core.verdicts import Certainty

DEFAULT_KEY = "max_grad_norm"
"""What most trainers call the norm that gradients are clipped to."""
_SCALE_FREE = (
    "adam",
    "ademamix",
    "adafactor",
    "adalomo",
    "lion",
    "muon",
    "adagrad",
    "rmsprop",
    "lamb",
    "sophia",
    "signsgd",
    "signum",
)
"""Parts of the names of optimizers that divide gradients by their own size, or take their sign."""


@dataclass(frozen=True, kw_only=True)
class AlwaysClipped:
    """The consequence in words, how sure it is, and what to do."""

    consequence: str
    certainty: Certainty
    remedy: str


def always_clipped(optimizer: str, key: str) -> AlwaysClipped:
    """What clipping all gradients does under an optimizer, in lower case (empty: not known).

    `key`: what the run's own configuration calls the norm. Under SGD a clipped gradient g becomes threshold x g / |g|,
    so that all batches weigh the same, with momentum or without; Adam and its kin divide by the size of past gradients.
    """
    raise_it = f"raise {key} to about the median norm"
    if any(name in optimizer for name in _SCALE_FREE):
        return AlwaysClipped(
            consequence=f"under {optimizer}, whose steps hardly depend on the size of gradients, every batch counts "
            "alike",
            certainty="likely",
            remedy=f"nothing, if that is meant; else {raise_it}, so that only outliers are clipped",
        )
    remedy = f"{raise_it}, or set the learning rate with the clipping in mind"
    if "sgd" in optimizer:
        return AlwaysClipped(
            consequence="clipping sets how far each batch moves the weights", certainty="certain", remedy=remedy
        )
    return AlwaysClipped(
        consequence="under plain gradient descent clipping then sets how far each batch moves the weights, under Adam "
        "and its kin it hardly does",
        certainty="possible",
        remedy=remedy,
    )
