"""Sphinx extension: what lets others find the pages and show them, once the book has an address.

That is `html.baseurl` of _config.yml or, where tools/repository.py has named a repository, its site
on GitHub Pages. Pages then carry a card (OpenGraph: title, first words, first figure), the date of
their last change in the repository and their canonical address, and the site a map for search
engines. Without an address there is none of it.
"""

import re
import subprocess
from functools import cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from xml.etree import ElementTree

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.config import Config

REPOSITORY = re.compile(r"https://github\.com/([^/]+)/([^/]+)/?")
NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"
WORDS = 200  # letters of a description
TEX = re.compile(r"\\[()]|\\(?:rm|sf|boldsymbol|mathrm|mathsf|text|operatorname)\b|[{}$]")


def address_of(config: Config) -> str:
    """Where the pages are, with a slash at its end; "" if nobody has said."""
    if config.html_baseurl:
        return f"{config.html_baseurl.rstrip('/')}/"
    named = REPOSITORY.fullmatch(config.html_theme_options.get("repository_url", ""))
    if named is None:
        return ""
    host = f"{named[1].lower()}.github.io"
    return f"https://{host}/" if named[2].lower() == host else f"https://{host}/{named[2]}/"


def settle(app: Sphinx, config: Config) -> None:
    """Sphinx itself names the canonical address of each page."""
    config.html_baseurl = address_of(config)


def introduce(
    app: Sphinx, page: str, template: str, context: dict[str, Any], document: nodes.document | None
) -> None:
    """Give a page its card and its date."""
    address = app.config.html_baseurl
    if not address or document is None:
        return
    url = urljoin(address, app.builder.get_target_uri(page))
    said = {
        "og:type": "website" if page == app.config.root_doc else "article",
        "og:site_name": app.config.html_title,
        "og:title": plain(re.sub("<.*?>", "", context["title"])),
        "og:description": first_words(document),
        "og:url": url,
        **picture(document, url),
    }
    context["metatags"] += "".join(
        f'<meta property="{name}" content="{escape(text)}" />\n' for name, text in said.items()
    )
    if changed := date_of(Path(app.srcdir), page):
        context["last_updated"] = changed


def first_words(document: nodes.document) -> str:
    """What a page begins to say, cut between words."""
    texts = [
        plain(paragraph.astext())
        for paragraph in document.findall(nodes.paragraph)
        if "made-by" not in paragraph["classes"] and isinstance(paragraph.parent, nodes.section)
    ]
    words = " ".join(texts)
    return words if len(words) <= WORDS else f"{words[: WORDS - 1].rpartition(' ')[0]} …"


def plain(text: str) -> str:
    return " ".join(TEX.sub("", text).split())


def picture(document: nodes.document, url: str) -> dict[str, str]:
    """The first figure of the page at `url`. Once a page is written, its images have addresses."""
    image = next(document.findall(nodes.image), None)
    if image is None:
        return {"twitter:card": "summary"}
    return {
        "og:image": urljoin(url, image["uri"]),
        "og:image:alt": image.get("alt", ""),
        "twitter:card": "summary_large_image",
    }


@cache
def date_of(source: Path, page: str) -> str:
    """The day on which a page was last changed in the repository; "" if that is not known.

    The pages may be built from a copy of their sources, somewhere below the repository's top.
    """
    tops = [folder for folder in (source, *source.parents) if (folder / ".git").exists()]
    if not tops:
        return ""
    command = ["git", "log", "-1", "--format=%cs", "--", f"{page}.py", f"{page}.md"]
    done = subprocess.run(command, cwd=tops[0], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def site_map(app: Sphinx, error: Exception | None) -> None:
    """Write sitemap.xml: the address of each page, and when it was last changed."""
    address = app.config.html_baseurl
    if error or not address or app.builder.format != "html":
        return
    top = ElementTree.Element("urlset", xmlns=NAMESPACE)
    for page in sorted(app.env.found_docs):
        entry = ElementTree.SubElement(top, "url")
        target = app.builder.get_target_uri(page)
        ElementTree.SubElement(entry, "loc").text = urljoin(address, target)
        if changed := date_of(Path(app.srcdir), page):
            ElementTree.SubElement(entry, "lastmod").text = changed
    file = Path(app.outdir, "sitemap.xml")
    ElementTree.ElementTree(top).write(file, "utf8", xml_declaration=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", settle)
    app.connect("html-page-context", introduce)
    app.connect("build-finished", site_map)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
