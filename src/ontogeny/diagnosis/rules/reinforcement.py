"""Reinforcement learning of language models (GRPO, PPO, RLOO): reward, entropy, KL divergence and lengths."""

import numpy as np

from ontogeny.diagnosis.objective import ObjectiveKind
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import autocorrelation, robust
from ontogeny.store.history import Series

REINFORCEMENT = frozenset({ObjectiveKind.REINFORCEMENT})
LEAST_ENTRIES = 50
LATE = 0.25
"""Share of the log that counts as its end."""
SEQUENCE_LABELS = ("objective/kl", "kl_sum", "kl_seq")
"""Labels of a KL divergence summed over a whole answer; others are means per token."""


def _long(view: View, *names: str) -> Series | None:
    """The first of these series that has 50 or more finite values."""
    for name in names:
        series = view.get(name)
        if series is not None and len(series.clean()) >= LEAST_ENTRIES:
            return series.clean()
    return None


def _late(values: np.ndarray, share: float = LATE) -> np.ndarray:
    return values[-max(int(len(values) * share), 1) :]


@rule(
    title="Reward does not rise",
    needs="a mean reward of 50 or more entries",
    statistic="mean reward of the last quarter minus that of the first, with 95% confidence from the effective number "
    "of entries",
    threshold="the interval is not wholly above 0: note",
    origin="trl#2884; calibrated on two GRPO runs whose rewards rise from 0.18 to 0.31 and from 0.15 to 0.33",
    otherwise="the reward was near its maximum from the start; prompts become harder (a curriculum); few entries",
    refuted_by="the success rate on held-out prompts rises",
    remedy="read answers and their rewards: is the reward ever high, and does it differ within a group? Try a higher "
    "learning rate, more generations per prompt, easier prompts",
    objectives=REINFORCEMENT,
)
def reward_does_not_rise(view: View) -> Detection | Nothing | Lacks:
    """The reward is no higher at the end than at the beginning."""
    reward = _long(view, "reward")
    if reward is None:
        return Lacks(what=f"a mean reward of {LEAST_ENTRIES} or more entries")
    count = len(reward) // 4
    first, last = reward.values[:count], reward.values[-count:]
    change = robust.change(reward.values, count)
    numbers = {
        "first_quarter": float(first.mean()),
        "last_quarter": float(last.mean()),
        "change": change.value,
        "change_low": change.low,
        "change_high": change.high,
        "entries": len(reward),
    }
    if change.low > 0:
        return Nothing(numbers=numbers)
    return Detection(
        severity="note",
        statement=f"{reward.label} averages {first.mean():.3g} over the first quarter and {last.mean():.3g} over the "
        f"last, up to step {reward.steps[-1]} (change {change.low:+.2g} to {change.high:+.2g})",
        numbers=numbers,
        evidence=(points(reward, range(len(reward))),),
        certainty="likely" if change.high < 0 else "possible",
    )


@rule(
    title="Reward collapse",
    needs="a mean reward of 50 or more entries",
    statistic="mean reward of the best tenth of the run (consecutive entries) minus that of the last tenth, over the "
    "standard error of the difference",
    threshold="a fall of 4 standard errors or more, and of at least half the range of the running mean",
    origin="Search-R1#88, ZeroSearch#23",
    otherwise="prompts become harder (a curriculum), or the reward was redefined during training",
    refuted_by="the success rate on held-out prompts has not fallen",
    remedy="go back to the checkpoint of the best tenth; lower the learning rate, raise the KL coefficient; look at "
    "KL, entropy and lengths at the step where the reward turns",
    objectives=REINFORCEMENT,
)
def reward_collapse(view: View) -> Detection | Nothing | Lacks:
    """The reward rose and fell again."""
    reward = _long(view, "reward")
    if reward is None:
        return Lacks(what=f"a mean reward of {LEAST_ENTRIES} or more entries")
    values = reward.values
    window = max(len(values) // 10, 5)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    running = (sums[window:] - sums[:-window]) / window
    best = int(np.argmax(running[: -window or None])) if len(running) > window else 0
    top, last = values[best : best + window], values[-window:]
    residual = values - np.pad(running, (window // 2, window - 1 - window // 2), mode="edge")
    error = float(np.std(residual) * np.sqrt(2 / window * autocorrelation.geyer_time(residual)))
    fall, covered = float(top.mean() - last.mean()), float(np.ptp(running))
    numbers = {
        "best": float(top.mean()),
        "best_step": int(reward.steps[best]),
        "last": float(last.mean()),
        "fall": fall,
        "standard_error": error,
        "range": covered,
    }
    if fall < 4 * error or fall < 0.5 * covered or fall <= 0:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error" if last.mean() < values[:window].mean() - 2 * error else "warning",
        statement=f"{reward.label} fell from {top.mean():.3g} (mean over steps {reward.steps[best]} to "
        f"{reward.steps[best + window - 1]}) to {last.mean():.3g} (last tenth, up to step {reward.steps[-1]})",
        numbers=numbers,
        evidence=(points(reward, range(best, len(reward))),),
    )


@rule(
    title="No reward signal",
    needs="reward_std of 50 or more entries, or the share of groups whose rewards are all equal",
    statistic="share of entries of the last quarter with a reward_std of 0; or the mean share of groups with equal "
    "rewards there",
    threshold="above 50%",
    origin="trl#3452; two healthy GRPO runs have 9 and 11% such entries, 30 and 33% such groups",
    otherwise="the task is solved: all answers get the highest reward",
    refuted_by="rewards within a group differ when more answers are sampled, or grad_norm stays above 0",
    remedy="use prompts that are neither too easy nor too hard, more answers per prompt, or a reward with more than "
    "two values",
    objectives=REINFORCEMENT,
)
def reward_std_zero(view: View) -> Detection | Nothing | Lacks:
    """All answers to a prompt get the same reward: advantages are 0 and nothing is learned."""
    spread, groups = _long(view, "reward_std"), _long(view, "zero_std_share")
    if spread is None and groups is None:
        return Lacks(what=f"reward_std, or the share of groups with equal rewards, of {LEAST_ENTRIES} or more entries")
    zero = float(np.mean(_late(spread.values) == 0)) if spread is not None else 0.0
    without = float(_late(groups.values).mean()) if groups is not None else 0.0
    shown = groups if spread is None or (groups is not None and without > zero) else spread
    numbers = {"zero_std_entries": zero, "zero_std_groups": without}
    if shown is None or max(zero, without) <= 0.5:
        return Nothing(numbers=numbers)
    reward = _long(view, "reward")
    solved = reward is not None and bool(_late(reward.values).mean() > 0.95 * reward.values.max() > 0)
    unit = "groups" if without > zero else "entries"
    near_highest = ", with the reward near its highest value" if solved else ""
    return Detection(
        severity="note" if solved else "warning",
        statement=f"over the last quarter, up to step {shown.steps[-1]}, all rewards are equal in "
        f"{max(zero, without):.0%} of {unit}{near_highest}",
        numbers=numbers,
        evidence=(points(shown, range(len(shown) - len(_late(shown.values)), len(shown))),),
    )


@rule(
    title="Entropy collapse",
    needs="the policy's entropy of 50 or more entries",
    statistic="mean entropy of the last tenth over that of the first tenth",
    threshold="below 10%: warning; below 20%: note",
    origin="verl#5953; healthy GRPO runs keep 63% or more",
    otherwise="answers are short and of a fixed form, so that little entropy is needed",
    refuted_by="answers sampled for the same prompt still differ, and held-out reward rises",
    remedy="a larger upper clipping bound, an entropy bonus or a KL penalty, a lower learning rate",
    objectives=REINFORCEMENT,
)
def entropy_collapse(view: View) -> Detection | Nothing | Lacks:
    """The policy writes nearly the same answer every time and no longer explores."""
    entropy = _long(view, "entropy")
    if entropy is None:
        return Lacks(what=f"an entropy of {LEAST_ENTRIES} or more entries")
    first, last = robust.ends(entropy.values)
    left = float(last.mean() / first.mean()) if first.mean() > 0 else 1.0
    numbers = {"first_tenth": float(first.mean()), "last_tenth": float(last.mean()), "left": left}
    if left >= 0.2 or last.mean() < 0:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning" if left < 0.1 else "note",
        statement=f"{entropy.label} fell from {first.mean():.3g} (first tenth) to {last.mean():.3g} (last tenth, up to "
        f"step {entropy.steps[-1]}): {left:.0%} is left",
        numbers=numbers,
        evidence=(points(entropy, range(len(entropy))),),
    )


@rule(
    title="KL blow-up",
    needs="the KL divergence from the reference, of 50 or more entries",
    statistic="median KL of the last tenth, and of the first quarter",
    threshold="last tenth above 10 times the first quarter and above 1 nat per token (50 nats if it is summed over "
    "answers)",
    origin="ms-swift#6550",
    otherwise="there is no KL penalty, and the policy is meant to move far from its start",
    refuted_by="answers are still fluent, and held-out reward rises",
    remedy="go back to the checkpoint before the rise; lower the learning rate, raise the KL coefficient, clip "
    "gradients",
    objectives=REINFORCEMENT,
)
def kl_blowup(view: View) -> Detection | Nothing | Lacks:
    """The policy has moved far away from its reference."""
    divergence = _long(view, "kl")
    if divergence is None:
        return Lacks(what=f"a KL divergence of {LEAST_ENTRIES} or more entries")
    values = divergence.values
    early, late = float(np.median(values[: len(values) // 4])), float(np.median(_late(values, 0.1)))
    summed = divergence.label.lower().removeprefix("train/").startswith(SEQUENCE_LABELS)
    numbers = {"first_quarter_nats": early, "last_tenth_nats": late}
    if late <= (50.0 if summed else 1.0) or late <= 10 * early:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"{divergence.label} has a median of {early:.3g} nats over the first quarter and of {late:.3g} nats "
        f"over the last tenth, up to step {divergence.steps[-1]}",
        numbers=numbers,
        evidence=(points(divergence, range(len(divergence))),),
    )


@rule(
    title="Completions clipped",
    needs="the share of clipped completions, or their mean length, of 20 or more entries",
    statistic="mean share of clipped completions over the last quarter; share of entries there whose mean length is "
    "the highest of the log",
    threshold="above 50% clipped; or 80% of entries at the highest length",
    origin="trl#5697, ms-swift#4950",
    otherwise="answers of the same length by design",
    refuted_by="completions end with the end-of-text token",
    remedy="raise max_completion_length, or reward shorter answers; check the end-of-text token and the chat template",
    objectives=REINFORCEMENT,
)
def completions_clipped(view: View) -> Detection | Nothing | Lacks:
    """Answers are cut off at the length limit and rewarded as they are."""
    clipped, length = view.get("clipped_ratio"), view.get("completion_length")
    assessable = [series.clean() for series in (clipped, length) if series is not None and len(series.clean()) >= 20]
    if not assessable:
        return Lacks(what="the share of clipped completions, or their mean length, of 20 or more entries")
    numbers: dict[str, float] = {}
    for series in assessable:
        late = _late(series.values)
        if series.name == "clipped_ratio":
            share = numbers["clipped"] = float(late.mean())
            cut = f"{share:.0%} of completions are clipped"
            clipped_at_limit = share > 0.5
        else:
            share = numbers["at_highest_length"] = float(np.mean(late >= series.values.max() * 0.999))
            highest = f"{series.label} is at its highest value, {series.values.max():.6g}"
            cut = f"{highest}, in {share:.0%} of entries"
            clipped_at_limit = share >= 0.8 and float(series.values.max()) > 1
        if clipped_at_limit:
            return Detection(
                severity="warning",
                statement=f"over the last quarter, up to step {series.steps[-1]}, {cut}",
                numbers=numbers,
                evidence=(points(series, range(len(series) - len(late), len(series))),),
            )
    return Nothing(numbers=numbers)
