"""`srel`, and `python -m srel_core`: interrupted at any moment, it says so in one line."""

import os

from srel_core.experiments.terminal import on_interruption


def main() -> None:
    """The command line. Loading it takes a while, in which no traceback is of use to anybody."""
    on_interruption(_leave)
    try:
        from srel_core.cli import main as command

        command()
    except KeyboardInterrupt:  # once more, while the first was being dealt with
        _end()
    finally:
        on_interruption(_end)  # threads that are still at work are not waited for


def _leave(*_: object) -> None:
    os.write(2, b"srel: error: interrupted; nothing had been begun\n")
    _end()


def _end(*_: object) -> None:
    os._exit(130)


if __name__ == "__main__":
    main()
