"""One process of a sweep: `ontogeny run` for each line of standard input, a list of arguments in JSON, one by one.

So the libraries are loaded once and not for every run. Each answer is a line of JSON on standard output: the exit code,
and what the run wrote to standard error. After a run that failed the process ends, so that the next starts afresh.
"""

import contextlib
import gc
import io
import json
import os
import signal
import sys
from typing import TextIO

if __name__ == "__main__":  # a shell starts what runs in its background deaf to interrupts; the sweep ends runs by them
    signal.signal(signal.SIGINT, signal.default_int_handler)

from ontogeny.cli import main


def serve(asked: TextIO, answers: TextIO) -> None:
    """Run what is asked for until nothing more is, or a run failed."""
    for line in asked:
        code, said = _run(json.loads(line))
        answers.write(json.dumps({"code": code, "said": said}) + "\n")
        answers.flush()
        if code:
            return
        gc.collect()


def _run(arguments: list[str]) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as end:
            return int(end.code or 0), said.getvalue()


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as out, contextlib.suppress(KeyboardInterrupt):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
        serve(sys.stdin, out)
