"""One entry for each analysis: what it claims of a draw without effect, and which of its intervals hold the truth."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.nulls import draws
from benchmarks.nulls.draws import Null
from ontogeny.analyses.collapse import Collapse
from ontogeny.analyses.content import Content
from ontogeny.analyses.forgetting import Forgetting
from ontogeny.analyses.groups import Groups
from ontogeny.analyses.layers import Layers
from ontogeny.analyses.onset import Onset
from ontogeny.analyses.order_memory import OrderMemory
from ontogeny.analyses.recorded.task_stages import Tasks
from ontogeny.analyses.recorded.trained_batches import TrainedBatches
from ontogeny.analyses.retention import Retention
from ontogeny.analyses.rises import Landscape, Rises
from ontogeny.analyses.routes import Routes
from ontogeny.analyses.shape import Shape, shape_of
from ontogeny.analyses.transfer import Transfer
from ontogeny.analyses.twins import Pairs, TwinsAnalysis
from ontogeny.analyses.velocity import Velocity

LEVEL = 0.05


@dataclass(frozen=True)
class Drawn:
    """What an analysis said of one draw."""

    claims: dict[str, bool | None] = field(default_factory=dict)
    """By what could be claimed: was it? None where it was said to be not assessable."""
    holds: dict[str, bool | None] = field(default_factory=dict)
    """By interval: does it hold the true value? None where there was none."""


def within(low: float, value: float, high: float) -> bool | None:
    """Does the interval hold the value? None without an interval."""
    return None if np.isnan(low) else bool(low <= value <= high)


def _groups(null: Null, seed: int) -> Drawn:
    contrasts = Groups(seed=seed, permutations=499).compare(draws.passages(null, seed)).numbers["contrasts"]
    claims = {
        name: None if "lacks" in contrast else bool(np.nanmin(contrast["p_corrected"]) < LEVEL)
        for name, contrast in contrasts.items()
    }
    reported = {name: contrast.get("best_on_other_half") for name, contrast in contrasts.items()}
    holds = {name: within(best.low, 0, best.high) if best else None for name, best in reported.items()}
    return Drawn(claims, holds)


def _content(null: Null, seed: int) -> Drawn:
    numbers = Content(seed=seed).tabulate(draws.passages(null, seed)).numbers
    tests, gap = numbers["tests"], numbers["gap"][-1]
    claims = {name: tests[name]["p"] < LEVEL if name in tests else None for name in ("copies", "content")}
    return Drawn(claims, {"gap": within(gap["low"], 0, gap["high"])})


def _onset(null: Null, seed: int) -> Drawn:
    numbers = Onset(seed=seed, permutations=499, refits=99).estimate(draws.passages(null, seed)).numbers
    relations, prediction = numbers["relations"], numbers["prediction"]
    claims = {
        "goes with": min(relation["p_adjusted"] for relation in relations.values()) < LEVEL if relations else None
    }
    areas = prediction.get("areas", {})
    names = ("length and NLL", "compression", "all")
    claims |= {f"{name} predicts": areas[name]["p"] < LEVEL if areas else None for name in names}
    holds = {
        f"AUROC of {name}": within(areas[name]["low"], 0.5, areas[name]["high"]) if areas else None for name in names
    }
    holds["gain"] = within(prediction["gain_low"], 0, prediction["gain_high"]) if areas else None
    return Drawn(claims, holds)


def _velocity(null: Null, seed: int) -> Drawn:
    numbers = Velocity(seed=seed).differentiate(draws.passages(null, seed)).numbers
    if "velocity" not in numbers:
        return Drawn({"a sign changes": None, "a change point": None}, {"band": None})
    outside = ((numbers["low"] > 0) | (numbers["high"] < 0)).any()
    claims: dict[str, bool | None] = {
        "a sign changes": sum(numbers["sign_changes"]) > 0,
        "a change point": any(point is not None for point in numbers["change_points"]),
    }
    return Drawn(claims, {"band": not outside})


def _layers(null: Null, seed: int) -> Drawn:
    """All layers of trained text move at the same time."""
    table = draws.passages(null, seed, layers=6)
    curve = 1 / (1 + np.exp(-4 * (np.log1p(table.epoch) - np.log1p(8))))
    effect = 6 * (curve - curve[0])[:, None, None] * table.trained
    moved = replace(table, score=table.score + effect)
    result = Layers(seed=seed, permutations=499).time(moved)
    claimed = None if result.verdict.startswith("not assessable") else "move first" in result.verdict
    held = within(result.numbers["low"], 0, result.numbers["high"]) if "low" in result.numbers else None
    return Drawn({"an order": claimed}, {"rank correlation": held})


def _shape(null: Null, seed: int) -> Drawn:
    values = draws.clustered_documents(null, seed, (len(draws.EPOCHS),))
    name = shape_of(draws.EPOCHS, values, np.random.default_rng((0, seed))).name
    beside = Shape(seed=seed).judge(draws.passages(null, seed)).numbers["shapes"]["epoch"]
    claims = {
        "a shape": None if "not assessable" in name else name != "flat",
        "a shape beside novel text": any(shape.name not in ("flat", "not assessable") for shape in beside),
    }
    return Drawn(claims)


def _routes(null: Null, seed: int) -> Drawn:
    table = draws.passages(null, seed)
    groups = Routes(seed=seed).compare(table, draws.other_route(null, seed, table)).numbers["groups"]
    trained = groups["trained"]
    if "lacks" in trained:
        return Drawn({"a route is better": None}, {"difference at the end": None})
    held = within(trained["low"][-1], 0, trained["high"][-1])
    return Drawn({"a route is better": bool((trained["p_corrected"] < LEVEL).any())}, {"difference at the end": held})


def _twins(null: Null, seed: int) -> Drawn:
    """Trained text gains nothing beyond novel text, in either form."""

    def pairs(part: int) -> Pairs:
        nll = tuple(5 + 0.3 * draws.clustered_documents(null, 4 * seed + 2 * part + form, (4,)) for form in range(2))
        accuracy = tuple(np.zeros_like(values) for values in nll)
        step = np.arange(4)
        return Pairs(name="t", by="c, swapped", step=step, epoch=step.astype(float), nll=nll, accuracy=accuracy)  # type: ignore[arg-type]

    row = TwinsAnalysis(seed=seed).compare([pairs(0)], {"c, swapped": pairs(1)}).numbers["sets"]["t"]
    gain = row.get("gain")
    held = within(gain["original"]["low"][-1], 0, gain["original"]["high"][-1]) if gain else None
    return Drawn({"something was learned": row["says"] != "not assessable"}, {"gain": held})


def _collapse(null: Null, seed: int) -> Drawn:
    sets = [draws.items(null, 3 * seed + i, probe=f"g{i}") for i in range(3)]
    numbers = Collapse(seed=seed).judge(sets, sets).numbers
    changes = numbers["changes"].values()
    known = [change for change in changes if np.isfinite(change["p_adjusted"]).all()]
    points = numbers["change_point"].values()
    claims: dict[str, bool | None] = {
        "a number changed": any(min(change["p_adjusted"]) < LEVEL for change in known) if known else None,
        "a change point": any(point["assessable"] and point["claimed"] for point in points)
        if any(point["assessable"] for point in points)
        else None,
    }
    first = next(iter(changes))
    return Drawn(claims, {"change at the end": within(first["low"][-1], 0, first["high"][-1])})


def _forgetting(null: Null, seed: int) -> Drawn:
    made = draws.items(null, seed, step=np.array([0, 1, 2, 4, 6, 8, 10, 40, 70, 100]))  # dense at first, for the gap
    numbers = Forgetting(seed=seed).judge([made]).numbers
    row, gap = numbers["sets"]["general: loss"], numbers["stability_gap"]["general"]
    claims: dict[str, bool | None] = {
        f"worse {key.replace('_', ' ')}": bool(row["p_adjusted"][key] < LEVEL and row[key].value > 0)
        if np.isfinite(row["p_adjusted"][key])
        else None
        for key in ("since_first", "since_best")
    }
    claims["a stability gap"] = gap["claimed"] if gap["assessable"] else None
    holds = {key.replace("_", " "): within(row[key].low, 0, row[key].high) for key in ("since_first", "since_best")}
    return Drawn(claims, holds)


def _transfer(null: Null, seed: int) -> Drawn:
    """Three tasks; four of the checkpoints are the ends of the stages."""
    probes = []
    for i in range(3):
        made = draws.items(null, 3 * seed + i, probe=f"p{i}", role="held out")
        probes.append(replace(made, total=made.total[::3][:4], step=made.step[::3][:4]))
    numbers = Transfer(seed=seed).compare(Tasks(names=("a/t", "b/t", "c/t"), probes=tuple(probes))).numbers
    claims: dict[str, bool | None] = {
        key: any(row["p_adjusted"] < LEVEL for row in numbers[key]) for key in ("backward", "forward", "forgetting")
    }
    means = numbers["mean"]
    return Drawn(claims, {f"mean {key}": within(mean.low, 0, mean.high) for key, mean in means.items()})


def _trained_batches(null: Null, seed: int, *, cyclic: bool) -> TrainedBatches:
    """Batches whose losses a step takes 1 nat off, all of which is kept."""
    random = np.random.default_rng((seed, 5))
    batches, steps = 40, 400
    step = np.array([0, *range(20, steps + 1, 20)])
    trained_at = np.sort(random.choice(steps, batches, replace=False))
    noise = draws.clustered_documents(replace_documents(null, batches), seed, (len(step) + 1,)) * 0.1
    level = random.normal(5, 0.3, batches)
    after = step[:, None] > trained_at
    before = level + noise[-1]
    place = random.permutation(batches).astype(float) if cyclic else None
    return TrainedBatches(
        step=step,
        trained_at=trained_at,
        nll=level - after + noise[:-1],
        before=before[None],
        after=before[None] - 1,
        novel=np.full(len(step), 5.0),
        epochs=1.0,
        **({"place": place, "content": np.arange(batches)} if cyclic else {}),  # type: ignore[arg-type]
    )


def replace_documents(null: Null, documents: int) -> Null:
    """The same with another number of documents."""
    return replace(null, documents=documents)


def _retention(null: Null, seed: int) -> Drawn:
    numbers = Retention(seed=seed).judge(_trained_batches(null, seed, cyclic=False)).numbers
    end, places = numbers["ends"]["against_after"], numbers["places"]
    known = [place["p"] for place in places.values() if np.isfinite(place.get("p", np.nan))]
    claims: dict[str, bool | None] = {
        "forgotten": bool(end["low"] > 0 or end["high"] < 0) if "low" in end else None,
        "a place": min(known) < LEVEL if known else None,
    }
    return Drawn(claims, {"against after": within(end["low"], 0, end["high"]) if "low" in end else None})


def _order_memory(null: Null, seed: int) -> Drawn:
    from tests.analyses.test_order_memory import cyclic

    made = cyclic(seed=seed, noise=0.0)
    noise = 0.05 * draws.clustered_documents(replace_documents(null, made.nll.shape[1]), seed, (len(made.step),))
    verdict = OrderMemory(seed=seed).judge(replace(made, nll=made.nll + noise)).verdict
    claimed = None if verdict.startswith("not assessable") else not verdict.startswith(("nothing", "no "))
    return Drawn({"memory of the order": claimed})


def _rises(null: Null, seed: int) -> Drawn:
    """A rate well below break-even; batches differ."""
    rates = np.array([0.001, 0.002, 0.004])
    decrease = rates - 100 * rates**2
    noise = 0.001 * draws.clustered_documents(replace_documents(null, 40), seed, (1,))[0]
    curves = np.tile(decrease, (40, 1))
    seen = Landscape(
        rates=rates,
        decrease={"train": curves, "new": curves},
        scheduled=np.full(40, 0.001),
        change=-decrease[0] + noise,
    )
    return Drawn({"overshot": bool(Rises(seed=seed).judge(seen).numbers["overshot"] > 0)})


ENTRIES: dict[str, Callable[[Null, int], Drawn]] = {
    "collapse": _collapse,
    "content": _content,
    "forgetting": _forgetting,
    "groups": _groups,
    "layers": _layers,
    "onset": _onset,
    "order_memory": _order_memory,
    "retention": _retention,
    "rises": _rises,
    "routes": _routes,
    "shape": _shape,
    "transfer": _transfer,
    "twins": _twins,
    "velocity": _velocity,
}


def rates(entry: Callable[[int], Drawn], count: int) -> dict[str, dict[str, float | None]]:
    """By claim and interval: `claimed` or `held` as a share of the draws that were assessable, and their number.

    `entry`: one of `ENTRIES` with its null, or of `across.ENTRIES_ACROSS`; it gets the seeds 0 to `count` - 1.
    """
    drawn = [entry(seed) for seed in range(count)]
    table: dict[str, dict[str, float | None]] = {}
    for about, word in (("claims", "claimed"), ("holds", "held")):
        for name in getattr(drawn[0], about):
            known = [getattr(draw, about)[name] for draw in drawn if getattr(draw, about)[name] is not None]
            share = round(float(np.mean(known)), 3) if known else None
            key = name if word == "claimed" else f"interval of {name}"
            table[key] = {word: share, "assessable": len(known)}
    return table
