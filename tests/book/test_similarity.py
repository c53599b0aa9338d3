"""Clusters by S_rel: kernel K-means against its definition, and classes that are far apart."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import srel_core as sc
from srel_core.book.similarity import (
    WAYS,
    Training,
    _similarity,
    agreement,
    compared,
    embedded,
)


@given(st.integers(0, 2**20))
def test_points_have_the_inner_products_of_the_kernel(seed):
    factor = np.random.default_rng(seed).normal(size=(5, 3))
    kernel = factor @ factor.T
    points = embedded(kernel)
    np.testing.assert_allclose(points @ points.T, kernel, atol=1e-12)


def test_the_negative_part_of_a_kernel_is_left_out():
    kernel = np.array([[1.0, 2.0], [2.0, 1.0]])  # eigenvalues 3 and -1
    points = embedded(kernel)
    np.testing.assert_allclose(points @ points.T, [[1.5, 1.5], [1.5, 1.5]], atol=1e-12)


def test_agreement_does_not_ask_which_cluster_is_which():
    classes = np.array([0, 0, 1, 1, 1])
    for found in (classes, 1 - classes):
        assert agreement(found, classes) == 1
    assert agreement(np.array([0, 1, 1, 1, 1]), classes) == 0.8


def test_the_similarity_is_the_symmetric_part_of_s_rel():
    model, x = Training(width=8).network(4, seed=0), torch.rand(5, 4)
    found = sc.influence(
        model, x, torch.ones(5, 1), x, rule=sc.SGD(1e-3), loss="mse", divergences=("abs",),
        method="loop",
    ).s_rel("abs")  # fmt: skip
    want = (found + found.T).numpy() / 2
    np.testing.assert_allclose(_similarity(model, x), want, rtol=1e-4)


def test_classes_that_are_far_apart_are_told_apart_by_every_way():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4]])
    blobs = [c + 0.1 * torch.randn(12, 3, generator=generator) for c in centres]
    classes = np.repeat([0, 1], 12)
    training = Training(width=16, measured=(1, 2))
    found = compared(torch.cat(blobs[:2]), classes, blobs[2], 0, training)
    assert found == dict.fromkeys(WAYS, 1.0)
    assert found == compared(torch.cat(blobs[:2]), classes, blobs[2], 0, training)
