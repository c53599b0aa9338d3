"""A small result that costs no training, and what damages files."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr

from srel_core.experiments.expected import Expected, Variable
from srel_core.experiments.provenance import SCHEMA

CONFIG = '{"dataset": "digits", "model": "mlp", "seed": 0}'
EXPECTED = Expected(
    "small", CONFIG, "code",
    {
        "change": Variable(("step", "rule")),
        "moved": Variable(("step",), "bool"),
        "label": Variable(("step",), "int64"),
        "ratio": Variable(("step", "rule"), finite="some"),
    },
    lambda sizes: {"step": range(1, sizes["step"] + 1), "rule": ["sgd", "größe"]},
)  # fmt: skip


def small_result() -> xr.Dataset:
    """As EXPECTED, with every kind of value and attribute that our results hold."""
    ratio = np.array([[0.5, np.nan], [1.5, -0.0], [2.5, 1e300]])
    return xr.Dataset(
        {
            "change": (("step", "rule"), np.arange(6.0).reshape(3, 2), {"long_name": "ein Maß"}),
            "moved": ("step", [True, False, True]),
            "label": ("step", [1, 0, 1]),
            "ratio": (("step", "rule"), ratio),
        },
        {"step": [1, 2, 3], "rule": ["sgd", "größe"], "part": ("step", ["a", "", "b"])},
        {
            "schema": SCHEMA, "kind": "small", "config": CONFIG, "code_digest": "code",
            "commit": "none", "created": "2026-01-01", "wall_seconds": 1.5, "level": 2,
        },
    )  # fmt: skip


def flipped(content: bytes, number: int, seed: int = 0) -> Iterator[tuple[int, bytes]]:
    """The content with one bit turned over, `number` times at random, and where."""
    draw = random.Random(seed)
    for _ in range(number):
        bit = draw.randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(changed)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
