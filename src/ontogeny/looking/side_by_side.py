"""Independent pieces of work on torch's threads, each piece on one of them, which waits for no other."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def side_by_side(work: Callable[[int], None], pieces: Sequence[int]) -> None:
    """Call `work` for every piece, without gradients, on as many threads as torch has, each with one for its own.

    A function of torch that runs on several threads ends when the last of them has, and one that has to share its core
    with another program is late each time; here only the end of all pieces is waited for. What a piece computes does
    not depend on the number of threads. Torch's number of threads is as it was afterwards. Raises what a piece raised;
    pieces that have not begun are then left out.
    """
    import torch

    threads = torch.get_num_threads()
    remaining = iter(pieces)

    def take() -> None:
        try:
            with torch.no_grad():  # which holds for a thread, not for all
                for piece in remaining:
                    work(piece)
        except BaseException:
            for _ in remaining:  # the others come to an end, too
                pass
            raise

    torch.set_num_threads(1)  # of this thread, of those that begin from now on, and of the matrix library
    try:
        with ThreadPoolExecutor(max_workers=threads) as pool:  # begins no thread that has nothing to do
            others = [pool.submit(take) for _ in range(min(threads, len(pieces)) - 1)]
            take()
        for other in others:
            other.result()
    finally:
        torch.set_num_threads(threads)
