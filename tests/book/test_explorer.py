"""The explorer's numbers are those of the result, and its figures follow from them."""

import base64
import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from bs4 import BeautifulSoup
from PIL import Image

from srel_core.book.figures.explorer import Divergence, Explorer, Rule
from srel_core.book.figures.explorer_data import Explored
from srel_core.book.figures.probe_images import probe_images
from srel_core.experiments.datasets import normalise
from srel_core.experiments.profiles import class_experiments
from srel_core.statistics.by_class import same_class_auc
from tests.support.book import call

RULES, DIVERGENCES = ["sgd:1e-4", "adam:1e-4"], ["kl", "l2_logits"]
CLASSES = np.repeat([0, 1, 2], 3)


def made_up(seed=0):
    """A result of nine images, which nothing was measured for."""
    rng = np.random.default_rng(seed)
    change = 10 ** rng.uniform(-8, 1, (4, 2, 2, 9, 9))
    dims = ("step", "rule", "divergence")
    return xr.Dataset(
        {
            "change": ((*dims, "probe", "sample"), change),
            "own": ((*dims, "sample"), np.einsum("...ii->...i", change)),
            "same_input": (("probe", "sample"), np.eye(9, dtype=bool)),
        },
        {
            "step": [1, 4, 7, 10], "epoch_of_step": ("step", [1, 1, 2, 2]), "rule": RULES,
            "divergence": DIVERGENCES, "probe_class": ("probe", CLASSES),
            "class_name": ("class", ["0", "2", "4"]),
        },
    )  # fmt: skip


def explored(result=None):
    return Explored.of(made_up() if result is None else result, RULES, DIVERGENCES)


def explorer(of=None):
    images = np.random.default_rng(1).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    return Explorer(
        explored() if of is None else of,
        images,
        [Rule(name, f"step of {name}", f"The step of {name}") for name in RULES],
        [Divergence(name, name, "D", 2) for name in DIVERGENCES],
        alt="An alternative text of five words",
    )


def test_every_number_is_that_of_the_result():
    result, found = made_up(), explored()
    for (t, i, d, p, s), value in np.ndenumerate(found.s_rel):
        assert value == result.change.values[t, i, d, p, s] / result.own.values[t, i, d, s]
    cell = (2, 1, 0)
    same = np.eye(9, dtype=bool)
    auc = same_class_auc(result.change.values[cell], CLASSES, CLASSES, exclude=same)
    np.testing.assert_array_equal(found.auc[cell], auc)
    own, other = CLASSES == 1, CLASSES != 1
    own[4] = False
    s_rel = found.s_rel[(*cell, slice(None), 4)]
    assert found.medians[(0, *cell, 4)] == np.median(s_rel[own])
    assert found.medians[(1, *cell, 4)] == np.median(s_rel[other])


def test_a_comparison_is_one_pair_and_its_winner_the_one_that_moved_farther():
    found = explored()
    data = found.for_script()
    wins = np.reshape(data["wins"], found.own.shape) / 2
    assert data["pairs"] == [2 * 6] * 9
    for (t, i, d, s), count in np.ndenumerate(wins):
        same, other = found.others(s)
        s_rel = found.s_rel[t, i, d, :, s]
        assert count == (s_rel[same][:, None] > s_rel[other]).sum()


def test_a_sample_without_a_change_of_its_own_has_no_s_rel():
    result = made_up()
    result.own[1, 0, 0, 5] = 0
    found = explored(result)
    assert np.isnan(found.s_rel[1, 0, 0, :, 5]).all()
    assert np.isfinite(np.delete(found.s_rel[1, 0, 0], 5, axis=1)).all()
    assert explorer(found).html  # and can be shown


def test_it_starts_where_the_rules_differ_most():
    result = made_up()
    same = CLASSES[:, None] == CLASSES
    result.change[2, 0, 0] = np.where(same, 2.0, 1.0)
    result.change[2, 1, 0] = np.where(same, 1.0, 2.0)
    assert explored(result).start[0] == 2


def test_results_that_do_not_fit_are_refused():
    other = made_up()
    other["same_input"] = other.same_input.copy(data=np.eye(9, dtype=bool)[::-1])
    with pytest.raises(ValueError, match="probes are its samples, in the same order"):
        explored(other)
    with pytest.raises(ValueError, match=r"as are given, \(2, 2, 8\), got \(2, 2, 9\)"):
        Explorer(explored(), np.zeros((8, 32, 32, 3), np.uint8), explorer().rules,
                 explorer().divergences, "alt")  # fmt: skip
    five = Explored(
        np.ones((1, 5, 1, 2, 2)), *np.ones((2, 1, 5, 1, 2)), np.arange(2), (), (1,), (1,)
    )
    with pytest.raises(ValueError, match="rules must be at most 4, not 5"):
        Explorer(five, np.zeros((2, 32, 32, 3), np.uint8), [Rule("r", "r", "r")] * 5,
                 explorer().divergences[:1], "alt")  # fmt: skip


def test_the_images_are_in_one_picture_as_light_as_they_are():
    shown = explorer()
    url = re.search(r"--sprite:url\(data:image/png;base64,(.*?)\)", shown.html)[1]
    alpha = np.asarray(Image.open(io.BytesIO(base64.b64decode(url))))[..., 1]
    assert alpha.shape == (32, 32 * 9)
    np.testing.assert_allclose(alpha[:, 64:96], shown.images[2].mean(-1), atol=0.5)


def test_equal_arguments_give_equal_text_that_fetches_nothing(tmp_path):
    assert explorer().html == explorer().html
    assert explorer(explored(made_up(1))).html != explorer().html
    (tmp_path / "index.html").write_text(explorer().html)
    assert call(tmp_path, "check_site", ".").returncode == 0


def test_print_and_readers_without_scripts_get_a_picture():
    page = BeautifulSoup(explorer().html, "html.parser")
    assert "display: none" in page.noscript.style.text
    assert page.img["alt"] == "An alternative text of five words"
    bundle, _ = explorer()._repr_mimebundle_()
    assert bundle["image/png"] in page.img["src"]
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).width > 500


def test_its_table_has_every_number():
    _, metadata = explorer()._repr_mimebundle_()
    lines = metadata["text/csv"].splitlines()
    assert [line.startswith("# panel ") for line in lines[:5]] == [True] * 4 + [False]
    rows = list(csv.DictReader(lines[4:]))
    s_rel = explored().s_rel
    values = np.array([float(row["value"]) for row in rows]).reshape(4, 4, 9, 9)
    np.testing.assert_allclose(values, s_rel.reshape(4, 4, 9, 9), rtol=6e-3)
    assert [row["slider"] for row in rows[:: 4 * 81]] == ["1", "4", "7", "10"]
    assert [row["x_name"] for row in rows[:9]] == ["0"] * 3 + ["2"] * 3 + ["4"] * 3


def test_texts_are_escaped():
    bad = made_up()
    bad["class_name"] = ("class", ["<i>", "</script>", "&"])
    html = explorer(explored(bad)).html
    assert html.count("</script>") == 1 and "<i>" not in html.partition('"names":')[2]


def test_the_images_are_those_that_the_steps_were_taken_on(tmp_path):
    experiment = class_experiments("smoke", "digits", (0,), epochs=1, probes_per_class=2)[0]
    result = experiment.run(tmp_path, "cpu", progress=False)
    images = probe_images(experiment, result)
    assert images.shape == (6, 32, 32, 3)
    begun = experiment._begin(tmp_path / experiment.file_name, torch.device("cpu"))
    shown = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(normalise(shown), begun.recorder.probes)


def test_images_that_are_not_those_of_the_result_are_refused(tmp_path):
    experiment = class_experiments("smoke", "digits", (0,))[0]
    of_others = xr.Dataset(attrs={"data_checksum": "of others"})
    with pytest.raises(ValueError, match="got others under the name 'digits'"):
        probe_images(experiment, of_others)
    with pytest.raises(ValueError, match="expected an experiment with augment=False"):
        probe_images(replace(experiment, augment=True), of_others)
