"""The experiments: a frozen config goes in, a result with its provenance comes out.

A result is computed once, kept on disk under a name that hashes the config and the code it
depends on, and loaded from then on. An interrupted run goes on from its last checkpoint.
"""

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from srel_core.choices import check_known
from srel_core.divergence import DIVERGENCES, find_divergences
from srel_core.experiments import checkpoints, datasets, result_files
from srel_core.experiments.expected import class_result
from srel_core.experiments.image_files import folder_fingerprint
from srel_core.experiments.networks import MODELS, build_model
from srel_core.experiments.provenance import code_digest, provenance
from srel_core.experiments.training import Schedule, Trainer, evaluate, stream
from srel_core.recorder import SrelRecorder
from srel_core.rules import parse_rule

if TYPE_CHECKING:
    import xarray as xr

_CODE = (
    "divergence", "engine/layers/affine_change", "engine/layers/compaction",
    "engine/layers/compiled", "engine/layers/fixed_size_conv",
    "engine/layers/per_sample_gradients", "engine/layers/sgd_steps", "engine/methods",
    "engine/propagation/buffers", "engine/propagation/elementwise", "engine/propagation/graph",
    "engine/propagation/operations", "engine/propagation/propagate", "engine/setup/checks",
    "engine/setup/memory", "engine/setup/problem", "engine/setup/threads",
    "experiments/checkpoints", "experiments/class_experiment", "experiments/datasets",
    "experiments/image_files", "experiments/networks", "experiments/training", "measurement",
    "recorder", "rules", "tangent",
)  # fmt: skip
_SAVE_EVERY = 20.0  # seconds of work that an interruption may cost


@dataclass(frozen=True)
class ClassExperiment:
    """S_rel between classes while a classifier trains: one data set, one network, one seed.

    The seed fixes the weights, the augmentation, the probes and the batches. `images_per_class`
    None takes all there are. The probes are drawn from the training images as they are trained
    on, `probes_per_class` from each class, and serve as samples too: x and x' are the same set.
    `rules` are "sgd:LR", "adam:LR" or "tangent"; each is measured in every divergence.
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
    divergences: tuple[str, ...] = tuple(n for n, d in DIVERGENCES.items() if not d.scalar)

    def __post_init__(self) -> None:
        check_known("model", self.model, MODELS)
        for name in ("probes_per_class", "images_per_class"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not self.rules:
            raise ValueError("rules is empty: name at least one, such as 'sgd:1e-4'")
        if len({parse_rule(rule) for rule in self.rules}) < len(self.rules):
            raise ValueError(f"rules names the same step twice: {', '.join(self.rules)}")
        find_divergences(self.divergences)

    @property
    def config(self) -> str:
        """The config as JSON, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @cached_property
    def code(self) -> str:
        """The digest of the code that this experiment runs on, as it was when first asked."""
        return code_digest(_CODE)

    @cached_property
    def file_name(self) -> str:
        """The name of the result's file: it changes with the config, the code, and, for an image
        folder, with its files. DataError if that folder is not there."""
        parts = self.config + self.code + folder_fingerprint(self.dataset)
        key = hashlib.sha256(parts.encode()).hexdigest()[:12]
        dataset = "".join(c if c.isalnum() else "-" for c in self.dataset)[-40:]
        return f"class_srel-{dataset}-seed{self.seed}-{key}.nc"

    def run(
        self,
        results_dir: str | Path | None = None,
        device: str = "auto",
        progress: bool = True,
    ) -> "xr.Dataset":
        """Load this experiment's result, or compute and keep it.

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
        anew = partial(_Run, self, path, place)
        dataset = checkpoints.begin(anew(), anew).complete(progress)
        result_files.save(dataset, path, expected)
        state.unlink(missing_ok=True)
        return dataset


def choose_device(name: str) -> torch.device:
    """ "auto" is the GPU if there is one; ValueError for a device this machine does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device {name!r} is not to be had here: use 'auto' or 'cpu'") from error
    return device


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
            rules={rule: parse_rule(rule) for rule in e.rules},
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
            torch.backends.cudnn.flags(deterministic=True, allow_tf32=False),
            tqdm(
                total=len(measured),
                initial=sum(step <= self.trainer.step for step in measured),
                desc=f"{self.experiment.dataset}, seed {self.experiment.seed}",
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
