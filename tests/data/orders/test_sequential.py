from ontogeny.data.orders.sequential import Sequential


def test_the_order_of_the_data_in_every_epoch() -> None:
    assert Sequential().epoch(0, 4, seed=1).tolist() == Sequential().epoch(7, 4, seed=2).tolist() == [0, 1, 2, 3]
