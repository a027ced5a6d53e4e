"""A caller of the command line."""

import json
from collections.abc import Callable

import pytest

from ontogeny.cli import main


class Called:
    """What a call gave back."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> dict:  # type: ignore[type-arg]
        return json.loads(self.out)


Call = Callable[..., Called]


@pytest.fixture
def ontogeny(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process."""

    def call(*arguments: object) -> Called:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Called(int(ended.value.code or 0), out, err)

    return call
