"""Experiments on images in a user's own folder, by what is in the files."""

import dataclasses
import json
import os
import shutil

import pytest

from srel_core.experiments import datasets
from srel_core.experiments.class_experiment import ClassExperiment
from tests.support.class_experiments import TINY, run_tiny
from tests.support.datasets import random_pixels, write_image_folder


@pytest.fixture
def images(tmp_path):
    """A folder of a user's own images."""
    for split in ("train", "test"):
        folder = tmp_path / "my images" / split
        write_image_folder(folder, random_pixels(24), [0, 1] * 12, ["a", "b"])
    return tmp_path / "my images"


def test_other_images_in_a_users_folder_are_another_experiment(images):
    experiment = ClassExperiment(dataset=f"folder:{images}")
    before = experiment.file_name
    assert experiment.file_name == before
    next((images / "train" / "a").iterdir()).unlink()
    assert experiment.file_name != before


def test_a_result_says_nothing_of_the_folders_of_this_machine(images, tmp_path):
    experiment = dataclasses.replace(TINY, dataset=f"folder:{images}")
    result = run_tiny(tmp_path / "results", experiment)
    assert experiment.file_name.startswith("class_srel-folder-my-images-linear-seed0-")
    assert json.loads(result.attrs["config"])["dataset"] == "folder:my images"
    assert result.attrs["data_source"] == "folder:my images (image folder)"
    said = json.dumps(result.attrs, default=str) + experiment.file_name
    assert str(tmp_path) not in said and tmp_path.name not in said


def test_the_same_images_elsewhere_are_the_same_experiment(images, tmp_path, monkeypatch):
    name = ClassExperiment(dataset=f"folder:{images}").file_name
    shutil.copytree(images, tmp_path / "elsewhere" / "my images")
    monkeypatch.setenv("SREL_DATA", str(tmp_path / "elsewhere"))
    stored = json.loads(ClassExperiment(dataset=f"folder:{images}").config)["dataset"]
    assert ClassExperiment(dataset=stored).file_name == name
    (tmp_path / "elsewhere" / "my images").rename(tmp_path / "elsewhere" / "yours")
    assert ClassExperiment(dataset="folder:yours").file_name != name


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb", b"x" * 250, "日本".encode() * 40])
def test_any_name_of_a_folder_gives_a_name_of_a_file(images, name):
    place = images.with_name(os.fsdecode(name))
    images.rename(place)
    experiment = ClassExperiment(dataset=f"folder:{place}")
    assert experiment.file_name.isprintable() and len(experiment.file_name.encode()) < 200
    json.loads(experiment.config)["dataset"].encode()


def test_images_that_change_while_they_are_read_give_no_result(images, tmp_path, monkeypatch):
    load = datasets.load_images

    def meanwhile(*args):
        found = load(*args)
        next((images / "train" / "a").iterdir()).unlink()
        return found

    monkeypatch.setattr(datasets, "load_images", meanwhile)
    with pytest.raises(datasets.DataError, match="changed while they were read: run again"):
        run_tiny(tmp_path / "results", dataclasses.replace(TINY, dataset=f"folder:{images}"))
    assert not (tmp_path / "results").exists()
