"""W&B's exports as CSV."""

from pathlib import Path

from tests.integrations.importers.reading import points, read


def test_a_history_counts_by_the_trainers_own_step(tmp_path: Path) -> None:
    text = (
        "_step,_runtime,_timestamp,train/global_step,train/loss,eval/loss\n"
        "0,1.0,1700000000,10,3.5,\n1,2.0,1700000001,20,3.0,\n2,3.0,1700000002,20,,3.25\n"
    )
    history = read(tmp_path, text)
    assert history.form == "W&B export (CSV)"
    assert points(history, "loss") == [(10, 3.5), (20, 3.0)]
    assert points(history, "loss", "eval") == [(20, 3.25)]
    loss = history.segments[0].get("loss")
    assert loss is not None
    assert loss.times_unix_s.tolist() == [1700000000, 1700000001]


def test_a_chart_of_two_runs_is_two_writers(tmp_path: Path) -> None:
    text = (
        '"Step","lr 0.1 - train/loss","lr 0.1 - train/loss__MIN","lr 0.1 - train/loss__MAX","b - train/loss"\n'
        '"1","3.5","3.5","3.5","4.5"\n"2","3.0","3.0","3.0","4.0"\n'
    )
    history = read(tmp_path, text)
    assert [one.beginning for one in history.segments] == ["first", "writer"]
    assert points(history, "loss") == [(1, 3.5), (2, 3.0)]
    assert points(history, "loss", segment=1) == [(1, 4.5), (2, 4.0)]


def test_a_table_of_runs_is_no_curve(tmp_path: Path) -> None:
    history = read(tmp_path, "Name,State,Runtime,seed,learning_rate,loss\na,finished,10,1,0.1,3\nb,crashed,5,2,0.1,4\n")
    assert "table of runs" in history.nothing
