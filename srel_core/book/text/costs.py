"""What the chapters on cost share: the committed benchmarks, the layers of a network, and words."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srel_core.engine.layers.operation_counts import LayerCost, layer_costs


@cache
def benchmark(name: str, folder: Path) -> Any:
    """The result of a benchmark in a folder of them."""
    return json.loads((folder / f"{name}.json").read_text("utf8"))


def layers_of(network: Callable[[], nn.Module], size: int) -> list[LayerCost]:
    """Layers of a network for images of this size, built and called on the meta device: nothing is
    computed."""
    with torch.device("meta"):
        return layer_costs(network(), torch.empty(1, 3, size, size))


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"
