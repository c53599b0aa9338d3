"""The experiments: a frozen config goes in, a result with its provenance comes out.

A result is computed once, kept on disk under a name that hashes the config and the code it
depends on, and loaded from then on. An interrupted run goes on from its last checkpoint.
"""

import dataclasses
import hashlib
import json
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from srel_core.choices import check_known
from srel_core.divergence import find_divergences
from srel_core.engine.setup.float32 import exact_float32
from srel_core.experiments import checkpoints, datasets, result_files
from srel_core.experiments.code_digest import Registry, Sources, code_digest
from srel_core.experiments.datasets.by_name import fingerprint, stored_name
from srel_core.experiments.datasets.catalogue import RECORDS
from srel_core.experiments.device import choose_device
from srel_core.experiments.expected import class_result
from srel_core.experiments.networks import MODELS, build_model
from srel_core.experiments.provenance import provenance
from srel_core.experiments.training import Schedule, Trainer, evaluate, stream
from srel_core.optimizer_step import OptimizerStep
from srel_core.recorder import SrelRecorder
from srel_core.rules import OPTIMIZER, parse_rule

if TYPE_CHECKING:
    import xarray as xr

# Messages, summaries of what was measured, and files.
_NO_NUMBERS = (
    "choices", "statistics", "experiments.code_digest", "experiments.digest",
    "experiments.expected", "experiments.files", "experiments.netcdf", "experiments.provenance",
    "experiments.result_files", "experiments.terminal",
)  # fmt: skip
_SAVE_EVERY = 20.0  # seconds of work that an interruption may cost


@dataclass(frozen=True)
class ClassExperiment:
    """S_rel between classes while a classifier trains: one data set, one network, one seed.

    The seed fixes the weights, the augmentation, the probes and the batches. `images_per_class`
    None takes all there are. The probes are drawn from the training images as they are trained
    on, `probes_per_class` from each class, and serve as samples too: x and x' are the same set.
    `rules` are "sgd:LR", "adam:LR", "tangent", or "optimizer", the step that training would take
    next if its batch were the sample; each is measured in every one of `divergences`, in eval mode,
    and the result holds the predictions, from which any other divergence can be computed.
    """

    dataset: str = "digits"
    classes: tuple[str, ...] | None = None
    model: str = "resnet18"
    seed: int = 0
    images_per_class: int | None = None
    augment: bool = True
    probes_per_class: int = 20
    schedule: Schedule = dataclasses.field(default_factory=Schedule)
    rules: tuple[str, ...] = ("adam:1e-4", "sgd:1e-4", "tangent")
    divergences: tuple[str, ...] = (
        "kl", "reverse_kl", "l1_probs", "l2_probs", "l1_logits", "l2_logits",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_known("model", self.model, MODELS)
        for name in ("probes_per_class", "images_per_class"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
        if not self.rules:
            raise ValueError("rules is empty: name at least one, such as 'sgd:1e-4'")
        steps = {parse_rule(rule) for rule in self.rules if rule != OPTIMIZER}
        if len(steps) + (OPTIMIZER in self.rules) < len(self.rules):
            raise ValueError(f"rules names the same step twice: {', '.join(self.rules)}")
        find_divergences(self.divergences)

    @property
    def config(self) -> str:
        """The config as JSON, keys sorted, without the reader's paths (see `stored_name`)."""
        stored = {**dataclasses.asdict(self), "dataset": stored_name(self.dataset)}
        return json.dumps(stored, sort_keys=True)

    @property
    def sources(self) -> Sources:
        """What its numbers depend on in this package: the whole engine, but of the networks, the
        divergences and the records of data sets only its own."""
        of_this_package = [record.name for record in RECORDS]
        return Sources(
            "experiments.class_experiment",
            packages=("engine",),
            left_out=_NO_NUMBERS,
            registries=(
                Registry("divergence", "_ALL", self.divergences),
                Registry("experiments.networks", "_BUILDERS", (self.model,)),
                Registry(
                    "experiments.datasets.catalogue",
                    "RECORDS",
                    tuple(name for name in of_this_package if name == self.dataset),
                ),
            ),
        )

    @property
    def code(self) -> str:
        """The digest of the code that this experiment runs on, as it was when first asked."""
        return code_digest(self.sources)

    @property
    def name(self) -> str:
        """Data set and network, for names of files: "cifar10" with the published network,
        "cifar10-mlp" with another one, "folder-NAME" for an image folder, whatever its path."""
        kind, _, path = stored_name(self.dataset).rpartition(":")
        parts = [kind, Path(path).name, self.model if self.model != type(self).model else ""]
        words = "-".join(part for part in parts if part)
        return "".join(c if c.isalnum() or c == "_" else "-" for c in words)[-40:]

    @property
    def file_name(self) -> str:
        """The name of the result's file: it changes with the config, the code, and, for an image
        folder, with what is in its files. DataError if that folder is not there."""
        parts = self.config + self.code + fingerprint(self.dataset)
        key = hashlib.sha256(parts.encode()).hexdigest()[:12]
        return f"class_srel-{self.name}-seed{self.seed}-{key}.nc"

    def run(
        self,
        results_dir: str | Path | None = None,
        device: str = "auto",
        progress: bool = True,
    ) -> "xr.Dataset":
        """Load this experiment's result, or compute and keep it; if another process is computing
        it, wait for that one, with a warning.

        Dimensions (step, rule, divergence, probe, sample, output) as `SrelRecorder.to_xarray`, with
        the epoch of each step; train_loss and train_accuracy (train_step) of each batch; test_loss
        and test_accuracy (epoch). Provenance is in the attributes.

        device: "cpu", "cuda", "cuda:1", …; "auto" is a GPU if there is one.
        Errors: DataError for data that cannot be used, ResultError for a results directory that
        cannot be written, ValueError for the rest. A damaged file is set aside, with a warning.
        """
        place = choose_device(device)
        path = result_files.results_dir(results_dir) / self.file_name
        state = checkpoints.state_path(path)
        expected = class_result(self.config, self.code, self.schedule, self.rules, self.divergences)
        kept = result_files.load_kept(path, expected, state)
        if kept is not None:
            return kept
        anew = partial(self._begin, path, place)
        run = anew()  # finds bad data before anything is written, a lock included
        waiting = f"waiting for another process that computes {path.name}"
        with result_files.alone(path, partial(warnings.warn, waiting, stacklevel=4)):
            # From the process that was waited for.
            kept = result_files.load_kept(path, expected, state)
            if kept is not None:
                return kept
            dataset = checkpoints.begin(run, anew).complete(progress)
            result_files.save(dataset, path, expected)
            state.unlink(missing_ok=True)
            return dataset

    def _begin(self, path: Path, device: torch.device) -> "_Run":
        """A run at its beginning. DataError for images that are not those of the result's name."""
        run = _Run(self, path, device)
        if self.file_name != path.name:
            raise datasets.DataError(
                f"{stored_name(self.dataset)}: images changed while they were read: run again"
            )
        return run


def undefined_ratios(result: "xr.Dataset") -> dict[str, tuple[int, int]]:
    """By rule, how many ratios S_rel of a result are undefined, as own = 0 there, and how many
    ratios there are, over all steps, divergences, probes and samples."""
    undefined = (result.own == 0).sum(("step", "divergence", "sample")) * result.sizes["probe"]
    ratios = result.change.isel(rule=0).size
    by_rule = zip(result.rule.values, undefined.values.tolist(), strict=True)
    return {str(rule): (count, ratios) for rule, count in by_rule}


class _Run:
    """One run of an experiment, from its data to its dataset."""

    def __init__(self, experiment: ClassExperiment, path: Path, device: torch.device) -> None:
        self.experiment, self.path, self.device = experiment, path, device
        e, seed = experiment, experiment.seed
        self.train = datasets.load_images(e.dataset, e.classes, "train", e.images_per_class)
        self.test = datasets.load_images(e.dataset, self.train.classes, "test")
        images = self.train.images
        if e.augment:
            images = datasets.augment(images, stream(seed, "augmentation"))
        images = datasets.normalise(images)
        probes = datasets.draw_per_class(
            self.train.labels, e.probes_per_class, stream(seed, "probes")
        )
        n_classes = len(self.train.classes)
        self.model = build_model(e.model, n_classes, stream(seed, "weights")).to(device)
        self.trainer = Trainer(self.model, images, self.train.labels, e.schedule, seed)
        self.recorder = SrelRecorder(
            self.model,
            images[probes],
            self.train.labels[probes],
            images[probes],
            rules={
                rule: OptimizerStep(self.trainer.optimizer)
                if rule == OPTIMIZER
                else parse_rule(rule)
                for rule in e.rules
            },
            divergences=e.divergences,
            probe_classes=self.train.labels[probes],
            sample_classes=self.train.labels[probes],
        )
        self.test_images = datasets.normalise(self.test.images)
        self.test_curves: list[tuple[float, float]] = []
        self.seconds = 0.0

    def complete(self, progress: bool) -> "xr.Dataset":
        """Train to the end, measuring on the way."""
        from tqdm import tqdm

        schedule, n_images = self.experiment.schedule, len(self.train.labels)
        measured = schedule.measured_steps(n_images)
        started = saved = time.monotonic()
        with (
            exact_float32(self.model),
            tqdm(
                total=len(measured),
                initial=sum(step <= self.trainer.step for step in measured),
                desc=f"{stored_name(self.experiment.dataset)}, seed {self.experiment.seed}"
                f" ({self.device})",
                unit="checkpoint",
                disable=not progress,
            ) as bar,
        ):
            for pause in self.trainer.run():
                if pause.measure:
                    self.model.eval()
                    self.recorder.measure(pause.step)
                    bar.update()
                if pause.epoch_ended:
                    test = evaluate(self.model, self.test_images, self.test.labels)
                    self.test_curves.append(test)
                if time.monotonic() - saved > _SAVE_EVERY:
                    now = time.monotonic()
                    checkpoints.save(self, self.seconds + now - started)
                    saved = time.monotonic()
        self.seconds += time.monotonic() - started
        return self._dataset()

    def _dataset(self) -> "xr.Dataset":
        dataset = self.recorder.to_xarray()
        per_epoch = self.trainer.steps_per_epoch
        test_loss, test_accuracy = zip(*self.test_curves, strict=True)
        return dataset.assign(
            train_loss=("train_step", self.trainer.losses),
            train_accuracy=("train_step", self.trainer.accuracies),
            test_loss=("epoch", list(test_loss)),
            test_accuracy=("epoch", list(test_accuracy)),
        ).assign_coords(
            epoch_of_step=("step", (dataset.step.values - 1) // per_epoch + 1),
            epoch=range(1, self.experiment.schedule.epochs + 1),
            class_name=("class", list(self.train.classes)),
        ).assign_attrs(self._provenance())  # fmt: skip

    def _provenance(self) -> dict[str, Any]:
        e, device = self.experiment, str(self.device)
        return {
            **provenance("class_srel", e.config, e.code, self.seconds, device),
            "data_source": self.train.source,
            "data_checksum": self.train.checksum,
            "test_checksum": self.test.checksum,
        }
