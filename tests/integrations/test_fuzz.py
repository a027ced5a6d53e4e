"""Damaged logs: a message, or a partial result that says so; never another error. 10,000 cases under `-m slow`."""

import json
import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ontogeny.core.errors import OntogenyError
from ontogeny.diagnosis.examine import as_json, examine
from ontogeny.integrations.importing import read_history

STEPS = range(1, 41)


def _loss(step: int) -> float:
    return round(1.5 + 2.0 / step**0.5, 4)


def _state() -> bytes:
    entries = [{"epoch": s / 10, "loss": _loss(s), "grad_norm": 1.0, "learning_rate": 1e-4, "step": s} for s in STEPS]
    entries += [{"epoch": 4.0, "eval_loss": 1.9, "eval_runtime": 3.0, "step": 40}]
    return json.dumps({"global_step": 40, "log_history": entries, "max_steps": 40}, indent=2).encode()


def _lines(template: str) -> bytes:
    return "\n".join(template.format(s=s, loss=_loss(s)) for s in STEPS).encode()


def _table() -> bytes:
    rows = "".join(f"<tr><td>{s}</td><td>{_loss(s):.6f}</td></tr>" for s in STEPS)
    head = "<thead><tr><th>Step</th><th>Training Loss</th></tr></thead>"
    return f'<table border="1" class="dataframe">{head}<tbody>{rows}</tbody></table>'.encode()


def _events() -> bytes:
    """TensorBoard records by hand: length, its checksum, an Event with one scalar, its checksum (zeros: unchecked)."""
    out = b""
    for step in STEPS:
        tag = b"train/loss"
        value = b"\x0a" + bytes([len(tag)]) + tag + b"\x15" + struct.pack("<f", _loss(step))
        summary = b"\x0a" + bytes([len(value)]) + value
        event = b"\x09" + struct.pack("<d", 1.7e9 + step) + b"\x10" + bytes([step]) + b"\x2a"
        event += bytes([len(summary)]) + summary
        out += struct.pack("<Q", len(event)) + b"\0\0\0\0" + event + b"\0\0\0\0"
    return out


SEEDS = {
    "state.json": _state(),
    "state_list.json": json.dumps([{"step": s, "loss": _loss(s)} for s in STEPS]).encode(),
    "rows.jsonl": _lines('{{"step": {s}, "loss": {loss}, "lr": 1e-4}}'),
    "factory.jsonl": _lines('{{"current_steps": {s}, "total_steps": 40, "loss": {loss}, "lr": 1e-4, "epoch": 0.1}}'),
    "swift.jsonl": _lines('{{"loss": {loss}, "global_step/max_steps": "{s}/40", "train_speed(iter/s)": 0.1}}'),
    "table.csv": b"step,train_loss,val_loss\n" + _lines("{s},{loss},"),
    "lightning.csv": b"epoch,step,train_loss_step,val_loss\n" + _lines("0,{s},{loss},"),
    "wandb.csv": b'"Step","a - train/loss","a - train/loss__MIN","a - train/loss__MAX"\n'
    + _lines('"{s}","{loss}","{loss}","{loss}"'),
    "trainer.txt": _lines("\r 10%|x | {s}/40 [00:01<00:09]{{'loss': {loss}, 'learning_rate': 1e-4, 'epoch': 0.1}}"),
    "nanogpt.txt": _lines("iter {s}: loss {loss}, time 10.0ms, mfu 1.0%"),
    "torchtune.txt": _lines("Step {s} | loss:{loss} lr:0.0001 tokens_per_second:10.0"),
    "titan.txt": _lines("[titan] - INFO - \x1b[31mstep: {s}  \x1b[32mloss: {loss}  \x1b[0mgrad_norm: 1.0"),
    "composite.txt": _lines("[CURRICULUM] Step {s} (1.0%): kd=0.700\n[TOTAL] Loss: {loss}, Components: 2"),
    "table.html": _table(),
    "events.out.tfevents.1.host": _events(),
}


def _damage(data: bytes, draw: random.Random) -> bytes:
    """One to three of: cut, flip bytes, another encoding, other line ends, deep nesting, a huge line, a shuffle."""
    for _ in range(draw.randint(1, 3)):
        kind = draw.randrange(9)
        if kind == 0:
            data = data[: draw.randint(0, len(data))]
        elif kind == 1:
            flipped = bytearray(data)
            for _ in range(draw.randint(1, 20)):
                if flipped:
                    flipped[draw.randrange(len(flipped))] = draw.randrange(256)
            data = bytes(flipped)
        elif kind == 2:
            text = data.decode("utf-8", errors="replace")
            data = text.encode(draw.choice(["utf-16", "utf-16-le", "utf-8-sig", "latin-1", "cp1252"]), errors="replace")
        elif kind == 3:
            data = data.replace(b"\n", draw.choice([b"\r\n", b"\r", b"\n\n"]))
        elif kind == 4:
            data = draw.choice([b"[", b'{"a":']) * draw.choice([10, 3000, 100_000]) + data
        elif kind == 5:
            data = data.replace(b"\n", b"", draw.randint(1, 60)) + b"x" * draw.choice([10, 3_000_000])
        elif kind == 6:
            lines = data.split(b"\n")
            draw.shuffle(lines)
            data = b"\n".join(lines)
        elif kind == 7:
            at = draw.randint(0, len(data))
            data = data[at:] + data[:at]
        else:
            data = data.replace(b"1", draw.choice([b"NaN", b"1e999", b"-", b"9" * 400, b"\0", b'"', b"null", b"1,0"]))
    return data


def _examine(path: Path, name: str, draw: random.Random) -> None:
    file = path / name
    file.write_bytes(_damage(SEEDS[name], draw))
    try:
        history = read_history(file)
    except OntogenyError as error:
        assert str(error)  # noqa: PT017  the message is what is tested
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert history.segments or history.nothing
    assert len(history.metrics) == history.entries
    json.dumps([as_json(verdict) for verdict in examine(history).verdicts], allow_nan=False)


@pytest.mark.parametrize("name", SEEDS)
def test_every_seed_is_read_undamaged(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(SEEDS[name])
    (segment,) = read_history(file).segments
    loss = segment.get("loss")
    assert loss is not None
    assert len(loss) == len(STEPS)
    assert loss.values[3] == pytest.approx(2.5, abs=1e-6)  # 1.5 + 2 / sqrt(4)


@pytest.mark.slow
@given(name=st.sampled_from(sorted(SEEDS)), seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_logs_give_a_message_or_a_partial_result(name: str, seed: int, tmp_path: Path) -> None:
    _examine(tmp_path, name, random.Random(seed))


@pytest.mark.slow
@given(name=st.sampled_from(sorted(SEEDS)), seed=st.integers(0, 2**32))
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ten_thousand_damaged_logs(name: str, seed: int, tmp_path: Path) -> None:
    _examine(tmp_path, name, random.Random(seed))
