"""The commands that run experiments and look at their results."""

from pathlib import Path
from typing import Any

from srel_core.cli.common import (
    click,
    device_option,
    results_dir_option,
    say,
    seeds_of,
    srel,
    words_of,
)
from srel_core.experiments.files import ResultError
from srel_core.experiments.terminal import plain


@srel.command()
@click.option("--profile", default="laptop", show_default=True, help="smoke, laptop or paper.")
@click.option(
    "--dataset", default="digits", show_default=True,
    help="digits, cifar10, cifar100, svhn, or folder:PATH with PATH/train and PATH/test.",
)  # fmt: skip
@click.option("--classes", callback=words_of, metavar="A,B,…", help="Class names.")
@click.option("--model", help="resnet18, resnet18_groupnorm, resnet18_batchnorm, vit, mlp, linear.")
@click.option("--seeds", callback=seeds_of, metavar="N,N,…", help="One run per seed.")
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
    "--rules", callback=words_of, metavar="RULE,…",
    help="Steps: sgd:LR, adam:LR, tangent (SGD as LR vanishes), optimizer (training's next).",
)  # fmt: skip
@click.option("--divergences", callback=words_of, metavar="NAME,…", help="kl, l2_logits, …")
@device_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
@results_dir_option
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
                say(
                    f"warning: seed {experiment.seed}, rule {rule}: {undefined} of {ratios} ratios "
                    "S_rel are undefined: the step changes nothing at its own sample"
                )
        click.echo(resolve(results_dir) / experiment.file_name)


@srel.command("list")
@results_dir_option
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
        say(f"no results in {folder}")
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
