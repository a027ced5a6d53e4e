"""The page of a diagnosis."""

import shutil
from pathlib import Path

import pytest

from ontogeny.diagnosis.examine import examine
from ontogeny.integrations.importing import read_history
from ontogeny.report.findings_page import render, write_page
from tests.verbs.logs import trainer_state


def test_one_file_without_scripts_or_network(tmp_path: Path) -> None:
    page = render([examine(read_history(trainer_state(tmp_path / "log", overfits=True)))])
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert "default-src 'none'; style-src 'sha256-" in page
    assert "unsafe" not in page
    assert " style=" not in page  # the policy would not apply it


def test_a_finding_is_whole(tmp_path: Path) -> None:
    page = render([examine(read_history(trainer_state(tmp_path / "log", overfits=True)))])
    for part in ("What to do", "Other explanations", "Refuted by", "Evidence", "Threshold", "<circle"):
        assert part in page


def test_a_healthy_log_has_no_card_and_its_curves(tmp_path: Path) -> None:
    page = render([examine(read_history(trainer_state(tmp_path / "log")))])
    assert 'class="card' not in page
    assert "Nothing found" in page
    assert page.count("<polyline") == 4


def test_text_of_a_log_cannot_leave_its_place(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)> loss"
    path = tmp_path / "log.csv"
    path.write_text(f"step,{evil}\n" + "".join(f"{i},{'nan' if i > 50 else 3 - i / 100}\n" for i in range(100)))
    page = render([examine(read_history(path))])
    assert "<img" not in page
    assert "&lt;img" in page


def test_where_it_is_written(tmp_path: Path) -> None:
    found = [examine(read_history(trainer_state(tmp_path / "log")))]
    assert write_page(found, tmp_path / "new" / "mine.html") == tmp_path / "new" / "mine.html"
    assert write_page(found, tmp_path / "new") == tmp_path / "new" / "diagnosis.html"


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser(tmp_path: Path, width: int) -> None:
    """No error in the console, nothing wider than the window, details that open."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    log = trainer_state(tmp_path / ("log" * 40), overfits=True)
    path = write_page([examine(read_history(log))], tmp_path / "page.html")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click("summary >> nth=0")
        assert page.locator("details[open] li").count() > 5
        assert said == []
        browser.close()
