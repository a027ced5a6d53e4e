import numpy as np

from ontogeny.core.orders import Examples
from ontogeny.data.orders.sequential import Sequential


def test_the_order_of_the_data() -> None:
    four = Examples(lengths=np.array([3, 1, 2, 5]))
    assert Sequential().epoch(0, four, seed=1).tolist() == Sequential().epoch(7, four, seed=2).tolist() == [0, 1, 2, 3]
