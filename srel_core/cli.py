"""The command line: `srel run`, `summarise`, `verify`, `list`, `check`, `env`.

Exit codes: 0 done; 1 the work failed (a damaged file, a full disk); 2 what was asked for has no
meaning (an unknown name, data that are not there); 130 interrupted.
"""

import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from srel_core.experiments.files import ResultError
from srel_core.experiments.terminal import drop_output, on_interruption, plain, system_error

_ABSENT = "is not installed: call pip install '.[experiments]' in a clone of srel_core's repository"
try:
    import click
except ModuleNotFoundError:
    sys.exit(f"srel: error: click {_ABSENT}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: errors are one line on stderr, with a code scripts can use."""
    # Read when torch is loaded: threads that wait for work leave their core to other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    interruptions: list[int] = []
    try:
        _listen(interruptions)
        warnings.showwarning = lambda message, *_, **__: _say(str(message))
        code = srel.main(arguments, prog_name="srel", standalone_mode=False)
    except BaseException as error:
        code = _fail(*_explained(error, bool(interruptions)))
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
        return f"{error.name} {_ABSENT}", 1
    if isinstance(error, ResultError):
        return str(error), 1
    if isinstance(error, OSError):
        drop_output()
    if isinstance(error, OSError | MemoryError | ImportError | RuntimeError):
        return system_error(error), 1
    raise error


def _say(message: str) -> None:
    with suppress(OSError):
        click.echo(f"srel: {plain(' '.join(message.split()))}", err=True)


def _fail(message: str, code: int) -> int:
    _say(f"error: {message}")
    return code


def _words(_: Any, __: Any, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    words = tuple(word.strip() for word in value.split(","))
    if not all(words):
        raise click.BadParameter(f"expected names such as a,b,c, not {value!r}")
    return words


def _seeds(_: Any, __: Any, value: str | None) -> tuple[int, ...] | None:
    try:
        seeds = None if value is None else tuple(int(word) for word in value.split(","))
    except ValueError:
        seeds = (-1,)
    if seeds is not None and min(seeds) < 0:
        raise click.BadParameter(f"expected whole numbers such as 0,1,2, not {value!r}")
    return seeds


_device = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
_results_dir = click.option(
    "--results-dir",
    metavar="DIR",
    help="Where results are kept. Default: $SREL_RESULTS, else the book's _build/results.",
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


@srel.command()
@click.option("--profile", default="laptop", show_default=True, help="smoke, laptop or paper.")
@click.option(
    "--dataset", default="digits", show_default=True,
    help="digits, cifar10, cifar100, svhn, or folder:PATH with PATH/train and PATH/test.",
)  # fmt: skip
@click.option("--classes", callback=_words, metavar="A,B,…", help="Class names.")
@click.option("--model", help="resnet18, resnet18_groupnorm, resnet18_batchnorm, vit, mlp, linear.")
@click.option("--seeds", callback=_seeds, metavar="N,N,…", help="One run per seed.")
@click.option("--epochs", type=int)
@click.option("--batch-size", type=int)
@click.option("--optimizer", help="That trains: adam or sgd (momentum 0.9, cosine schedule).")
@click.option("--lr", type=float, help="Of the training.")
@click.option("--weight-decay", type=float, help="Of the training.")
@click.option("--measure-every", type=int, help="Training steps from one measurement to the next.")
@click.option("--images-per-class", type=int, help="Train on at most this many per class.")
@click.option(
    "--probes-per-class", type=int, help="This many from each class; they are the samples too."
)
@click.option(
    "--rules", callback=_words, metavar="RULE,…",
    help="Steps: sgd:LR, adam:LR, tangent (SGD as LR vanishes), optimizer (training's next).",
)  # fmt: skip
@click.option("--divergences", callback=_words, metavar="NAME,…", help="kl, l2_logits, …")
@_device
@click.option("--quiet", is_flag=True, help="No progress bar.")
@_results_dir
def run(
    profile: str, dataset: str, seeds: tuple[int, ...] | None, device: str, quiet: bool,
    results_dir: str | None, **changes: Any,
) -> None:  # fmt: skip
    """Run the class-based experiment, or find its result; print the path of each result."""
    from srel_core.experiments.class_experiment import undefined_ratios
    from srel_core.experiments.profiles import class_experiments
    from srel_core.experiments.result_files import results_dir as resolve

    for experiment in class_experiments(profile, dataset, seeds, **changes):
        result = experiment.run(results_dir, device, progress=not quiet)
        for rule, (undefined, ratios) in undefined_ratios(result).items():
            if undefined:
                _say(
                    f"warning: seed {experiment.seed}, rule {rule}: {undefined} of {ratios} ratios "
                    "S_rel are undefined: the step changes nothing at its own sample"
                )
        click.echo(resolve(results_dir) / experiment.file_name)


_committed_dir = click.option(
    "--committed-dir",
    metavar="DIR",
    help="Where the committed results are. Default: results/ of the book.",
)


@srel.command()
@click.argument("name")
@click.option("--rows", metavar="A;B;…", help="Run these rows alone. Default: all.")
@click.option("--kept", is_flag=True, help="Run nothing: write the file from what is kept.")
@_device
@click.option("--quiet", is_flag=True, help="No progress bar.")
@_results_dir
@_committed_dir
def study(
    name: str, rows: str | None, kept: bool, device: str, quiet: bool,
    results_dir: str | None, committed_dir: str | None,
) -> None:  # fmt: skip
    """Run a study, and write its committed file: classes, seeds or networks.

    Hours on two cores; what is kept is not run again. A row that lacks some of its runs stays as
    the file has it; if the file does not, it is named.
    """
    from srel_core.book.committed.write_study import write
    from srel_core.choices import check_known
    from srel_core.experiments.studies import study as study_of

    of_rows = study_of(name).rows
    wanted = list(of_rows) if rows is None else [row.strip() for row in rows.split(";")]
    for row in wanted:
        check_known("row", row, of_rows)
    for row in wanted:
        for experiment in () if kept else of_rows[row]:
            experiment.run(results_dir, device, progress=not quiet)
    path, missing = write(name, results_dir, committed_dir)
    for row in missing:
        _say(f"not in {path.name}: {row}")
    click.echo(path)


@srel.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--profile", default="paper", show_default=True, help="smoke, laptop or paper.")
@click.option("--datasets", callback=_words, metavar="A,B,…", help="Default: all published ones.")
@_results_dir
@_committed_dir
def summarise(
    files: tuple[Path, ...], profile: str, datasets: tuple[str, ...] | None,
    results_dir: str | None, committed_dir: str | None,
) -> None:  # fmt: skip
    """Write the committed summary of each data set from its kept runs, all seeds of a profile.

    A data set without runs is named and left out; with --datasets that is an error. With FILES,
    the kept runs of one experiment, these are summarised.
    """
    from srel_core.book.committed.write import kept_runs, write_summary
    from srel_core.book.published.numbers import DATASETS
    from srel_core.experiments.profiles import class_experiments

    if files:
        click.echo(write_summary(files, committed_dir))
        return
    written = 0
    for dataset in datasets or DATASETS:
        try:
            paths = kept_runs(class_experiments(profile, dataset), results_dir)
        except ResultError as error:
            how = f"{error}: srel run --profile {profile} --dataset {dataset}"
            if datasets:
                raise ResultError(how) from error
            _say(how)
            continue
        click.echo(write_summary(paths, committed_dir))
        written += 1
    if not written:
        raise ResultError(f"no runs of the {profile} profile are kept: nothing to summarise")


@srel.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@_device
@click.option("--quiet", is_flag=True, help="No progress bar.")
@_committed_dir
def verify(files: tuple[Path, ...], device: str, quiet: bool, committed_dir: str | None) -> None:
    """Recompute a part of each committed result with the present code, and stamp it if it agrees.

    Of a data set that part is the first epoch of the first seed, with its first checkpoint; of a
    study that of one of its runs; on regression it is some of the settings. It takes a minute or
    so. A file that does not agree, or
    contradicts itself, stays as it is, and the exit code is 1.
    """
    from srel_core.book.committed.files import committed_dir as resolve
    from srel_core.book.committed.verify import verify as verify_file

    refused = 0
    paths = files or sorted(resolve(committed_dir).glob("*.nc"))
    if not paths:
        _say(f"no committed results in {resolve(committed_dir)}")
    for path in paths:
        try:
            agreement = verify_file(path, device, progress=not quiet)
        except (ResultError, ValueError) as error:
            refused = _fail(str(error), 1)
            continue
        click.echo(plain(f"{path.name}: agrees ({agreement})"))
    if refused:
        raise ResultError("not all committed results could be verified")


@srel.command()
@click.option("--profile", default="laptop", show_default=True, help="smoke, laptop or paper.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@_results_dir
@_committed_dir
def regression(
    profile: str, device: str, results_dir: str | None, committed_dir: str | None
) -> None:
    """Run the regression experiments of a profile, and write the verdicts on all settings.

    Experiments that are kept are not run again; the laptop profile takes some minutes, on a CPU by
    a process for each core.
    """
    from srel_core.book.committed.write_regression import write

    click.echo(write(results_dir, committed_dir, profile, device=device))


@srel.command("list")
@_results_dir
def list_results(results_dir: str | None) -> None:
    """List the results in a directory with their provenance, one a line; damaged ones too."""
    from srel_core.experiments.provenance import in_words
    from srel_core.experiments.result_files import attributes
    from srel_core.experiments.result_files import results_dir as resolve

    folder = resolve(results_dir)
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".nc")
    except FileNotFoundError:
        paths = []
    if not paths:
        _say(f"no results in {folder}")
    for path in paths:
        try:
            line = in_words(attributes(path))
        except ResultError as error:
            line = f"UNREADABLE  {error}"
        click.echo(plain(f"{path.name}  {line}"))


@srel.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Read a result file whole; print its provenance. Exit code 1 if it is damaged or foreign."""
    from srel_core.experiments.result_files import NoDigestError, load

    vouched = "as its digest says"
    try:
        dataset = load(file)
    except NoDigestError:
        dataset = load(file, needs_digest=False)
        vouched = "but without a digest, so that nothing vouches for its content"
    sizes = ", ".join(f"{name} {size}" for name, size in dataset.sizes.items())
    click.echo(plain(f"{file.name}: whole ({sizes}), {vouched}"))
    for name, value in dataset.attrs.items():
        click.echo(plain(f"  {name}: {value}"))


@srel.command()
def env() -> None:
    """Print the environment that a result computed now would be marked with."""
    from srel_core.experiments.device import choose_device
    from srel_core.experiments.provenance import environment

    for name, value in environment(str(choose_device("auto"))).items():
        click.echo(plain(f"{name}: {value}"))
