"""Check built HTML pages: nothing may come from another host, and nothing may be missing.

python tools/check_site.py _build/html
"""

import argparse
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches without being asked. A link that the reader clicks is not among it.
FETCHED = {"src": "audio embed iframe img script source video", "data": "object", "href": "link"}
UNFETCHED_LINKS = {"canonical", "author", "license", "next", "prev", "search", "index"}
REMOTE = re.compile(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<>)]*")
CSS_URL = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """Collects what one page fetches, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.inside: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.inside = {"script": self.scripts, "style": self.styles}.get(tag)
        if tag == "link" and UNFETCHED_LINKS & set(values.get("rel", "").split()):
            return
        self.fetched += [v for name, v in values.items() if tag in FETCHED.get(name, "").split()]

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside is not None:
            self.inside.append(data)


def is_remote(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in {"http", "https"}


def page_faults(path: Path) -> Iterator[str]:
    page = Page(path.read_text("utf8"))
    for address in page.fetched:
        if is_remote(address):
            yield f"{path} fetches {address}"
        elif not urlsplit(address).scheme:
            local = unquote(urlsplit(address).path)
            if not (path.parent / local).exists():
                yield f"{path} needs {local}, which is not there"
    for script in page.scripts:
        yield from (f"{path} has a script that names {url}" for url in REMOTE.findall(script))
    for style in page.styles:
        yield from (f"{path} has a style that fetches {url}" for url in CSS_URL.findall(style))


def faults(site: Path) -> list[str]:
    """One line for each thing that a page of `site` would fetch from elsewhere or not find."""
    pages = (path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts)
    found = [fault for path in pages for fault in page_faults(path)]
    for path in sorted(site.rglob("*.css")):
        found += [f"{path} fetches {url}" for url in CSS_URL.findall(path.read_text("utf8"))]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Check that built pages need no network.")
    parser.add_argument("site", type=Path, help="folder of the built pages, with index.html")
    site = parser.parse_args().site
    if not (site / "index.html").exists():
        sys.exit(f"check_site: error: {site} holds no index.html; give the folder of a built book")
    found = faults(site)
    for fault in found:
        print(f"check_site: error: {fault}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
