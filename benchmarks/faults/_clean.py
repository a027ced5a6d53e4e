"""Clean synthetic logs: power-law losses with autocorrelated noise, schedules with warm-up, evaluations, rounding."""

from dataclasses import dataclass, field, replace

import numpy as np

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import Meaning
from ontogeny.store.history import EVAL, TRAIN, History

Key = tuple[str, str]
Points = tuple[np.ndarray, np.ndarray]
LENGTHS = (60, 150, 400, 1000, 3000)
INTERVALS = (1, 5, 10, 50)


@dataclass
class Synthetic:
    """A log in the making. `series`: by (scope, name), steps (int64) and values (float64); change them at will."""

    series: dict[Key, Points]
    noise_sd: float
    """Sd of the training loss about its curve."""
    steps_per_epoch: int
    config: dict = field(default_factory=dict)
    decimals: int | None = None
    """Round losses so, as some trainers do."""
    then: "Synthetic | None" = None
    """What stands behind it in the same file: a resumption, or another run."""

    def get(self, name: str, scope: str = TRAIN) -> Points:
        """Steps and values of one series."""
        return self.series[scope, name]

    def put(self, name: str, steps: np.ndarray, values: np.ndarray, scope: str = TRAIN) -> None:
        """Set one series."""
        self.series[scope, name] = np.asarray(steps, dtype=np.int64), np.asarray(values, dtype=np.float64)

    def copy(self) -> "Synthetic":
        """A copy to plant a fault into: the original stays its clean twin."""
        series = {key: (steps.copy(), values.copy()) for key, (steps, values) in self.series.items()}
        return replace(self, series=series, config=dict(self.config))

    def history(self) -> History:
        """As an importer would have read it: entries in order of step, train before eval."""
        builder = Builder("synthetic", "synthetic", meaning=_meaning)
        builder.config.update(self.config)
        part: Synthetic | None = self
        while part is not None:
            part.add_to(builder)
            part = part.then
        return builder.build()

    def add_to(self, builder: Builder) -> None:
        """Its own entries alone."""
        by_step: dict[tuple[int, int], dict[str, float]] = {}
        for (scope, name), (steps, values) in self.series.items():
            rounded = values if self.decimals is None or name != "loss" else np.round(values, self.decimals)
            for step, value in zip(steps.tolist(), rounded.tolist(), strict=True):
                by_step.setdefault((step, int(scope != TRAIN)), {})[f"{scope}|{name}"] = value
        entries = [(step, late, values) for (step, late), values in sorted(by_step.items())]
        for step, _, values in entries:
            builder.add(len(builder) + 1, values, step=step, epoch=step / self.steps_per_epoch)


def _meaning(label: str) -> Meaning:
    scope, _, name = label.partition("|")
    return Meaning(scope, name, "nats" if name == "loss" else "")


def autocorrelated(rng: np.random.Generator, n: int, sd: float, rho: float) -> np.ndarray:
    """AR(1) noise with stationary standard deviation `sd`."""
    shocks = rng.normal(0.0, sd * np.sqrt(1 - rho**2), n)
    noise = np.empty(n)
    noise[0] = rng.normal(0.0, sd)
    for i in range(1, n):
        noise[i] = rho * noise[i - 1] + shocks[i]
    return noise


def schedule(rng: np.random.Generator, steps: np.ndarray, total: int) -> np.ndarray:
    """Linear warm-up over 1 to 10% of the steps, then linear, cosine or constant; peak 1e-5 to 1e-3."""
    peak = 10 ** rng.uniform(-5, -3)
    warm = max(int(total * rng.uniform(0.01, 0.1)), 1)
    along = np.clip((steps - warm) / max(total - warm, 1), 0, 1)
    shape = [1 - along, 0.5 * (1 + np.cos(np.pi * along)), np.ones(len(steps))][rng.integers(3)]
    return np.asarray(peak * np.minimum(steps / warm, 1.0) * shape)


def clean(
    rng: np.random.Generator,
    *,
    least: int = 0,
    evaluations: bool = True,
    grad_norm: bool = True,
    from_scratch: bool | None = None,
    rho: float | None = None,
) -> Synthetic:
    """A healthy run of language modeling, everything about it drawn at random.

    `least` entries at least; a fine-tune starts at 1.5 to 4 nats and falls to 50-85% of that, a run from scratch starts
    near ln(vocabulary). Noise sd 0.5 to 6% of the first loss, AR(1) with coefficient 0 to 0.6. Evaluations are the
    curve plus a constant gap, with little noise of their own.
    """
    count = int(rng.choice([n for n in LENGTHS if n >= least]))
    interval = int(rng.choice(INTERVALS))
    steps = np.arange(1, count + 1) * interval
    total = int(steps[-1])
    scratch = bool(rng.random() < 0.4) if from_scratch is None else from_scratch
    vocabulary = int(rng.choice([5000, 32000, 50257]))
    first = np.log(vocabulary) if scratch else rng.uniform(1.5, 4.0)
    floor = first * (rng.uniform(0.3, 0.5) if scratch else rng.uniform(0.5, 0.85))
    power = rng.uniform(0.25, 0.7)
    scale = total * rng.uniform(0.005, 0.05)
    curve = floor + (first - floor) * ((steps + scale) / scale) ** -power
    sd = first * rng.uniform(0.005, 0.06)
    coefficient = rng.uniform(0, 0.6) if rho is None else rho
    epochs = rng.uniform(0.7, 4.0)
    made = Synthetic(series={}, noise_sd=sd, steps_per_epoch=max(int(total / epochs), 1))
    made.put("loss", steps, np.maximum(curve + autocorrelated(rng, count, sd, coefficient), 0.05))
    made.put("learning_rate", steps, schedule(rng, steps, total))
    if grad_norm:
        norm = rng.uniform(0.3, 3.0) * (curve / curve[-1]) * np.exp(autocorrelated(rng, count, 0.15, coefficient))
        made.put("grad_norm", steps, norm)
    if evaluations:
        wanted = int(rng.integers(6, 25))
        index = np.unique(np.linspace(count // wanted, count - 1, wanted).astype(int))
        gap = first * rng.uniform(0.0, 0.08)
        made.put("loss", steps[index], curve[index] + gap + rng.normal(0, 0.002 * first, len(index)), EVAL)
    made.decimals = 4 if rng.random() < 0.5 else None
    made.config = {"max_steps": total, "logging_steps": interval}
    if scratch:
        made.config |= {"vocabulary_size": vocabulary, "from_scratch": True}
    return made
