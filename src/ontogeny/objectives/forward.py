"""A forward pass with gradients over a micro-batch, and what one loss term may read of a forward pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from ontogeny.core.cached_targets import TargetRows
from ontogeny.core.errors import OntogenyError
from ontogeny.core.passages import Passage
from ontogeny.core.terms import given as given_targets
from ontogeny.data.collate import sides_of
from ontogeny.models.body_and_head import unwrapped
from ontogeny.models.experts import expert_outputs
from ontogeny.objectives.layers import predicting
from ontogeny.store.cached_targets import TargetShard

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutput

    from ontogeny.core.progress import Progress
    from ontogeny.core.terms import CompanionPass, ExpertOutputs, ForwardPass, Spelling, Term, TermNeed
    from ontogeny.models.body_and_head import Body
    from ontogeny.models.companions import Companion


T = TypeVar("T")


class ModelForward:
    """Runs a model once, when something is first read of it, and offers what `core.terms.ForwardPass` names.

    `batch` holds `input_ids`, `attention_mask` int64 `[B, T]`, `supervised` bool `[B, T]` (never position 0, never
    padding), and side inputs (`data.collate.Batch`). `nll` `[B, T]` is in nats; where a token is not supervised it is 0
    and carries no gradient. Of `hidden_states` and `attentions` only what is in `needs` is there.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        batch: "dict[str, Tensor]",
        *,
        needs: "Set[TermNeed]" = frozenset(),
        companions: "Mapping[str, CompanionPass] | None" = None,
    ) -> None:
        self.model = model
        self.batch = batch
        self.input_ids = batch["input_ids"]
        self.attention_mask = batch["attention_mask"]
        self.supervised = batch["supervised"]
        self.passages: Sequence[Passage] = getattr(batch, "passages", ())
        self.sides = sides_of(batch)
        self.companions: Mapping[str, CompanionPass] = companions or {}
        self._needs = needs

    @cached_property
    def output(self) -> "CausalLMOutput":
        """The model's output. Without padding no mask is passed, which lets attention take its fast causal path."""
        from ontogeny.models.body_and_head import side_arguments

        mask = None if bool(self.attention_mask.all()) else self.attention_mask
        asked = {f"output_{name}": True for name in ("hidden_states", "attentions") if name in self._needs}
        sides = side_arguments(self.model, self.sides)
        return self.model(input_ids=self.input_ids, attention_mask=mask, use_cache=False, **asked, **sides)

    @property
    def logits(self) -> "Tensor":
        """float `[B, T, V]`; position t predicts token t + 1."""
        logits = self.output.logits
        assert logits is not None
        return logits

    @property
    def hidden_states(self) -> "tuple[Tensor, ...]":
        """Embeddings, then the output of each block, the last one after the final norm: `[B, T, D]` each."""
        return given(self.output.hidden_states, "hidden states", self.model)

    @property
    def attentions(self) -> "tuple[Tensor, ...]":
        """Attention probabilities of each block: `[B, heads, T, T]` each."""
        return given(self.output.attentions, "attention probabilities", self.model)

    @cached_property
    def nll(self) -> "Tensor":
        """Negative log-likelihood of each supervised token given the ones before it, in float32 or float64."""
        from torch.nn import functional as F

        # The labels are shifted, not the logits: a slice of the logits would have to be copied, and its gradient again.
        targets = F.pad(self.input_ids.masked_fill(~self.supervised, -100), (0, 1), value=-100)[:, 1:]
        logits = self.logits.double() if self.logits.itemsize == 8 else self.logits.float()
        flat = F.cross_entropy(
            logits.view(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100, reduction="none"
        )
        return F.pad(flat.view(targets.shape)[:, :-1], (1, 0))


def given(outputs: "tuple[Tensor | None, ...] | None", what: str, model: "PreTrainedModel") -> "tuple[Tensor, ...]":
    """What a model returned of its inside. Raises OntogenyError if it returned nothing, or not of every block."""
    complete = tuple(tensor for tensor in outputs or () if tensor is not None)
    if not complete or len(complete) < len(outputs or ()):
        raise OntogenyError(
            f"{type(unwrapped(model)).__name__} returns no {what}, which a loss term reads: choose another model, or "
            "leave the term out"
        )
    return complete


class FrozenForward(ModelForward):
    """The same without gradients, in evaluation mode: a companion's. `shard`: what it says in a step, from a cache."""

    def __init__(
        self,
        companion: "Companion",
        batch: "dict[str, Tensor]",
        *,
        needs: "Set[TermNeed]",
        shard: TargetShard | None = None,
    ) -> None:
        super().__init__(companion.model, companion.read(batch), needs=needs)
        self._companion, self._shard = companion, shard

    @property
    def vocabulary(self) -> int:
        """The ids that it has logits for."""
        return self._companion.shape.vocabulary

    def logits_at(self, positions: "Tensor") -> "Tensor":
        """[n, V]: logits at flat positions, int64 [n]. Only what stands below the head is kept of the whole batch."""
        import torch

        with torch.no_grad():
            return self._companion.body_and_head.head(self._last_hidden.index_select(0, positions))

    @cached_property
    def targets(self) -> TargetRows | None:
        """What the cache holds of it; None without one. Raises StoreError for a passage that it lacks."""
        import torch

        if self._shard is None:
            return None
        rows, device = self._shard.rows_of(self.passages), self.input_ids.device

        def read(name: str, dtype: type) -> "Tensor":
            return torch.from_numpy(rows[name].astype(dtype)).to(device)

        positions, ids, form = predicting(self.supervised), read("ids", np.int64), self._shard.form
        if form.top_k is None:
            entropy = read("negative_entropy", np.float32)
            return TargetRows(form=form, positions=positions, ids=ids, negative_entropy=entropy)
        logits, rests = read("logits", np.float32), read("rests", np.float32)
        return TargetRows(form=form, positions=positions, ids=ids, logits=logits, rests=rests)

    @property
    def token_bytes(self) -> "tuple[Spelling, Spelling]":
        """What the ids of the trained model's tokenizer and of its own spell."""
        return self._companion.token_bytes

    @property
    def hidden_states(self) -> "tuple[Tensor, ...]":
        """Embeddings, then the output of each block, the last one after the final norm: `[B, T, D]` each."""
        return given(self._body.hidden_states, "hidden states", self.model)

    @cached_property
    def experts(self) -> "ExpertOutputs":
        """What each expert of the last mixture of experts makes of each position. Raises OntogenyError without one."""
        import torch

        with torch.no_grad():
            return expert_outputs(self.model, lambda: self._below_head(hidden_states=False).last_hidden)

    @property
    def _last_hidden(self) -> "Tensor":
        """[B * T, D] after the final norm."""
        return self._body.last_hidden.flatten(0, 1)

    @cached_property
    def _body(self) -> "Body":
        """What stands below the head: one pass for logits by the position and hidden states."""
        import torch

        with torch.no_grad():
            return self._below_head(hidden_states="hidden_states" in self._needs)

    def _below_head(self, hidden_states: bool) -> "Body":
        self.model.eval()
        body = self._companion.body_and_head
        return body.body(self.input_ids, hidden_states=hidden_states, sides=self.sides)

    @cached_property
    def output(self) -> "CausalLMOutput":
        """The model's output."""
        import torch

        self.model.eval()
        with torch.no_grad():
            return super().output


class CompanionForwards(Mapping[str, "CompanionPass"]):
    """The forward pass of each companion over a batch, run when it is first read. `shards`: caches, by companion."""

    def __init__(
        self,
        companions: "Mapping[str, Companion]",
        batch: "dict[str, Tensor]",
        needs: "Set[TermNeed]",
        shards: Mapping[str, TargetShard] = MappingProxyType({}),
    ) -> None:
        self._companions, self._batch, self._needs, self._shards = companions, batch, needs, shards
        self._run: dict[str, FrozenForward] = {}

    def __getitem__(self, name: str) -> "CompanionPass":
        if name not in self._run:
            companion, shard = self._companions[name], self._shards.get(name)
            self._run[name] = FrozenForward(companion, self._batch, needs=self._needs, shard=shard)
        return self._run[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._companions)

    def __len__(self) -> int:
        return len(self._companions)


class _Declared(dict[str, T]):
    """What a term names in one of its properties; asking for another is a defect of the term."""

    def __init__(self, where: str, declared: Mapping[str, T]) -> None:
        super().__init__(declared)
        self._where = where

    def __missing__(self, name: str) -> T:
        raise AttributeError(f"the loss term reads '{name}': name it in its `{self._where}`")


class TermForward:
    """A forward pass as one term reads it: what the term declares and nothing else, whoever ran the pass."""

    def __init__(
        self,
        forward: "ForwardPass",
        term: "Term",
        progress: "Progress",
        module: "nn.Module | None",
        anchor: "Mapping[str, Tensor]",
    ) -> None:
        self._forward, self._term, self.progress = forward, term, progress
        self.module, self.anchor = module, anchor
        self._computed: dict[str, object] = {}

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """What `compute` gives, computed when the name is first asked for."""
        if name not in self._computed:
            self._computed[name] = compute()
        return cast("T", self._computed[name])

    @property
    def model(self) -> "PreTrainedModel":
        """The model as it is called."""
        return self._forward.model

    @property
    def passages(self) -> Sequence[Passage]:
        """The passages of the batch."""
        return self._forward.passages

    @property
    def input_ids(self) -> "Tensor":
        """int64 [B, T]."""
        return self._forward.input_ids

    @property
    def attention_mask(self) -> "Tensor":
        """int64 [B, T]."""
        return self._forward.attention_mask

    @property
    def supervised(self) -> "Tensor":
        """bool [B, T]; without what the model wrote itself, where the term does not read it."""
        own = self._term.reads_own_text
        return self._forward.supervised if own else given_targets(self._forward.passages, self._forward.supervised)

    @property
    def nll(self) -> "Tensor":
        """[B, T], where the term needs it; 0 where a token is not supervised."""
        nll = self._needed("nll").nll
        return nll.where(self.supervised, nll.new_zeros(()))

    @property
    def logits(self) -> "Tensor":
        """[B, T, V], where the term needs them."""
        return self._needed("logits").logits

    @property
    def hidden_states(self) -> "tuple[Tensor, ...]":
        """[B, T, D] each, where the term needs them."""
        return self._needed("hidden_states").hidden_states

    @property
    def attentions(self) -> "tuple[Tensor, ...]":
        """[B, heads, T, T] each, where the term needs them."""
        return self._needed("attentions").attentions

    @property
    def sides(self) -> "Mapping[str, Tensor]":
        """The side inputs that the term names."""
        return _Declared("sides", {name: self._forward.sides[name] for name in self._term.sides})

    @property
    def companions(self) -> "Mapping[str, CompanionPass]":
        """The forward passes of the companions that the term names."""
        return _Declared("companions", {name: self._forward.companions[name] for name in self._term.companions})

    @property
    def parameters(self) -> "Mapping[str, Tensor]":
        """The model's parameters by name; a wrapper's prefix is left out."""
        return {name.removeprefix("module."): p for name, p in self._forward.model.named_parameters()}

    def _needed(self, name: "TermNeed") -> "ForwardPass":
        if name not in self._term.needed:
            kind = type(self._term).kind
            raise AttributeError(f"the loss term '{kind}' reads '{name}': add it to its `needs`")
        return self._forward
