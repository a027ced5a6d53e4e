import numpy as np

from ontogeny.core.orders import Examples
from ontogeny.data.orders.reversed import Reversed


def test_backwards() -> None:
    four = Examples(lengths=np.array([3, 1, 2, 5]))
    assert Reversed().epoch(0, four, seed=1).tolist() == Reversed().epoch(7, four, seed=2).tolist() == [3, 2, 1, 0]
