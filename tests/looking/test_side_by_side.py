"""Pieces on several threads: each once, with the caller's settings, and as on one thread."""

import threading
from collections.abc import Iterator

import pytest
import torch

from ontogeny.looking.side_by_side import side_by_side


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_piece_once_on_one_thread_without_gradients(threads: int) -> None:
    done = list[tuple[int, int, bool, int]]()
    meet = threading.Barrier(threads, timeout=10)  # is passed only if as many pieces are worked on at once

    def work(piece: int) -> None:
        if piece < threads:
            meet.wait()
        done.append((piece, torch.get_num_threads(), torch.is_grad_enabled(), threading.get_ident()))

    side_by_side(work, range(7))
    assert sorted(piece for piece, *_ in done) == list(range(7))
    assert {inner for _, inner, _, _ in done} == {1}
    assert not any(grad for _, _, grad, _ in done)
    assert len({ident for *_, ident in done}) == threads
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_an_error_is_raised_and_ends_the_others(threads: int) -> None:
    done = list[int]()

    def work(piece: int) -> None:
        if piece == 3:
            raise ValueError("piece 3")
        done.append(piece)

    with pytest.raises(ValueError, match="piece 3"):
        side_by_side(work, range(1000))
    assert len(done) < 1000 - 1
    assert torch.get_num_threads() == threads


def test_nothing_to_do() -> None:
    side_by_side(lambda _: pytest.fail("called"), [])
