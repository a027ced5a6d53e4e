"""A run that looks like one: real text, planted losses, written through the store's own writer."""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.progress import Place
from ontogeny.core.seeds import derive_seed
from ontogeny.store.run import Run, open_run
from ontogeny.store.writer import RunWriter

STEPS_PER_EPOCH = 12
VOCAB = 2048


def passage(text: str, source: str) -> Passage:
    """Words with the space before them are tokens; ids are hashes of the words."""
    raw = text.encode()
    ends = [m.end() for m in re.finditer(rb"\s?\w{1,6}|\s?[^\w]", raw)]
    offsets = np.array([0, *ends], dtype=np.int32)
    ids = [derive_seed(0, raw[a:b].decode("utf-8", "replace")) % VOCAB for a, b in pairwise(offsets)]
    n = len(ids)
    return Passage(
        text=text,
        token_ids=np.array(ids, np.int32),
        byte_offsets=offsets,
        source=source,
        supervised=np.ones(n, dtype=bool),
    )


def cut(texts: Mapping[str, str], corpus: str, count: int, length: int) -> list[Passage]:
    """The first passages of so many tokens, four per document at most."""
    found: list[Passage] = []
    for name, text in texts.items():
        whole = passage(text[: 40 * length], f"{corpus}:{name}#0")
        for start in range(0, 4 * length, length):
            if len(whole) < start + length or len(found) == count:
                continue
            a, b = (int(whole.byte_offsets[start + i]) for i in (0, length))
            piece = passage(text.encode()[a:b].decode("utf-8", "ignore"), f"{corpus}:{name}#{a}")
            found.append(shortened(piece, length))
    assert len(found) == count, (corpus, len(found))
    return found


def shortened(one: Passage, length: int) -> Passage:
    """The same with its first tokens alone."""
    return Passage(
        text=one.text,
        token_ids=one.token_ids[:length],
        source=one.source,
        supervised=one.supervised[:length],
        byte_offsets=one.byte_offsets[: length + 1],
    )


def prose() -> dict[str, str]:
    from pydoc_data.topics import topics

    return {name: topics[name] for name in sorted(topics) if len(topics[name]) > 1500}


def code() -> dict[str, str]:
    import email
    import json

    folders = [Path(json.__file__).parent, Path(email.__file__).parent]
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    return {path.stem: text for path in files if len(text := path.read_text(encoding="utf-8")) > 1500}


def probes(count: int, length: int) -> dict[str, ProbeSet]:
    texts = prose()
    halves = dict(list(texts.items())[::2]), dict(list(texts.items())[1::2])
    return {
        "train": ProbeSet(name="train", passages=cut(halves[0], "prose", count, length), about="prose/train"),
        "novel": ProbeSet(name="novel", passages=cut(halves[1], "prose", count, length), about="prose/novel"),
        "general": ProbeSet(name="general", passages=cut(code(), "code", min(count, 30), length), about="code/novel"),
    }


RECIPE: dict[str, Any] = {
    "name": "synthetic",
    "about": "A model that knows code reads the same prose again and again.",
    "data": {
        "train": [{"of": "prose/train", "count": 48}],
        "probes": {"train": {"of": "prose/train"}, "novel": {"of": "prose/novel"}, "general": {"of": "code/novel"}},
    },
    "model": {"kind": "from_run", "recipe": "synthetic-base"},
    "train": {"seed": 0, "epochs": 60.0, "batch": 4, "lr": 0.001},
    "checkpoints": {"every_epochs": 2.5},
}
PROVENANCE: dict[str, Any] = {
    "recipe_hash": "0123456789ab",
    "train_hash": "ba9876543210",
    "started_unix_s": 1_760_000_000.0,
    "command": ["ontogeny", "run", "synthetic"],
    "environment": {
        "ontogeny": "0.1.0",
        "python": "3.11.2",
        "packages": {"torch": "2.13.0", "numpy": "2.4.6"},
        "platform": "Linux-6.1",
        "processor": "A processor",
        "cores": 2,
        "threads": 2,
        "device": "cpu",
    },
    "data": {
        "corpora": {
            "prose": {
                "kind": "python_prose",
                "documents": 80,
                "characters": 460_000,
                "sha256": "ab" * 32,
                "splits": {"train": {"documents": 60}, "novel": {"documents": 20}},
            }
        },
        "tokenizer": {"size": 2048, "sha256": "cd" * 32, "trained_on": ["code/train"]},
        "train": {"passages": 48, "tokens": 6144, "sha256": "ef" * 8},
        "probes": {"train": {"of": "prose/train", "passages": 48, "tokens": 6144, "sha256": "12" * 8}},
        "overlap": [
            {"splits": ["prose/train", "prose/novel"], "exact_passages": 0, "gram_rate": [0.0, 0.0], "leaks": False}
        ],
    },
    "model": {
        "class": "GPTNeoXForCausalLM",
        "parameters": 360_000,
        "nonembedding_parameters": 100_000,
        "parent": {"run": "synthetic-base-12345678", "step": 400, "weights_sha256": "9f" * 32},
    },
    "resumes": [{"step": 120, "unix_s": 1_760_000_100.0}],
    "extensions": [],
}


def place(step: int) -> Place:
    return Place(
        step=step,
        epoch=step / STEPS_PER_EPOCH,
        tokens_seen=step * 512,
        flops=step * 3e8,
        flops_counted=step * 4e8,
        weights_sha256=f"{step:064x}",
    )


def write_run(
    path: Path,
    *,
    checkpoints: int = 25,
    count: int = 48,
    length: int = 128,
    seed: int = 0,
    groups: tuple[str, ...] | None = None,
    recipe: Mapping[str, Any] | None = None,
    finished: bool = True,
    sets: dict[str, ProbeSet] | None = None,
    by_passage: bool = True,
) -> Run:
    """Write a whole run; `groups` names the measures that it has (all by default).

    `by_passage`: does `evaluation` keep the loss of passages? Earlier versions did not.
    """
    sets = sets or probes(count, length)
    recipe = {**RECIPE, **(recipe or {}), "train": {**RECIPE["train"], **(recipe or {}).get("train", {}), "seed": seed}}
    steps = [round(i * 60 * STEPS_PER_EPOCH / max(checkpoints - 1, 1)) for i in range(checkpoints)]
    with RunWriter.create(path, recipe_yaml="name: synthetic\n", recipe=recipe, provenance=PROVENANCE) as writer:
        for probe in sets.values():
            writer.put_probes(probe)
        for step in range(steps[-1]):
            _train_rows(writer, step, steps[-1], seed)
        for step in steps:
            share = step / max(steps[-1], 1)
            _look(writer, step, share, sets, seed, groups, by_passage)
        state = {"state": "finished", "started_unix_s": 1_760_000_000.0, "finished_unix_s": 1_760_000_180.0}
        running = {"state": "running", "started_unix_s": 1_760_000_000.0}
        writer.set_status(step=steps[-1], total_steps=steps[-1], **(state if finished else running))
        writer.update_provenance(started_unix_s=1_760_000_000.0)
    return open_run(path)


def _train_rows(writer: RunWriter, step: int, total: int, seed: int) -> None:
    draw = np.random.default_rng(derive_seed(seed, "train", step))
    loss = 5.2 * np.exp(-4.5 * step / total) + 0.05 + 0.15 * draw.standard_normal() * np.exp(-3 * step / total)
    for name, value in {
        "loss": loss,
        "term_next_token": loss,
        "learning_rate": 1e-3 * min(1, (step + 1) / 36) * (1 - step / total),
        "grad_norm": 0.3 + draw.gamma(2, 0.4) * np.exp(-2 * step / total),
        "tokens": 512,
        "supervised_tokens": 508,
        "tokens_seen": 512 * (step + 1),
        "epoch": step / STEPS_PER_EPOCH,
    }.items():
        writer.add_metric(step, name, "train", float(value))
    writer.add_metric(step, "step_seconds", "timing", 0.05 + 0.01 * draw.random())


def level(role: str, share: float, seed: int) -> float:
    """Planted mean loss as a multiple of a token's own difficulty."""
    wobble = 0.02 * np.random.default_rng(derive_seed(seed, role)).standard_normal()
    if role == "train":
        return float(np.exp(-5 * share)) + 0.005
    if role == "novel":
        return 1 - 0.25 * np.exp(-(((share - 0.15) / 0.12) ** 2)) * (share > 0) + 0.5 * share * (share > 0.15) + wobble
    return 0.45 * (1 + 1.1 * share) + wobble * share


def _look(
    writer: RunWriter,
    step: int,
    share: float,
    sets: dict[str, ProbeSet],
    seed: int,
    groups: tuple[str, ...] | None,
    by_passage: bool,
) -> None:
    nll, rank, entropy, hits = {}, {}, {}, {}
    for name, probe in sets.items():
        parts = [_tokens(name, one, share, seed) for one in probe.passages]
        nll[name], rank[name], entropy[name] = (np.concatenate(column) for column in zip(*parts, strict=True))
        hits[name] = [part[1] == 0 for part in parts]
    made = {
        "evaluation": _evaluation(sets, nll, by_passage),
        "token_nll": token_nll(sets, nll, rank, entropy),
        "extraction": _extraction(sets, hits),
        "cloze": _cloze(sets, hits),
        "weight_drift": _drift(share, seed),
        "gradient_norms": _gradients(sets, share),
    }
    for group, data in made.items():
        if groups is not None and group not in groups:
            continue
        writer.put_measure(group, place(step), data)
        for name, variable in data.data_vars.items():
            if variable.dims == ("probe",):
                for probe, value in zip(data["probe"].to_numpy(), variable.to_numpy(), strict=True):
                    writer.add_metric(step, f"{group}/{name}", str(probe), float(value))
            elif variable.dims == ():
                writer.add_metric(step, f"{group}/{name}", "model", float(variable))
        writer.add_metric(step, f"measure/{group}", "timing", 0.02)
    writer.add_metric(step, "measure/forward", "timing", 0.2)
    writer.add_metric(step, "checkpoint", "timing", 0.06)
    if groups is None or "generation" in groups:
        writer.add_samples(step, "generation", _samples(sets, share))
        writer.add_metric(step, "generation/distinct_2", "general", 0.9 - 0.3 * share)


def _tokens(role: str, one: Passage, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(derive_seed(seed, role, one.fingerprint))
    difficulty = draw.gamma(1.3, 3.6, len(one))
    own = np.clip(difficulty * level(role, share, seed) * draw.lognormal(0, 0.08 * (share > 0), len(one)), 1e-4, 18)
    rank = np.where(own < 0.8, 0, np.rint(np.exp(own * 0.8))).clip(0, VOCAB - 1)
    entropy = np.clip(0.3 * own + 0.8 * level(role, share, seed), 0, np.log(VOCAB))
    own[0], rank[0], entropy[0] = np.nan, -1, np.nan
    return own.astype(np.float32), rank.astype(np.int32), entropy.astype(np.float32)


def variable(dims: Any, values: Any, units: str = "1") -> tuple[Any, Any, dict[str, str]]:
    return dims, np.asarray(values), {"units": units, "long_name": "a number"}


def _evaluation(sets: dict[str, ProbeSet], nll: dict[str, np.ndarray], by_passage: bool) -> xr.Dataset:
    mean = np.array([np.nanmean(nll[name]) for name in sets])
    error = [
        np.std([np.nanmean(p) for p in np.array_split(nll[n], len(s))], ddof=1) / np.sqrt(len(s))
        for n, s in sets.items()
    ]
    numbers = {
        "nll": mean,
        "nll_se": error,
        "perplexity": np.exp(mean),
        "bits_per_byte": mean / 2,
        "objective": mean,
        "n_tokens": [np.isfinite(nll[name]).sum() for name in sets],
        "top1": np.exp(-mean / 2),
    }
    means = xr.Dataset(
        {k: variable("probe", np.asarray(v, float)) for k, v in numbers.items()},
        {"probe": np.array(list(sets), dtype=np.str_)},
    )
    return means.merge(passage_losses(sets, nll)) if by_passage else means


def passage_losses(sets: Mapping[str, ProbeSet], nll: Mapping[str, np.ndarray]) -> xr.Dataset:
    """What `evaluation` records of passages, from the NLL of single tokens (NaN: not predicted)."""
    parts = [
        part
        for name, probe in sets.items()
        for part in np.split(nll[name], np.cumsum([*map(len, probe.passages)])[:-1])
    ]
    counts = [len(probe) for probe in sets.values()]
    return xr.Dataset(
        {"passage_nll_nats": variable("passage", [float(part[1:].astype(float).sum()) for part in parts], "nats")},
        {
            "scored_tokens": ("passage", np.array([len(part) - 1 for part in parts], np.int32)),
            "probe_of_passage": ("passage", np.repeat(np.array(list(sets), dtype=np.str_), counts)),
            "passage_id": ("passage", np.concatenate([np.arange(n) for n in counts]).astype(np.int32)),
        },
    )


def token_coordinates(sets: dict[str, ProbeSet]) -> dict[str, Any]:
    rows = [
        (name, i, j) for name, probe in sets.items() for i, one in enumerate(probe.passages) for j in range(len(one))
    ]
    names, passages, positions = zip(*rows, strict=True)
    return {
        "probe_of_token": ("token", np.array(names, dtype=np.str_)),
        "passage": ("token", np.array(passages, np.int32)),
        "position": ("token", np.array(positions, np.int32)),
    }


def token_nll(sets: dict[str, ProbeSet], nll: Any, rank: Any, entropy: Any) -> xr.Dataset:
    values = {"nll_nats": (nll, "nats"), "rank": (rank, "1"), "entropy_nats": (entropy, "nats")}
    return xr.Dataset(
        {k: variable("token", np.concatenate(list(v.values())), u) for k, (v, u) in values.items()},
        token_coordinates(sets),
    )


def _extraction(sets: dict[str, ProbeSet], hits: dict[str, list[np.ndarray]]) -> xr.Dataset:
    flags, mask = [], []
    for name in sets:
        for hit in hits[name]:
            k = len(hit) // 4
            whole = bool(hit[k : 2 * k].all())
            flags.append(float(whole))
            inside = np.zeros(len(hit), np.uint8)
            inside[k : 2 * k] = whole
            mask.append(inside)
    counts = [len(probe) for probe in sets.values()]
    share = [np.mean(part) for part in np.split(np.array(flags), np.cumsum(counts)[:-1])]
    coordinates = {
        "probe": np.array(list(sets), dtype=np.str_),
        **token_coordinates(sets),
        "probe_of_passage": ("passage", np.repeat(np.array(list(sets), dtype=np.str_), counts)),
        "passage_id": ("passage", np.concatenate([np.arange(n) for n in counts]).astype(np.int32)),
    }
    values = {
        "share": variable("probe", share),
        "share_low": variable("probe", np.array(share) * 0.9),
        "share_high": variable("probe", np.minimum(np.array(share) + 0.08, 1)),
        "n": variable("probe", np.array(counts, float)),
        "extractable": variable("passage", np.array(flags, np.float32)),
        "in_extractable_suffix": variable("token", np.concatenate(mask)),
    }
    quarter = len(next(iter(hits.values()))[0]) // 4
    return xr.Dataset(values, coordinates, {"prefix_tokens": quarter, "suffix_tokens": quarter})


def _cloze(sets: dict[str, ProbeSet], hits: dict[str, list[np.ndarray]]) -> xr.Dataset:
    correct = {name: np.array([hit[-3] for hit in hits[name]], np.uint8) for name in sets}
    names = np.array(list(sets), dtype=np.str_)
    counts = [len(one) for one in correct.values()]
    accuracy = np.array([one.mean() for one in correct.values()])
    error = np.array([one.std(ddof=1) / np.sqrt(len(one)) for one in correct.values()])
    return xr.Dataset(
        {
            "accuracy": variable("probe", accuracy),
            "accuracy_se": variable("probe", error),
            "correct": variable("item", np.concatenate(list(correct.values()))),
        },
        {
            "probe": names,
            "probe_of_item": ("item", np.repeat(names, counts)),
            "passage_of_item": ("item", np.concatenate([np.arange(n) for n in counts]).astype(np.int32)),
        },
    )


def _drift(share: float, seed: int) -> xr.Dataset:
    blocks = np.arange(-1, 3)
    first = 0.4 * np.sqrt(share) * np.array([0.6, 1.0, 1.2, 0.8]) * (1 + 0.05 * seed)
    previous = np.full(4, np.nan) if share == 0 else 0.05 * (1.1 - share) * np.array([0.6, 1.0, 1.2, 0.8])
    data = {}
    for reference, values in (("first", first), ("previous", previous)):
        for quantity, scale in (("relative_l2", 1.0), ("mad", 0.01)):
            data[f"block_{quantity}_{reference}"] = variable("block", values * scale)
            data[f"{quantity}_{reference}"] = variable((), float(values.mean() * scale))
        data[f"block_cosine_{reference}"] = variable("block", 1 - values**2 / 2)
    return xr.Dataset(data, {"block": blocks})


def _gradients(sets: dict[str, ProbeSet], share: float) -> xr.Dataset:
    norms = np.array([[1.5 * level(name, share, 0) * f for f in (0.4, 1.0, 0.9, 0.5)] for name in sets])
    return xr.Dataset(
        {
            "block_norm": variable(("probe", "block"), norms, "nats"),
            "norm": variable("probe", np.sqrt((norms**2).sum(1))),
        },
        {"probe": np.array(list(sets), dtype=np.str_), "block": np.arange(-1, 3)},
    )


def _samples(sets: dict[str, ProbeSet], share: float) -> list[dict[str, Any]]:
    rows = []
    for name, probe in sets.items():
        for i, one in enumerate(probe.passages[:2]):
            text = one.text[80:200]
            greedy = text if share > 0.6 and name == "train" else (text[:20] + " the the the" * round(6 * (1 - share)))
            rows += [
                {
                    "probe": name,
                    "passage_id": i,
                    "decoding": kind,
                    "draw": 0,
                    "prompt": one.text[:80],
                    "text": greedy,
                    "reference": text,
                    "ended": share > 0.5,
                }
                for kind in ("greedy", "sampled")
            ]
    return rows
