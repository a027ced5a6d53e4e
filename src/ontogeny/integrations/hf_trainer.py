"""Record a run directory from a Hugging Face `Trainer` (or TRL trainer), without changing its training by a bit.

from ontogeny.integrations.hf_trainer import OntogenyCallback

look = OntogenyCallback(measures=["evaluation", "token_nll"], probes={"novel": held_out_texts}, every_steps=50)
Trainer(..., callbacks=[look]).train()
look.path        # a run directory like any other: ontogeny report, ontogeny.open

``OntogenyCallback(audit=True)`` also watches whether the training does what its author thinks.
"""

import atexit
import copy
import json
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ontogeny.core.contracts import Place, Progress
from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.passages import ProbeSet
from ontogeny.core.recipe_file import validate_component
from ontogeny.core.schedule import Cadence
from ontogeny.core.version import __version__
from ontogeny.integrations.audit.report import keep
from ontogeny.integrations.audit.session import Audit
from ontogeny.integrations.foreign_texts import probe_set
from ontogeny.looking.guard import untouched
from ontogeny.looking.observer import Measure, Observer, check_probes
from ontogeny.looking.weights_history import WeightsHistory
from ontogeny.models.weights import effective_weights, fingerprint, nonembedding_parameters
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.terms.next_token import NextToken
from ontogeny.runs.provenance import environment
from ontogeny.store.run import open_run
from ontogeny.store.schema import PROVENANCE
from ontogeny.store.writer import RunWriter

_SUMMARY_ONLY = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"}


KEEP_EVERY_S = 60.0
"""What an audit says is written down that often, at log rows: a training may end without an end."""


class OntogenyCallback(TrainerCallback):
    """Look at somebody else's training: their log rows, our measures at our cadence, the same run directory and page.

    `measures`: kinds, or components. `probes`: name -> texts, tokenized rows (`input_ids`, `labels`) or a ProbeSet;
    without any, rows of the training set are looked at. `every_steps`: when measures look, besides the first and
    the last state. `to`: the run directory, by default `<output_dir>/ontogeny`, then `ontogeny-2`. `save_weights`:
    also keep the weights of every looked-at state, so that measures can be added later. `passages`, `length`: at
    most so many passages of a probe set, at most so many tokens each. `audit`: also hold the training against all
    checks of `ontogeny.audit`; settings of it (`first`, `every`, `skip`, `quiet`) or just True. `watch`: what the
    audit may look at besides; what the trainer knows is taken from it. Without measures, `measures=[]`, nothing but
    the audit and the log is recorded.
    Costs what its measures cost; training is bit-identical with and without.
    """

    def __init__(
        self,
        measures: Sequence[str | Mapping[str, Any] | Measure] = ("evaluation", "token_nll"),
        probes: Mapping[str, Any] | None = None,
        *,
        every_steps: int = 100,
        to: str | Path | None = None,
        save_weights: bool = False,
        passages: int = 32,
        length: int = 256,
        page: bool = True,
        audit: bool | Mapping[str, Any] = False,
        watch: Mapping[str, Any] | None = None,
    ) -> None:
        self.measures: list[Measure] = [
            m if not isinstance(m, str | Mapping) else validate_component("ontogeny.measures", m) for m in measures
        ]
        self.cadence = Cadence(every_steps=every_steps)
        self.save_weights = save_weights
        self.page = page
        self.path: Path | None = Path(to) if to is not None else None
        self._to = self.path
        self._given = dict(probes or {})
        self._passages, self._length = passages, length
        self._writer: RunWriter | None = None
        self._observer: Observer | None = None
        self._held = WeightsHistory()
        self._last_look = -1
        self._flops_per_token = 0.0
        self._settings = {} if audit is True else audit
        self._watch = dict(watch or {})
        self.audit: Audit | None = None
        self._kept_s = 0.0
        atexit.register(_let_go, weakref.ref(self))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the run directory and look at the model as it is before the first step."""
        if not state.is_world_process_zero:
            return
        self.let_go()
        model, dataloader = kwargs["model"], kwargs.get("train_dataloader")
        tokenizer = copy.deepcopy(_tokenizer(kwargs.get("processing_class"), needed=bool(self.measures)))
        probes = {}
        if self.measures:
            with untouched(model):
                probes = self._probe_sets(tokenizer, getattr(dataloader, "dataset", None))
        check_probes(self.measures, probes)
        self._flops_per_token = 6.0 * nonembedding_parameters(model)
        self.path = self._folder(Path(args.output_dir) / "ontogeny", resumes=state.global_step > 0)
        writer = self._open(args, state, model, probes)
        if tokenizer is not None:
            tokenizer.save_pretrained(str(self.path / "tokenizer"))
        if self.measures:
            self._observe(args, state, model, writer, probes, tokenizer)
        if self._settings is not False:
            watch = seen_by_trainer(args, state, kwargs) | self._watch
            self.audit = Audit(model, kwargs["optimizer"], tokenizer=tokenizer, **self._settings).watch(**watch)
            self.audit.start()

    def _observe(
        self, args: Any, state: Any, model: Any, writer: RunWriter, probes: Mapping[str, ProbeSet], tokenizer: Any
    ) -> None:
        due = self.cadence.states(state.max_steps, 1.0)
        self._observer = Observer(
            writer=writer,
            measures=self.measures,
            probes=probes,
            tokenizer=tokenizer,
            objective=Objective([NextToken()]),
            seed=args.seed,
            due={m.group: due if m.at is None else m.at.states(state.max_steps, 1.0) for m in self.measures},
            history=self._held,
        )
        self._look(state, model)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look, where a measure is due."""
        if self._observer is not None and self._observer.is_due(state.global_step):
            self._look(state, kwargs["model"])

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Record their log rows under their own names (`eval_` becomes the scope)."""
        if self._writer is None:
            return
        logs = logs or {}
        if self.audit is not None and "learning_rate" in logs:
            self.audit.watch_step_before(shown_learning_rate=logs["learning_rate"])
        for name, value in logs.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or name in _SUMMARY_ONLY:
                continue
            scope, short = ("eval", name.removeprefix("eval_")) if name.startswith("eval_") else ("train", name)
            self._writer.add_metric(state.global_step, short, scope, float(value))
        if self.audit is not None and self.path is not None and time.monotonic() - self._kept_s > KEEP_EVERY_S:
            keep(self.audit.report, self.path)
            self._kept_s = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look a last time, close the run, write the page."""
        if self._writer is None or self.path is None:
            return
        self._stop_audit(failed=False)
        if state.global_step != self._last_look and self._observer is not None:
            self._observer.due = {group: steps | {state.global_step} for group, steps in self._observer.due.items()}
            self._look(state, kwargs["model"])
        self._writer.set_status(state="finished", step=state.global_step, finished_unix_s=time.time())
        self._writer.close()
        self._writer = None
        if self.page:
            from ontogeny.report.page import write_report

            write_report([open_run(self.path)])

    def let_go(self) -> None:
        """Close the record of a training that was broken off; what was seen until then stays.

        Trainers tell no callback of that. So it is done when the next training begins, or Python ends.
        """
        if self._writer is None:
            return
        self._stop_audit(failed=True)
        self._writer.set_status(state="interrupted", message="the training was broken off")
        self._writer.close()
        self._writer = None

    def _stop_audit(self, *, failed: bool) -> None:
        assert self.path is not None
        if self.audit is not None:
            self.audit.stop(failed=failed)
            keep(self.audit.report, self.path)

    def _folder(self, usual: Path, *, resumes: bool) -> Path:
        """Where to record: what was asked for, else the usual place, with a number where it holds a run already."""
        if self._to is not None:
            return self._to
        taken = [one for n in range(1, 1000) if ((one := _numbered(usual, n)) / PROVENANCE).exists()]
        if resumes and taken:
            return taken[-1]
        return next(one for n in range(1, 1001) if (one := _numbered(usual, n)) not in taken)

    def _probe_sets(self, tokenizer: Any, dataset: Any) -> dict[str, ProbeSet]:
        given = self._given
        if not given:
            if dataset is None or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
                raise OntogenyError("OntogenyCallback cannot index the training set: give probes={'train': texts}")
            given = {"train": dataset}
        return {
            name: probe_set(name, rows, tokenizer, count=self._passages, length=self._length)
            for name, rows in given.items()
        }

    def _open(self, args: Any, state: Any, model: Any, probes: Mapping[str, ProbeSet]) -> RunWriter:
        """A new run, or, where the trainer resumes from a checkpoint of its own, the old one up to that step."""
        assert self.path is not None
        if (self.path / PROVENANCE).exists():
            if state.global_step == 0:
                raise StoreError(f"{self.path} holds a run already: give OntogenyCallback(to=…) another directory")
            writer = RunWriter.attach(self.path)
            steps = writer.run.metrics["step"].to_numpy()
            writer.rewind(state.global_step, int((steps <= state.global_step).sum()))
        else:
            writer = RunWriter.create(
                self.path, recipe_yaml="", recipe={"name": self.path.name}, provenance=self._provenance(args, model)
            )
            for probe in probes.values():
                writer.put_probes(probe)
        writer.set_status(state="running", step=state.global_step, total_steps=state.max_steps)
        self._writer = writer
        return writer

    def _provenance(self, args: Any, model: Any) -> dict[str, Any]:
        return {
            "made_by": f"OntogenyCallback {__version__}",
            "started_unix_s": time.time(),
            "environment": environment(),
            "training_arguments": json.loads(args.to_json_string()),
            "loss_rows": f"their log rows: a loss is the mean since the row before ({args.logging_steps} steps)",
            "model": {
                "class": type(model).__name__,
                "name": getattr(model.config, "_name_or_path", ""),
                "parameters": sum(p.numel() for p in model.parameters()),
                "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
                "nonembedding_parameters": nonembedding_parameters(model),
            },
        }

    def _look(self, state: Any, model: Any) -> None:
        assert self._observer is not None
        assert self._writer is not None
        self._last_look = state.global_step
        with untouched(model):
            weights = effective_weights(model)
        place = self._place(state, fingerprint(weights))
        progress = Progress(step=state.global_step, total_steps=state.max_steps, epoch=float(state.epoch or 0.0))
        with nullcontext() if self.audit is None else self.audit.paused():
            self._observer.look(model, place, progress)
        if any(m.compares_weights for m in self.measures):
            self._held.keep(state.global_step, weights)
        if self.save_weights:
            self._save(place, model)
        self._writer.flush()
        self._writer.set_status(step=state.global_step)

    def _place(self, state: Any, weights_sha256: str) -> Place:
        tokens = int(getattr(state, "num_input_tokens_seen", 0) or 0)
        known = tokens > 0 or state.global_step == 0
        return Place(
            step=state.global_step,
            epoch=float(state.epoch or 0.0),
            tokens_seen=tokens if known else -1,
            flops=self._flops_per_token * tokens if known else float("nan"),
            flops_counted=float("nan"),
            weights_sha256=weights_sha256,
        )

    def _save(self, place: Place, model: Any) -> None:
        from ontogeny.models.build import is_adapter, save_model

        assert self._writer is not None
        if is_adapter(model):
            base = self._writer.path / "base"
            if not base.exists():
                save_model(copy.deepcopy(model).unload(), base)
        with self._writer.checkpoint(place, extra={"weights_only": True}) as folder:
            save_model(model, folder / "model")


def _numbered(usual: Path, n: int) -> Path:
    return usual if n == 1 else usual.with_name(f"{usual.name}-{n}")


def _let_go(callback: "weakref.ref[OntogenyCallback]") -> None:
    if (alive := callback()) is not None:
        alive.let_go()


def seen_by_trainer(args: Any, state: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a trainer knows that an audit may look at: its arguments, its state, and what it gives a callback."""
    seen = {
        "accumulation": args.gradient_accumulation_steps,
        "scheduler": given.get("lr_scheduler"),
        "total_steps": state.max_steps,
    }
    if args.max_grad_norm:
        seen["max_grad_norm"] = args.max_grad_norm
    return seen


def _tokenizer(processing_class: Any, *, needed: bool) -> Any:
    """The tokenizer of a trainer, also where it has a processor around it; None if it has none and none is needed."""
    tokenizer = getattr(processing_class, "tokenizer", processing_class)
    if tokenizer is None and needed:
        raise OntogenyError("OntogenyCallback needs the tokenizer: Trainer(processing_class=tokenizer, …)")
    return tokenizer
