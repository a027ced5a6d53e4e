"""An audit of a Lightning training: ``Trainer(callbacks=[OntogenyAudit(tokenizer=tokenizer)])``."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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


class OntogenyAudit(Callback):
    """Watch a Lightning training, and say at its end what was found; training is bit-identical with and without.

    Watched is the language model inside the LightningModule (see `listening.language_model`). `watch`: what the audit
    may look at besides; accumulation, clipping by norm and the scheduler are read off the trainer. `to`: a run
    directory, by default `<default_root_dir>/ontogeny`, that holds the verdicts and nothing else, for `ontogeny.open`
    and `ontogeny report`. `first`, `every`, `skip`, `quiet` are those of `ontogeny.audit`.
    """

    def __init__(
        self,
        *,
        tokenizer: Any = None,
        watch: Mapping[str, Any] | None = None,
        to: str | Path | None = None,
        first: int = 20,
        every: int = 500,
        skip: Iterable[str] = (),
        quiet: bool = False,
    ) -> None:
        self.path: Path | None = Path(to) if to is not None else None
        self._watch = dict(watch or {})
        self._settings: dict[str, Any] = {
            "tokenizer": tokenizer,
            "first": first,
            "every": every,
            "skip": tuple(skip),
            "quiet": quiet,
        }
        self._audit: Audit | None = None
        self._ended = False

    @property
    def report(self) -> Report:
        """What was found so far. Raises OntogenyError before the training began."""
        if self._audit is None:
            raise OntogenyError("OntogenyAudit has no report: its training has not begun")
        return self._audit.report

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin before the first batch."""
        if not trainer.is_global_zero:
            return
        audit = Audit(pl_module, trainer.optimizers, **self._settings)
        audit.watch(accumulation=trainer.accumulate_grad_batches)
        if trainer.gradient_clip_val and trainer.gradient_clip_algorithm != "value":
            audit.watch(max_grad_norm=trainer.gradient_clip_val)
        if 0 < trainer.estimated_stepping_batches < float("inf"):
            audit.watch(total_steps=int(trainer.estimated_stepping_batches))
        for one in trainer.lr_scheduler_configs[:1]:
            audit.watch(scheduler=one.scheduler)
        self._audit, self._ended = audit.watch(**self._watch), False
        audit.start()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Say what was found, and write it down."""
        self._end(trainer, failed=False)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The same where the training was broken off, without an evaluation."""
        self._end(trainer, failed=True)

    def _end(self, trainer: Any, *, failed: bool) -> None:
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
