"""An audit of a training in Lightning: ``Trainer(callbacks=[OntogenyAudit(tokenizer=tokenizer)])``."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import MissingExtraError, OntogenyError
from ontogeny.core.version import __version__
from ontogeny.integrations.audit.report import Report, keep
from ontogeny.integrations.audit.session import Audit
from ontogeny.runs.provenance import environment
from ontogeny.store.schema import PROVENANCE
from ontogeny.store.writer import RunWriter

try:  # one library under two names; a callback of either serves both trainers
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError:
        raise MissingExtraError("OntogenyAudit needs Lightning: pip install 'ontogeny[lightning]'") from None

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer
    from transformers import PreTrainedTokenizerBase


class OntogenyAudit(Callback):
    """Audit a training in Lightning and report its findings at the end. Training is bit-identical with and without.

    The audit observes the language model inside the LightningModule (see `listening.language_model`). `watch`: further
    objects and values for the audit; accumulation, clipping by norm and the scheduler are read from the trainer. `to`:
    a run directory for the verdicts, by default `<default_root_dir>/ontogeny`, which `ontogeny.open` and `ontogeny
    report` read. `first`, `every`, `skip` and `quiet` are those of `ontogeny.audit`.
    """

    def __init__(
        self,
        *,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        watch: Mapping[str, object] | None = None,
        to: str | Path | None = None,
        first: int = 20,
        every: int = 500,
        skip: Iterable[str] = (),
        quiet: bool = False,
    ) -> None:
        self.path: Path | None = Path(to) if to is not None else None
        self._watch = dict(watch or {})
        self._tokenizer = tokenizer
        self._first, self._every = first, every
        self._skip, self._quiet = tuple(skip), quiet
        self._audit: Audit | None = None
        self._ended = False

    @property
    def report(self) -> Report:
        """The verdicts so far. Raises OntogenyError before training begins."""
        if self._audit is None:
            raise OntogenyError("OntogenyAudit has no report: training has not begun")
        return self._audit.report

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Start the audit before the first batch."""
        if not trainer.is_global_zero:
            return
        audit = Audit(
            pl_module,
            trainer.optimizers,
            tokenizer=self._tokenizer,
            first=self._first,
            every=self._every,
            skip=self._skip,
            quiet=self._quiet,
        )
        audit.watch(accumulation=trainer.accumulate_grad_batches)
        if trainer.gradient_clip_val and trainer.gradient_clip_algorithm != "value":
            audit.watch(max_grad_norm=trainer.gradient_clip_val, clip_key="gradient_clip_val")
        if 0 < trainer.estimated_stepping_batches < float("inf"):
            audit.watch(total_steps=int(trainer.estimated_stepping_batches))
        for scheduled in trainer.lr_scheduler_configs[:1]:
            audit.watch(scheduler=scheduled.scheduler)
        self._audit, self._ended = audit.watch(**self._watch), False
        audit.start()

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """End the audit: print the findings and save the verdicts."""
        self._end(trainer, failed=False)

    def on_exception(self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException) -> None:
        """End the audit of a training that failed; the model is not evaluated."""
        self._end(trainer, failed=True)

    def _end(self, trainer: "Trainer", *, failed: bool) -> None:
        if self._audit is None or self._ended:
            return
        self._ended = True
        self._audit.stop(failed=failed)
        self.path = self.path or Path(trainer.default_root_dir) / "ontogeny"
        if not (self.path / PROVENANCE).exists():
            provenance = {
                "made_by": f"OntogenyAudit {__version__}",
                "started_unix_s": time.time(),
                "environment": environment(),
            }
            recipe = {"name": self.path.name}
            RunWriter.create(self.path, recipe_yaml="", recipe=recipe, provenance=provenance).close()
        keep(self._audit.report, self.path)
