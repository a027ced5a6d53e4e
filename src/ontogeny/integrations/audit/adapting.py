"""Listens to adapters: do injected vectors arrive, does an adapter agree with itself, how large are branches?"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.integrations.audit.listening import Hook
from ontogeny.integrations.audit.observed import Branch, Injection
from ontogeny.integrations.audit.recording import ForwardRecord

if TYPE_CHECKING:
    from torch import Tensor

    from ontogeny.integrations.audit.recorder import Recorder

CLOSE = 0.01
"""Distance of two vectors, as a share of their length, below which they are one (what 16 bits leave)."""
MOST_BRANCHES = 64
"""Branches of low-rank adapters that are listened to, evenly spread over the model."""


def attach(recorder: "Recorder") -> None:
    """Listen to low-rank adapters from the start, to others as they are watched."""
    listener = AdapterListener(recorder)
    listeners = recorder.listeners
    listeners.at_start.append(listener.low_rank)
    listeners.on_forward.append(listener.inject)
    listeners.on_backward.append(listener.forget)
    listeners.on_step.append(listener.forget)
    listeners.on_watch.update(injected=listener.injected, positions=listener.positions)
    listeners.on_watch.update(adapter=listener.adapter, branches=listener.branches)


class AdapterListener:
    """Hooks on adapters and their residuals; what they give is compared at once, and only numbers are kept."""

    def __init__(self, recorder: "Recorder") -> None:
        self.recorder = recorder
        self.vectors: Tensor | None = None
        self.places: Any = None
        self.embedded: Tensor | None = None
        self.listens: set[int] = set()
        self.met: dict[bytes, bytes] = {}
        self.last: dict[str, float] = {}

    def injected(self, value: "Tensor") -> int:
        """Vectors [B, k, d] of the next forward pass; the recording gets their number."""
        self.vectors = value.detach().reshape(-1, value.shape[-1])
        embedding = getattr(self.recorder.heard, "get_input_embeddings", lambda: None)()
        if embedding is not None and self._new(embedding):
            self._hook(embedding, self._embedded)
        return len(self.vectors)

    def positions(self, value: Any) -> Any:
        """Where they belong: [B, k] places, or a mask [B, T]."""
        self.places = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        return self.places.shape

    def adapter(self, module: Any) -> str:
        """A module that is to give the same for the same, up to the next backward pass."""
        if self._new(module):
            self._hook(module, self._ran)
        return type(module).__name__

    def branches(self, named: Mapping[str, tuple[Any, Any]]) -> list[str]:
        """Branch and residual of each, by name: modules whose outputs are added."""
        for name, (branch, residual) in named.items():
            self._compare(name, branch, residual)
        return list(named)

    def low_rank(self) -> None:
        """Layers with `base_layer`, `lora_B` and `scaling`, as PEFT makes them."""
        layers = [
            (name, one)
            for name, one in self.recorder.model.named_modules()
            if all(hasattr(one, part) for part in ("base_layer", "lora_B", "scaling"))
        ]
        spread = np.unique(np.linspace(0, len(layers) - 1, min(MOST_BRANCHES, len(layers)), dtype=int))
        for name, layer in (layers[at] for at in spread):
            for adapter, branch in dict(layer.lora_B).items():
                self._compare(f"{name}.{adapter}", branch, layer.base_layer, float(layer.scaling[adapter]))

    def inject(self, forward: ForwardRecord, given: Mapping[str, Any], logits: "Tensor | None") -> None:
        """Hold what the model was given as embeddings against the vectors."""
        embeds = given.get("inputs_embeds")
        embeds, self.embedded = (self.embedded if embeds is None else embeds.detach()), None
        vectors, places, self.vectors, self.places = self.vectors, self.places, None, None
        if vectors is None or places is None or embeds is None:
            return
        mask = given.get("attention_mask")
        rows, columns = _places(places, embeds.shape[1])
        if len(rows) == len(vectors):
            shown = None if mask is None or mask.ndim != 2 else mask.detach().cpu().numpy()[rows, columns]
            self.recorder.seen.adapters.injections.append(
                _injection(forward.step, vectors, embeds, rows, columns, shown)
            )

    def forget(self) -> None:
        """The micro-batch or the step is over: in the next one, the same input may meet another dropout mask."""
        self.met.clear()

    def _embedded(self, module: Any, args: Any, output: "Tensor") -> None:
        if self.recorder.looking and self.vectors is not None:
            self.embedded = output.detach()

    def _ran(self, module: Any, args: Any, output: Any) -> None:
        if not self.recorder.looking or not module.training:
            return
        seen = self.recorder.seen.adapters
        given, gave = _bits(args), _bits(output)
        seen.runs += 1
        if given in self.met:
            seen.repeated += 1
            seen.disagreeing += self.met[given] != gave
        self.met[given] = gave

    def _compare(self, name: str, branch: Any, residual: Any, scale: float = 1.0) -> None:
        def size(module: Any, output: Any) -> float:
            first = output[0] if isinstance(output, tuple) else output
            return float(first.detach().float().square().mean().sqrt())

        def of_residual(module: Any, args: Any, output: Any) -> None:
            if self.recorder.looking and module.training:
                self.last[f"{name} residual"] = size(module, output)
                self._ratio(name)

        def of_branch(module: Any, args: Any, output: Any) -> None:
            if self.recorder.looking and module.training:
                self.last[f"{name} branch"] = scale * size(module, output)
                self._ratio(name)

        self._hook(residual, of_residual)
        self._hook(branch, of_branch)

    def _ratio(self, name: str) -> None:
        parts = [f"{name} {part}" for part in ("branch", "residual")]
        if all(part in self.last for part in parts):
            branch, residual = (self.last.pop(part) for part in parts)
            ratio = branch / residual if residual else float("inf")
            step = len(self.recorder.seen.steps)
            self.recorder.seen.adapters.branches.append(Branch(step=step, name=name, ratio=ratio))

    def _hook(self, module: Any, listen: Callable[..., None]) -> None:
        def harmless(*args: Any) -> None:
            self.recorder.listeners.tell([listen], *args)

        self.recorder.listeners.handles.append(module.register_forward_hook(Hook(harmless)))

    def _new(self, module: Any) -> bool:
        known = id(module) in self.listens
        self.listens.add(id(module))
        return not known


def _places(value: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a mask [B, T], or of places [B, k]."""
    if value.dtype == bool:
        return value.nonzero()[0], value.nonzero()[1]
    flat = value.reshape(-1)
    rows = np.repeat(np.arange(len(value)), len(flat) // max(len(value), 1))
    return rows, np.where(flat < 0, flat + length, flat)


def _injection(
    step: int, vectors: "Tensor", embeds: "Tensor", rows: np.ndarray, columns: np.ndarray, shown: np.ndarray | None
) -> Injection:
    import torch

    with torch.no_grad():
        flat = embeds.float().flatten(0, 1)
        own = torch.as_tensor(rows * embeds.shape[1] + columns, device=flat.device)
        distance = torch.cdist(vectors.float().to(flat.device), flat)
        same = distance <= CLOSE * vectors.float().norm(dim=-1, keepdim=True).clamp_min(1e-12)
        reached = same.gather(1, own[:, None])[:, 0]
        other = same.clone()
        # Equal vectors are each other's: a vector stands elsewhere only where no equal one belongs.
        alike = torch.cdist(vectors.float(), vectors.float()) <= CLOSE * vectors.float().norm(dim=-1, keepdim=True)
        for at in range(len(own)):
            other[alike[:, at], own[at]] = False
        elsewhere = other.any(dim=1)
    hidden = 0 if shown is None else int((shown == 0).sum())
    return Injection(
        step=step, vectors=len(vectors), reached=int(reached.sum()), elsewhere=int(elsewhere.sum()), hidden=hidden
    )


def _bits(value: Any) -> bytes:
    """A fingerprint of all tensors in a value: equal bits, equal bytes."""
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    for one in value if isinstance(value, tuple | list) else [value]:
        if hasattr(one, "detach"):
            held = one.detach().float().cpu().contiguous()
            digest.update(repr(tuple(held.shape)).encode() + held.numpy().tobytes())
    return digest.digest()
