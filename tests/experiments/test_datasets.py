"""Every road to an `ImageSet`, what each must refuse, and the draws made from images."""

import os
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srel_core.experiments.datasets import (
    DataError,
    ImageSet,
    augment,
    draw_per_class,
    load_images,
    normalise,
)
from tests.support.datasets import (
    CIFAR10_NAMES,
    pack_cifar,
    random_pixels,
    write_cifar,
    write_image_folder,
    write_svhn,
)

REAL_ROOT = os.environ.get("SREL_DATA", "")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A data root of the test's own, and no network."""

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no network in the tests")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("SREL_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "root"


def refused(*args, words, **kwargs):
    """The one-line message with which load_images refuses; it holds each of the words."""
    with pytest.raises(DataError) as error:
        load_images(*args, **kwargs)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def as_pixels(images):
    """(N, 32, 32, 3) uint8, as the data sets hold them."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


# ImageSet


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


# Requests that no data set can meet


def test_unknown_data_set():
    refused("cifar01", words=["'cifar10'", "digits", "cifar100", "svhn", "folder:PATH"])
    refused("folder", words=["'folder:PATH'"])


def test_unknown_split():
    refused("digits", split="tset", words=["'tset'", "'test'"])


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ((), "at least two"),
        (("0",), "at least two"),
        (("0", "2", "0"), "different"),
        ("024", "class names"),
        ((0, 2), "class names"),
        (("0", "22"), "'2'"),
    ],
)
def test_unusable_classes(classes, words):
    refused("digits", classes=classes, words=[words])


@pytest.mark.parametrize("per_class", [0, -3])
def test_unusable_per_class(per_class):
    refused("digits", per_class=per_class, words=["at least 1", str(per_class)])


# digits

TEN_DIGITS = [str(digit) for digit in range(10)]


def test_digits():
    train, test = load_images("digits"), load_images("digits", split="test")
    assert train.classes == ("0", "2", "4")
    assert train.source == "digits (scikit-learn)"
    assert torch.bincount(train.labels).tolist() == [142, 142, 145]
    assert torch.bincount(test.labels).tolist() == [36, 35, 36]
    assert torch.equal(train.images[:, 0], train.images[:, 1])
    assert torch.equal(train.images, (train.images * 255).round() / 255)
    seen = {image.tobytes() for image in as_pixels(train.images)}
    assert not any(image.tobytes() in seen for image in as_pixels(test.images))


def test_digits_are_the_same_on_every_machine():
    assert load_images("digits", per_class=2).checksum == (
        "2d6e45df312a85f43cb92131d1b56328a3ac071910153e5bbe456bfe2c53163e"
    )


def test_digits_enlarged_as_pillow_does():
    from sklearn.datasets import load_digits

    train, test = (load_images("digits", classes=TEN_DIGITS, split=s) for s in ("train", "test"))
    ours = {image.tobytes() for s in (train, test) for image in as_pixels(s.images)}
    raw = load_digits().images
    assert len(train.labels) + len(test.labels) == len(raw)
    for grey in raw[:20]:
        large = Image.fromarray(grey.astype(np.float32)).resize((32, 32), Image.Resampling.BILINEAR)
        pixels = np.rint(np.asarray(large) * 255 / 16).astype(np.uint8)
        assert pixels[..., None].repeat(3, -1).tobytes() in ours


@given(
    classes=st.lists(st.sampled_from(TEN_DIGITS), min_size=2, unique=True),
    per_class=st.integers(1, 200),
)
def test_classes_come_in_the_order_asked(classes, per_class):
    some = load_images("digits", classes=classes, per_class=per_class)
    every = load_images("digits", classes=TEN_DIGITS)
    rows = [(every.labels == int(name)).nonzero().flatten()[:per_class] for name in classes]
    assert some.classes == tuple(classes)
    assert torch.equal(some.images, every.images[torch.cat(rows)])
    assert some.labels.tolist() == [i for i, found in enumerate(rows) for _ in found]


# CIFAR as torchvision keeps it

DEFAULTS = {
    "cifar10": (("airplane", "automobile", "ship"), [0, 1, 8]),
    "cifar100": (("motorcycle", "orange", "wardrobe"), [48, 53, 94]),
}


@pytest.fixture(params=DEFAULTS)
def cifar(request, root, monkeypatch):
    """(name, folder, pixels, labels): 20 training images, the first 10 of them also test."""
    pixels = random_pixels(20)
    labels = [*DEFAULTS[request.param][1], 5] * 5
    train, test = (pixels, labels), (pixels[:10], labels[:10])
    return request.param, write_cifar(monkeypatch, root, request.param, train, test), pixels, labels


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_archive(cifar, monkeypatch, packed):
    name, folder, pixels, labels = cifar
    if packed:
        pack_cifar(monkeypatch, folder)
    train, test = load_images(name), load_images(name, split="test")
    names, numbers = DEFAULTS[name]
    rows = [i for number in numbers for i in range(20) if labels[i] == number]
    assert train.classes == names
    assert train.source == f"{name} (torchvision archive under SREL_DATA)"
    assert train.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert np.array_equal(as_pixels(train.images), pixels[rows])
    assert np.array_equal(as_pixels(test.images), pixels[[i for i in rows if i < 10]])


def test_per_class_takes_the_first_in_file_order(cifar):
    name = cifar[0]
    every, some = load_images(name), load_images(name, per_class=3)
    assert some.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    for label in range(3):
        assert torch.equal(
            some.images[some.labels == label], every.images[every.labels == label][:3]
        )
    assert load_images(name, per_class=99).checksum == every.checksum


def test_a_folder_and_an_archive_of_the_same_pixels_have_one_checksum(cifar, root):
    name, _, pixels, labels = cifar
    archive = load_images(name)
    names, numbers = DEFAULTS[name]
    rows = [i for i in range(20) if labels[i] in numbers]
    own_labels = [numbers.index(labels[i]) for i in rows]
    write_image_folder(root / name / "train", pixels[rows], own_labels, names)
    folder = load_images(name)
    assert folder.source == f"{name} (image folder under SREL_DATA)"
    assert folder.checksum == archive.checksum
    assert torch.equal(folder.images, archive.images)


def test_cifar_damaged(cifar):
    name, folder, *_ = cifar
    next(folder.glob("test*")).unlink()
    refused(name, words=[folder.name, "incomplete or damaged", "SREL_DATA", "remove it"])


def test_class_without_images(cifar):
    name, *_ = cifar
    empty = "frog" if name == "cifar10" else "class07"
    refused(name, classes=[DEFAULTS[name][0][0], empty], words=[f"no image of class '{empty}'"])


def test_unknown_class_names_the_nearest(cifar):
    name, *_ = cifar
    known = DEFAULTS[name][0]
    typo = known[0][:-1]
    refused(name, classes=[typo, known[1]], words=[f"'{typo}'", f"nearest is '{known[0]}'"])


# SVHN as torchvision keeps it


def test_svhn_archive(root, monkeypatch):
    pixels, digits = random_pixels(8), [0, 2, 4, 0, 9, 2, 4, 0]
    write_svhn(monkeypatch, root, "train", pixels, digits)
    write_svhn(monkeypatch, root, "test", pixels[:3], digits[:3])
    train, test = load_images("svhn"), load_images("svhn", split="test")
    assert train.classes == ("0", "2", "4")
    assert train.source == "svhn (torchvision archive under SREL_DATA)"
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert np.array_equal(as_pixels(train.images), pixels[[0, 3, 7, 1, 5, 2, 6]])
    assert np.array_equal(as_pixels(test.images), pixels[:3])
    nine_first = load_images("svhn", classes=["9", "0"], per_class=2)
    assert np.array_equal(as_pixels(nine_first.images), pixels[[4, 0, 3]])


def test_svhn_damaged(root, monkeypatch):
    path = write_svhn(monkeypatch, root, "train", random_pixels(3), [0, 2, 4])
    path.write_bytes(path.read_bytes()[:-100])
    refused("svhn", words=[path.name, "incomplete or damaged", "remove it"])


# Absent data, no network


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_absent_and_offline(name, monkeypatch):
    monkeypatch.chdir(Path(os.environ["SREL_DATA"]).parent)
    monkeypatch.setenv("SREL_DATA", "mine")
    words = [name, f"{name}/train", "SREL_DATA (mine)", "no network in the tests", "go online"]
    message = refused(name, words=words)
    assert str(Path.cwd()) not in message


def test_tilde_in_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SREL_DATA", "~/mine")
    write_svhn(monkeypatch, tmp_path / "mine", "train", random_pixels(3), [0, 2, 4])
    write_pets(tmp_path / "mine" / "cifar10", random_pixels(2))
    assert len(load_images("svhn").labels) == 3
    assert len(load_images("cifar10", classes=["cat", "dog"]).labels) == 2
    refused("cifar100", words=["SREL_DATA (~/mine)"])


def test_default_root(tmp_path, monkeypatch):
    monkeypatch.delenv("SREL_DATA")
    refused("svhn", words=["the default data root", "set SREL_DATA"])
    write_svhn(monkeypatch, tmp_path / "cache/srel_core/data", "train", random_pixels(3), [0, 2, 4])
    assert load_images("svhn").source == "svhn (torchvision archive under the default data root)"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    refused("svhn", words=["~/.cache/srel_core/data"])


# Image folders


def write_pets(folder, images):
    """folder/train/{cat,dog}: the images, in turn a cat and a dog."""
    labels = [i % 2 for i in range(len(images))]
    write_image_folder(folder / "train", images, labels, ["cat", "dog"])


@pytest.mark.parametrize("absolute", [False, True])
def test_own_folder(root, absolute):
    pixels = random_pixels(5)
    write_pets(root / "pets", pixels)
    found = load_images(f"folder:{root / 'pets' if absolute else 'pets'}")
    assert found.classes == ("cat", "dog")
    assert np.array_equal(as_pixels(found.images), pixels[[0, 2, 4, 1, 3]])
    assert found.source == (
        "folder:pets (image folder)" if absolute else "folder:pets (image folder under SREL_DATA)"
    )


def test_own_folder_with_classes_chosen(root):
    write_image_folder(root / "pets" / "test", random_pixels(3), [0, 1, 2], ["ant", "cat", "dog"])
    (root / "pets" / "test" / "eel").mkdir()
    found = load_images("folder:pets", classes=["dog", "ant"], split="test")
    assert found.classes == ("dog", "ant")
    assert np.array_equal(as_pixels(found.images), random_pixels(3)[[2, 0]])
    refused("folder:pets", split="test", words=["no image of class 'eel'"])


@pytest.mark.parametrize("size", [1, 8, 32, 77, 200])
def test_folder_images_of_any_square_size_are_resized_with_antialiasing(root, size):
    rng = np.random.default_rng(size)
    images = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(2)]
    write_pets(root / "pets", images)
    found = load_images("folder:pets").images
    raw = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.interpolate(raw, (32, 32), mode="bilinear", antialias=True)
    assert (found * 255 - expected).abs().max() <= 1.01  # Pillow rounds after each direction


def test_grey_bilevel_and_palette_become_rgb(root):
    grey = random_pixels(2)[..., 0]
    write_pets(root / "pets", grey)
    folder = root / "pets" / "train" / "cat"
    Image.fromarray(grey[0]).convert("1").save(folder / "1.png")
    palette = Image.fromarray(random_pixels(1)[0]).quantize(16)
    palette.save(folder / "2.png")
    found = as_pixels(load_images("folder:pets").images)
    assert np.array_equal(found[0], grey[0][..., None].repeat(3, -1))
    assert set(np.unique(found[1])) == {0, 255}
    assert np.array_equal(found[2], np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("RGB", (32, 31)), "32×31"),
        (Image.new("I;16", (32, 32)), "I;16"),
        (Image.new("RGBA", (32, 32)), "RGBA"),
        (Image.new("LA", (32, 32)), "LA"),
    ],
)
def test_unusable_image_is_named(root, image, words):
    write_pets(root / "pets", random_pixels(2))
    image.save(root / "pets" / "train" / "dog" / "odd.png")
    message = refused("folder:pets", words=["train/dog/odd.png", words])
    assert str(root) not in message


def test_transparent_palette_is_named(root):
    write_pets(root / "pets", random_pixels(2))
    image = Image.new("P", (32, 32))
    image.save(root / "pets" / "train" / "dog" / "odd.png", transparency=0)
    refused("folder:pets", words=["train/dog/odd.png", "transparency"])


@pytest.mark.parametrize("kept", [0, 20, 60, 1000])
def test_damaged_image_is_named(root, kept):
    write_pets(root / "pets", random_pixels(2))
    path = root / "pets" / "train" / "cat" / "00000.png"
    path.write_bytes(path.read_bytes()[:kept])
    refused("folder:pets", words=["train/cat/00000.png", "cannot read it"])


def test_missing_folder(root):
    refused("folder:pets", words=["folder:pets", "train/CLASS/", "SREL_DATA"])
    (root / "pets" / "train").mkdir(parents=True)
    refused("folder:pets", words=["train/CLASS/"])
    write_pets(root / "pets", random_pixels(2))
    refused("folder:pets", split="test", words=["test/CLASS/"])


def test_folder_with_one_class(root):
    write_image_folder(root / "pets" / "train", random_pixels(2), [0, 0], ["cat"])
    refused("folder:pets", words=["at least two", "cat"])


def test_partial_tree_lists_what_is_there(root):
    write_image_folder(root / "cifar10" / "train", random_pixels(2), [0, 8], CIFAR10_NAMES)
    assert load_images("cifar10", classes=["ship", "airplane"]).classes == ("ship", "airplane")
    refused("cifar10", words=["'automobile'", "out of airplane, ship", "image folder"])


# Draws


def augment_one(image, top, left, flip):
    """One image, the obvious way."""
    padded = torch.zeros(3, 40, 40)
    padded[:, 4:36, 4:36] = image
    crop = padded[:, top : top + 32, left : left + 32]
    return crop.flip(-1) if flip else crop


@given(n=st.integers(0, 20), seed=st.integers(0, 2**63 - 1))
def test_augment_equals_the_loop_with_the_same_draws(n, seed):
    images = torch.rand(n, 3, 32, 32)
    before = torch.random.get_rng_state()
    ours = augment(images, seed)
    assert torch.equal(torch.random.get_rng_state(), before)
    draws = torch.Generator().manual_seed(seed)
    top, left = (torch.randint(9, (n,), generator=draws) for _ in range(2))
    flip = torch.randint(2, (n,), generator=draws)
    for i in range(n):
        assert torch.equal(ours[i], augment_one(images[i], top[i], left[i], flip[i]))
    assert torch.equal(ours, augment(images, seed))


def test_augment_draws_every_offset_and_flip_alike():
    n = 20_000
    ramp = torch.arange(1.0, 33).expand(n, 3, 32, 32)  # a pixel tells its column
    crops = augment(ramp, seed=0)
    flipped = crops[:, 0, 16, 15] > crops[:, 0, 16, 16]
    shift = torch.where(flipped, crops[:, 0, 16, 16], crops[:, 0, 16, 15]).long() - 12
    assert abs(flipped.float().mean() - 0.5) < 0.02
    assert torch.bincount(shift, minlength=9).float().sub(n / 9).abs().max() < 0.1 * n / 9


def test_augment_pads_with_black_and_leaves_its_input():
    images = torch.ones(50, 3, 32, 32)
    assert set(augment(images, 0).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(images, torch.ones(50, 3, 32, 32))


def test_normalise():
    images = torch.rand(4, 3, 32, 32)
    mean, sd = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
    for channel in range(3):
        expected = (images[:, channel] - mean[channel]) / sd[channel]
        assert torch.equal(normalise(images)[:, channel], expected)
    assert normalise(images.double()).dtype == torch.float64


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 32, 32, 3)])
def test_transforms_refuse_other_shapes(shape):
    for transform in (normalise, lambda images: augment(images, 0)):
        with pytest.raises(DataError, match="N, 3, H, W"):
            transform(torch.zeros(shape))


@given(labels=st.lists(st.integers(0, 3)), per_class=st.integers(1, 5), seed=st.integers(0, 9))
def test_draw_per_class(labels, per_class, seed):
    y = torch.tensor([*labels, *[0, 1, 2, 3] * 5])
    before = torch.random.get_rng_state()
    drawn = draw_per_class(y, per_class, seed)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn.dtype == torch.int64
    assert y[drawn].tolist() == [c for c in range(4) for _ in range(per_class)]
    assert len(set(drawn.tolist())) == len(drawn)
    assert torch.equal(drawn, draw_per_class(y, per_class, seed))
    more = draw_per_class(y, 5, seed).reshape(4, 5)
    assert torch.equal(drawn, more[:, :per_class].flatten())


def test_draw_per_class_draws_all_alike():
    counts = sum(
        torch.bincount(draw_per_class(torch.zeros(10).long(), 3, seed), minlength=10)
        for seed in range(1000)
    )
    assert (counts - 300).abs().max() < 75  # five standard deviations


@pytest.mark.parametrize(
    ("labels", "per_class", "words"),
    [
        ([0, 0, 1], 2, "class 1 has 1 samples, 2 asked"),
        ([0, 0, 2, 2], 1, "class 1 has 0 samples, 1 asked"),
        ([0, 1], 0, "per_class ≥ 1"),
        ([], 1, "got 0"),
    ],
)
def test_draw_per_class_refuses(labels, per_class, words):
    with pytest.raises(DataError) as error:
        draw_per_class(torch.tensor(labels, dtype=torch.int64), per_class, 0)
    assert words in str(error.value)


# The images of the paper


@pytest.mark.real_data
@pytest.mark.skipif(
    not (REAL_ROOT and (Path(REAL_ROOT) / "cifar10/train").is_dir()),
    reason="SREL_DATA does not point to the CIFAR images",
)
@pytest.mark.parametrize(
    ("name", "split", "counts"),
    [
        ("cifar10", "train", [5000, 4999, 4095]),
        ("cifar10", "test", [1000, 1000, 812]),
        ("cifar100", "train", [500, 500, 500]),
        ("cifar100", "test", [100, 100, 100]),
    ],
)
def test_real_images(monkeypatch, name, split, counts):
    monkeypatch.setenv("SREL_DATA", REAL_ROOT)
    images = load_images(name, split=split)
    assert torch.bincount(images.labels).tolist() == counts
    assert images.classes == DEFAULTS[name][0]
