"""The page's examples run, and its tables are those of the checks."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from ontogeny.integrations.audit.check import all_checks
from ontogeny.integrations.audit.session import WATCHED
from tests.audit.loops import make_model, rows

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "audit.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_audit_checks", DOCS / "write_audit_checks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_checks(writer: ModuleType) -> None:
    assert writer.page(PAGE) == PAGE, "run  make docs"
    assert writer.FINDINGS.read_text(encoding="utf-8") == writer.findings(), "run  make docs"


def test_every_check_and_every_name_is_there() -> None:
    assert all(f"`{one.id}`" in PAGE for one in all_checks())
    assert all(f"| `{name}` |" in PAGE for name in WATCHED)


def test_links_to_checks_lead_to_headings(writer: ModuleType) -> None:
    headings = re.findall(r'<a id="([^"]+)"></a>', writer.FINDINGS.read_text(encoding="utf-8"))
    assert headings == [one.id for one in all_checks()]
    assert re.findall(r"findings/audit\.md#([^)]+)\)", PAGE) == headings


def run(example: str, **names: Any) -> dict[str, Any]:
    found = re.search(rf"<!-- {example} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    torch.manual_seed(0)
    exec(compile(found[1], example, "exec"), names)
    return names


def test_the_loop_runs_and_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = [rows(4, i, shortest=20) for i in range(16)]
    names = run("example", model=model, optimizer=optimizer, tokenizer=None, batches=batches, torch=torch)
    assert names["audit"].report.findings == ()
    assert "nothing found" in capsys.readouterr().err


def test_the_loop_with_a_fault_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The same page's loop over a model whose optimizer has parameters of another."""
    model, batches = make_model().train(), [rows(4, i, shortest=20) for i in range(16)]
    optimizer = torch.optim.AdamW(make_model(seed=1).parameters(), lr=1e-3)
    run("example", model=model, optimizer=optimizer, tokenizer=None, batches=batches, torch=torch)
    assert "error tensors_do_not_move" in capsys.readouterr().out


@pytest.mark.slow
def test_the_trainers_run(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=8, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True
    )
    data = [{name: one[0].tolist() for name, one in rows(1, i).items()} for i in range(32)]
    names = run("trainer", Trainer=Trainer, arguments=arguments, rows=data, model=make_model(), tokenizer=None)
    assert names["look"].audit.report.findings == ()


def test_lightning_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightning = pytest.importorskip("pytorch_lightning")
    monkeypatch.chdir(tmp_path)

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def training_step(self, batch: Any, _: int) -> Any:
            return self.net(**batch).loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    batches = torch.utils.data.DataLoader([rows(4, i) for i in range(12)], batch_size=None)  # type: ignore[arg-type]
    names = run("lightning", lightning=lightning, module=Module(), batches=batches, tokenizer=None)
    assert names["look"].report.findings == ()
