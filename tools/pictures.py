"""Make the figures of an executed notebook a third as large, for pages and for downloads."""

import base64
from io import BytesIO

import nbformat
from PIL import Image

COLOURS = 255


def shrink(notebook: nbformat.NotebookNode) -> None:
    """Store each figure with a palette of its own colours, on white. A plot has no more than a few
    thousand of them, nearly all in the blurred edges of its lines."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])


def smaller(encoded: str) -> str:
    """A figure as base64 text, with at most `COLOURS` colours."""
    drawn = Image.open(BytesIO(base64.b64decode(encoded))).convert("RGBA")
    page = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    file = BytesIO()
    page.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
