"""The page in a real browser: skipped without Chromium, unless ONTOGENY_REQUIRE_BROWSER=1 asks for one."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ontogeny.report import page as page_module
from ontogeny.report.figure import draw_all
from ontogeny.report.page import write_report
from ontogeny.store.run import Run
from ontogeny.store.run_group import RunGroup

pytestmark = pytest.mark.browser

Open = Callable[..., Any]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    required = os.environ.get("ONTOGENY_REQUIRE_BROWSER") == "1"
    if chromium is None and not required:
        pytest.skip("no Chromium on this machine")
    assert chromium is not None, "ONTOGENY_REQUIRE_BROWSER=1, and no Chromium on this machine"
    sync_api = (
        pytest.importorskip("playwright.sync_api") if not required else __import__("playwright.sync_api").sync_api
    )
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def full(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the whole run, as it is when the run is over."""
    folder = tmp_path_factory.mktemp("page")
    group = RunGroup([run])
    (folder / "full.html").write_text(page_module.render(group, draw_all(group), live=False))
    return folder / "full.html"


@pytest.fixture(scope="module")
def report(run: Run, full: Path) -> Path:
    """The same without charts, which take most of the time to open it."""
    path = full.with_name("report.html")
    path.write_text(page_module.render(RunGroup([run]), {}, live=False))
    return path


@pytest.fixture
def show(browser: Any) -> Iterator[Open]:
    """Open a page; at the end nothing may have been said on its console or asked from outside."""
    contexts = []

    def open_page(path: Path, *, viewport: dict[str, int] = DESK, dark: bool = False, script: str = "") -> Any:
        context = browser.new_context(viewport=viewport, color_scheme="dark" if dark else "light")
        contexts.append(context)
        tab = context.new_page()
        tab.said, tab.asked = [], []
        tab.on("console", lambda message: tab.said.append(message.text))
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.on("request", lambda request: tab.asked.append(request.url))
        if script:
            tab.add_init_script(script)
        tab.goto(path.as_uri())
        tab.evaluate("() => window.ontogenyReady")
        return tab

    yield open_page
    for context in contexts:
        for tab in context.pages:
            assert tab.said == []
            assert {re.sub("#.*", "", url) for url in tab.asked} == {re.sub("#.*", "", tab.url)}
        context.close()


def colours(tab: Any, side: str = "left") -> list[str]:
    """Backgrounds of a pane's tokens."""
    script = "nodes => nodes.map(node => node.style.backgroundColor)"
    return list(tab.eval_on_selector_all(f"[data-side={side}] .text span", script))


def choose(tab: Any, side: str, what: str, value: str) -> None:
    tab.select_option(f"[data-side={side}] [data-choose={what}]", value)


def text_of(tab: Any, side: str) -> str:
    return str(tab.text_content(f"[data-side={side}] .text")).replace("↵", "")


@pytest.mark.parametrize(("viewport", "dark"), [(DESK, False), (PHONE, True)])
def test_charts_are_drawn_in_every_light_and_nothing_overflows(
    full: Path, show: Open, viewport: dict[str, int], dark: bool
) -> None:
    tab = show(full, viewport=viewport, dark=dark)
    places = tab.locator(".chart").count()
    assert places > 10
    assert tab.locator(".chart svg").count() == places
    assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    # No colour of a chart is left unresolved: the axis titles have the theme's soft ink.
    ink = tab.evaluate("getComputedStyle(document.querySelector('.chart .role-axis-title text')).fill")
    assert ink == ("rgb(168, 165, 156)" if dark else "rgb(93, 90, 82)")


def test_the_slider_moves_through_the_checkpoints(report: Path, show: Open, run: Run) -> None:
    tab = show(report)
    steps = run.measure("token_nll")["step"].to_numpy()
    assert f"step {steps[-1]:,}" in tab.text_content("#place")
    last = colours(tab)
    tab.focus("#at")
    tab.keyboard.press("Home")
    assert "step 0" in tab.text_content("#place")
    first = colours(tab)
    assert first != last
    tab.keyboard.press("ArrowRight")
    assert f"step {steps[1]:,}" in tab.text_content("#place")
    tab.select_option("#colour", "change")
    assert any("--cool" in colour for colour in colours(tab, "right"))
    assert not any("--heat" in colour for colour in colours(tab, "right"))


def test_a_token_tells_its_numbers_and_opens_its_curve(report: Path, show: Open, run: Run) -> None:
    tab = show(report)
    choose(tab, "left", "set", "novel")
    choose(tab, "left", "passage", "2")
    data = run.measure("token_nll")
    mine = (data["probe_of_token"] == "novel") & (data["passage"] == 2) & (data["position"] == 7)
    nll = data["nll_nats"].to_numpy()[:, mine.to_numpy()].ravel()
    token = tab.locator("[data-side=left] .text span").nth(7)
    token.hover()
    shown = re.search(r"NLL ([\d.]+) nats", tab.text_content("#tip"))
    assert shown
    assert float(shown[1]) == pytest.approx(nll[-1], abs=0.1)
    assert tab.locator("[data-side=left] .detail").get_attribute("data-token") == ""
    token.click()
    detail = tab.locator("[data-side=left] .detail")
    assert detail.get_attribute("data-token") == "7"
    assert detail.locator("svg circle").count() == len(nll)
    # The curve has the shape of the record: heights fall as losses rise.
    heights = [float(circle.get_attribute("cy")) for circle in detail.locator("svg circle").all()]
    assert np.array_equal(np.argsort(np.argsort(heights)), np.argsort(np.argsort(-nll)))
    # Another checkpoint is chosen by a click on the curve.
    detail.locator("svg rect").first.click()
    assert "step 0" in tab.text_content("#place")
    detail.get_by_role("button", name="whole passage").click()
    assert detail.get_attribute("data-token") == ""


def test_keys_move_from_token_to_token(report: Path, show: Open) -> None:
    tab = show(report)
    tab.focus("[data-side=right] .text")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown", "Enter"):
        tab.keyboard.press(key)
    # 0, 1, 0, then ten further on.
    assert tab.locator("[data-side=right] .detail").get_attribute("data-token") == "10"
    assert tab.locator("#tip").is_visible()
    tab.keyboard.press("Escape")
    assert tab.locator("[data-side=right] .detail").get_attribute("data-token") == ""
    assert not tab.locator("#tip").is_visible()


@pytest.mark.slow
def test_any_two_passages_stand_side_by_side(report: Path, show: Open, run: Run) -> None:
    tab = show(report)
    choose(tab, "left", "set", "train")
    choose(tab, "left", "passage", "3")
    choose(tab, "right", "set", "general")
    choose(tab, "right", "passage", "1")
    for side, name, index in (("left", "train", 3), ("right", "general", 1)):
        passage = run.probes[name].passages[index]
        covered = passage.text.encode()[: passage.byte_offsets[-1]].decode()
        assert text_of(tab, side).replace("·", "") == covered
    # What comes out verbatim is underlined, at this checkpoint.
    data = run.measure("extraction")
    mine = ((data["probe_of_token"] == "train") & (data["passage"] == 3)).to_numpy()
    expected = data["in_extractable_suffix"].to_numpy()[:, mine].sum(axis=1)
    assert expected[0] == 0 < expected[-1]
    assert tab.locator("[data-side=left] .text .extracted").count() == expected[-1]
    tab.focus("#at")
    tab.keyboard.press("Home")
    assert tab.locator("[data-side=left] .text .extracted").count() == 0


@pytest.mark.slow
def test_what_is_shown_survives_a_reload(report: Path, show: Open) -> None:
    tab = show(report)
    choose(tab, "right", "set", "novel")
    choose(tab, "right", "passage", "4")
    tab.locator("[data-side=right] .text span").nth(5).click()
    tab.select_option("#colour", "entropy")
    tab.focus("#at")
    tab.keyboard.press("ArrowLeft")
    before = (tab.text_content("#place"), text_of(tab, "right"), colours(tab, "right"))
    tab.reload()
    tab.evaluate("() => window.ontogenyReady")
    assert (tab.text_content("#place"), text_of(tab, "right"), colours(tab, "right")) == before
    assert tab.input_value("#colour") == "entropy"
    assert tab.locator("[data-side=right] .detail").get_attribute("data-token") == "5"


def test_an_address_that_makes_no_sense_does_no_harm(report: Path, show: Open) -> None:
    tab = show(report)
    tab.goto(f"{report.as_uri()}#t=999&c=x&l=9~none~77~500&r=")
    tab.reload()
    tab.evaluate("() => window.ontogenyReady")
    assert tab.locator(".pane .text span").count() > 10


def test_light_and_dark_can_be_chosen(report: Path, show: Open) -> None:
    tab = show(report)
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(background)
    tab.click("#theme")
    assert tab.evaluate(background) == "rgb(22, 24, 27)" != light
    tab.emulate_media(media="print")
    assert tab.evaluate(background) != "rgb(22, 24, 27)"
    assert not tab.locator("nav.bar").is_visible()


def test_samples_stand_side_by_side(report: Path, show: Open, run: Run) -> None:
    tab = show(report)
    assert tab.locator("#sample-columns .column").count() == 4
    first = run.samples.iloc[0]
    assert first["text"] in tab.text_content("#sample-columns")
    tab.select_option("#sample-prompt", "1")
    assert tab.text_content("#sample-text") == run.samples[run.samples["passage_id"] == 1].iloc[0]["prompt"]


def test_a_browser_that_cannot_unpack_is_told_so(report: Path, show: Open) -> None:
    tab = show(report, script="delete window.DecompressionStream")
    assert "could not be opened" in tab.text_content("#reader-failed")
    assert tab.locator("#reader-failed").is_visible()
    assert not tab.locator("#passages").is_visible()


@pytest.mark.slow
def test_a_live_page_reloads_and_keeps_the_place(
    run: Run, tmp_path: Path, show: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "RELOAD_SECONDS", 3)
    tab = show(write_report([run], tmp_path, live=True))
    tab.evaluate("() => { window.before = true; scrollTo(0, 1500); }")
    tab.wait_for_function("() => !window.before", timeout=30_000)
    tab.evaluate("() => window.ontogenyReady")
    tab.click("#pause")
    assert tab.evaluate("scrollY") == 1500
    tab.evaluate("() => { window.before = true; }")
    tab.wait_for_timeout(4000)
    assert tab.evaluate("window.before")


@pytest.mark.slow
def test_several_runs_share_a_slider(run: Run, tmp_path: Path, show: Open) -> None:
    tab = show(write_report([run, run], tmp_path, live=True))
    tab.click("#pause")
    assert tab.locator("[data-side=left] [data-choose=run] option").count() == 2
    assert text_of(tab, "left") == text_of(tab, "right")
    assert tab.locator(".comparison tbody tr").count() == 2


def test_what_is_smuggled_into_a_page_neither_runs_nor_styles(report: Path, show: Open, tmp_path: Path) -> None:
    """If a text ever escaped its escaping: the page's policy names its own scripts and styles, and nothing else."""
    smuggled = (
        '<script>window.ran = 1</script><img src="data:," onerror="window.ran = 2"><style>h1 { color: red }</style>'
    )
    page = report.read_text()
    (tmp_path / "smuggled.html").write_text(page.replace('<main id="main">', f'<main id="main">{smuggled}'))
    tab = show(tmp_path / "smuggled.html")
    red = "getComputedStyle(document.querySelector('h1')).color === 'rgb(255, 0, 0)'"
    assert tab.evaluate("window.ran") is None
    assert not tab.evaluate(red)
    tab.evaluate("() => { setTimeout('window.ran = 3', 0) }")
    tab.wait_for_timeout(200)
    assert tab.evaluate("window.ran") is None
    assert len([said for said in tab.said if "Content Security Policy" in said]) >= 4
    tab.said.clear()
    without = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", (tmp_path / "smuggled.html").read_text())
    (tmp_path / "without.html").write_text(without)
    tab = show(tmp_path / "without.html")  # the negative control: without the policy, all of it happens
    assert tab.evaluate("window.ran") is not None
    assert tab.evaluate(red)
    tab.asked[:] = [tab.url]
    tab.said.clear()
