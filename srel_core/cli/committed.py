"""The commands that write the committed results and verify them."""

from pathlib import Path

from srel_core.choices import check_known
from srel_core.cli.common import (
    click,
    committed_dir_option,
    device_option,
    fail,
    results_dir_option,
    say,
    srel,
    words_of,
)
from srel_core.experiments.files import ResultError
from srel_core.experiments.terminal import plain


@srel.command()
@click.argument("name")
@click.option("--rows", metavar="A;B;…", help="Run these rows alone. Default: all.")
@click.option("--kept", is_flag=True, help="Run nothing: write the file from what is kept.")
@device_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
@results_dir_option
@committed_dir_option
def study(
    name: str, rows: str | None, kept: bool, device: str, quiet: bool,
    results_dir: str | None, committed_dir: str | None,
) -> None:  # fmt: skip
    """Run a study, and write its committed file: classes, seeds or networks.

    Hours on two cores; what is kept is not run again. A row that lacks some of its runs stays as
    the file has it; if the file does not, it is named.
    """
    from srel_core.book.committed.write_study import require_room, write
    from srel_core.experiments.studies import study as study_of

    of_rows = study_of(name).rows
    wanted = list(of_rows) if rows is None else [row.strip() for row in rows.split(";")]
    for row in wanted:
        check_known("row", row, of_rows)
    if not kept:
        require_room(name, wanted, results_dir, committed_dir)
        for row in wanted:
            for experiment in of_rows[row]:
                experiment.run(results_dir, device, progress=not quiet)
    path, missing = write(name, results_dir, committed_dir)
    for row in missing:
        say(f"not in {path.name}: {row}")
    click.echo(path)


@srel.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--profile", default="paper", show_default=True, help="smoke, laptop or paper.")
@click.option("--datasets", callback=words_of, metavar="A,B,…", help="Default: all published ones.")
@results_dir_option
@committed_dir_option
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
            say(how)
            continue
        click.echo(write_summary(paths, committed_dir))
        written += 1
    if not written:
        raise ResultError(f"no runs of the {profile} profile are kept: nothing to summarise")


@srel.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@device_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
@committed_dir_option
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
        say(f"no committed results in {resolve(committed_dir)}")
    for path in paths:
        try:
            agreement = verify_file(path, device, progress=not quiet)
        except (ResultError, ValueError) as error:
            refused = fail(str(error), 1)
            continue
        click.echo(plain(f"{path.name}: agrees ({agreement})"))
    if refused:
        raise ResultError("not all committed results could be verified")


@srel.command()
@click.option("--profile", default="laptop", show_default=True, help="smoke, laptop or paper.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@results_dir_option
@committed_dir_option
def regression(
    profile: str, device: str, results_dir: str | None, committed_dir: str | None
) -> None:
    """Run the regression experiments of a profile, and write the verdicts on all settings.

    Experiments that are kept are not run again; the laptop profile takes some minutes, on a CPU by
    a process for each core.
    """
    from srel_core.book.committed.write_regression import write

    click.echo(write(results_dir, committed_dir, profile, device=device))
