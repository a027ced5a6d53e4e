"""The objective: the only place where loss terms are added."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import OntogenyError, closest
from ontogeny.core.progress import Progress
from ontogeny.core.recipe_kinds import WEIGHTINGS
from ontogeny.core.seeds import derive_seed
from ontogeny.core.terms import ForwardPass, Term, TermContext, TermNeed, Unit, given, supervised_bytes
from ontogeny.core.weightings import Weighting
from ontogeny.models.body_and_head import unwrapped
from ontogeny.objectives.forward import CompanionForwards, ModelForward, TermForward
from ontogeny.store.cached_targets import TargetShard

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from ontogeny.models.companions import Companion

Anchors = Mapping[str, "Mapping[str, Tensor]"]
"""What terms keep of the model that training started from, by label."""
WEIGHTING = "_weighting"
"""In the place of a label, which begins otherwise: the weighting."""
Sums = dict[str, tuple[float, float]]
"""By label: sum of a term, number of its units."""
Listener = Callable[["dict[str, Tensor]", dict[str, float], "Tensor"], object]
"""Takes unweighted shares of terms with their graph, weights, and the weighted sum."""


class Objective:
    """A scheduled sum of terms: objective = sum over terms of weight(progress) x (sum of the term / its units).

    A weighting that learns multiplies each weight and adds an offset. Training and evaluation go through the same
    object, with the same weights at the same step.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        anchors: "Anchors | None" = None,
        companions: "Mapping[str, Companion] | None" = None,
        weighting: Weighting | None = None,
        targets: Mapping[str, TargetShard] | None = None,
    ) -> None:
        """`weighting`: by default fixed. `targets`: by companion, what steps read from a cache in its place."""
        labels = [term.label for term in terms]
        named = [*labels, *(name for term in terms for name in term.detail_names().values())]
        if len(set(named)) != len(named):
            raise ValueError(f"two terms share a name: {', '.join(named)}")
        self.terms = tuple(terms)
        self.anchors = anchors or {}
        self.companions = dict(companions or {})
        self._targets = dict(targets or {})
        for term in self.terms:
            for name in term.companions if "attentions" in type(term).companion_needs else ():
                if name in self.companions:
                    self.companions[name].model.set_attn_implementation("eager")
        self.weighting = weighting or WEIGHTINGS.make("fixed")
        self.modules: dict[str, nn.Module] = {}
        """Trainable parts that terms built, by label; those of the weighting under `WEIGHTING`."""
        self.decided_weights: dict[str, float] = {}
        """Weights that hold in place of the scheduled ones, by label."""
        self.listeners: list[Listener] = []
        """Called with every training loss; they change nothing."""

    @property
    def needs(self) -> Set[TermNeed]:
        """What the terms read of the model's forward pass."""
        return frozenset[TermNeed]().union(*(term.needed for term in self.terms))

    @property
    def sides(self) -> Set[str]:
        """Side inputs that the terms read."""
        return frozenset(name for term in self.terms for name in term.sides)

    def prepare(self, model: "PreTrainedModel") -> None:
        """Let the model return what the terms need: the fused kernels of attention give no probabilities."""
        if "attentions" in self.needs:
            unwrapped(model).set_attn_implementation("eager")

    def build(self, context: TermContext) -> None:
        """Let every term build its trainable parts. Torch's generator is left as it was.

        Raises OntogenyError for a label that torch's modules use themselves, such as `train`.
        """
        import torch

        for term in self.terms:
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed(context.seed, "term", term.label))
                module = term.build(context)
            if module is not None:
                if hasattr(torch.nn.ModuleDict, term.label):
                    raise OntogenyError(
                        f"the loss term '{term.label}' has trainable parts, which torch cannot keep under that label: "
                        "give it another name"
                    )
                self.modules[term.label] = module
        weighing = self.weighting.build([term.label for term in self.terms])
        if weighing is not None:
            self.modules[WEIGHTING] = weighing

    def load_modules(self, path: Path, device: "object" = "cpu") -> None:
        """Read the built parts as `train.trainer_state` saved them (safetensors, `<label>.<parameter>`)."""
        from safetensors.torch import load_file

        if self.modules:
            saved = load_file(path, device=str(device))
            for label, module in self.modules.items():
                prefix = f"{label}."
                own = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
                module.load_state_dict(own)

    def forward(self, model: "PreTrainedModel", batch: "dict[str, Tensor]") -> ModelForward:
        """A forward pass for `train_loss`, which computes what the terms need when they read it.

        `batch`: of `data.collate`, on the model's device.
        """
        return ModelForward(model, batch, needs=self.needs, companions=self.companion_forwards(batch))

    def step_forward(self, model: "PreTrainedModel", batch: "dict[str, Tensor]") -> ModelForward:
        """The same for a training step, which alone reads companions' targets from a cache where there is one."""
        companions = CompanionForwards(self.companions, batch, self._companion_needs, self._targets)
        return ModelForward(model, batch, needs=self.needs, companions=companions)

    def companion_forwards(self, batch: "dict[str, Tensor]") -> CompanionForwards:
        """The companions' forward passes over a batch, each run when it is first read."""
        return CompanionForwards(self.companions, batch, self._companion_needs)

    @property
    def _companion_needs(self) -> Set[TermNeed]:
        return frozenset[TermNeed]().union(*(type(term).companion_needs for term in self.terms if term.companions))

    def weights(self, progress: Progress) -> dict[str, float]:
        """Weight of each term at this progress, as scheduled or decided, times what the weighting has learned."""
        learned = self._learned()
        return {
            label: weight * float(learned[label][0].detach()) if learned else weight
            for label, weight in self._given_weights(progress).items()
        }

    def _given_weights(self, progress: Progress) -> dict[str, float]:
        scheduled = {term.label: term.weight.at(progress.step, progress.total_steps) for term in self.terms}
        return scheduled | self.decided_weights

    def _learned(self) -> "dict[str, tuple[Tensor, Tensor]]":
        """Of each term the factor of its weight, and what is added to the objective; empty if nothing is learned."""
        if WEIGHTING not in self.modules:
            return {}
        factors, offsets = self.weighting.factors(self.modules[WEIGHTING])
        return dict(zip((term.label for term in self.terms), zip(factors, offsets, strict=True), strict=True))

    def set_weight(self, label: str, weight: float) -> None:
        """Let a term have that weight from here on. Raises OntogenyError, naming the closest term, if there is none."""
        labels = [term.label for term in self.terms]
        if label not in labels:
            raise OntogenyError(f"no loss term '{label}' has a weight to set: {closest(label, labels)}")
        self.decided_weights[label] = weight

    def train_loss(
        self, forward: ForwardPass, progress: Progress, units: Mapping[Unit, float]
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """This micro-batch's share of the step's objective, to call `backward` on; and of each unweighted term.

        Beside each term stands the share of what it tells besides (`Term.tell`). A term of weight 0 is not computed and
        has no share; only where all weights are 0 are all computed. `units` counts tokens, examples and batches of the
        whole step (all micro-batches, all processes), so that the shares of all micro-batches add up to the objective,
        whatever the accumulation; where it names no given tokens, the model wrote none.
        """
        total, _, told = self.summands(forward, progress, units)
        return total, told

    def summands(
        self, forward: ForwardPass, progress: Progress, units: Mapping[Unit, float]
    ) -> "tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]":
        """`train_loss` with the summands that it is made of, by label, each with its graph: total, summands, told."""
        weights, learned = self._given_weights(progress), self._learned()
        shares: dict[str, Tensor] = {}
        summands: dict[str, Tensor] = {}
        told: dict[str, Tensor] = {}
        for term in self.optimised(progress) or self.terms:
            value, unit, details = self._value(term, forward, progress)
            count = units["tokens"] if unit == "given_tokens" and unit not in units else units[unit]
            shares[term.label] = value / count
            told |= {name: detail / count for name, detail in details.items()}
            summands[term.label] = shares[term.label] * weights[term.label]
            if learned:
                factor, offset = learned[term.label]
                summands[term.label] = summands[term.label] * factor + offset / units["batch"]
        total = _added(summands.values())
        told = {label: share.detach() for label, share in shares.items()} | told
        if self.listeners:
            by = self.weights(progress)
            if learned:  # what the weighting adds is heard as a summand of weight 1
                shares["weighting"] = _added(learned[label][1] for label in shares) / units["batch"]
                by["weighting"] = 1.0
            for listen in self.listeners:
                listen(shares, by, total)
        return total, summands, told

    @property
    def changing(self) -> list[str]:
        """Labels of the terms whose weight a schedule, a control or the weighting changes.

        The others stand in the recipe.
        """
        if self.weighting.separate or self.weighting.learns:
            return [term.label for term in self.terms]
        return [t.label for t in self.terms if not t.weight.is_constant or t.label in self.decided_weights]

    def optimised(self, progress: Progress) -> tuple[Term, ...]:
        """The terms that have a weight at this progress."""
        weights = self._given_weights(progress)
        return tuple(term for term in self.terms if weights[term.label])

    def value_of(self, term: Term, forward: ForwardPass, progress: Progress) -> "tuple[Tensor, Unit]":
        """A term's sum over a batch, with its graph, and its unit."""
        value, unit, _ = self._value(term, forward, progress)
        return value, unit

    def sums(self, forward: ForwardPass, progress: Progress) -> Sums:
        """Each term's sum over a batch and the number of its units there, and of its details; add them up over batches.

        Terms of weight 0 are computed, too.
        """
        counts = count_units(forward)
        sums: Sums = {}
        for term in self.terms:
            value, unit, details = self._value(term, forward, progress)
            for name, amount in {term.label: value.detach(), **details}.items():
                sums[name] = (float(amount), counts[unit])
        return sums

    def _value(
        self, term: Term, forward: ForwardPass, progress: Progress
    ) -> "tuple[Tensor, Unit, Mapping[str, Tensor]]":
        """The term's sum, its unit, and what it tells besides by the names in metrics."""
        if type(term).anchored and term.label not in self.anchors:
            raise OntogenyError(
                f"the loss term '{term.label}' needs its anchor, the weights at the start: it is missing"
            )
        module = self.modules.get(term.label)
        if module is not None:
            module.train(forward.model.training)
        own = TermForward(forward, term, progress, module, self.anchors.get(term.label, {}))
        value, unit = term.value(own)
        if unit == "tokens" and not term.reads_own_text:
            unit = "given_tokens"  # of the whole step: this micro-batch may hold no own text, and others some
        told, names = term.tell(value.detach(), own), term.detail_names()
        return value, unit, {names[detail]: amount.detach() for detail, amount in told.items()}

    def combine(self, sums: Mapping[str, tuple[float, float]], progress: Progress) -> tuple[float, dict[str, float]]:
        """The objective, and each unweighted term and detail, from accumulated sums, with that progress's weights."""
        weights = self.weights(progress)
        parts = {name: total / units if units else float("nan") for name, (total, units) in sums.items()}
        # 0 times what is no number is no number: a term of weight 0 stays out.
        counted = [name for name in weights if weights[name] and name in parts]
        total = sum(weights[name] * parts[name] for name in counted)
        if learned := self._learned():
            total += sum(float(learned[name][1].detach()) for name in counted)
        return total, parts


def _added(summands: "Iterable[Tensor]") -> "Tensor":
    """Their sum, from the first on."""
    first, *others = summands
    for other in others:
        first = first + other
    return first


def count_units(forward: ForwardPass) -> dict[Unit, float]:
    """How many units of each kind a batch holds: supervised tokens, bytes that they cover, examples, one batch."""
    return {
        "tokens": float(forward.supervised.sum()),
        "given_tokens": float(given(forward.passages, forward.supervised).sum()),
        "bytes": supervised_bytes(forward.passages),
        "examples": float(len(forward.input_ids)),
        "batch": 1.0,
    }
