"""Lightning's sparse metrics.csv."""

from pathlib import Path

from tests.integrations.importers.reading import points, read


def test_sparse_rows_are_joined_on_the_step(tmp_path: Path) -> None:
    text = (
        "epoch,step,train_loss_epoch,train_loss_step,val_loss\n"
        "0,49,,3.5,\n0,99,,3.0,\n0,99,,,3.25\n0,99,3.375,,\n1,149,,2.5,\n1,199,,2.25,\n1,199,,,2.75\n1,199,2.5,,\n"
    )
    history = read(tmp_path, text)
    assert history.form == "Lightning metrics.csv"
    assert len(history.segments) == 1
    assert points(history, "loss") == [(49, 3.5), (99, 3.0), (149, 2.5), (199, 2.25)]
    assert points(history, "loss", "eval") == [(99, 3.25), (199, 2.75)]


def test_a_resumed_file_is_cut_where_the_step_goes_back(tmp_path: Path) -> None:
    steps = [*range(0, 1000, 50), *range(500, 1500, 50)]
    text = "epoch,step,train_loss\n" + "".join(f"0,{s},{4 - s / 1000}\n" for s in steps)
    history = read(tmp_path, text)
    assert [one.beginning for one in history.segments] == ["first", "resume"]
    assert "from 950 to 500 at line 22" in history.segments[1].reason
