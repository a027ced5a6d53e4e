"""Reinforcement learning of language models (GRPO, PPO, RLOO): what the reward and its companions tell."""

import numpy as np

from ontogeny.diagnosis.objective import Objective
from ontogeny.diagnosis.rule import Found, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import autocorrelation, robust
from ontogeny.store.history import Series

REINFORCEMENT = frozenset({Objective.REINFORCEMENT})
LEAST_ENTRIES = 50
LATE = 0.25
"""Share of the log that counts as its end."""
SEQUENCE_LABELS = ("objective/kl", "kl_sum", "kl_seq")
"""Labels of a KL divergence summed over a whole answer; others are means per token."""


def _long(view: View, *names: str) -> Series | None:
    """The first of these series with 50 or more finite values."""
    for name in names:
        one = view.get(name)
        if one is not None and len(one.clean()) >= LEAST_ENTRIES:
            return one.clean()
    return None


def _late(values: np.ndarray, share: float = LATE) -> np.ndarray:
    return values[-max(int(len(values) * share), 1) :]


@rule(
    title="Reward does not rise",
    needs="a mean reward of 50 or more entries",
    statistic="mean reward of the last quarter minus that of the first, with 95% confidence from the effective number "
    "of entries",
    threshold="the interval reaches 0 or below: note",
    origin="trl#2884; calibrated on two GRPO runs whose rewards rise from 0.18 to 0.31 and 0.15 to 0.33",
    otherwise="the reward was near its highest from the start; prompts become harder (a curriculum); few entries",
    refuted_by="the success rate on held-out prompts rises",
    remedy="look at answers and their rewards: is the reward ever high, and does it differ within a group? A higher "
    "learning rate, more generations per prompt, easier prompts",
    objectives=REINFORCEMENT,
)
def reward_does_not_rise(view: View) -> Found | Nothing | Lacks:
    """What is optimised is no higher at the end than at the beginning."""
    reward = _long(view, "reward")
    if reward is None:
        return Lacks(what=f"a mean reward of {LEAST_ENTRIES} or more entries")
    count = len(reward) // 4
    first, last = reward.values[:count], reward.values[-count:]
    change = robust.difference(last, first)
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
    return Found(
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
    statistic="the best tenth of the run (mean reward over consecutive entries) minus the last tenth, over the "
    "standard error of the difference",
    threshold="a fall of 4 standard errors or more, and of half of the range that the running mean has covered",
    origin="Search-R1#88, ZeroSearch#23",
    otherwise="prompts become harder (a curriculum), or the reward was redefined on the way",
    refuted_by="the success rate on held-out prompts has not fallen",
    remedy="go back to the checkpoint of the best tenth; lower the learning rate, raise the KL coefficient; look at "
    "KL, entropy and lengths at the step where it turns",
    objectives=REINFORCEMENT,
)
def reward_collapse(view: View) -> Found | Nothing | Lacks:
    """The reward had risen and is lost again."""
    reward = _long(view, "reward")
    if reward is None:
        return Lacks(what=f"a mean reward of {LEAST_ENTRIES} or more entries")
    values = reward.values
    window = max(len(values) // 10, 5)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    running = (sums[window:] - sums[:-window]) / window
    best = int(np.argmax(running[: -window or None])) if len(running) > window else 0
    top, last = values[best : best + window], values[-window:]
    rest = values - np.pad(running, (window // 2, window - 1 - window // 2), mode="edge")
    error = float(np.std(rest) * np.sqrt(2 / window * autocorrelation.geyer_time(rest)))
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
    return Found(
        severity="error" if last.mean() < values[:window].mean() - 2 * error else "warning",
        statement=f"{reward.label} fell from {top.mean():.3g} (mean over steps {reward.steps[best]} to "
        f"{reward.steps[best + window - 1]}) to {last.mean():.3g} (last tenth, up to step {reward.steps[-1]})",
        numbers=numbers,
        evidence=(points(reward, range(best, len(reward))),),
    )


@rule(
    title="No reward signal",
    needs="reward_std of 50 or more entries, or the share of groups whose rewards are all equal",
    statistic="share of zero reward_std over the last quarter; or the mean share of groups without spread there",
    threshold="above 50%",
    origin="trl#3452; two healthy GRPO runs have 9 and 11% such entries, 30 and 33% such groups",
    otherwise="the task is solved: all answers get the highest reward",
    refuted_by="rewards within a group differ when more answers are drawn, or grad_norm stays above 0",
    remedy="prompts that are neither too easy nor too hard; more answers per prompt; a reward with more than two "
    "values",
    objectives=REINFORCEMENT,
)
def reward_std_zero(view: View) -> Found | Nothing | Lacks:
    """All answers to a prompt get the same reward: advantages are zero and nothing is learned."""
    spread, groups = _long(view, "reward_std"), _long(view, "zero_std_share")
    if spread is None and groups is None:
        return Lacks(what=f"reward_std, or the share of groups without spread, of {LEAST_ENTRIES} or more entries")
    zero = float(np.mean(_late(spread.values) == 0)) if spread is not None else 0.0
    without = float(_late(groups.values).mean()) if groups is not None else 0.0
    shown = groups if spread is None or (groups is not None and without > zero) else spread
    numbers = {"zero_std_entries": zero, "zero_std_groups": without}
    if shown is None or max(zero, without) <= 0.5:
        return Nothing(numbers=numbers)
    reward = _long(view, "reward")
    solved = reward is not None and bool(_late(reward.values).mean() > 0.95 * reward.values.max() > 0)
    return Found(
        severity="note" if solved else "warning",
        statement=f"over the last quarter, up to step {shown.steps[-1]}, {max(zero, without):.0%} of "
        + ("groups" if without > zero else "entries")
        + " have no spread of rewards"
        + (", with the reward near its highest value" if solved else ""),
        numbers=numbers,
        evidence=(points(shown, range(len(shown) - len(_late(shown.values)), len(shown))),),
    )


@rule(
    title="Entropy collapse",
    needs="the policy's entropy of 50 or more entries",
    statistic="mean entropy of the last tenth over that of the first tenth",
    threshold="below 10%: warning; below 20%: note",
    origin="verl#5953; a healthy GRPO run keeps 63% or more",
    otherwise="answers are short and of a fixed form, so that little entropy is needed",
    refuted_by="answers sampled to one prompt still differ, and held-out reward rises",
    remedy="a larger upper clipping bound, an entropy bonus or a KL penalty, a lower learning rate",
    objectives=REINFORCEMENT,
)
def entropy_collapse(view: View) -> Found | Nothing | Lacks:
    """The policy writes nearly the same answer every time: nothing is left to explore."""
    entropy = _long(view, "entropy")
    if entropy is None:
        return Lacks(what=f"an entropy of {LEAST_ENTRIES} or more entries")
    first, last = robust.ends(entropy.values)
    left = float(last.mean() / first.mean()) if first.mean() > 0 else 1.0
    numbers = {"first_tenth": float(first.mean()), "last_tenth": float(last.mean()), "left": left}
    if left >= 0.2 or last.mean() < 0:
        return Nothing(numbers=numbers)
    return Found(
        severity="warning" if left < 0.1 else "note",
        statement=f"{entropy.label} fell from {first.mean():.3g} (first tenth) to {last.mean():.3g} (last tenth, up to "
        f"step {entropy.steps[-1]}): {left:.0%} is left",
        numbers=numbers,
        evidence=(points(entropy, range(len(entropy))),),
    )


@rule(
    title="KL blow-up",
    needs="the KL divergence to the reference of 50 or more entries",
    statistic="median KL of the last tenth, and of the first quarter",
    threshold="last tenth above 10 times the first quarter and above 1 nat per token (50 nats where it is summed over "
    "answers)",
    origin="ms-swift#6550",
    otherwise="no KL penalty was asked for, and the policy is meant to go far from its start",
    refuted_by="answers are still fluent, and held-out reward rises",
    remedy="go back to the checkpoint before the rise; lower the learning rate, raise the KL coefficient, clip "
    "gradients",
    objectives=REINFORCEMENT,
)
def kl_blowup(view: View) -> Found | Nothing | Lacks:
    """The policy has left the neighbourhood of its reference."""
    divergence = _long(view, "kl")
    if divergence is None:
        return Lacks(what=f"a KL divergence of {LEAST_ENTRIES} or more entries")
    values = divergence.values
    early, late = float(np.median(values[: len(values) // 4])), float(np.median(_late(values, 0.1)))
    summed = divergence.label.lower().removeprefix("train/").startswith(SEQUENCE_LABELS)
    numbers = {"first_quarter_nats": early, "last_tenth_nats": late}
    if late <= (50.0 if summed else 1.0) or late <= 10 * early:
        return Nothing(numbers=numbers)
    return Found(
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
    otherwise="answers of one length by design",
    refuted_by="completions end with the end-of-text token",
    remedy="raise max_completion_length, or reward shorter answers; check the end-of-text token and the chat template",
    objectives=REINFORCEMENT,
)
def completions_clipped(view: View) -> Found | Nothing | Lacks:
    """Answers are cut at the length limit before they end, and rewarded as they are."""
    clipped, length = view.get("clipped_ratio"), view.get("completion_length")
    known = [one.clean() for one in (clipped, length) if one is not None and len(one.clean()) >= 20]
    if not known:
        return Lacks(what="the share of clipped completions, or their mean length, of 20 or more entries")
    numbers: dict[str, float] = {}
    for one in known:
        late = _late(one.values)
        if one.name == "clipped_ratio":
            share = numbers["clipped"] = float(late.mean())
            said = f"{share:.0%} of completions are clipped"
            found = share > 0.5
        else:
            share = numbers["at_highest_length"] = float(np.mean(late >= one.values.max() * 0.999))
            said = f"{one.label} stands at its highest value, {one.values.max():.6g}, in {share:.0%} of entries"
            found = share >= 0.8 and float(one.values.max()) > 1
        if found:
            return Found(
                severity="warning",
                statement=f"over the last quarter, up to step {one.steps[-1]}, {said}",
                numbers=numbers,
                evidence=(points(one, range(len(one) - len(late), len(one))),),
            )
    return Nothing(numbers=numbers)
