"""A worker process of a sweep: runs `ontogeny` with the arguments on each line of standard input, a JSON list.

Thus the libraries are loaded once and not for every run. The answer to each line is a line of JSON on standard output:
the exit code, and what the run wrote to standard error. After a failed run the process ends, so that the next run
starts in a new one. Its argument is the id of the sweep's process: when that has ended, the run is interrupted.
"""

import contextlib
import gc
import io
import json
import os
import signal
import sys
from typing import TextIO

# A shell starts background processes with SIGINT ignored, but the sweep ends its runs by SIGINT. Set before the imports
# below, which take seconds.
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)

from ontogeny.cli import main
from ontogeny.verbs.signals import end_with


def serve(asked: TextIO, answers: TextIO) -> None:
    """Run each line of `asked` until the end of the input or the first failed run."""
    for line in asked:
        code, errors = _run(json.loads(line))
        answers.write(json.dumps({"code": code, "said": errors}) + "\n")
        answers.flush()
        if code:
            return
        gc.collect()


def _run(arguments: list[str]) -> tuple[int, str]:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as end:
            return int(end.code or 0), errors.getvalue()


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as out, contextlib.suppress(KeyboardInterrupt):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # keeps the output of libraries out of the answers
        if len(sys.argv) < 2 or end_with(int(sys.argv[1])):
            serve(sys.stdin, out)
