"""A data set is one record: here Fashion-MNIST, of which the paper says nothing."""

import dataclasses
import os
import struct

import numpy as np
import pytest

from srel_core.cli.runs import run
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.datasets import load_images
from srel_core.experiments.datasets.catalogue import DATA_SETS, DataSet
from srel_core.experiments.datasets.store import Store
from srel_core.experiments.profiles import class_experiments, sweep
from srel_core.experiments.training import Schedule
from tests.support.book import ROOT, program
from tests.support.datasets import as_pixels, refused

NAMES = ("T-shirt/top", "Trouser", "Bag")


def read_fashion_mnist(folder, split, download):
    """28×28 grey, on black of 32×32."""
    from torchvision.datasets import FashionMNIST

    found = FashionMNIST(folder, train=split == "train", download=download)
    padded = np.pad(found.data.numpy(), ((0, 0), (2, 2), (2, 2)))
    return Store(
        tuple(found.classes), found.targets.numpy(), lambda rows: padded[rows, None].repeat(3, 1)
    )


@pytest.fixture
def fashion_mnist(monkeypatch):
    record = DataSet(
        "fashion_mnist", NAMES, read_fashion_mnist, files=("FashionMNIST",), swept=("smoke",)
    )
    monkeypatch.setitem(DATA_SETS, record.name, record)
    return record


def write_idx(root):
    """Fashion-MNIST as torchvision unpacks it: 30 images of each split; returns the training ones.

    Their labels are 0, 1, 8, 0, 1, 8, …
    """
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    labels = np.array([0, 1, 8] * 10, dtype=np.uint8)
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 28, 28), dtype=np.uint8)
    for prefix, part in zip(("train", "t10k"), images, strict=True):
        header = struct.pack(">IIII", 0x803, 30, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + part.tobytes())
        header = struct.pack(">II", 0x801, 30)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return images[0]


def test_one_record_makes_it_loadable(root, fashion_mnist):
    images = write_idx(root)
    found = load_images("fashion_mnist")
    assert found.classes == NAMES and found.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert found.source == "fashion_mnist (torchvision archive under SREL_DATA)"
    expected = np.pad(images, ((0, 0), (2, 2), (2, 2)))[[*range(0, 30, 3)]]
    assert np.array_equal(as_pixels(found.images)[:10, ..., 1], expected)
    refused("fashion_mnist", classes=["Bags", "Trouser"], words=["nearest is 'Bag'"])
    refused("fashion_minst", words=["the nearest is 'fashion_mnist'", "svhn, fashion_mnist,"])


def test_one_record_makes_it_an_experiment_without_published_figures(root, fashion_mnist, tmp_path):
    write_idx(root)
    (paper,) = class_experiments("paper", "fashion_mnist", seeds=(4,))
    assert paper.images_per_class is None and paper.schedule == Schedule() and paper.augment
    tiny = dataclasses.replace(
        paper, model="linear", probes_per_class=2, divergences=("kl",), rules=("sgd:1e-4",),
        schedule=Schedule(epochs=1, batch_size=10, measure_every=3),
    )  # fmt: skip
    result = tiny.run(tmp_path, device="cpu", progress=False)
    assert result.class_name.values.tolist() == list(NAMES)
    assert tiny.file_name.startswith("class_srel-fashion_mnist-linear-seed4-")


def test_other_default_classes_are_another_experiment(fashion_mnist, monkeypatch):
    before = ClassExperiment("fashion_mnist").file_name
    other = dataclasses.replace(fashion_mnist, classes=NAMES[:2])
    monkeypatch.setitem(DATA_SETS, "fashion_mnist", other)
    assert ClassExperiment("fashion_mnist").file_name != before


def test_one_more_record_leaves_the_other_experiments_as_they_are(request):
    before = ClassExperiment().file_name
    request.getfixturevalue("fashion_mnist")
    assert ClassExperiment().file_name == before


def test_one_record_puts_it_into_the_sweep(root, fashion_mnist):
    assert sweep("smoke")[1] == ["fashion_mnist"]
    write_idx(root)
    experiments, left_out = sweep("smoke")
    assert experiments[2:] == class_experiments("smoke", "fashion_mnist") and left_out == []


def test_a_name_with_an_underscore_comes_back_from_the_sweep(root, tmp_path, monkeypatch):
    """Snakemake takes the name of the data set from that of the result's file."""
    record = "DataSet('fashion_mnist', ('a', 'b'), read_digits, swept=('smoke',))"
    (tmp_path / "sitecustomize.py").write_text(
        "from srel_core.experiments.datasets.archives import read_digits\n"
        "from srel_core.experiments.datasets.catalogue import DATA_SETS, DataSet\n"
        f"DATA_SETS['fashion_mnist'] = {record}\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setenv("SREL_RESULTS", str(tmp_path / "results"))
    dry = program(ROOT, "snakemake", "sweep", "-n", "-p", "--nolock", "--config", "profile=smoke")
    assert dry.returncode == 0, dry.stderr
    assert "--dataset fashion_mnist --seeds 1" in dry.stdout + dry.stderr


@pytest.mark.parametrize("name", ["Fashion", "fashion-mnist", "", "a/b", "folder:x"])
def test_names_that_a_file_name_would_not_give_back(name):
    with pytest.raises(ValueError, match="expected a name of a-z, 0-9 and _"):
        DataSet(name, ("a", "b"), read_fashion_mnist)


def test_the_command_line_names_every_data_set():
    (help_,) = (option.help for option in run.params if option.name == "dataset")
    for name in DATA_SETS:
        assert name in help_.replace(",", "").split()
