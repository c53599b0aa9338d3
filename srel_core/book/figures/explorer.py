"""The explorer of the first page: pick an image, and every other one lights up by how far one
training step on it moved the prediction there.

The figure stands alone: measured numbers, images, style and script are in its HTML, and nothing is
fetched. In print and without scripts a picture stands in its place.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srel_core.book.figures import table
from srel_core.book.figures.explorer_data import Explored
from srel_core.book.figures.ranking import ranking
from srel_core.book.figures.style import style
from srel_core.book.figures.words import literal

_FOLDER = Path(__file__).parent
_DASHES = ("none", "7 4", "1 3", "9 3 2 3")  # of the curves, by rule


@dataclass(frozen=True)
class Rule:
    """A step rule of the result, its name on the switch, and that name with an article."""

    name: str
    label: str
    article: str


@dataclass(frozen=True)
class Divergence:
    """A divergence of the result, its name on the switch, and the symbol for its value; `decades`
    below the largest S_rel an image is dark."""

    name: str
    label: str
    symbol: str
    decades: float


@dataclass(frozen=True, eq=False)
class Explorer:
    """A figure that notebooks and pages show as HTML, and print as a picture.

    explored     the measurements
    images       (P, 32, 32, 3) 8-bit, those of its probes; they are shown in grey
    rules, divergences   those of `explored`, in its order
    alt          says what the picture shows
    """

    explored: Explored
    images: NDArray[np.uint8]
    rules: Sequence[Rule]
    divergences: Sequence[Divergence]
    alt: str

    def __post_init__(self) -> None:
        wanted = (len(self.rules), len(self.divergences), len(self.images))
        if self.explored.s_rel.shape[1:4] != wanted:
            raise ValueError(
                "expected measurements under as many rules and divergences, and at as many images, "
                f"as are given, {wanted}, got {self.explored.s_rel.shape[1:4]}"
            )

        if len(self.rules) > len(_DASHES):
            raise ValueError(
                f"rules must be at most {len(_DASHES)}, not {len(self.rules)}: leave some out"
            )

    @property
    def _dashes(self) -> tuple[str, ...]:
        return _DASHES[: len(self.rules)]

    @property
    def html(self) -> str:
        """The figure; equal arguments give equal text, and a page may hold it twice."""
        data = {
            **self.explored.for_script(),
            "rules": [{"article": rule.article} for rule in self.rules],
            "divergences": [{"symbol": d.symbol, "decades": d.decades} for d in self.divergences],
        }
        text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        parts = self._parts(f"explorer-{hashlib.sha256(text.encode()).hexdigest()[:12]}", text)
        return (_FOLDER / "explorer.html").read_text("utf8").format(**parts)

    def _parts(self, identity: str, data: str) -> dict[str, Any]:
        """What explorer.html leaves open."""
        explored = self.explored
        return {
            "id": identity,
            "css": (_FOLDER / "explorer.css").read_text("utf8"),
            "js": (_FOLDER / "explorer.js").read_text("utf8"),
            "data": data,
            "sprite": _data_url(_png(_sprite(self.images))),
            "n": len(self.images),
            "others": len(self.images) - 1,
            "rules": _choices([rule.label for rule in self.rules]),
            "divergences": _choices([divergence.label for divergence in self.divergences]),
            "tiles": "".join(
                f'<button type="button" role="radio" aria-checked="false" style="--at:{i}">'
                '<span class="srel-digit"></span></button>'
                for i in range(len(self.images))
            ),
            "marks": "".join(
                f'<span style="--at:{i}"><i></i><span class="srel-digit"></span></span>'
                for i in range(len(self.images))
            ),
            "curves": "".join(
                f'<path data-part="curve" stroke-dasharray="{dash}"/>' for dash in self._dashes
            ),
            "keys": " ".join(
                '<span class="srel-line"><svg viewBox="0 0 24 6" width="24" height="6">'
                f'<path d="M0 3H24" stroke-dasharray="{dash}"/></svg> {escape(rule.label)}</span>'
                for rule, dash in zip(self.rules, self._dashes, strict=True)
            ),
            "columns": int(np.bincount(explored.classes).max()),
            "last": len(explored.steps) - 1,
            "step": explored.start[0],
            "picture": _data_url(self.png),
            "alt": escape(self.alt),
        }

    @property
    def png(self) -> bytes:
        """The picture: for the image and the moment shown first, all others in their order under
        each rule by the first divergence."""
        explored = self.explored
        step, sample = explored.start
        file = BytesIO()
        with style():
            figure, panels = plt.subplots(
                len(self.rules), 1, figsize=(9, 1.8 * len(self.rules)), layout="constrained",
                squeeze=False, sharey=True,
            )  # fmt: skip
            for i, (axes, rule) in enumerate(zip(panels[:, 0], self.rules, strict=True)):
                values = explored.s_rel[step, i, 0, :, sample]
                ranking(axes, values, sample, explored.classes, self.images)
                name = explored.names[explored.classes[sample]]
                axes.set_title(f"{rule.article} on a {literal(name)}", loc="left")
            figure.savefig(file, format="png", metadata={"Software": None})
            plt.close(figure)
        return file.getvalue()

    @property
    def table(self) -> str:
        """Every number that can be seen in it, as CSV: a panel for each rule and divergence."""
        explored, shown = self.explored, list(product(self.rules, self.divergences))
        heads = [
            f"panel {i}: title: {rule.label}, {divergence.label}; x: image of the step; y: image "
            "looked at; value: S_rel; names: their classes; slider: training step"
            for i, (rule, divergence) in enumerate(shown, start=1)
        ]
        words = [explored.names[number] for number in explored.classes]
        flat = explored.s_rel.reshape(len(explored.steps), len(shown), *explored.s_rel.shape[3:])
        rows = [
            {"panel": panel + 1, "slider": explored.steps[step], "mark": "cell", "x": x, "y": y,
             "value": f"{value:.2e}", "x_name": words[x], "y_name": words[y]}
            for (step, panel, y, x), value in np.ndenumerate(flat)
        ]  # fmt: skip
        return table.written(heads, rows)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, str]]:
        shown = {"text/html": self.html, "image/png": base64.b64encode(self.png).decode()}
        return shown, {table.MEDIA_TYPE: self.table}


def _choices(labels: Sequence[str]) -> str:
    return "".join(
        f'<label><input type="radio" value="{i}"><span>{escape(label)}</span></label>'
        for i, label in enumerate(labels)
    )


def _sprite(images: NDArray[np.uint8]) -> Image.Image:
    """All images in a row, as white of which each pixel has as much as it is light."""
    grey = images.mean(-1).round().astype(np.uint8)
    row = np.concatenate(list(grey), axis=1)
    return Image.fromarray(np.stack([np.full_like(row, 255), row], axis=-1), mode="LA")


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
