"""One small run and every action of a writer on it: shared by the tests of killed writers and full disks.

Rows per part are few, so that four flushes make a merge.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.progress import Place
from ontogeny.store import metrics
from ontogeny.store.run import open_run
from ontogeny.store.writer import RunWriter

BASE_ROWS = 12
"""Three flushes of four rows."""


def place(step: int, weights: str = "w") -> Place:
    return Place(
        step=step,
        epoch=step / 10,
        tokens_seen=100 * step,
        flops=6.0e9 * step,
        flops_counted=float("nan"),
        weights_sha256=f"{weights}{step}",
    )


def result(value: float, tokens: int = 3) -> xr.Dataset:
    """A measure's result: the NLL of each token, all equal to `value`, and a rank that is 0 for all."""
    return xr.Dataset(
        {
            "nll": ("token", np.full(tokens, value, np.float32), {"units": "nats", "long_name": "NLL"}),
            "rank": ((), np.int32(0), {"units": "1", "long_name": "worst rank"}),
        },
        coords={"probe_of_token": ("token", np.array(["train", "novel"])[np.arange(tokens) % 2])},
    )


def probe_set(name: str = "train", first_id: int = 7) -> ProbeSet:
    """Two passages: 'ab' as two tokens, 'é' (two bytes) as one, the first token of each unsupervised."""
    passages = [
        Passage(
            text="ab",
            token_ids=np.array([first_id, 8], np.int32),
            byte_offsets=np.array([0, 1, 2], np.int32),
            source="a.txt",
            supervised=np.array([False, True]),
        ),
        Passage(
            text="é",
            token_ids=np.array([9], np.int32),
            byte_offsets=np.array([0, 2], np.int32),
            source="b.txt",
            supervised=np.array([False]),
        ),
    ]
    return ProbeSet(name=name, passages=passages, about="two passages")


def sample(text: str) -> dict[str, Any]:
    return {"probe": "train", "passage_id": 0, "decoding": "greedy", "prompt": "a", "text": text, "ended": True}


def create(path: Path) -> RunWriter:
    return RunWriter.create(path, recipe_yaml="name: small\n", recipe={"name": "small"}, provenance={"seed": 3})


def save(writer: RunWriter, step: int, weights: str) -> None:
    with writer.checkpoint(place(step, weights), {"metrics_rows": writer.metrics_rows}) as folder:
        (folder / "model" / "model.safetensors").write_bytes(f"weights {weights}{step}".encode())
        (folder / "trainer" / "state.json").write_text("{}")


def make_base(path: Path) -> None:
    """Results of states 0, 10, 20; 12 metrics rows in 3 parts; checkpoints and samples of states 10 and 20."""
    with create(path) as writer:
        writer.put_probes(probe_set())
        for number, step in enumerate((0, 10, 20)):
            writer.put_measure("token_nll", place(step), result(float(step)))
            for row in range(4):
                writer.add_metric(4 * number + row, "loss", "train", 1.0 / (1 + 4 * number + row))
            writer.flush()
        for step in (10, 20):
            writer.add_samples(step, "generation", [sample(f"at {step}")])
            save(writer, step, "w")


def _flush(writer: RunWriter) -> None:
    for step in (21, 22):
        writer.add_metric(step, "loss", "train", 0.5)
    writer.add_samples(20, "generation", [sample("anew"), sample("and more")])
    writer.flush()


ACTIONS: dict[str, Callable[[RunWriter], None]] = {
    "flush": _flush,
    "put_first": lambda writer: writer.put_measure("evaluation", place(20), result(1.0)[["rank"]]),
    "put_new": lambda writer: writer.put_measure("token_nll", place(15), result(15.0)),
    "put_replaced": lambda writer: writer.put_measure("token_nll", place(10), result(-10.0)),
    "checkpoint_new": lambda writer: save(writer, 15, "w"),
    "checkpoint_replaced": lambda writer: save(writer, 20, "other"),
    "rewind": lambda writer: writer.rewind(10, 7),
    "probes": lambda writer: writer.put_probes(probe_set("novel", 5)),
    "status": lambda writer: writer.set_status(state="done", step=20),
    "provenance": lambda writer: writer.update_provenance(extended_to=30),
}


def few_small_parts() -> None:
    """Merge at four small parts rather than many."""
    metrics.SMALL_PARTS = 4  # type: ignore[misc]


def snapshot(path: Path) -> dict[str, Any]:
    """Everything that a reader can read, as plain values; every checkpoint's hashes are verified first."""
    run = open_run(path)
    rows = run.metrics.drop(columns="time_unix_s")
    seen_values = {}
    for group in run.measures:
        dataset = run.measure(group)
        seen_values[group] = {
            int(dataset.step[i]): [dataset[name].values[i].tolist() for name in dataset.data_vars]
            for i in range(dataset.sizes["checkpoint"])
        }
    for checkpoint in run.checkpoints:
        checkpoint.verify()
    status, provenance = run.status, run.provenance
    return {
        "metrics": list(rows.itertuples(index=False, name=None)),
        "measures": seen_values,
        "samples": run.samples[["step", "text"]].values.tolist(),
        "checkpoints": {c.step: c.place.weights_sha256 for c in run.checkpoints},
        "probes": {name: probes.fingerprint for name, probes in run.probes.items()},
        "status": {key: value for key, value in status.items() if key != "updated_unix_s"},
        "provenance": provenance,
    }


def hidden_files(path: Path) -> list[Path]:
    """Temporary files and directories of the writer, without the lock."""
    return [hidden for hidden in path.rglob(".*") if hidden.name != ".lock"]
