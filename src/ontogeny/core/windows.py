"""Rolling windows of a recipe: their length and step, and checks that its settings agree."""

from dataclasses import dataclass

from ontogeny.core.component import refusal
from ontogeny.core.recipe_data import Data, NewText
from ontogeny.core.recipe_train import Mixing, Train


@dataclass(frozen=True)
class Windows:
    """Length of a window, and distance between the starts of two windows, in tokens."""

    length: int
    step: int


def windows_of(take: NewText, train: Train | None) -> Windows | None:
    """The windows that a take asks for; None if it takes passages. The recipe must have passed `check_windows`."""
    if take.step is None:
        return None
    length = take.window or (train.mixing.window if train else None)
    assert length is not None
    if isinstance(take.step, int):
        return Windows(length, take.step)
    share = float(take.step[:-1]) / 100
    return Windows(length, max(round(length * share), 1 if share else 0))


def check_windows(data: Data, train: Train | None) -> None:
    """Raise a ValidationError, naming the key, if windows, mixing and replay contradict each other."""
    by_share = train.mixing.window if train else None
    for i, take in enumerate(data.train):
        location = ("data", "train", i)
        if by_share is not None and take.step is None:
            message = "mixing.percentage_window needs windows: say step, in tokens or as '25%' of the window"
            raise refusal(message, *location, "step")
        if take.step is None:
            continue
        if by_share is None and take.window is None:
            message = "say window, in tokens, or train.mixing.percentage_window with max_tokens"
            raise refusal(message, *location, "window")
        if by_share is not None and take.window not in (None, by_share):
            message = f"percentage_window of max_tokens is {by_share} tokens, found {take.window}: leave window out"
            raise refusal(message, *location, "window")
        windows = windows_of(take, train)
        assert windows is not None
        if not 1 <= windows.step <= windows.length:
            message = f"step {take.step} of a window of {windows.length} tokens: write 1 to {windows.length}, or '25%'"
            raise refusal(message, *location, "step")
    if train is not None and by_share is not None:
        _check_share(data, train, train.mixing, by_share)


def _check_share(data: Data, train: Train, mixing: Mixing, window: int) -> None:
    """Check the settings of steps that consist of one window and replay."""
    assert mixing.max_tokens is not None
    replayed = mixing.max_tokens - window
    if window < 2:
        raise refusal(f"percentage_window leaves the window {window} tokens", "train", "mixing", "percentage_window")
    if train.batch != 1:
        message = f"with percentage_window one window makes a step: write batch: 1, found {train.batch}"
        raise refusal(message, "train", "batch")
    if not replayed and data.replay:
        raise refusal("percentage_window leaves no token to replay: leave data.replay out", "data", "replay")
    if replayed and not data.replay:
        message = f"percentage_window leaves {replayed} tokens of a step to replay, and data.replay is empty"
        raise refusal(message, "data", "replay")
    if replayed and replayed < data.length:
        message = f"the window leaves {replayed} tokens, too few for a replayed passage of data.length {data.length}"
        raise refusal(message, "train", "mixing", "max_tokens")
    shares = sum(replay.share for replay in data.replay.values())
    if replayed and abs(shares - 1) > 1e-9:
        message = f"with percentage_window, shares are of what the window leaves and add up to 1, found {shares:g}"
        raise refusal(message, "data", "replay")
