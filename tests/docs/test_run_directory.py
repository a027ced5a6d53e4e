"""The page names every table, column, axis and file that the schema defines, and no others."""

import re
from pathlib import Path

import pytest

from ontogeny.store import schema

PAGE = (Path(__file__).parents[2] / "docs" / "run_directory.md").read_text(encoding="utf-8")


def first_column(section: str, header: str) -> list[str]:
    """What stands in code in the first column of the table with that header, in that section."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = text.split(f"| {header} |")[1].split("\n\n")[0].splitlines()[2:]
    return [found[1] for row in rows if (found := re.match(r"\| `([^`]+)`", row))]


@pytest.mark.parametrize(
    ("section", "table"), [("metrics", schema.METRICS), ("probes", schema.PROBES), ("samples", schema.SAMPLES)]
)
def test_columns(section: str, table: object) -> None:
    assert first_column(section, "column") == table.names  # type: ignore[attr-defined]


def test_axes() -> None:
    assert first_column("trajectory.zarr", "axis") == list(schema.AXES)


def test_checkpoint_coordinates() -> None:
    named = ", ".join(f"`{name}`" for name in schema.CHECKPOINT_COORDINATES)
    assert named in " ".join(PAGE.split())


@pytest.mark.parametrize(
    "name",
    [
        schema.RECIPE_YAML,
        schema.RECIPE_JSON,
        schema.PROVENANCE,
        schema.STATUS,
        schema.FINDINGS,
        schema.AUDIT,
        schema.LOCK,
        f"{schema.METRICS_FOLDER}/part-*.parquet",
        f"{schema.PROBES_FOLDER}/<name>.parquet",
        f"{schema.SAMPLES_FOLDER}/part-*.parquet",
        f"{schema.TRAJECTORY_FOLDER}/<measure>/",
        f"{schema.CHECKPOINTS_FOLDER}/step-00000100/",
        schema.MANIFEST,
        schema.ORDER,
        f"{schema.REMEMBERED_FOLDER}/<term>.safetensors",
        f"{schema.WRITTEN_FOLDER}/<corpus>.jsonl",
        schema.SLOTS,
    ],
)
def test_files(name: str) -> None:
    layout = PAGE.split("```")[1]
    assert name in layout
