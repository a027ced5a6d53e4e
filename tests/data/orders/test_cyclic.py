import numpy as np

from ontogeny.core.orders import Examples
from ontogeny.data.orders.cyclic import Cyclic


def test_one_permutation_for_all_epochs() -> None:
    many = Examples(lengths=np.ones(50, dtype=np.int64))
    first = Cyclic().epoch(0, many, seed=1)
    assert sorted(first) == list(range(50))
    assert first.tolist() == Cyclic().epoch(9, many, seed=1).tolist() != list(range(50))
    assert first.tolist() != Cyclic().epoch(0, many, seed=2).tolist()
