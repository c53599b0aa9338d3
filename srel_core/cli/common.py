"""What the commands share: the group that they belong to, their options, how they speak."""

import sys
from contextlib import suppress
from typing import Any

from srel_core.experiments.terminal import plain

ABSENT = "is not installed: call pip install '.[experiments]' in a clone of srel_core's repository"
try:
    import click
except ModuleNotFoundError:
    sys.exit(f"srel: error: click {ABSENT}")


def say(message: str) -> None:
    with suppress(OSError):
        click.echo(f"srel: {plain(' '.join(message.split()))}", err=True)


def fail(message: str, code: int) -> int:
    say(f"error: {message}")
    return code


def words_of(_: Any, __: Any, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    words = tuple(word.strip() for word in value.split(","))
    if not all(words):
        raise click.BadParameter(f"expected names such as a,b,c, not {value!r}")
    return words


def seeds_of(_: Any, __: Any, value: str | None) -> tuple[int, ...] | None:
    try:
        seeds = None if value is None else tuple(int(word) for word in value.split(","))
    except ValueError:
        seeds = (-1,)
    if seeds is not None and min(seeds) < 0:
        raise click.BadParameter(f"expected whole numbers such as 0,1,2, not {value!r}")
    return seeds


device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu or cuda."
)
results_dir_option = click.option(
    "--results-dir",
    metavar="DIR",
    help="Where results are kept. Default: $SREL_RESULTS, else the book's _build/results.",
)
committed_dir_option = click.option(
    "--committed-dir",
    metavar="DIR",
    help="Where the committed results are. Default: results/ of the book.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="srel-core", prog_name="srel")
def srel() -> None:
    """Measure the local elasticity S_rel of a network while it trains.

    \b
    srel run                                   digits, on a laptop, minutes
    srel run --dataset cifar10 --profile paper --seeds 0
    srel list                                  what has been computed, and where it comes from
    srel check FILE                            is this result whole?

    Data sets other than digits are looked for under $SREL_DATA. A result is computed once and
    kept; an interrupted run goes on from its last checkpoint.
    """
