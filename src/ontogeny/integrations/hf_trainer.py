"""Record a run directory from a Hugging Face `Trainer` (or TRL trainer), without changing its training by a bit.

from ontogeny.integrations.hf_trainer import OntogenyCallback

look = OntogenyCallback(measures=["evaluation", "token_nll"], probes={"novel": held_out_texts}, every_steps=50)
Trainer(..., callbacks=[look]).train()
look.path        # a run directory like any other: ontogeny report, ontogeny.open

``OntogenyCallback(audit=True)`` also checks whether the training does what its author thinks.
"""

import atexit
import copy
import json
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from transformers import TrainerCallback

from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.json_types import Json
from ontogeny.core.passages import ProbeSet
from ontogeny.core.progress import Place, Progress
from ontogeny.core.recipe_file import validate_component
from ontogeny.core.schedule import Cadence
from ontogeny.core.version import __version__
from ontogeny.integrations.audit.listening import optimizer_name
from ontogeny.integrations.audit.report import keep
from ontogeny.integrations.audit.session import Audit
from ontogeny.integrations.foreign_texts import Rows, bos_of, probe_set
from ontogeny.looking.guard import untouched
from ontogeny.looking.observer import Measure, Observer, check_probes
from ontogeny.looking.weights_history import WeightsHistory
from ontogeny.models.weights import effective_weights, fingerprint, nonembedding_parameters
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.terms.next_token import NextToken
from ontogeny.runs.provenance import environment
from ontogeny.store.durable import filling
from ontogeny.store.run import open_run
from ontogeny.store.schema import BASE_FOLDER, PROVENANCE, TOKENIZER_FOLDER
from ontogeny.store.writer import RunWriter

if TYPE_CHECKING:
    from peft import PeftModel
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import DataLoader
    from transformers import (
        PreTrainedModel,
        PreTrainedTokenizerBase,
        PreTrainedTokenizerFast,
        ProcessorMixin,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

_SUMMARY_ONLY = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"}
KEEP_EVERY_S = 60.0
"""Least interval at which the verdicts of an audit are saved, at log rows: a killed process calls no callback."""


class AuditSettings(TypedDict, total=False):
    """Settings of `ontogeny.audit`."""

    first: int
    every: int
    skip: Sequence[str]
    quiet: bool


class OntogenyCallback(TrainerCallback):
    """Record a run directory from a foreign training: its log rows, and our measures at our cadence.

    `measures`: kinds, or components. `probes`: name -> texts, tokenized rows (`input_ids`, `labels`) or a ProbeSet; by
    default, rows of the training set. `every_steps`: cadence of the measures; they also measure the first and the last
    state. `to`: the run directory, by default `<output_dir>/ontogeny`, then `ontogeny-2`. `save_weights`: also save the
    weights of every measured state, so that measures can be added later. `passages`, `length`: most passages per probe
    set, most tokens per passage. `audit`: also apply all checks of `ontogeny.audit`; True, or its settings (`first`,
    `every`, `skip`, `quiet`). `watch`: further objects and values for the audit, besides those that the trainer has.
    With `measures=[]`, only the log and the audit are recorded.
    Costs what the measures cost. Training is bit-identical with and without.
    """

    def __init__(
        self,
        measures: Sequence[str | Mapping[str, Json] | Measure] = ("evaluation", "token_nll"),
        probes: Mapping[str, Rows | ProbeSet] | None = None,
        *,
        every_steps: int = 100,
        to: str | Path | None = None,
        save_weights: bool = False,
        passages: int = 32,
        length: int = 256,
        page: bool = True,
        audit: bool | AuditSettings = False,
        watch: Mapping[str, Json] | None = None,
    ) -> None:
        self.measures: list[Measure] = [
            validate_component("ontogeny.measures", measure) if isinstance(measure, str | Mapping) else measure
            for measure in measures
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
        self._audit_settings: AuditSettings | None = None if audit is False else {} if audit is True else audit
        self._watch = dict(watch or {})
        self.audit: Audit | None = None
        self._kept_s = 0.0
        atexit.register(_let_go, weakref.ref(self))

    def on_train_begin(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Open the run directory and measure the model before the first step."""
        if not state.is_world_process_zero:
            return
        self.let_go()
        model: PreTrainedModel = kwargs["model"]
        dataloader: DataLoader[object] | None = kwargs.get("train_dataloader")
        # A copy, so that whatever measures do with the tokenizer leaves the trainer's own as it is.
        tokenizer = copy.deepcopy(_tokenizer(kwargs.get("processing_class"), needed=bool(self.measures)))
        probes = {}
        if self.measures and tokenizer is not None:
            with untouched(model):
                probes = self._probe_sets(tokenizer, getattr(dataloader, "dataset", None))
        check_probes(self.measures, probes)
        self._flops_per_token = 6.0 * nonembedding_parameters(model)
        assert args.output_dir is not None  # TrainingArguments fills it in
        self.path = self._folder(Path(args.output_dir) / "ontogeny", resumes=state.global_step > 0)
        writer = self._open(args, state, model, probes)
        if kwargs.get("optimizer") is not None:  # not always that of `args.optim`: Trainer(optimizers=…)
            writer.update_provenance(optimizer=optimizer_name(kwargs["optimizer"]))
        if tokenizer is not None:
            tokenizer.save_pretrained(str(self.path / TOKENIZER_FOLDER))
            writer.list_files(TOKENIZER_FOLDER)
        if self.measures and tokenizer is not None:
            self._observe(args, state, model, writer, probes, tokenizer)
        if self._audit_settings is not None:
            watched = watched_by_trainer(args, state, kwargs.get("lr_scheduler")) | self._watch
            self.audit = Audit(model, kwargs["optimizer"], tokenizer=tokenizer, **self._audit_settings)
            self.audit.watch(**watched)
            self.audit.start()

    def _observe(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        model: "PreTrainedModel",
        writer: RunWriter,
        probes: Mapping[str, ProbeSet],
        tokenizer: "PreTrainedTokenizerFast",
    ) -> None:
        due = self.cadence.states(state.max_steps, 1.0)
        self._observer = Observer(
            writer=writer,
            measures=self.measures,
            probes=probes,
            tokenizer=tokenizer,
            objective=Objective([NextToken()]),
            seed=args.seed,
            due={
                measure.group: due if measure.at is None else measure.at.states(state.max_steps, 1.0)
                for measure in self.measures
            },
            history=self._held,
            bos=bos_of(tokenizer).token_ids,
        )
        self._look(state, model)

    def on_step_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Run the measures that are due."""
        if self._observer is not None and self._observer.is_due(state.global_step):
            self._look(state, kwargs["model"])

    def on_log(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        logs: Mapping[str, Json] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the trainer's log rows under their own names (`eval_` becomes the scope)."""
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

    def on_train_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Measure the last state, close the run, write the page."""
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
        """Close the run directory of a training that was interrupted; what was recorded remains.

        Trainers do not tell callbacks of an interruption, so this happens when the next training begins or Python ends.
        """
        if self._writer is None:
            return
        self._stop_audit(failed=True)
        self._writer.set_status(state="interrupted", message="training was interrupted")
        self._writer.close()
        self._writer = None

    def _stop_audit(self, *, failed: bool) -> None:
        assert self.path is not None
        if self.audit is not None:
            self.audit.stop(failed=failed)
            keep(self.audit.report, self.path)

    def _folder(self, usual: Path, *, resumes: bool) -> Path:
        """The run directory: `to` if given, else the usual one, numbered if it already has a run."""
        if self._to is not None:
            return self._to
        folders = [_numbered(usual, n) for n in range(1, 1001)]
        taken = [folder for folder in folders[:-1] if (folder / PROVENANCE).exists()]
        if resumes and taken:
            return taken[-1]
        return next(folder for folder in folders if folder not in taken)

    def _probe_sets(self, tokenizer: "PreTrainedTokenizerFast", dataset: Rows | None) -> dict[str, ProbeSet]:
        given = self._given
        if not given:
            if dataset is None or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
                raise OntogenyError("OntogenyCallback cannot index the training set: give probes={'train': texts}")
            given = {"train": dataset}
        return {
            name: probe_set(name, rows, tokenizer, count=self._passages, length=self._length)
            for name, rows in given.items()
        }

    def _open(
        self, args: "TrainingArguments", state: "TrainerState", model: "PreTrainedModel", probes: Mapping[str, ProbeSet]
    ) -> RunWriter:
        """A new run; if the trainer resumes from its own checkpoint, the old run up to that step."""
        assert self.path is not None
        if (self.path / PROVENANCE).exists():
            if state.global_step == 0:
                raise StoreError(f"{self.path} already has a run: give OntogenyCallback(to=…) another directory")
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

    def _provenance(self, args: "TrainingArguments", model: "PreTrainedModel") -> dict[str, object]:
        return {
            "made_by": f"OntogenyCallback {__version__}",
            "started_unix_s": time.time(),
            "environment": environment(),
            "training_arguments": json.loads(args.to_json_string()),
            "loss_rows": f"the trainer's log rows: a loss is the mean since the last row ({args.logging_steps} steps)",
            "model": {
                "class": type(model).__name__,
                "name": getattr(model.config, "_name_or_path", ""),
                "parameters": sum(p.numel() for p in model.parameters()),
                "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
                "nonembedding_parameters": nonembedding_parameters(model),
            },
        }

    def _look(self, state: "TrainerState", model: "PreTrainedModel") -> None:
        assert self._observer is not None
        assert self._writer is not None
        self._last_look = state.global_step
        with untouched(model):
            weights = effective_weights(model)
        place = self._place(state, fingerprint(weights))
        progress = Progress(step=state.global_step, total_steps=state.max_steps, epoch=float(state.epoch or 0.0))
        with nullcontext() if self.audit is None else self.audit.paused():
            self._observer.look(model, place, progress)
        if any(measure.compares_weights for measure in self.measures):
            self._held.keep(state.global_step, weights)
        if self.save_weights:
            self._save(place, model)
        self._writer.flush()
        self._writer.set_status(step=state.global_step)

    def _place(self, state: "TrainerState", weights_sha256: str) -> Place:
        tokens = int(getattr(state, "num_input_tokens_seen", 0) or 0)
        tokens_known = tokens > 0 or state.global_step == 0
        return Place(
            step=state.global_step,
            epoch=float(state.epoch or 0.0),
            tokens_seen=tokens if tokens_known else -1,
            flops=self._flops_per_token * tokens if tokens_known else float("nan"),
            flops_counted=float("nan"),
            weights_sha256=weights_sha256,
        )

    def _save(self, place: Place, model: "PreTrainedModel") -> None:
        from ontogeny.models.build import is_adapter, save_model

        assert self._writer is not None
        if is_adapter(model):
            base = self._writer.path / BASE_FOLDER
            if not base.exists():
                with filling(base):
                    save_model(copy.deepcopy(cast("PeftModel", model)).unload(), base)
                self._writer.list_files(BASE_FOLDER)
        with self._writer.checkpoint(place, extra={"weights_only": True}) as folder:
            save_model(model, folder / "model")


def _numbered(usual: Path, n: int) -> Path:
    return usual if n == 1 else usual.with_name(f"{usual.name}-{n}")


def _let_go(callback: "weakref.ref[OntogenyCallback]") -> None:
    if (alive := callback()) is not None:
        alive.let_go()


def watched_by_trainer(
    args: "TrainingArguments", state: "TrainerState", scheduler: "LRScheduler | None"
) -> dict[str, object]:
    """What an audit can watch in a trainer: accumulation, scheduler, total steps and gradient clipping."""
    watched: dict[str, object] = {
        "accumulation": args.gradient_accumulation_steps,
        "scheduler": scheduler,
        "total_steps": state.max_steps,
    }
    if args.max_grad_norm:
        watched["max_grad_norm"] = args.max_grad_norm
    return watched


def _tokenizer(
    processing_class: "PreTrainedTokenizerBase | ProcessorMixin | None", *, needed: bool
) -> "PreTrainedTokenizerFast | None":
    """The trainer's tokenizer, taken out of a processor if it is in one. None if there is none and none is needed."""
    tokenizer = getattr(processing_class, "tokenizer", processing_class)
    if tokenizer is None and needed:
        raise OntogenyError("OntogenyCallback needs the tokenizer: Trainer(processing_class=tokenizer, …)")
    return cast("PreTrainedTokenizerFast | None", tokenizer)
