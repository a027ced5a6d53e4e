"""Small things to look at: a tiny model, passages and probe sets built by hand, a context, a batch made of numbers."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ontogeny.core.kinds import find, kinds_of
from ontogeny.core.measures import Context
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.progress import Place, Progress
from ontogeny.data.collate import collate
from ontogeny.models.weights import effective_weights
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.terms.next_token import NextToken

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
VOCABULARY = 300


def kinds_without_settings() -> list[str]:
    """Measures that look at probe sets and need nothing said; of the others, their own tests hold the same."""
    kinds = kinds_of("ontogeny.measures")
    return [k for k in kinds if not any(f.is_required() for f in find("ontogeny.measures", k).model_fields.values())]


def make_model(*, seed: int = 0, vocabulary: int = VOCABULARY, dropout: float = 0.1, spread: float = 4.0) -> Any:
    """GPT-NeoX, d24 L2, random weights; `spread` multiplies the output projection so that choices are not all alike."""
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=128,
        hidden_dropout=dropout,
        attention_dropout=dropout,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        model.get_output_embeddings().weight.mul_(spread)
    return model


def make_autoencoder(*, seed: int = 0, vocabulary: int = VOCABULARY) -> Any:
    """A text autoencoder, d24 L2, one block of encoder, two latents."""
    from types import SimpleNamespace

    from ontogeny.models.sources.autoencoder import Autoencoder

    class Tokenizer:
        bos_token_id = eos_token_id = pad_token_id = 0

        def __len__(self) -> int:
            return vocabulary

    with torch.random.fork_rng(devices=[]):
        load = SimpleNamespace(tokenizer=Tokenizer(), length=128, seed=seed, dropout=None)
        return Autoencoder(size="pico", encoder_blocks=1, latents=2).load(load)


def passage(token_ids: Sequence[int], *, supervised: Sequence[bool] | None = None, source: str = "by hand") -> Passage:
    """A passage whose tokens all cover one byte."""
    n = len(token_ids)
    return Passage(
        text="x" * n,
        token_ids=np.array(token_ids, dtype=np.int32),
        byte_offsets=np.arange(n + 1, dtype=np.int32),
        source=source,
        supervised=np.ones(n, dtype=bool) if supervised is None else np.array(supervised, dtype=bool),
    )


def byte_passage(text: str) -> Passage:
    """A passage with one token per byte; its id is the byte plus one."""
    raw = text.encode()
    return Passage(
        text=text,
        token_ids=np.frombuffer(raw, dtype=np.uint8).astype(np.int32) + 1,
        byte_offsets=np.arange(len(raw) + 1, dtype=np.int32),
        source="by hand",
        supervised=np.ones(len(raw), dtype=bool),
    )


def random_probe(name: str, lengths: Sequence[int], *, seed: int = 0, vocabulary: int = VOCABULARY) -> ProbeSet:
    """Passages of random tokens."""
    generator = np.random.default_rng(seed)
    return ProbeSet(name=name, passages=[passage(generator.integers(0, vocabulary, n).tolist()) for n in lengths])


class ByteTokenizer:
    """What measures read of a tokenizer: end-of-text is 0, any other id is a byte plus one."""

    bos_token_id: int | None = 0
    eos_token_id: int | None = 0
    pad_token_id: int | None = 0

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [byte + 1 for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i - 1 for i in ids if 0 < i <= 256).decode("latin-1")


def make_context(model: Any, probes: Sequence[ProbeSet], **changes: Any) -> Context:
    """The context of a look at state 3 of 10."""
    settings: dict[str, Any] = {
        "model": model,
        "tokenizer": ByteTokenizer(),
        "place": Place(step=3, epoch=0.5, tokens_seen=100, flops=1.0, flops_counted=1.0, weights_sha256="0"),
        "progress": Progress(step=3, total_steps=10, epoch=0.5),
        "probes": {probe.name: probe for probe in probes},
        "objective": Objective([NextToken()]),
        "seed": 5,
        "weights": lambda: effective_weights(model),
        "batch_tokens": 64,
    }
    return Context(**(settings | changes))


def log_probabilities(model: Any, token_ids: np.ndarray) -> np.ndarray:
    """Independent of ours: the model's logits for one unpadded sequence, log-softmax in float64, float64 [T, V]."""
    was = model.training
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(token_ids.astype(np.int64))[None]).logits[0].double().numpy()
    model.train(was)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class HandBatch:
    """A forward batch whose predictions are given, right-padded like the real ones."""

    def __init__(self, probe: ProbeSet, rows: Sequence[int], **predictions: Sequence[Sequence[float]]) -> None:
        self.probe = probe.name
        self.rows = np.array(rows, dtype=np.int64)
        self.passages = [probe.passages[row] for row in rows]
        tensors = collate(self.passages, 0)
        self.input_ids = tensors["input_ids"]
        self.attention_mask = tensors["attention_mask"]
        self.supervised = tensors["supervised"]
        width = self.input_ids.shape[1]
        for name, lines in predictions.items():
            missing, dtype = (-1, torch.int64) if name in ("rank", "top1") else (float("nan"), torch.float32)
            padded = [[missing, *line, *[missing] * (width - 1 - len(line))] for line in lines]
            setattr(self, name, torch.tensor(padded, dtype=dtype))
