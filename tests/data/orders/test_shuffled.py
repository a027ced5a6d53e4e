import numpy as np

from ontogeny.core.orders import Examples
from ontogeny.data.orders.shuffled import Shuffled


def of(count: int) -> Examples:
    return Examples(lengths=np.ones(count, dtype=np.int64))


def test_a_permutation_that_depends_on_epoch_and_seed_alone() -> None:
    order = Shuffled()
    first = order.epoch(0, of(100), seed=1)
    assert first.dtype == np.int64
    assert sorted(first) == list(range(100))
    assert first.tolist() == Shuffled().epoch(0, of(100), seed=1).tolist()
    assert first.tolist() != order.epoch(1, of(100), seed=1).tolist()
    assert first.tolist() != order.epoch(0, of(100), seed=2).tolist()


def test_every_place_is_equally_likely() -> None:
    # Example 0 of 4 over 2000 epochs: each place is expected 500 times, standard deviation sqrt(2000 * 3/16) = 19.4.
    places = [int(np.flatnonzero(Shuffled().epoch(number, of(4), seed=0) == 0)[0]) for number in range(2000)]
    assert all(abs(places.count(place) - 500) < 4 * 19.4 for place in range(4))
