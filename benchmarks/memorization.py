"""Reproduction and compression, compared with straightforward implementations of their definitions.

Reproduction of 200 passages of 128 tokens by a model of 6 blocks (d256): ours, against `generate` in batches, of the
size at which it is fastest here (tried: 1, 8, 32, 64, 200), and called for one passage after another: on text that the
model does not know, on text that it writes itself with one wrong token in each passage, and on that text itself, so
that all is memorized. Accuracies must be identical. Ours includes a pass over the passages, which gives their NLL, too.
Compression: 100 passages of 128 tokens, width 768, three transitions: ours, against scikit-learn's neighbours with a
loop over tokens, and against float32 products of the states. Two of them: all pairs of each layer at once, which ours
may pass because it multiplies each pair once; and each pair once, in tiles of which none is kept, the limit. The states
have low rank plus noise, with and without outlier dimensions. Memory: 200,000 states of
width 768, one strip of rows and the variances of all, in a separate process.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch

from benchmarks.ratios import asked, ratio_with_interval
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.looking import neighbours
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.reproduction import Reproduction

PASSAGES, LENGTH, VOCABULARY = 200, 128, 2048
STATES, WIDTH, LAYERS, K = 100 * 128, 768, 4, 15
MANY = 200_000
GENERATE_BATCHES = (1, 8, 32, 64, 200)
TILE = 512


def _model() -> Any:
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=LENGTH,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(8)
    return model


class _Tokenizer:
    eos_token_id = None
    pad_token_id = 0

    @staticmethod
    def decode(ids: Any) -> str:
        return " ".join(map(str, ids))


def _passages(rows: np.ndarray) -> ProbeSet:
    width = rows.shape[1]
    return ProbeSet(
        name="train",
        passages=[
            Passage(
                text="x" * width,
                token_ids=row.astype(np.int32),
                byte_offsets=np.arange(width + 1, dtype=np.int32),
                source=f"bench:{i}#0",
                supervised=np.ones(width, dtype=bool),
            )
            for i, row in enumerate(rows)
        ],
    )


def _ours(model: Any, probe: ProbeSet) -> np.ndarray:
    from tests.measures.small import make_context

    context = make_context(model, [probe], tokenizer=_Tokenizer(), batch_tokens=4096)
    observations, _ = run_stream_looks(context, [Reproduction(texts=0)])
    return np.asarray(observations["reproduction"].arrays["accuracy"].values)


def _generate(model: Any, rows: np.ndarray, size: int) -> np.ndarray:
    """The straightforward way: a call of `generate` for `size` passages, which are all of one length."""
    accuracies = []
    given = LENGTH // 3
    with torch.no_grad():
        for batch in torch.from_numpy(rows).split(size):
            written = model.generate(
                batch[:, :given],
                attention_mask=torch.ones(len(batch), given, dtype=torch.long),
                do_sample=False,
                max_new_tokens=LENGTH - given,
                min_new_tokens=LENGTH - given,
                pad_token_id=0,
                eos_token_id=None,
            )[:, given:]
            accuracies.append((written == batch[:, given:]).float().mean(dim=1).numpy())
    return np.concatenate(accuracies)


def _known(model: Any, rows: np.ndarray) -> np.ndarray:
    """Passages with the same beginnings, continued greedily by the model itself, so that it knows them by heart."""
    with torch.no_grad():
        ids = torch.from_numpy(rows[:, : LENGTH // 3])
        return model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            eos_token_id=None,
            max_new_tokens=LENGTH - ids.shape[1],
            pad_token_id=0,
        ).numpy()


def _cases(model: Any) -> list[tuple[str, np.ndarray, float]]:
    """Passages, and what is asked beside one at a time: unknown, known with a wrong token somewhere, known."""
    random = np.random.default_rng(0)
    unknown = random.integers(1, VOCABULARY, (PASSAGES, LENGTH))
    known = _known(model, unknown)
    nearly = known.copy()
    at = random.integers(LENGTH // 3, LENGTH, PASSAGES)
    nearly[np.arange(PASSAGES), at] = (nearly[np.arange(PASSAGES), at] + 1) % VOCABULARY
    return [("nothing memorized", unknown, 6), ("a wrong token in each", nearly, 6), ("all memorized", known, 20)]


def _reproduction(figures: dict[str, Any]) -> None:
    model = _model()
    for name, chosen, least in _cases(model):
        probe = _passages(chosen)
        ours: list[float] = []
        theirs: dict[int, list[float]] = {size: [] for size in GENERATE_BATCHES}
        different = 0
        for _ in range(6):
            started = time.perf_counter()
            accuracies = _ours(model, probe)
            ours.append(time.perf_counter() - started)
            for size, seconds in theirs.items():
                started = time.perf_counter()
                their_accuracies = _generate(model, chosen, size)
                seconds.append(time.perf_counter() - started)
                different = max(different, int((np.abs(accuracies - their_accuracies) > 1e-6).sum()))
        best = min(theirs, key=lambda size: float(np.median(theirs[size])))
        figures[f"reproduction, {name}: times faster than generate in batches at its best"] = {
            **ratio_with_interval(theirs[best], ours),
            "batch": best,
            "different accuracies": different,
            "mean accuracy": float(accuracies.mean()),
        }
        figures[f"reproduction, {name}: times faster than one passage at a time"] = asked(
            ratio_with_interval(theirs[1], ours), at_least=least
        )


def _states(outliers: bool) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    layers = [draw(STATES, 40) @ draw(40, WIDTH) + 0.3 * draw(STATES, WIDTH) for _ in range(LAYERS)]
    for layer in layers if outliers else ():
        layer[:, [5, 77, 300]] += 1000 + 300 * draw(STATES, 3)
    return layers


def _compression(layers: list[torch.Tensor]) -> list[torch.Tensor]:
    """The score alone, as the others compute it (the measure also gives the scale-free one)."""
    buffer = neighbours.distance_buffer(STATES, "cpu")
    return [
        -torch.log(neighbours.Spread(after).of(neighbours.nearest(at, K, buffer)) + 1e-10)
        for at, after in pairwise(layers)
    ]


def _each_pair_once(layer: torch.Tensor, tile: torch.Tensor) -> None:
    """The least that exact distances take: the product of each pair of states, once, in tiles that are overwritten."""
    parts = layer.split(TILE)
    for index, part in enumerate(parts):
        for other in parts[index:]:
            torch.mm(part, other.T, out=tile[: len(part), : len(other)])


def _loop(layers: list[torch.Tensor]) -> list[np.ndarray]:
    """scikit-learn's neighbours, and a variance per token."""
    from sklearn.neighbors import NearestNeighbors

    scores = []
    for at, following in pairwise(layers):
        index = NearestNeighbors(n_neighbors=K + 1).fit(at.numpy()).kneighbors(at.numpy(), return_distance=False)
        after = following.numpy()
        scores.append(np.array([-np.log(after[row[1:]].var(axis=0).sum() + 1e-10) for row in index]))
    return scores


def _exact(at: torch.Tensor, after: torch.Tensor, rows: range) -> np.ndarray:
    """Brute force in float64, for some tokens."""
    exact, following = at.double().numpy(), after.double().numpy()
    scores = []
    for row in rows:
        distances = ((exact - exact[row]) ** 2).sum(axis=1)
        distances[row] = np.inf
        scores.append(-np.log(following[np.argsort(distances, kind="stable")[:K]].var(axis=0).sum() + 1e-10))
    return np.array(scores)


def _compare_compression(figures: dict[str, Any]) -> None:
    rows = range(0, STATES, 100)
    for name, outliers in (("plain states", False), ("outlier dimensions", True)):
        layers = _states(outliers)
        product, tile = torch.empty(STATES, STATES), torch.empty(TILE, TILE)
        seconds: dict[str, list[float]] = {"ours": [], "all pairs": [], "limit": [], "ours again": [], "theirs": []}

        def timed(name: str, work: Callable[[], Any], seconds: dict[str, list[float]] = seconds) -> Any:
            started = time.perf_counter()
            result = work()
            seconds[name].append(time.perf_counter() - started)
            return result

        scores = _compression(layers)
        for _ in range(9):
            timed("all pairs", lambda: [torch.mm(layer, layer.T, out=product) for layer in layers[:-1]])  # noqa: B023
            timed("limit", lambda: [_each_pair_once(layer, tile) for layer in layers[:-1]])  # noqa: B023
            timed("ours", lambda: _compression(layers))  # noqa: B023
        for _ in range(6):
            timed("theirs", lambda: _loop(layers))  # noqa: B023
            timed("ours again", lambda: _compression(layers))  # noqa: B023
        worst = max(
            float(np.abs(scores[i].numpy()[list(rows)] - _exact(layers[i], layers[i + 1], rows)).max())
            for i in range(LAYERS - 1)
        )
        figures[f"compression, {name}: times faster than scikit-learn, in float64, and a loop"] = asked(
            ratio_with_interval(seconds["theirs"], seconds["ours again"]), at_least=2
        )
        figures[f"compression, {name}: beside the product of each pair once, the limit"] = ratio_with_interval(
            seconds["ours"], seconds["limit"]
        )
        figures[f"compression, {name}: beside the products of all pairs"] = asked(
            ratio_with_interval(seconds["ours"], seconds["all pairs"]) | {"largest difference from float64": worst},
            at_most=1.6,
        )


def _peak_gib() -> float:
    """Peak memory of this process (`ru_maxrss` would include its parent's)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def _memory() -> dict[str, Any]:
    """Peak memory of a process that holds 200,000 states and scores its first strip of rows."""
    before = _peak_gib()
    states = torch.empty(MANY, WIDTH)
    for part in states.split(10_000):
        part.normal_()
    table = neighbours.DistanceTable(states)
    buffer = neighbours.distance_buffer(MANY, "cpu")
    started = time.perf_counter()
    _, distances = next(iter(table.rows(buffer)))
    _, columns = neighbours.smallest(distances, K + 17)
    seconds = time.perf_counter() - started
    nearest = columns[:, :K].repeat(-(-MANY // len(columns)), 1)[:MANY].contiguous()
    neighbours.Spread(states).of(nearest)
    peak = _peak_gib()
    return {
        "GiB beside what the imports take": peak - before,
        "of which states GiB": states.nbytes / 2**30,
        "peak GiB of the process": peak,
        "rows at once": len(distances),
        "minutes that a layer would take": seconds * MANY / len(distances) / 60,
    }


def main() -> dict[str, Any]:
    """All figures."""
    figures: dict[str, Any] = {}
    _reproduction(figures)
    _compare_compression(figures)
    command = [
        sys.executable,
        "-c",
        "import json; from benchmarks.memorization import _memory; print(json.dumps(_memory()))",
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures["200,000 states: memory (asked: within 2 GiB)"] = json.loads(output.splitlines()[-1])
    return figures
