"""The command line: `srel run`, `study`, `regression`, `summarise`, `verify`, `list`, `check`,
`env`.

Exit codes: 0 done; 1 the work failed (a damaged file, a full disk); 2 what was asked for has no
meaning (an unknown name, data that are not there); 130 interrupted.
"""

import os
import sys
import warnings

from srel_core.cli import committed, runs  # which add their commands to `srel`
from srel_core.cli.common import ABSENT, click, fail, say, srel
from srel_core.experiments.files import ResultError
from srel_core.experiments.terminal import drop_output, on_interruption, system_error

__all__ = ["committed", "main", "runs", "srel"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: errors are one line on stderr, with a code scripts can use."""
    # Read when torch is loaded: threads that wait for work leave their core to other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    interruptions: list[int] = []
    try:
        _listen(interruptions)
        warnings.showwarning = lambda message, *_, **__: say(str(message))
        code = srel.main(arguments, prog_name="srel", standalone_mode=False)
    except BaseException as error:
        code = fail(*_explained(error, bool(interruptions)))
    sys.exit(code)


def _listen(interruptions: list[int]) -> None:
    """Raise KeyboardInterrupt at a signal that asks for the end, and remember it: libraries that
    are being loaded make other errors of it."""

    def interrupt(number: int, _: object) -> None:
        interruptions.append(number)
        raise KeyboardInterrupt

    on_interruption(interrupt)


def _explained(error: BaseException, interrupted: bool) -> tuple[str, int]:
    """A line, and an exit code. What is nobody's fault but ours is raised."""
    if interrupted or isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted; the same command goes on from the last saved checkpoint", 130
    if isinstance(error, click.ClickException):
        return error.format_message(), 2
    if isinstance(error, ValueError):
        return str(error), 2
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} {ABSENT}", 1
    if isinstance(error, ResultError):
        return str(error), 1
    if isinstance(error, OSError):
        drop_output()
    if isinstance(error, OSError | MemoryError | ImportError | RuntimeError):
        return system_error(error), 1
    raise error
