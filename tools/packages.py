"""The packages of srel_core as a figure, out of the import contracts and their docstrings.

Each contract of `import-linter` in pyproject.toml lists layers, from the top down; modules of one
layer know nothing of each other. What a module is for is the first sentence of its docstring.
"""

import ast
import io
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

ROOT = Path(__file__).resolve().parents[1]
TOP = "srel_core"

# All in points. As wide as a column on a phone, about 350 pixels, no letter is below 10 pixels.
WIDTH, MARGIN, GAP, LINE, BETWEEN = 300, 8, 13, 12.5, 4
NAME = FontProperties(family="DejaVu Sans Mono", weight="bold", size=9.5)
TEXT = FontProperties(family="DejaVu Sans", size=9)
INK, EDGE, FACES = "#222222", "#0072B2", ("#f2f7fb", "white")

Line = tuple[str, FontProperties, str]
"""Words, their font and their colour."""


@dataclass(frozen=True)
class Module:
    """A module or package: its name within the one that holds it, what it is for, its layers."""

    name: str
    purpose: str
    layers: tuple[tuple[str, ...], ...] = ()

    @property
    def inside(self) -> str:
        """Its layers in words, from the top down."""
        return " → ".join(", ".join(layer) for layer in self.layers)


def layers(root: Path = ROOT) -> list[list[Module]]:
    """Those of srel_core, from the top down."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf8"))
    found = {
        contract["containers"][0]: tuple(
            tuple(name.strip() for name in layer.split("|")) for layer in contract["layers"]
        )
        for contract in settings["tool"]["importlinter"]["contracts"]
    }
    return [
        [Module(name, purpose(root, name), found.get(f"{TOP}.{name}", ())) for name in layer]
        for layer in found[TOP]
    ]


def purpose(root: Path, name: str) -> str:
    """The first sentence of a module's docstring, without its last full stop."""
    place = root / TOP / name
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    paragraph = (ast.get_docstring(ast.parse(path.read_text("utf8"))) or "").split("\n\n")[0]
    return re.split(r"\.(?:\s|$)", " ".join(paragraph.replace("`", "").split()))[0]


def alt_text(floors: list[list[Module]]) -> str:
    """The figure in words."""
    names = [", ".join(module.name for module in floor) for floor in floors]
    return (
        f"The packages of {TOP} in layers, each of which imports only from those below it. "
        f"From the top: {'; '.join(names)}."
    )


def draw(floors: list[list[Module]]) -> Figure:
    """A box for each layer, with its modules one below the other and an arrow to the next."""
    blocks = [[_lines(module) for module in floor] for floor in floors]
    heights = [
        sum(len(lines) * LINE + BETWEEN for lines in block) - BETWEEN + MARGIN for block in blocks
    ]
    total = sum(heights) + GAP * (len(heights) - 1) + 2
    figure = Figure(figsize=(WIDTH / 72, total / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(total, 0))
    axes.axis("off")
    top = 1.0
    for number, (block, height) in enumerate(zip(blocks, heights, strict=True)):
        if number:
            _arrow(axes, top - GAP)
        _box(axes, top, height, FACES[number % 2])
        y = top + MARGIN / 2 - 3
        for lines in block:
            for words, font, colour in lines:
                y += LINE
                axes.text(MARGIN, y, words, fontproperties=font, color=colour)
            y += BETWEEN
        top += height + GAP
    return figure


def _box(axes: Axes, top: float, height: float, face: str) -> None:
    style = "round,pad=0,rounding_size=4"
    axes.add_patch(FancyBboxPatch((1, top), WIDTH - 2, height, style, fc=face, ec=EDGE, lw=0.8))


def _arrow(axes: Axes, top: float) -> None:
    """From one layer down to the next, which it imports from."""
    style = {"arrowstyle": "-|>", "color": EDGE, "shrinkA": 0, "shrinkB": 0, "lw": 0.8}
    axes.annotate("", (WIDTH / 2, top + GAP), (WIDTH / 2, top), arrowprops=style)


def _lines(module: Module) -> list[Line]:
    """A module's name, purpose and layers as lines that fit the width."""
    found: list[Line] = [(module.name, NAME, INK)]
    for words, colour in ((module.purpose, INK), (module.inside, EDGE)):
        found += [(line, TEXT, colour) for line in _wrapped(words)]
    return found


def _wrapped(words: str) -> list[str]:
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        width, _, _ = text_to_path.get_text_width_height_descent(longer, TEXT, ismath=False)
        if lines and width <= WIDTH - 2 * MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def save(floors: list[list[Module]], stem: Path) -> None:
    """Write the figure for pages and for print, stem.svg and stem.pdf: the same bytes for the same
    contracts and docstrings."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Without a salt, the ids in the file would be random.
    with matplotlib.rc_context({"svg.hashsalt": TOP}):
        figure = draw(floors)
        file = io.StringIO()
        figure.savefig(
            file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
        # A good part of the file is indentation.
        stem.with_suffix(".svg").write_text(re.sub(r"\n\s+", "\n", file.getvalue()), "utf8")
        figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
