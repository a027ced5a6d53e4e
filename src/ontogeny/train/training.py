"""A training as it goes: events, records, looks, checkpoints, decisions; in the order that makes resume exact."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ontogeny.core.errors import RunFailedError
from ontogeny.core.json_types import Json
from ontogeny.core.measures import Context
from ontogeny.core.progress import Place, StepEvent
from ontogeny.core.recipe import Recipe
from ontogeny.data.batch_plans import REPLAY_CARRIED, count_anew, realised_shares, replay_gaps
from ontogeny.data.prepare import Prepared
from ontogeny.looking.observer import LookEvent, Observer
from ontogeny.looking.weights_history import saved_weights
from ontogeny.models.build import save_model
from ontogeny.objectives.compose import Objective
from ontogeny.store.checkpoints import KEPT_BY
from ontogeny.store.writer import RunWriter
from ontogeny.train.batch_looks import BatchLooks
from ontogeny.train.control_decisions import ControlDecisions
from ontogeny.train.live_training import LiveSession
from ontogeny.train.loop import NonFiniteLossError, training_steps
from ontogeny.train.session import Session
from ontogeny.train.steering import SessionSteering
from ontogeny.train.trainer_state import save_trainer
from ontogeny.train.weight_changes import WeightChanges


@dataclass(frozen=True, kw_only=True)
class StageEvent:
    """A new stage of the work has begun."""

    text: str
    total_steps: int | None = None
    step: int = 0
    unit: str = "steps"
    """What `total_steps` counts."""


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """So many parts of the present stage are done, where these are no training steps."""

    done: int


@dataclass(frozen=True, kw_only=True)
class SaveEvent:
    """A checkpoint is on disk, and everything before it is recorded."""

    step: int
    run: Path
    seconds: float


Event = StageEvent | ProgressEvent | StepEvent | LookEvent | SaveEvent
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing."""


def observer_of(
    recipe: Recipe, writer: RunWriter, prepared: Prepared, due: dict[str, frozenset[int]], objective: Objective
) -> Observer:
    """The observer of a recipe's measures; `due` gives the states at which each looks."""
    return Observer(
        writer=writer,
        measures=recipe.measures,
        probes=prepared.probes,
        tokenizer=prepared.tokenizer,
        objective=objective,
        seed=recipe.train.seed if recipe.train else 0,
        due=due,
        history=saved_weights(writer.run),
        bos=prepared.bos.token_ids,
    )


class Training:
    """Consumes the loop's events: records, looks, saves, in the order that makes resume exact."""

    def __init__(
        self, recipe: Recipe, session: Session, writer: RunWriter, prepared: Prepared, listen: Listener
    ) -> None:
        self.session, self.writer, self.listen = session, writer, listen
        total, per_epoch = session.total_steps, session.plan.steps_per_epoch
        self.save_at = recipe.checkpoints.states(total, per_epoch) | {0, total}
        due = {m.group: m.at.states(total, per_epoch) if m.at is not None else self.save_at for m in recipe.measures}
        self.observer = observer_of(recipe, writer, prepared, due, session.objective)
        self.batch_looks = BatchLooks(session, recipe.measures)
        self.control_decisions = ControlDecisions(session.train.controls, writer.run.metrics)
        if not writer.run.provenance.get(REPLAY_CARRIED):
            count_anew(session.plan)
        self.control_decisions.put_in_force(SessionSteering(session))
        self.weight_changes = WeightChanges(session)

    def carry_out(self) -> None:
        """Steps, looks and checkpoints from the present state to the end."""
        session = self.session
        session.wrapped.train()
        self.writer.set_status(step=session.step, total_steps=session.total_steps)
        self.listen(StageEvent(text="training", total_steps=session.total_steps, step=session.step))
        if session.step == 0 and not self.writer.run.checkpoints:
            self.at_state()
        self.before_step()
        try:
            for event in training_steps(session):
                self.record(event)
                self.listen(event)
                self.at_state()
                self.before_step()
        except NonFiniteLossError as error:
            self.writer.flush()
            raise RunFailedError(self._explain(error)) from None
        self.writer.flush()
        self._tell_replay_gaps()

    def record(self, event: StepEvent) -> None:
        """Write the event to the metrics."""
        add = self.writer.add_metric
        step = event.step
        add(step, "loss", "train", event.loss)
        for name, value in event.terms.items():
            add(step, f"term_{name}", "train", value)
        for name, value in event.details.items():
            add(step, name, "train", value)
        for name in self.session.objective.changing:
            add(step, f"weight_{name}", "train", event.weights[name])
        add(step, "learning_rate", "train", event.learning_rate)
        add(step, "grad_norm", "train", event.grad_norm)
        add(step, "supervised_tokens", "train", event.supervised_tokens)
        add(step, "tokens_seen", "train", event.tokens_seen - event.tokens)
        add(step, "epoch", "train", event.progress.epoch)
        for name, value in {**realised_shares(self.session.plan, step), **self.batch_looks.after_step(event)}.items():
            add(step, name, "train", value)
        add(step, "step_seconds", "timing", event.seconds)

    def before_step(self) -> None:
        """Let controls decide and interventions act; look at the next batch, where it is sampled."""
        session = self.session
        if self.control_decisions.controls and session.step < session.total_steps:
            for kind, decision in self.control_decisions.decide(self.context()):
                if decision.stop:
                    self._stop(f"{kind}: {decision.stop}")  # before its record: a checkpoint holds only past decisions
                if decision.keep:
                    self._keep(kind)  # likewise: resumed from it, the run decides the same, and finds it there
                for name, value in self.control_decisions.rows(kind, decision).items():
                    self.writer.add_metric(session.step, name, "train", value)
            self.control_decisions.put_in_force(SessionSteering(session), since=session.step)
        for name, value in self.weight_changes.intervene(self.context).items():
            self.writer.add_metric(session.step, name, "train", value)
        self.batch_looks.before_step()

    def context(self) -> Context:
        """What controls and interventions see of the present state."""
        session = self.session
        place = replace(self._nowhere, step=session.step, epoch=session.plan.epoch_at(session.step))
        return self.observer.context(session.model, place, session.progress(), LiveSession(session))

    _nowhere = Place(step=0, epoch=0.0, tokens_seen=0, flops=math.nan, flops_counted=math.nan, weights_sha256="")

    def _stop(self, why: str) -> None:
        """Training ends at this state: what is due at the end is done here, unless it was done here already."""
        session, step = self.session, self.session.step
        self.listen(StageEvent(text=f"stopped at step {step}: {why}"))
        self.writer.update_provenance(stopped={"step": step, "why": why, "of_steps": session.total_steps})
        if all(checkpoint.step != step for checkpoint in self.writer.run.checkpoints):
            looked = {group for group, states in self.observer.due.items() if step in states}
            ends = {m.group for m in self.observer.measures if m.at is None} - looked
            self.observer.due = {group: frozenset({step} if group in ends else ()) for group in self.observer.due}
            self.save_at = frozenset({step})
            self.at_state()
        session.total_steps = step  # only now: killed before, the run is resumed, decides the same, and stops here
        self.writer.set_status(step=step, total_steps=step)

    def _tell_replay_gaps(self) -> None:
        """Say and record where batches replayed a share unlike the one that was decided."""
        gaps = replay_gaps(self.session.plan, self.session.step)
        if gaps or "replay_gaps" in self.writer.run.provenance:
            self.writer.update_provenance(replay_gaps=gaps)
        counts = self.session.train.mixing.counts
        remedy = "write mixing.counts: exact" if counts == "expected" else "train longer, or with larger batches"
        for corpus, gap in gaps.items():
            decided = f"replay of '{corpus}': {gap['decided']:.2%} of what is trained on was decided"
            self.listen(StageEvent(text=f"{decided}, {gap['realised']:.2%} was realised: {remedy}"))

    def at_state(self) -> None:
        """Look at the present state and save it, where due: metrics, measures, then the checkpoint."""
        session, step = self.session, self.session.step
        saving, looking = step in self.save_at, self.observer.is_due(step)
        if not (saving or looking):
            return
        place = session.place()
        if looking:
            self.listen(self.observer.look(session.model, place, session.progress(), LiveSession(session)))
        if saving:
            self._save(place)

    def _keep(self, kind: str) -> None:
        """Save the present state, unless it is saved, and drop the one that the control kept before.

        In this order, so that a run that is killed in between has both, and drops the earlier one when it is resumed.
        """
        step, checkpoints = self.session.step, self.writer.run.checkpoints
        if all(checkpoint.step != step for checkpoint in checkpoints):
            self._save(self.session.place(), kept_by=kind)
        self.writer.drop_checkpoints([c.step for c in checkpoints if c.step != step and c.kept_by == kind])

    def _save(self, place: Place, kept_by: str | None = None) -> None:
        started = time.perf_counter()
        self.writer.flush()
        extra: dict[str, Json] = {"metrics_rows": self.writer.metrics_rows, "total_steps": self.session.total_steps}
        if kept_by is not None:
            extra[KEPT_BY] = kept_by
        with self.writer.checkpoint(place, extra=extra) as folder:
            save_model(self.session.model, folder / "model")
            save_trainer(self.session, folder / "trainer")
        self.writer.set_status(step=place.step, total_steps=self.session.total_steps)
        seconds = time.perf_counter() - started
        self.writer.add_metric(place.step, "checkpoint", "timing", seconds)
        self.listen(SaveEvent(step=place.step, run=self.writer.path, seconds=seconds))

    def _explain(self, error: NonFiniteLossError) -> str:
        """One line: the step, its passages, the last good checkpoint."""
        passages = ", ".join(self.session.examples[i].source for i in error.example_ids[:4])
        more = len(error.example_ids) - 4
        checkpoints = self.writer.run.checkpoints
        last = f"the last good checkpoint is {checkpoints[-1].path}" if checkpoints else "no checkpoint was saved"
        return (
            f"step {error.step}: the {error.what}; its batch holds passages {error.example_ids} ({passages}"
            f"{f' and {more} more' if more > 0 else ''}); {last}; lower train.lr or look at these passages"
        )
