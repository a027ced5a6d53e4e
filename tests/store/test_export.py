import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ontogeny.core.errors import StoreError
from ontogeny.store.export import export
from ontogeny.store.run import Run, open_run
from ontogeny.store.schema import CHECKPOINT_COORDINATES
from ontogeny.store.writer import RunWriter
from tests.store import scenarios

NAMES = ["metrics", "samples", "summary", "token_nll", "token_nll.token"]
TOKEN_COLUMNS = [*CHECKPOINT_COORDINATES, "token", "nll", "probe_of_token"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "base"
    scenarios.make_base(path)
    with RunWriter.attach(path) as writer:
        writer.add_metric(20, "loss", "train", float("nan"))
    return open_run(path)


def check_tables(run: Run, tables: dict[str, pd.DataFrame]) -> None:
    assert sorted(tables) == NAMES
    pd.testing.assert_frame_equal(tables["metrics"], run.metrics)
    assert tables["samples"]["text"].tolist() == ["at 10", "at 20"]
    assert tables["summary"]["step"].tolist() == [20]
    tokens = tables["token_nll.token"]
    assert list(tokens.columns) == TOKEN_COLUMNS
    # 3 states x 3 tokens, checkpoint by checkpoint; the NLL of a state is its step
    assert tokens["step"].tolist() == [0, 0, 0, 10, 10, 10, 20, 20, 20]
    assert tokens["token"].tolist() == [0, 1, 2] * 3
    assert tokens["nll"].tolist() == [0.0] * 3 + [10.0] * 3 + [20.0] * 3
    assert tokens["probe_of_token"].tolist() == ["train", "novel", "train"] * 3
    assert tables["token_nll"]["rank"].tolist() == [0, 0, 0]


def test_csv(run: Run, tmp_path: Path) -> None:
    paths = export(run, tmp_path / "out", "csv")
    assert sorted(tmp_path.rglob("*.*")) == sorted(paths)
    check_tables(run, {path.name.removesuffix(".csv"): pd.read_csv(path) for path in paths})
    assert (tmp_path / "out" / "metrics.csv").read_text().endswith("loss,train,NaN\n")
    assert (tmp_path / "out" / "samples.csv").read_text().count("NaN") == 0  # text that is missing stays empty
    text = (tmp_path / "out" / "token_nll.csv").read_text()
    assert pd.read_csv(io.StringIO(text))["weights_sha256"].tolist() == ["w0", "w10", "w20"]


def test_parquet(run: Run, tmp_path: Path) -> None:
    paths = export(run, tmp_path, "parquet")
    check_tables(run, {path.name.removesuffix(".parquet"): pd.read_parquet(path) for path in paths})
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "metrics.parquet")["value"].null_count == 0  # NaN is a number
    assert pd.read_parquet(tmp_path / "token_nll.token.parquet")["nll"].dtype == np.float32


def test_npz(run: Run, tmp_path: Path) -> None:
    paths = export(run, tmp_path, "npz")
    assert [path.name for path in paths] == ["metrics.npz", "token_nll.npz"]
    arrays = dict(np.load(tmp_path / "token_nll.npz", allow_pickle=False))
    assert arrays["nll"].tolist() == [[0.0] * 3, [10.0] * 3, [20.0] * 3]
    assert arrays["step"].tolist() == [0, 10, 20]
    assert arrays["probe_of_token"].tolist() == ["train", "novel", "train"]
    metrics = dict(np.load(tmp_path / "metrics.npz", allow_pickle=False))
    assert metrics["name"].tolist() == ["loss"] * 13
    np.testing.assert_array_equal(metrics["value"], run.metrics["value"])


def test_again_replaces_and_an_empty_run_has_tables_too(run: Run, tmp_path: Path) -> None:
    for format in ("csv", "parquet", "npz"):
        first = {path: path.stat().st_size for path in export(run, tmp_path / "out", format)}
        assert {path: path.stat().st_size for path in export(run, tmp_path / "out", format)} == first
    assert scenarios.hidden_files(tmp_path) == []
    with scenarios.create(tmp_path / "empty") as writer:
        for format in ("csv", "parquet", "npz"):
            assert export(writer.run, tmp_path / format, format)


def test_an_unknown_format(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no export format 'cvs': did you mean 'csv'"):
        export(run, tmp_path, "cvs")


def test_text_that_a_spreadsheet_would_run_is_quoted_and_numbers_are_not(tmp_path: Path) -> None:
    with scenarios.create(tmp_path / "run") as writer:
        writer.add_metric(0, "=HYPERLINK(1)", "train", -1.5)
        writer.add_metric(1, "loss", "@scope", -2.0)
        writer.add_samples(0, "generation", [{**scenarios.sample("-2+3+cmd|' /C calc'!A0"), "prompt": "a - b"}])
    export(writer.run, tmp_path / "csv", "csv")
    metrics = pd.read_csv(tmp_path / "csv" / "metrics.csv")
    assert metrics["name"].tolist() == ["'=HYPERLINK(1)", "loss"]
    assert metrics["scope"].tolist() == ["train", "'@scope"]
    assert metrics["value"].tolist() == [-1.5, -2.0]
    samples = pd.read_csv(tmp_path / "csv" / "samples.csv")
    assert samples["text"].tolist() == ["'-2+3+cmd|' /C calc'!A0"]
    assert samples["prompt"].tolist() == ["a - b"]
    export(writer.run, tmp_path / "parquet", "parquet")  # nothing runs it there: text stays as it was
    assert pd.read_parquet(tmp_path / "parquet" / "metrics.parquet")["name"].tolist() == ["=HYPERLINK(1)", "loss"]
