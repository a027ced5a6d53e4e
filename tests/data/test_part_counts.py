"""Batches of each part's next examples, counted forward."""

import numpy as np

from ontogeny.core.orders import Examples
from ontogeny.data.example_streams import ExampleStreams
from ontogeny.data.orders.sequential import Sequential
from ontogeny.data.part_counts import PartCounts

LENGTHS = np.array([5, 6, 7, 10, 20])
NEW, OLD = range(3), range(3, 5)


def part_counts(counts: list[tuple[int, int]]) -> PartCounts:
    """Three new examples of 5, 6, 7 tokens, two old ones of 10 and 20; `counts`: (new, old) per step, in turn."""
    streams = ExampleStreams(("new", "old"), (NEW, OLD), Sequential(), Examples(lengths=LENGTHS[:3], nll=None), seed=1)
    return PartCounts(streams, LENGTHS, lambda step: np.array(counts[step % len(counts)]))


def test_totals_before_each_step() -> None:
    """Steps take two new and no old examples, then one new and two old: the new stream is cut as 0 1 | 2 | 0 1."""
    made = part_counts([(2, 0), (1, 2)])
    assert made.batch_at(0).tolist() == [0, 1]
    assert made.batch_at(1)[0] == 2
    assert sorted(made.batch_at(1)[1:]) == [3, 4]
    assert made.batch_at(2).tolist() == [0, 1]
    assert made.tokens_before(3).tolist() == [29, 30]  # 5 + 6 + 7 + 5 + 6 and 10 + 20
    assert made.token_shares(1) == {"new": 7 / 37, "old": 30 / 37}
    assert made.next_size(0, 5) == 7
    new, old = made.composition(3, (0.5, 0.5))
    assert (new.examples, new.tokens, new.epochs) == (5, 29, 5 / 3)
    assert (old.examples, old.tokens, old.epochs) == (2, 30, 1.0)


def test_the_order_of_queries_makes_no_difference() -> None:
    late, early = part_counts([(2, 0), (1, 2)]), part_counts([(2, 0), (1, 2)])
    assert late.batch_at(7).tolist() == [early.batch_at(step).tolist() for step in range(8)][7]


def test_counts_that_change_on_the_way() -> None:
    """After `drop_after(1)` steps from 1 on are counted anew, and earlier ones are kept."""
    counts = [(2, 0), (2, 0), (2, 0)]
    made = part_counts(counts)
    assert made.examples_before(3).tolist() == [6, 0]
    counts[1:] = [(1, 1), (1, 1)]
    assert made.examples_before(3).tolist() == [6, 0]  # still the old counts
    made.drop_after(1)
    assert made.examples_before(1).tolist() == [2, 0]
    assert made.examples_before(3).tolist() == [4, 2]
