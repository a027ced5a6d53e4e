"""NLL, rank and entropy of every token, compared with lm-evaluation-harness and with the forward pass alone.

All on one model (Pythia-70m's shape, 50,304-token vocabulary, random weights) and the same documents of mixed length,
in turn, several times; ours and the forward pass batch by batch. Medians, and ratios. The
harness gives the NLL of documents only (`HFLM.loglikelihood_rolling`), at several batch sizes, of which the fastest is
"its best": batch 1, where nothing is padded; ours is timed anew beside each. "Forward alone" is the body and the output
projection of our batches, in the same tiles, with nothing read from the logits; "forward, whole" makes each batch's
logits at once. "Busy" is the same beside a process that multiplies matrices on as many threads. Memory is the peak on
top of the loaded model, each side in its own process.

Withdrawn: until 2026-11-30 this page said 4.92 times the harness "at its best", of which only batches from 8 on were
tried. Ours was then 0.95 of the harness at batch 1, because our batches padded short documents to long ones.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from benchmarks.ratios import asked, ratio_with_interval
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.data.collate import collate
from ontogeny.looking.batch_plan import plan_batches
from ontogeny.looking.forward_passes import forward_probe_set
from ontogeny.looking.guard import looking
from ontogeny.looking.predictions import Predictor
from ontogeny.models.body_and_head import BodyAndHead

VOCABULARY = 50_304
CONTEXT = 2048
SHORTEST, LONGEST = 30, 1500
BATCH_TOKENS = 4096
HARNESS_BATCHES = (1, 2, 8, 16, 32, 64)
_BUSY = "import torch; a = torch.randn(1024, 1024)\nwhile True: a @ a"
_END_OF_TEXT = 0
_NOTHING_LEFT = object()


def _model() -> Any:
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        max_position_embeddings=CONTEXT,
        bos_token_id=_END_OF_TEXT,
        eos_token_id=_END_OF_TEXT,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def _tokenizer() -> Any:
    """One word, one token: `w17` is token 17."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(VOCABULARY)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="w0", bos_token="w0", pad_token="w0")


def _documents(count: int) -> list[np.ndarray]:
    """Random tokens; lengths spread evenly on a logarithmic axis, in random order."""
    generator = np.random.default_rng(0)
    lengths = np.geomspace(SHORTEST, LONGEST, count).round().astype(int)
    return [generator.integers(1, VOCABULARY, n) for n in generator.permutation(lengths)]


def _probe(documents: list[np.ndarray]) -> ProbeSet:
    """The documents behind an end-of-text token, from which the harness predicts their first token too."""
    passages = [
        Passage(
            text="",
            token_ids=np.concatenate([[_END_OF_TEXT], document]).astype(np.int32),
            byte_offsets=np.zeros(len(document) + 2, dtype=np.int32),
            source="random",
            supervised=np.ones(len(document) + 1, dtype=bool),
        )
        for document in documents
    ]
    return ProbeSet(name="documents", passages=passages)


def _ours(model: Any, documents: list[np.ndarray]) -> Callable[[], Iterator[Any]]:
    """All three numbers for every token, a batch at a time."""
    probe = _probe(documents)
    return lambda: forward_probe_set(BodyAndHead(model), probe, {"nll", "rank", "entropy"}, BATCH_TOKENS)


def _document_nll(batches: Iterator[Any], count: int) -> np.ndarray:
    nll = np.zeros(count)
    for batch in batches:
        nll[batch.rows] = torch.nansum(batch.nll, dim=1, dtype=torch.float64).numpy()
    return nll


def _harness(model: Any, documents: list[np.ndarray], batch: int) -> Callable[[], np.ndarray]:
    """The harness's own: the log-likelihood of each document."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=model, tokenizer=_tokenizer(), batch_size=batch, device="cpu")
    texts = [" ".join(f"w{i}" for i in document) for document in documents]
    requests = [
        Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=i) for i, text in enumerate(texts)
    ]
    return lambda: np.array(harness.loglikelihood_rolling(requests, disable_tqdm=True))


def _forward_alone(model: Any, documents: list[np.ndarray], *, whole: bool) -> Callable[[], Iterator[Any]]:
    """Body and projection of our batches: in tiles, at the positions that predict; or all logits of a batch at once."""
    probe = _probe(documents)
    body_and_head = BodyAndHead(model)
    tiles = Predictor(body_and_head, frozenset())
    logits = torch.empty(tiles.rows, VOCABULARY)
    weight = model.get_output_embeddings().weight

    def run() -> Iterator[Any]:
        for rows in plan_batches([len(passage) for passage in probe.passages], BATCH_TOKENS):
            lengths = torch.tensor([len(probe.passages[row]) for row in rows])
            ids = collate([probe.passages[row] for row in rows], 0)["input_ids"]
            hidden = body_and_head.body(ids).last_hidden
            if whole:
                yield body_and_head.head(hidden)
                continue
            hidden = hidden[:, :-1][torch.arange(ids.shape[1] - 1) < lengths[:, None] - 1]
            for start in range(0, len(hidden), tiles.rows):
                part = hidden[start : start + tiles.rows]
                for column in range(0, VOCABULARY, tiles.columns):
                    tile = logits[: len(part), column : column + tiles.columns]
                    torch.mm(part, weight[column : column + tiles.columns].t(), out=tile)
            yield None

    return run


def _in_step(sides: dict[str, Callable[[], Iterator[Any]]]) -> dict[str, float]:
    """Seconds of each side, batch by batch in turn: what slows the machine for a while slows all of them."""
    seconds = dict.fromkeys(sides, 0.0)
    running = {name: run() for name, run in sides.items()}
    while running:
        for name in list(running):
            started = time.perf_counter()
            if next(running[name], _NOTHING_LEFT) is _NOTHING_LEFT:
                del running[name]
            seconds[name] += time.perf_counter() - started
    return seconds


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _peak_added(side: str, count: int) -> int:
    """Peak memory of one side on top of the loaded model, in KiB; for a process of its own."""
    model, documents = _model(), _documents(count)
    run = _ours(model, documents) if side == "ours" else _harness(model, documents, int(side.split()[1]))
    with looking(model):
        model(input_ids=torch.zeros(1, 2, dtype=torch.long))  # threads and libraries are up
        gc.collect()
        before = _kilobytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        for _ in run():
            pass
    return _kilobytes("VmHWM") - before


def _memory(sides: list[str], count: int) -> dict[str, float]:
    """MiB added by each side; NaN where the process died (out of memory)."""
    mebibytes = {}
    for side in sides:
        command = [sys.executable, "-m", "benchmarks.token_nll", "--memory-of", side, "--documents", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        mebibytes[side] = int(done.stdout.split()[-1]) / 1024 if done.returncode == 0 else float("nan")
    return mebibytes


def _fitting(documents: list[np.ndarray]) -> tuple[int, ...]:
    """Batch sizes at which the harness's logits, and their log-softmax, fit into two thirds of the free memory."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024
    longest = max(len(document) for document in documents)
    fitting = tuple(b for b in HARNESS_BATCHES if b <= len(documents) and b * longest * VOCABULARY * 8 < free * 2 / 3)
    if not fitting:
        sys.exit(
            f"the harness needs at least {HARNESS_BATCHES[0]} documents and the memory for one batch of them: "
            f"{len(documents)} documents of up to {longest} tokens, {free / 2**30:.1f} GiB free"
        )
    return fitting


@contextmanager
def _beside_a_busy_process() -> Iterator[None]:
    busy = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        time.sleep(5)  # until it multiplies
        yield
    finally:
        busy.kill()
        busy.wait()


class _Race:
    """The sides, taken in turn."""

    def __init__(self, model: Any, texts: list[np.ndarray]) -> None:
        self.ours = _ours(model, texts)
        self.in_step = {
            "ours": self.ours,
            "forward alone": _forward_alone(model, texts, whole=False),
            "forward, whole": _forward_alone(model, texts, whole=True),
        }
        self.harnesses = {f"harness {batch}": _harness(model, texts, batch) for batch in _fitting(texts)}

    def run(self, repeats: int, harnesses: Collection[str]) -> dict[str, list[float]]:
        """Seconds of each round of each side; of ours beside each harness under `ours beside NAME`."""
        beside = [f"ours beside {name}" for name in harnesses]
        seconds: dict[str, list[float]] = {name: [] for name in (*self.in_step, *harnesses, *beside)}
        for turn in range(repeats):
            names = list(self.in_step) if turn % 2 else list(self.in_step)[::-1]
            for name, spent in _in_step({name: self.in_step[name] for name in names}).items():
                seconds[name].append(spent)
            for name in harnesses:
                pair = [(name, self.harnesses[name]), (f"ours beside {name}", self._ours_whole)]
                for side, run in pair if turn % 2 else pair[::-1]:
                    gc.collect()
                    started = time.perf_counter()
                    run()
                    seconds[side].append(time.perf_counter() - started)
        return seconds

    def _ours_whole(self) -> None:
        for _ in self.ours():
            pass


def _fastest(seconds: dict[str, list[float]], names: Iterable[str]) -> str:
    return min(names, key=lambda name: float(np.median(seconds[name])))


def main(documents: int = 8, repeats: int = 6) -> dict[str, Any]:
    """Measure in turn, quietly and beside a busy process."""
    model, texts = _model(), _documents(documents)
    tokens = sum(len(text) for text in texts)
    race = _Race(model, texts)
    with looking(model):
        expected = _document_nll(race.ours(), documents)
        difference = max(float(np.abs(-run() / expected - 1).max()) for run in race.harnesses.values())
        seconds = race.run(repeats, race.harnesses)
        best = _fastest(seconds, race.harnesses)
        alone = _fastest(seconds, ("forward alone", "forward, whole"))
        with _beside_a_busy_process():
            busy = race.run(repeats, {best, "harness 8"} & race.harnesses.keys())
    memory = _memory(["ours", "harness 8", best], documents)

    def beside_forward(where: dict[str, list[float]]) -> dict[str, Any]:
        return {**ratio_with_interval(where[alone], where["ours"]), "the faster": alone}

    def beside_harness(name: str, where: dict[str, list[float]]) -> dict[str, Any]:
        return ratio_with_interval(where[name], where[f"ours beside {name}"])

    def rates(where: dict[str, list[float]]) -> dict[str, float]:
        sides = [name for name in where if not name.startswith("ours beside")]
        return {name: round(tokens / float(np.median(where[name]))) for name in sides}

    size = best.split()[1]
    return {
        f"{documents} documents, {tokens:,} tokens": {
            "threads": torch.get_num_threads(),
            "largest relative difference of an NLL": difference,
        },
        "tokens per second": rates(seconds),
        f"times the harness at its best, batch {size}": asked(beside_harness(best, seconds), at_least=1),
        "times the harness at batch 8": beside_harness("harness 8", seconds),
        "part of the forward pass alone": asked(beside_forward(seconds), at_least=0.97),
        "busy: tokens per second": rates(busy),
        f"busy: times the harness at batch {size}": beside_harness(best, busy),
        "busy: times the harness at batch 8": asked(beside_harness("harness 8", busy), at_least=2),
        "busy: part of the forward pass alone": beside_forward(busy),
        f"memory, by the harness at batch {size}": asked({"share": memory["ours"] / memory[best]}, at_most=0.25),
        "memory, by the harness at batch 8": {"share": memory["ours"] / memory["harness 8"]},
        "memory, MiB": memory,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--memory-of", metavar="SIDE", default=None, help="print the peak KiB that one side adds")
    arguments = parser.parse_args()
    if arguments.memory_of is not None:
        print(_peak_added(arguments.memory_of, arguments.documents))
    else:
        print(json.dumps(main(arguments.documents, arguments.repeats), indent=1))
