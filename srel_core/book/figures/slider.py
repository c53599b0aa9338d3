"""What the figures with a slider share: an SVG, a range input and a few lines of script, as HTML
that stands alone, with no library and nothing fetched."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from srel_core.book.figures.table import MEDIA_TYPE

_PAGE = """\
<figure data-id="{id}" style="margin:0;max-width:36rem">
<svg viewBox="0 0 {width} {height}" width="100%" role="img" aria-label="{title}" fill="none" \
stroke="currentColor" font-size="12">
{drawn}
</svg>
{below}
<label style="display:block">{parameter} = <output>{first}</output>
<input type="range" min="0" max="{last}" step="1" value="{start}" style="width:100%" \
aria-valuetext="{first}"></label>
<script>
(() => {{
const data = {data};
for (const root of document.querySelectorAll('figure[data-id="{id}"]')) {{
const input = root.querySelector("input"), shown = root.querySelector("output");
const marks = root.querySelectorAll("svg [data-mark]");
input.addEventListener("input", () => {{
const i = Number(input.value);
shown.textContent = data.values[i];
input.setAttribute("aria-valuetext", data.values[i]);
marks.forEach((mark, k) => {{ {draw} }});
}});
}}
}})();
</script>
</figure>"""


@dataclass(frozen=True)
class Interactive:
    """A figure as HTML, with the numbers in it as CSV (`table`). IPython shows the figure."""

    html: str
    table: str

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, str]]:
        shown = {"text/html": self.html, "text/plain": "a figure with a slider"}
        return shown, {MEDIA_TYPE: self.table}


def check_slider(values: Sequence[str], start: int) -> None:
    """ValueError for fewer than two values, or a start that is none of them."""
    if len(values) < 2:
        raise ValueError(
            f"values must be at least 2, not {len(values)}: a slider needs a way to go"
        )
    if not 0 <= start < len(values):
        raise ValueError(f"start must be in 0..{len(values) - 1}, not {start}: it is an index")


def slider_page(
    values: Sequence[str],
    start: int,
    *,
    parameter: str,
    title: str,
    size: tuple[float, float],
    drawn: str,
    below: str,
    data: dict[str, Any],
    draw: str,
) -> str:
    """The HTML of a figure that shows step `start` of `values` until its slider is moved.

    parameter  what the slider sets, beside it
    title      says what the figure shows, to those who cannot see it
    size       of the drawing, in the units of `drawn`
    drawn      the inside of the SVG; what moves carries the attribute data-mark
    below      HTML between drawing and slider
    data       what the script needs; JSON
    draw       the script that shows step `i` of `data` at the `k`-th `mark`

    Equal arguments give equal text; a page may hold a figure twice.
    """
    text = json.dumps({"values": list(values), **data}, separators=(",", ":"))
    text = text.replace("<", "\\u003c")  # or a text could end the script
    return _PAGE.format(
        id="slider-" + hashlib.sha256((title + text).encode()).hexdigest()[:12],
        width=size[0], height=size[1], title=escape(title), drawn=drawn, below=below,
        parameter=escape(parameter), first=escape(values[start]), last=len(values) - 1,
        start=start, data=text, draw=draw,
    )  # fmt: skip
