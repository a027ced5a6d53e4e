import numpy as np

from ontogeny.core.orders import Examples
from ontogeny.data.orders.by_length import ByLength


def test_by_length_ties_in_the_order_of_the_data() -> None:
    five = Examples(lengths=np.array([3, 1, 2, 5, 1]))
    assert ByLength().epoch(0, five, seed=1).tolist() == [1, 4, 2, 0, 3]
    assert ByLength(first="long").epoch(3, five, seed=1).tolist() == [3, 0, 2, 1, 4]
