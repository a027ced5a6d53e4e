"""Known retention curves are recovered; noise, a model that cannot forget and one that forgets all are named."""

import numpy as np
import pytest

from ontogeny.analyses.recorded.trained_batches import TrainedBatches
from ontogeny.analyses.retention import Retention, _places
from ontogeny.statistics import autocorrelation

STEPS, BATCHES = 400, 60


def batches(
    kept: "object", *, seed: int = 0, noise: float = 0.02, drift: float = 0.0, places: float = 0.0
) -> TrainedBatches:
    """Each batch: loss 5, a step takes 1 off, of which `kept(age)` is left. `drift` nats per step for all text alike.
    `places`: what the last third of the batches gains more.
    """
    random = np.random.default_rng(seed)
    step = np.array([0, *range(20, STEPS + 1, 20)])
    trained = np.sort(random.choice(STEPS, BATCHES, replace=False))
    level = random.normal(5, 0.3, BATCHES)
    age = step[:, None] - (trained[None] + 1)
    gain = 1 + places * (trained > STEPS * 2 / 3)
    left = np.where(age >= 0, kept(np.maximum(age, 0).astype(float)), 0.0)  # type: ignore[operator]
    nll = level - gain * left + drift * step[:, None] + random.normal(0, noise, age.shape)
    before = level + drift * trained + random.normal(0, noise, BATCHES)
    after = before - gain
    return TrainedBatches(
        step=step,
        trained_at=trained,
        nll=nll,
        before=before[None],
        after=after[None],
        novel=5 + drift * step,
        epochs=1.0,
    )


@pytest.mark.parametrize("tau", [30.0, 150.0])
def test_an_exponential_curve(tau: float) -> None:
    found = Retention().judge(batches(lambda age: np.exp(-age / tau))).numbers["fit"]
    assert found["name"] == "exponential"
    assert found["parameter"] == pytest.approx(tau, rel=0.1)
    assert found["aicc"]["power"] > found["aicc"]["exponential"] + 2


@pytest.mark.parametrize("k", [0.2, 0.6])
def test_a_power_law(k: float) -> None:
    found = Retention().judge(batches(lambda age: (1 + age) ** -k)).numbers["fit"]
    assert found["name"] == "power"
    assert found["parameter"] == pytest.approx(k, rel=0.15)


def test_a_model_that_cannot_forget() -> None:
    """Flat at 1, no loss since just after the step, and 1 nat better than before training."""
    found = Retention().judge(batches(np.ones_like))
    assert found.numbers["fit"]["name"] == "flat"
    assert found.numbers["fit"]["parameter"] == pytest.approx(1, abs=0.02)
    assert found.numbers["ends"]["against_before"]["value"] == pytest.approx(-1, abs=0.02)
    assert "does not differ from that just after their step" in found.verdict


def test_a_model_that_forgets_all() -> None:
    """Back at the level of before training at once."""
    found = Retention().judge(batches(np.zeros_like))
    assert found.numbers["ends"]["against_after"]["value"] == pytest.approx(1, abs=0.02)
    assert found.numbers["ends"]["against_before"]["value"] == pytest.approx(0, abs=0.02)
    assert found.numbers["fit"]["parameter"] == pytest.approx(0, abs=0.03)
    assert "higher loss at the end than just after their step" in found.verdict


@pytest.mark.slow
def test_white_noise_is_no_forgetting() -> None:
    """60 draws at 5%: 3 expected, 9 or more have a probability of 0.3%. The same for places (two, adjusted)."""
    claims = places = 0
    for seed in range(60):
        made = Retention(seed=seed).judge(batches(np.ones_like, seed=seed, noise=0.1)).numbers
        end = made["ends"]["against_after"]
        claims += end["low"] > 0 or end["high"] < 0
        places += min(one["p"] for one in made["places"].values()) < 0.05
    assert claims <= 8
    assert places <= 8


def test_what_all_text_did_is_taken_off() -> None:
    """All text gets 0.002 nats a step better by itself, 0.8 in all; nothing is forgotten: net of it, -1 and 0."""
    ends = Retention().judge(batches(np.ones_like, drift=-0.002)).numbers["ends"]
    assert ends["against_before"]["value"] == pytest.approx(-1.8, abs=0.03)
    assert ends["against_before, net"]["value"] == pytest.approx(-1, abs=0.03)
    assert ends["against_after, net"]["value"] == pytest.approx(0, abs=0.03)
    fitted = Retention().judge(batches(np.ones_like, drift=-0.002)).numbers["fit"]
    assert (fitted["name"], round(fitted["parameter"], 1)) == ("flat", 1.0)


def test_a_curve_that_rises_is_none_of_them() -> None:
    """Kept grows to three times what the step gave: later batches taught the same."""
    found = Retention().judge(batches(lambda age: 1 + 2 * np.minimum(age / 100, 1))).numbers["fit"]
    assert found["name"] == "none"


def test_recency_is_found_where_it_is_planted() -> None:
    found = Retention().judge(batches(np.ones_like, places=0.5)).numbers["places"]
    assert found["recency"]["value"] == pytest.approx(0.5, abs=0.1)
    assert found["recency"]["p"] < 0.01
    assert found["primacy"]["p"] > 0.05


def test_the_curve_by_hand() -> None:
    """Eight batches, all trained on at step 0, one checkpoint 3 steps later. Gains of 2, of which 1.5 are left: 75%."""
    ones = np.ones(8)
    made = TrainedBatches(
        step=np.array([0, 4]),
        trained_at=np.zeros(8, dtype=np.int64),
        nll=np.stack([5 * ones, 3.5 * ones]),
        before=5 * ones[None],
        after=3 * ones[None],
        novel=None,
        epochs=1.0,
    )
    curve = Retention().judge(made).numbers["curve"]
    assert (curve["age"].tolist(), curve["value"].tolist(), curve["n"].tolist()) == ([3.0], [0.75], [8])
    assert (
        Retention().judge(made).numbers["fit"]["lacks"]
        == "4 ages or more: there is 1; train longer, or look more often"
    )


def test_repeats_and_few_batches() -> None:
    made = batches(np.ones_like)
    twice = TrainedBatches(
        **{
            **made.__dict__,
            "before": np.stack([made.before[0]] * 2),
            "after": np.stack([made.after[0] + 0.5, made.after[0]]),
        }
    )
    repeats = Retention().judge(twice).numbers["repeats"]
    assert [one["value"] for one in repeats] == pytest.approx([-0.5, 0], abs=0.03)
    few = TrainedBatches(
        **{
            **made.__dict__,
            "trained_at": made.trained_at[:5],
            "nll": made.nll[:, :5],
            "before": made.before[:, :5],
            "after": made.after[:, :5],
        }
    )
    assert Retention().judge(few).verdict == (
        "not assessable: lacks 8 sampled batches or more: there are 5; let the ledger follow a larger share"
    )


def of_gains(gain: np.ndarray) -> TrainedBatches:
    """A batch a step, two checkpoints; a step takes 1 nat off."""
    count = len(gain)
    five = np.full(count, 5.0)
    return TrainedBatches(
        step=np.array([0, count]),
        trained_at=np.arange(count),
        nll=np.stack([five, five - gain]),
        before=five[None],
        after=five[None] - 1,
        novel=None,
        epochs=1.0,
    )


@pytest.mark.parametrize(("count", "rho"), [(88, 0.5), (88, 0.8), (88, 0.95), (660, 0.8), (660, 0.95)])
def test_batches_that_are_like_their_neighbours_claim_nothing(count: int, rho: float) -> None:
    """Gains wander around 0: of 100 draws at 5% 5 expected, 12 or more have a probability of 0.4%."""
    places = ends = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        gain = random.normal(size=count + 300)
        for i in range(1, len(gain)):
            gain[i] = rho * gain[i - 1] + np.sqrt(1 - rho**2) * gain[i]
        made = of_gains(gain[300:])
        places += min(one.get("p", 1.0) for one in _places(made).values()) < 0.05
        ends += autocorrelation.detrended_mean(-gain[300:]).get("p", 1.0) < 0.05
    assert places <= 11
    assert ends <= 11


def test_recency_is_found_where_neighbours_are_alike() -> None:
    """660 batches, 0.8: about 73 independent ones; the last third gains two standard deviations more."""
    found = 0
    for seed in range(20):
        gain = np.random.default_rng(seed).normal(size=960)
        for i in range(1, len(gain)):
            gain[i] = 0.8 * gain[i - 1] + 0.6 * gain[i]
        found += _places(of_gains(gain[300:] + 2 * (np.arange(660) >= 440)))["recency"].get("p", 1.0) < 0.05
    assert found >= 18


def test_what_is_not_assessable_is_said() -> None:
    wander = Retention().judge(of_gains(np.cumsum(np.random.default_rng(0).normal(size=88))))
    assert "not assessable, lacks 12 independent stretches" in wander.verdict
    still = Retention().judge(of_gains(np.zeros(88)))
    assert still.numbers["places"]["primacy"]["lacks"] == "any difference between gains"
    random = np.random.default_rng(1)
    gain = random.normal(size=88)
    gain[[3, 7]] = np.nan
    lost = Retention().judge(of_gains(gain))
    assert lost.numbers["n"] == 86
    assert lost.sentences[0].startswith("left out: 2 of 88 batches, whose loss is no number (trained on at steps 3, 7;")
    assert np.isfinite(lost.numbers["ends"]["against_after"]["value"])
    none = Retention().judge(of_gains(np.full(88, np.nan)))
    assert none.verdict == (
        "not assessable: lacks 8 sampled batches or more with a loss that is a number: there is none; look at what "
        "made the loss no number"
    )
    made = batches(np.ones_like)
    novel = np.where(made.step == 40, np.nan, 5.0)
    without = Retention().judge(TrainedBatches(**{**made.__dict__, "novel": novel}))
    assert "net of novel text: not assessable: its loss is no number at 1 of 21 checkpoints" in without.sentences[0]
    assert without.numbers["fit"]["name"] == "flat"
