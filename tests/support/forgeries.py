"""Files that look like ours: what was done to each, and what is said of it."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

import h5py
import torch
from safetensors.torch import load
from safetensors.torch import save as to_bytes

from srel_core import SrelRecorder
from srel_core.experiments import checkpoints, class_experiment, digest, netcdf
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.training import Schedule

SMALL = ClassExperiment(
    model="linear", images_per_class=12, probes_per_class=2, rules=("sgd:1e-4",),
    schedule=Schedule(epochs=2, batch_size=12, measure_every=2), divergences=("kl",),
)  # fmt: skip
"""Measured after the steps 1, 3, 4 and 6 of 6, in a second."""


def state_of_an_interrupted_run(folder: Path) -> bytes:
    """Of SMALL, interrupted at step 4, when it had measured the steps 1 and 3."""

    class Stop(Exception):
        pass

    measure = SrelRecorder.measure

    def stop(self, step):
        if step == 4:
            raise Stop
        return measure(self, step)

    with (
        mock.patch.object(class_experiment, "_SAVE_EVERY", 0.0),
        mock.patch.object(SrelRecorder, "measure", stop),
        suppress(Stop),
    ):
        SMALL.run(folder, "cpu", progress=False)
    return checkpoints.state_path(folder / SMALL.file_name).read_bytes()


def _link_out(file):
    file["elsewhere"] = h5py.ExternalLink("other.nc", "/change")


def _values_elsewhere(file):
    file.create_dataset("elsewhere", (3,), "f8", external=[("values.raw", 0, 24)])


def _virtual(file):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("other.nc", "change", (3,))
    file.create_virtual_dataset("elsewhere", layout)


HOSTILE = {
    "external link": (_link_out, "elsewhere is a link to elsewhere"),
    "soft link": (
        lambda file: file.__setitem__("elsewhere", h5py.SoftLink("/change")),
        "elsewhere is a link to elsewhere",
    ),
    "values in another file": (_values_elsewhere, "the values of elsewhere are in another file"),
    "virtual": (_virtual, "the values of elsewhere are in another file"),
    "group in itself": (
        lambda file: file.create_group("again").__setitem__("again", file["again"]),
        "again is not a variable",
    ),
    "bomb": (
        lambda file: file.create_dataset("bomb", (300_000_000,), "f8", chunks=(1000,)),
        r"bytes cannot hold the 2\.4e\+09 bytes that they declare",
    ),
}
"""Of results: values that are not in the file."""


def altered(path: Path, change: Callable[[h5py.File], object]) -> None:
    """Change a file of ours, and seal it anew."""
    with h5py.File(path, "r+") as file:
        change(file)
    path.write_bytes(netcdf.sealed(path.read_bytes()))


def forged(raw, change):
    """A state with other content, and the digest of that content."""
    tensors, about = load(raw), checkpoints._metadata(raw)
    del about[digest.ATTRIBUTE]
    change(tensors, about)
    return to_bytes(tensors, about | {digest.ATTRIBUTE: digest.of_tensors(tensors, about)})


def nan(name, *at):
    return lambda tensors, _: tensors[name].__setitem__(at, float("nan"))


def without(part):
    def change(tensors, _):
        for name in [name for name in tensors if name.startswith(part)]:
            del tensors[name]

    return change


def cut(name, step):
    return lambda tensors, _: tensors.update({name: tensors[name][..., :step].contiguous()})


def with_config(**settings):
    def change(_, about):
        about["config"] = json.dumps(json.loads(about["config"]) | settings)

    return change


STATES = {
    "another seed": (with_config(seed=1), "of another run: config: seed is 1, not 0"),
    "other code": (lambda _, about: about.update(code_digest="old"), "code_digest: differs"),
    "other images": (lambda _, about: about.update(data_checksum=""), "data_checksum: differs"),
    "not ours": (lambda _, about: about.clear(), "of another run: schema: differs"),
    "weight": (nan("trainer/model/1.weight", 0, 0), "weights: 1.weight holds NaN or infinite"),
    "no weight": (without("trainer/model/1.bias"), "weights: 1.bias is missing"),
    "weight's shape": (cut("trainer/model/1.weight", 5), r"1.weight is torch.float32 \(3, 5\)"),
    "weight's type": (
        lambda t, _: t.update({"trainer/model/1.bias": t["trainer/model/1.bias"].double()}),
        r"1.bias is torch.float64 \(3,\), not torch.float32",
    ),
    "no optimizer": (without("trainer/optimizer"), "optimizer: .*exp_avg is missing"),
    "part of one": (without("trainer/optimizer/1/exp_avg_sq"), "1/exp_avg_sq is missing"),
    "moment": (nan("trainer/optimizer/0/exp_avg", 0, 0), "0/exp_avg holds NaN or infinite"),
    "count": (
        lambda t, _: t["trainer/optimizer/0/step"].add_(1),
        "the optimizer has taken 4 steps, not 3",
    ),
    "no curves": (without("trainer/curves"), "trainer/curves|curves"),
    "curve": (nan("trainer/curves", 0, 1), "curves holds NaN or infinite"),
    "curves cut": (cut("trainer/curves", 2), "taken 3 steps, not 2"),
    "beyond the end": (
        lambda t, _: t.update({"trainer/curves": torch.zeros(2, 99, dtype=torch.float64)}),
        "it is of step 99, but there are 6",
    ),
    "no step": (cut("trainer/curves", 0), "it is of step 0, but there are 6"),
    "no measurement": (without("recorder/1/"), "measurements: 1/change is missing"),
    "part of one measurement": (without("recorder/1/own"), "measurements: 1/own is missing"),
    "a measurement ahead": (
        lambda t, _: t.update({"recorder/4/own": t["recorder/3/own"].clone()}),
        "measurements: 4/own is new",
    ),
    "measured": (nan("recorder/3/change", 0, 0, 0, 0), "3/change holds NaN or infinite"),
    "fewer samples": (cut("recorder/3/own", 2), r"3/own is torch.float64 \(1, 1, 2\)"),
    "test curve": (nan("test_curves", 0, 0), "test_curves holds NaN or infinite"),
    "an epoch ahead": (
        lambda t, _: t.update(test_curves=torch.zeros(2, 2, dtype=torch.float64)),
        r"test_curves has shape \(2, 2\), not \(1, 2\)",
    ),
    "no time": (without("seconds"), "seconds"),
}  # fmt: skip
"""Of the state of SMALL after step 3: what a run cannot have saved."""
