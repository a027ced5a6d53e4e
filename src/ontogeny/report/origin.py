"""What ran and where it came from, in words."""

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ontogeny.store.run_group import RunView

Rows = list[tuple[str, str]]
"""(label, value)."""
Json = Mapping[str, Any]
"""A part of provenance.json or status.json. Runs of other versions and loops record other keys: none is certain."""
_SIZE = {"passages": "passage", "tokens": "token"}
"""What of a text is counted, and the word for one of them."""


def facts(run: RunView) -> Rows:
    """The few things to know first."""
    origin, status, train = run.provenance, run.status, run.recipe.get("train") or {}
    model: Json = origin.get("model") or {}
    rows = [("Model", _model(run)), ("Trained on", _trained(run)), ("Length", _length(run, status))]
    if train:
        rows.append(("Batch and seed", f"{train.get('batch', '?')} passages, seed {train.get('seed', '?')}"))
    rows.append(("Started from", _parent(model.get("parent"), run)))
    bos = (origin.get("data") or {}).get("bos")
    if isinstance(bos, Mapping) and bos.get("token_ids"):
        rows.append(("Before every text", before_texts(bos)))
    environment = origin.get("environment") or {}
    rows.append(("Machine", _joined([environment.get("device"), _count(environment.get("threads"), "thread")])))
    rows.append(("Recipe", _joined([run.recipe.get("name"), origin.get("recipe_hash")])))
    rows.append(("Status", _status(status)))
    return [(label, value) for label, value in rows if value]


def alarms(run: RunView) -> list[str]:
    """What must not be overlooked: the run failed or stopped, was extended, replayed another share than was decided, or
    was resumed in another environment."""
    status = run.status
    alarms = []
    if status.get("state") in ("failed", "interrupted"):
        alarms.append(
            f"{run.name} {status['state']} at step {status.get('step', '?')}. {status.get('message') or ''}".strip()
        )
    alarms += [
        f"{run.name} was extended from {_number(extension.get('from_steps'))} to {_number(extension.get('to_steps'))} "
        f"steps at step {_number(extension.get('at_step'))}: schedules were stretched."
        for extension in run.provenance.get("extensions") or []
    ]
    alarms += [
        f"{run.name} replayed {gap['realised']:.2%} of {corpus}, where {gap['decided']:.2%} was decided."
        for corpus, gap in (run.provenance.get("replay_gaps") or {}).items()
    ]
    started = run.provenance.get("environment") or {}
    for resume in run.provenance.get("resumes") or []:
        if differences := _differences(started, resume.get("environment") or started):
            alarms.append(
                f"{run.name} was resumed at step {_number(resume.get('step'))} under other versions or threads: "
                f"resuming is not exact across them ({'; '.join(differences)})."
            )
    if not run.metrics:
        alarms.append(f"{run.name} has recorded no numbers yet.")
    return alarms


def _differences(started: Json, resumed: Json) -> list[str]:
    """Versions, threads and device that differ from those at the start: torch 2.13.0, then 2.14.0."""
    before, after = (
        {
            **(environment.get("packages") or {}),
            "threads": environment.get("threads"),
            "device": environment.get("device"),
        }
        for environment in (started, resumed)
    )
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    return [f"{name} {before.get(name) or 'none'}, then {after.get(name) or 'none'}" for name in names]


def provenance_groups(run: RunView) -> list[dict[str, object]]:
    """A run's provenance as titled groups of rows; empty groups are left out."""
    origin = run.provenance
    data, environment = origin.get("data") or {}, origin.get("environment") or {}
    model = origin.get("model") or {}
    groups = [
        ("Run", _run_rows(run)),
        ("Model", [(_spaced(key), _in_words(value)) for key, value in model.items() if value is not None]),
        ("Texts", _text_rows(data)),
        ("Probe sets", [(name, _passages(probe)) for name, probe in (data.get("probes") or {}).items()]),
        ("Text shared between splits", _overlap_rows(data.get("overlap") or [])),
        (
            "Machine",
            [
                (_spaced(key), _in_words(value))
                for key, value in environment.items()
                if key != "packages" and value is not None
            ],
        ),
        ("Versions", [(name, str(value)) for name, value in (environment.get("packages") or {}).items() if value]),
    ]
    return [{"title": title, "rows": rows} for title, rows in groups if rows]


def provenance_json(run: RunView) -> str:
    """The provenance as it is stored."""
    return json.dumps(run.provenance, indent=2, ensure_ascii=False, default=str)


def _run_rows(run: RunView) -> Rows:
    origin, status = run.provenance, run.status
    rows = [("status", _status(status)), ("started", utc_time(origin.get("started_unix_s")))]
    rows += [("finished", utc_time(status.get("finished_unix_s")))]
    rows += [("recipe hash", str(origin.get("recipe_hash", ""))), ("train hash", str(origin.get("train_hash", "")))]
    rows += [("command", " ".join(map(str, origin.get("command") or [])))]
    rows += [
        ("resumed", f"at step {resume.get('step')}, {utc_time(resume.get('unix_s'))}")
        for resume in origin.get("resumes") or []
    ]
    rows += [
        ("extended", f"at step {ext.get('at_step')} from {ext.get('from_steps')} to {ext.get('to_steps')} steps")
        for ext in origin.get("extensions") or []
    ]
    return [(label, value) for label, value in rows if value]


def _text_rows(data: Json) -> Rows:
    rows: Rows = []
    for name, corpus in (data.get("corpora") or {}).items():
        splits = corpus.get("splits") or {}
        parts = [f"{split_name}: {_count(split.get('documents'), 'document')}" for split_name, split in splits.items()]
        size = f"{_count(corpus.get('documents'), 'document')}, {_count(corpus.get('characters'), 'character')}"
        rows.append((name, _lines([f"{corpus.get('kind', '')}: {size}", ", ".join(parts), _fingerprint(corpus)])))
    tokenizer = data.get("tokenizer") or {}
    if tokenizer:
        source = tokenizer.get("path") or ", ".join(tokenizer.get("trained_on") or [])
        rows.append(
            ("tokenizer", _lines([f"{_count(tokenizer.get('size'), 'token')}, from {source}", _fingerprint(tokenizer)]))
        )
    if isinstance(data.get("bos"), Mapping):
        rows.append(("before every text", before_texts(data["bos"])))
    if data.get("train"):
        rows.append(("training passages", _passages(data["train"])))
    return rows


def before_texts(bos: Json) -> str:
    """What stands before every passage and prompt, and why."""
    tokens = " ".join(map(str, bos.get("tokens") or ()))
    return f"{tokens or 'nothing'}: {bos.get('why', 'nobody said why')}"


def _overlap_rows(overlaps: Iterable[Json]) -> Rows:
    rows: Rows = []
    for overlap in overlaps:
        if "gram_words" not in overlap:  # of another version
            rows.append(("", _in_words(overlap)))
            continue
        shared = " and ".join(f"{rate:.0%}" for rate in overlap["gram_rate"])
        leak = "a leak" if overlap["leaks"] else "no leak"
        text = f"{overlap['exact_passages']} equal passages, {shared} of {overlap['gram_words']}-word sequences: {leak}"
        rows.append((" and ".join(overlap["splits"]), text))
    return rows


def _passages(probe: Json) -> str:
    size = f"{_count(probe.get('passages'), 'passage')}, {_count(probe.get('tokens'), 'token')}"
    return _lines([f"{size}, of {probe['of']}" if probe.get("of") else size, _fingerprint(probe)])


def _fingerprint(source: Json) -> str:
    return f"sha256 {str(source['sha256'])[:16]}" if source.get("sha256") else ""


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(part for part in parts if part)


def _model(run: RunView) -> str:
    model = run.provenance.get("model") or {}
    source = run.recipe.get("model") or {}
    size = source.get("size") or source.get("path") or source.get("id") or ""
    lora = "LoRA" if (run.recipe.get("train") or {}).get("lora") else ""
    return _joined([size, model.get("class"), _count(model.get("parameters"), "parameter"), lora])


def _trained(run: RunView) -> str:
    """The new text with its size; then what is replayed, with that of each corpus."""
    asked: Json = run.recipe.get("data") or {}
    recorded: Json = run.provenance.get("data") or {}
    trained, replayed = recorded.get("train") or {}, recorded.get("replay") or {}
    new = {key: _without(trained.get(key), [part.get(key) for part in replayed.values()]) for key in _SIZE}
    text = _joined([", ".join(str(take.get("of")) for take in asked.get("train") or ()), _size(new)])
    again = [
        _joined([str(take.get("of")), _size(replayed.get(name) or {})])
        for name, take in (asked.get("replay") or {}).items()
        if take.get("share")
    ]
    return f"{text}; replayed: {'; '.join(again)}" if again else text


def _size(part: Json) -> str:
    return _joined([_count(part.get(key), word) for key, word in _SIZE.items() if part.get(key) is not None])


def _without(whole: int | None, parts: list[int | None]) -> int | None:
    """What is left of a number; None where one is not recorded."""
    known = [part for part in parts if part is not None]
    return None if whole is None or len(known) < len(parts) else whole - sum(known)


def _length(run: RunView, status: Json) -> str:
    step, total = status.get("step"), status.get("total_steps")
    epochs = [
        float(run.measure(group)["epoch"][-1]) for group in run.measures if run.measure(group).sizes["checkpoint"]
    ]
    epoch = f"{max(epochs):.3g} epochs" if epochs else ""
    if step is None:
        return epoch
    steps = f"{step:,} steps" if step == total or total is None else f"{step:,} of {total:,} steps"
    return _joined([steps, epoch])


def _parent(parent: Json | None, run: RunView) -> str:
    if isinstance(parent, Mapping):
        name = str(parent.get("run", "")).rstrip("/").rpartition("/")[2]
        step = f"step {parent['step']:,}" if isinstance(parent.get("step"), int) else ""
        return _joined([name, step, str(parent.get("weights_sha256") or "")[:12]])
    return "random weights" if (run.recipe.get("model") or {}).get("kind") == "ladder" else ""


def _status(status: Json) -> str:
    started, finished = status.get("started_unix_s"), status.get("finished_unix_s")
    duration = f"{finished - started:,.0f} s" if started and finished and finished > started else ""
    return _joined([status.get("state"), duration])


def utc_time(unix_s: object) -> str:
    """A point in time, in UTC; empty where none was recorded."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_s)) if isinstance(unix_s, int | float) else ""


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "?"


def _count(value: object, noun: str) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def _joined(parts: Iterable[object]) -> str:
    return ", ".join(str(part) for part in parts if part)


def _spaced(key: str) -> str:
    return key.replace("_", " ")


def _in_words(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "\n".join(f"{_spaced(str(key))}: {_in_words(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
