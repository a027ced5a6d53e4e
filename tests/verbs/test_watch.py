"""`ontogeny watch`: a log that grows."""

import threading
import time
from pathlib import Path

from ontogeny.verbs.watch import Watcher
from tests.verbs.conftest import Call
from tests.verbs.logs import trainer_state


def line(step: int, loss: str) -> str:
    return f'{{"step": {step}, "loss": {loss}}}\n'


def test_each_finding_is_said_once(tmp_path: Path) -> None:
    path, said = tmp_path / "log.jsonl", []
    watcher = Watcher(path, None, said.append)
    watcher.look()
    watcher.look()
    assert [text.partition("  ")[2] for text in said] == [f"{path} does not exist yet: waiting"]
    path.write_text("".join(line(i, str(4 - i / 50)) for i in range(60)))
    watcher.look()
    assert len(said) == 1
    with path.open("a") as file:
        file.write("".join(line(i, "NaN") for i in range(60, 90)))
    watcher.look()
    news = said[1:]
    assert any("ERROR" in text for text in news)
    with path.open("a") as file:
        file.write(line(90, "NaN"))
    watcher.look()
    assert said[1:] == news
    assert watcher.worst == "error"


def test_what_no_longer_holds_is_said(tmp_path: Path) -> None:
    path, said = tmp_path / "log", []
    watcher = Watcher(trainer_state(path, overfits=True), None, said.append)
    watcher.look()
    trainer_state(path, overfits=False)
    watcher.look()
    assert any("gone  overfitting no longer holds" in text for text in said)


def test_a_log_that_is_half_written_is_waited_for(tmp_path: Path) -> None:
    path, said = tmp_path / "trainer_state.json", []
    path.write_text('{"log_hi')
    watcher = Watcher(path, None, said.append)
    watcher.look()
    assert len(said) == 1
    assert "Traceback" not in said[0]


def test_it_ends_with_1_when_the_finding_comes(ontogeny: Call, tmp_path: Path) -> None:
    path = tmp_path / "log"

    def write() -> None:
        time.sleep(0.4)
        trainer_state(tmp_path / "other", overfits=True).rename(path)

    writer = threading.Thread(target=write)
    writer.start()
    called = ontogeny("watch", path, "--every", "0.1", "--fail-on", "error")
    writer.join()
    assert called.code == 1
    assert called.out.count("[overfitting]") == 1


def test_one_look(ontogeny: Call, tmp_path: Path) -> None:
    called = ontogeny("watch", trainer_state(tmp_path / "log"), "--once")
    assert (called.code, called.out) == (0, "")
