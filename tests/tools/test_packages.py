"""The figure of the packages says what the contracts and docstrings say, and can be read."""

import re
import shutil
from types import SimpleNamespace

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.text import Annotation, Text

from tests.support.book import ROOT, tool


def _words(figure):
    return [t for t in figure.findobj(Text) if t.get_text() and not isinstance(t, Annotation)]


def _text(figure):
    return " ".join(words.get_text() for words in _words(figure))


def test_every_module_at_the_top_is_there_with_its_purpose():
    packages = tool("packages")
    floors = packages.layers()
    modules = [module for floor in floors for module in floor]
    at_top = {p.stem for p in (ROOT / "srel_core").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert {module.name for module in modules} == at_top - {"__init__", "__pycache__"}
    shown = _text(packages.draw(floors))
    for module in modules:
        assert module.name in shown and module.name in packages.alt_text(floors)
        assert len(module.purpose.split()) > 4 and module.purpose in shown
    assert "methods → checking, conditions, fast" in shown  # within the engine


def test_the_figure_follows_contracts_and_docstrings(tmp_path):
    packages = tool("packages")
    shutil.copytree(ROOT / "srel_core", tmp_path / "srel_core",
                    ignore=shutil.ignore_patterns("*.pyc"))  # fmt: skip
    (tmp_path / "srel_core/cellar.py").write_text('"""Where `old` things\nlie. And more."""\n')
    settings = (ROOT / "pyproject.toml").read_text()
    changed = settings.replace(
        '"choices | optimizer_step | scaling",',
        '"choices | optimizer_step | scaling",\n    "cellar",',
    )
    assert changed != settings
    (tmp_path / "pyproject.toml").write_text(changed)
    floors = packages.layers(tmp_path)
    assert [(m.name, m.purpose) for m in floors[-1]] == [("cellar", "Where old things lie")]
    assert packages.alt_text(floors).endswith("; choices, optimizer_step, scaling; cellar.")
    assert "Where old things lie" in _text(packages.draw(floors))


def test_letters_are_large_on_a_phone_and_stay_within_the_boxes():
    packages = tool("packages")
    figure = packages.draw(packages.layers())
    canvas = FigureCanvasSVG(figure)
    figure.set_dpi(72)  # a point a pixel
    canvas.draw()
    for words in _words(figure):
        assert words.get_fontsize() * 350 / packages.WIDTH >= 10
        box = words.get_window_extent()
        assert box.x0 >= packages.MARGIN - 2 and box.x1 <= packages.WIDTH - packages.MARGIN / 2
    tops = [words.get_window_extent().y1 for words in _words(figure)]
    assert tops == sorted(tops, reverse=True) and tops[-1] > 0


def test_a_page_gets_the_figure_for_screen_and_print_twice_the_same(tmp_path):
    reference, texts = tool("reference"), []
    for folder, builder in (("once", "html"), ("again", "html"), ("print", "latex")):
        source = ["Before.\n\n:packages:\n\nAfter."]
        app = SimpleNamespace(srcdir=tmp_path / folder, builder=SimpleNamespace(format=builder))
        reference.fill_in(app, "reference", source)
        texts.append(source[0])
        drawn = tmp_path / folder / "_build/figures"
        assert sorted(p.name for p in drawn.iterdir()) == ["packages.pdf", "packages.svg"]
    assert texts[0] == texts[1] != texts[2]
    assert "{figure} /_build/figures/packages.*" in texts[0]
    assert len(re.search(r":alt: (.+)", texts[0])[1].split()) > 20
    once, again = ((tmp_path / f / "_build/figures/packages.svg") for f in ("once", "again"))
    assert once.read_bytes() == again.read_bytes()


def test_the_figure_fits_a_printed_page():
    packages, width = tool("packages"), tool("reference").WIDTH_IN_PRINT
    figure = packages.draw(packages.layers())
    wide, high = figure.get_size_inches()
    of_line, of_page, caption = 453, 700, 40  # points of A4, as LaTeX's geometry has it
    assert high / wide * of_line * float(width.rstrip("%")) / 100 + caption < of_page
