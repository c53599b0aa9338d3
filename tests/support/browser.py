"""The pages of the book in headless Chromium, with everything but the site itself out of reach."""

import base64
import functools
import http.server
import importlib.resources
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.book import lacks

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-renderer-backgrounding", "--disable-background-timer-throttling"),
]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TYPESET = "() => !window.MathJax || MathJax.startup.promise.then(() => true)"
# Glyphs of formulas are hidden from assistive technology, which reads the MathML beside them, and
# have no text of their own: axe-core skips them, but takes long over their thousands of elements.
WITHOUT_GLYPHS = """document.querySelectorAll("mjx-math[aria-hidden=true]")
    .forEach(e => e.replaceChildren());"""
TALLEST = 30_000
AT_ONCE = "*, *::before, *::after { transition: none !important; }"
AXE = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf8")
# Without preload: axe-core would fetch the style sheets again, from wrong places.
RUN_AXE = """async ([what, rules]) => (await axe.run(what == "all" ? document : kinds(),
    {...rules, resultTypes: ["violations"], preload: false})).violations
    .filter(found => ["serious", "critical"].includes(found.impact))
    .map(found => found.id + ": " + found.nodes.length + " × " + found.nodes.slice(0, 3)
        .map(node => node.target.join(" ") + " (" + node.any.map(c => c.message).join("; ") + ")")
        .join(" | "))"""
# Contrast takes most of the time. It is a matter of style, so one element of each kind will do:
# those with text of their own whose names and classes, and all around them, are different.
KINDS = """window.kinds = () => {
    const seen = new Map();
    const kind = e => e ? `${e.tagName}.${e.className}[${e.style.cssText}] ` +
        kind(e.parentElement) : "";
    [...document.querySelectorAll("body *")]
        .filter(e => e.checkVisibility())
        .filter(e => [...e.childNodes].some(n => n.nodeType == Node.TEXT_NODE && n.data.trim()))
        .forEach(e => seen.has(kind(e)) || seen.set(kind(e), e));
    return [...seen.values()]; };"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which `folder` is served on this machine alone."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def chromium() -> Iterator[object]:
    """A browser with a profile of its own; a test without Chromium fails in CI and is skipped
    elsewhere, with the way out."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        lacks("no Chromium: apt-get install chromium (Debian), and run again")
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=FLAGS, viewport=DESK, accept_downloads=True
        )
        context.set_default_timeout(180_000)  # milliseconds: on a busy machine all takes long
        try:
            yield context
        finally:
            context.close()


class Visit:
    """A page of a site, with what it asked for and complained about since it was opened."""

    def __init__(self, context, address: str, viewport: dict[str, int], stored: dict[str, str]):
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.set_viewport_size(viewport)
        self.page.add_init_script(
            "".join(f"localStorage.setItem({json.dumps(k)}, {json.dumps(v)});"
                    for k, v in stored.items())
        )  # fmt: skip
        self.site = address
        self.page.route("**/*", self._answer)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "requestfailed", lambda r: self.complaints.append(f"{r.url} failed: {r.failure}")
        )
        self.page.on(
            "response",
            lambda r: r.status >= 400 and self.complaints.append(f"{r.url}: status {r.status}"),
        )

    def _answer(self, route) -> None:
        url = route.request.url
        if url.startswith((self.site, "data:", "blob:")):
            route.continue_()
        else:
            self.foreign.append(url)
            route.abort()

    def _heard(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def open(self, name: str):
        """Go to the page `name` of the site, and wait for its figures and formulas."""
        self.page.goto(self.site + name, wait_until="load")
        self.page.wait_for_function(TYPESET)
        self.page.add_style_tag(content=AT_ONCE)
        return self.page

    def turn(self, theme: str) -> None:
        """Show the page in a "light" or "dark" theme, as the theme's button does."""
        self.page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)

    def resize(self, viewport: dict[str, int]) -> None:
        """Change the size of the window."""
        self.page.set_viewport_size(viewport)

    def violations(self) -> list[str]:
        """What axe-core finds serious or critical but for contrast, one line per rule. It removes
        the glyphs of formulas, so this comes last."""
        return self._axe("all", {"rules": {"color-contrast": {"enabled": False}}})

    def pale(self) -> list[str]:
        """Where the page lacks contrast, in the theme in which it is shown."""
        return self._axe("kinds", {"runOnly": ["color-contrast"]})

    def _axe(self, what: str, rules: dict[str, object]) -> list[str]:
        if not self.page.evaluate("() => Boolean(window.axe)"):
            self.page.evaluate(AXE + KINDS + WITHOUT_GLYPHS)
        return self.page.evaluate(RUN_AXE, [what, rules])

    def picture(self) -> bytes:
        """The page as PNG, or as much of it as Chromium draws."""
        session = self.page.context.new_cdp_session(self.page)  # quicker than page.screenshot
        width, height = self.page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST), "scale": 1}
        how = {
            "format": "png", "captureBeyondViewport": True, "optimizeForSpeed": True, "clip": clip
        }  # fmt: skip
        return base64.b64decode(session.send("Page.captureScreenshot", how)["data"])


@contextmanager
def visit(context, address: str, viewport=DESK, **stored: str) -> Iterator[Visit]:
    """A fresh page; `stored` is what the reader's browser remembers, as the theme's `mode`."""
    visit = Visit(context, address, viewport, {"mode": "light", "theme": "light", **stored})
    try:
        yield visit
    finally:
        visit.page.close()
