"""What ran and where it came from, in words."""

import json
import time
from collections.abc import Mapping
from typing import Any

from ontogeny.store.run_group import RunView

Rows = list[tuple[str, str]]


def facts(run: RunView) -> Rows:
    """The few things to know first."""
    origin, status, train = run.provenance, run.status, run.recipe.get("train") or {}
    model: Mapping[str, Any] = origin.get("model") or {}
    trained: Mapping[str, Any] = (origin.get("data") or {}).get("train") or {}
    rows = [("Model", _model(run)), ("Trained on", _trained(run, trained)), ("Length", _length(run, status))]
    if train:
        rows.append(("Batch and seed", f"{train.get('batch', '?')} passages, seed {train.get('seed', '?')}"))
    rows.append(("Started from", _parent(model.get("parent"), run)))
    environment = origin.get("environment") or {}
    rows.append(("Machine", _joined([environment.get("device"), _count(environment.get("threads"), "thread")])))
    rows.append(("Recipe", _joined([run.recipe.get("name"), origin.get("recipe_hash")])))
    rows.append(("Status", _status(status)))
    return [(label, value) for label, value in rows if value]


def alarms(run: RunView) -> list[str]:
    """What a reader must not overlook: a run that failed or stopped, was extended, or went on in other surroundings."""
    status = run.status
    found = []
    if status.get("state") in ("failed", "interrupted"):
        found.append(
            f"{run.name} {status['state']} at step {status.get('step', '?')}. {status.get('message') or ''}".strip()
        )
    found += [
        f"{run.name} was extended from {_number(one.get('from_steps'))} to {_number(one.get('to_steps'))} steps "
        f"at step {_number(one.get('at_step'))}: schedules were stretched."
        for one in run.provenance.get("extensions") or []
    ]
    begun = run.provenance.get("environment") or {}
    for one in run.provenance.get("resumes") or []:
        if other := _differing(begun, one.get("environment") or begun):
            found.append(
                f"{run.name} was resumed at step {_number(one.get('step'))} under other versions or threads: exactness "
                f"does not hold across them ({'; '.join(other)})."
            )
    if not run.metrics:
        found.append(f"{run.name} has recorded no numbers yet.")
    return found


def _differing(begun: Mapping[str, Any], resumed: Mapping[str, Any]) -> list[str]:
    """What of versions, threads and device is not as it was at the start: torch 2.13.0, then 2.14.0."""
    before, after = (
        {**(one.get("packages") or {}), "threads": one.get("threads"), "device": one.get("device")}
        for one in (begun, resumed)
    )
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    return [f"{name} {before.get(name) or 'none'}, then {after.get(name) or 'none'}" for name in names]


def groups(run: RunView) -> list[dict[str, Any]]:
    """Everything worth reading of a run's provenance, grouped."""
    origin = run.provenance
    data, environment = origin.get("data") or {}, origin.get("environment") or {}
    listed = [
        ("Run", _run_rows(run)),
        (
            "Model",
            [(_spoken(key), _plain(value)) for key, value in (origin.get("model") or {}).items() if value is not None],
        ),
        ("Texts", _text_rows(data)),
        ("Probe sets", [(name, _probe(one)) for name, one in (data.get("probes") or {}).items()]),
        ("Text shared between splits", _overlap_rows(data.get("overlap") or [])),
        ("Machine", [(_spoken(k), _plain(v)) for k, v in environment.items() if k != "packages" and v is not None]),
        ("Versions", [(name, str(value)) for name, value in (environment.get("packages") or {}).items() if value]),
    ]
    return [{"title": title, "rows": rows} for title, rows in listed if rows]


def everything(run: RunView) -> str:
    """The provenance as it is stored."""
    return json.dumps(run.provenance, indent=2, ensure_ascii=False, default=str)


def _run_rows(run: RunView) -> Rows:
    origin, status = run.provenance, run.status
    rows = [("status", _status(status)), ("started", moment(origin.get("started_unix_s")))]
    rows += [("finished", moment(status.get("finished_unix_s")))]
    rows += [("recipe hash", str(origin.get("recipe_hash", ""))), ("train hash", str(origin.get("train_hash", "")))]
    rows += [("command", " ".join(map(str, origin.get("command") or [])))]
    rows += [
        ("resumed", f"at step {one.get('step')}, {moment(one.get('unix_s'))}") for one in origin.get("resumes") or []
    ]
    rows += [
        ("extended", f"at step {one.get('at_step')} from {one.get('from_steps')} to {one.get('to_steps')} steps")
        for one in origin.get("extensions") or []
    ]
    return [(label, value) for label, value in rows if value]


def _text_rows(data: Mapping[str, Any]) -> Rows:
    rows: Rows = []
    for name, corpus in (data.get("corpora") or {}).items():
        splits = corpus.get("splits") or {}
        parts = [f"{split}: {_count(one.get('documents'), 'document')}" for split, one in splits.items()]
        size = f"{_count(corpus.get('documents'), 'document')}, {_count(corpus.get('characters'), 'character')}"
        rows.append((name, _lines([f"{corpus.get('kind', '')}: {size}", ", ".join(parts), _fingerprint(corpus)])))
    tokenizer = data.get("tokenizer") or {}
    if tokenizer:
        source = tokenizer.get("path") or ", ".join(tokenizer.get("trained_on") or [])
        rows.append(
            ("tokenizer", _lines([f"{_count(tokenizer.get('size'), 'token')}, from {source}", _fingerprint(tokenizer)]))
        )
    if data.get("train"):
        rows.append(("training passages", _probe(data["train"])))
    return rows


def _overlap_rows(overlaps: list[Mapping[str, Any]]) -> Rows:
    return [
        (
            " and ".join(str(v) for v in one.values() if isinstance(v, str)),
            ", ".join(f"{_spoken(key)} {_plain(value)}" for key, value in one.items() if not isinstance(value, str)),
        )
        for one in overlaps
    ]


def _probe(one: Mapping[str, Any]) -> str:
    size = f"{_count(one.get('passages'), 'passage')}, {_count(one.get('tokens'), 'token')}"
    return _lines([f"{size}, of {one['of']}" if one.get("of") else size, _fingerprint(one)])


def _fingerprint(one: Mapping[str, Any]) -> str:
    return f"sha256 {str(one['sha256'])[:16]}" if one.get("sha256") else ""


def _lines(parts: list[str]) -> str:
    return "\n".join(part for part in parts if part)


def _model(run: RunView) -> str:
    model = run.provenance.get("model") or {}
    chosen = run.recipe.get("model") or {}
    size = chosen.get("size") or chosen.get("path") or chosen.get("id") or ""
    lora = "LoRA" if (run.recipe.get("train") or {}).get("lora") else ""
    return _joined([size, model.get("class"), _count(model.get("parameters"), "parameter"), lora])


def _trained(run: RunView, trained: Mapping[str, Any]) -> str:
    takes = [str(take.get("of")) for take in (run.recipe.get("data") or {}).get("train") or ()]
    size = f"{_count(trained.get('passages'), 'passage')}, {_count(trained.get('tokens'), 'token')}" if trained else ""
    return _joined([", ".join(takes), size])


def _length(run: RunView, status: Mapping[str, Any]) -> str:
    step, total = status.get("step"), status.get("total_steps")
    reached = [
        float(run.measure(group)["epoch"][-1]) for group in run.measures if run.measure(group).sizes["checkpoint"]
    ]
    epoch = f"{max(reached):.3g} epochs" if reached else ""
    if step is None:
        return epoch
    steps = f"{step:,} steps" if step == total or total is None else f"{step:,} of {total:,} steps"
    return _joined([steps, epoch])


def _parent(parent: Any, run: RunView) -> str:
    if isinstance(parent, Mapping):
        name = str(parent.get("run", "")).rstrip("/").rpartition("/")[2]
        step = f"step {parent['step']:,}" if isinstance(parent.get("step"), int) else ""
        return _joined([name, step, str(parent.get("weights_sha256") or "")[:12]])
    return "random weights" if (run.recipe.get("model") or {}).get("kind") == "ladder" else ""


def _status(status: Mapping[str, Any]) -> str:
    begun, ended = status.get("started_unix_s"), status.get("finished_unix_s")
    took = f"{ended - begun:,.0f} s" if begun and ended and ended > begun else ""
    return _joined([status.get("state"), took])


def moment(unix_s: Any) -> str:
    """A point in time, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_s)) if isinstance(unix_s, int | float) else ""


def _number(n: Any) -> str:
    return f"{n:,}" if isinstance(n, int) else "?"


def _count(n: Any, what: str) -> str:
    if not isinstance(n, int | float):
        return ""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _joined(parts: list[Any]) -> str:
    return ", ".join(str(part) for part in parts if part)


def _spoken(key: str) -> str:
    return key.replace("_", " ")


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "\n".join(f"{_spoken(str(key))}: {_plain(one)}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
