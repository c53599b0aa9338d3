"""What an `ImageSet` refuses, and what its checksum sees."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srel_core.experiments.datasets import DataError, ImageSet


def image_set(images=None, labels=(0, 1), classes=("a", "b")):
    images = torch.zeros(len(labels), 3, 32, 32) if images is None else images
    return ImageSet(images, torch.tensor(labels), classes, "a test")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"images": torch.zeros(2, 3, 28, 28)}, "(2, 3, 28, 28)"),
        ({"images": torch.zeros(2, 1, 32, 32)}, "(2, 1, 32, 32)"),
        ({"images": torch.zeros(2, 3, 32, 32).double()}, "float64"),
        ({"images": torch.zeros(0, 3, 32, 32), "labels": ()}, "N ≥ 1"),
        ({"images": torch.full((2, 3, 32, 32), 2.0)}, "2 to 2"),
        ({"images": torch.full((2, 3, 32, 32), -1.0)}, "-1 to -1"),
        ({"labels": (0, 2)}, "0..2"),
        ({"labels": (-1, 1)}, "-1..1"),
        ({"labels": (0.0, 1.0)}, "float32"),
        ({"images": torch.zeros(3, 3, 32, 32)}, "(2,)"),
        ({"classes": ("a",)}, "at least two"),
        ({"classes": ("a", "a")}, "different"),
    ],
)
def test_image_set_refuses(given, words):
    with pytest.raises(DataError) as error:
        image_set(**given)
    assert words in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_image_set_names_the_image_that_is_not_finite(value):
    images = torch.zeros(3, 3, 32, 32)
    images[1, 2, 3, 4] = value
    with pytest.raises(DataError, match="image 1 has NaN or Inf"):
        image_set(images, labels=(0, 1, 1))


def test_image_set_is_frozen_and_prints_no_pixels():
    images = image_set()
    with pytest.raises(AttributeError):
        images.source = "elsewhere"
    assert "tensor" not in repr(images)


@given(pixel=st.tuples(*(st.integers(0, n - 1) for n in (2, 3, 32, 32))), value=st.integers(1, 255))
def test_checksum_sees_every_pixel(pixel, value):
    images = torch.zeros(2, 3, 32, 32)
    images[pixel] = value / 255
    assert image_set(images).checksum == image_set(images.clone()).checksum
    assert image_set(images).checksum != image_set().checksum


def test_checksum_sees_labels_and_class_names():
    different = [
        image_set(),
        image_set(labels=(1, 0)),
        image_set(classes=("a", "c")),
        image_set(classes=("a", "b", "c")),
        image_set(labels=(0, 1, 1)),
    ]
    assert len({images.checksum for images in different}) == len(different)
