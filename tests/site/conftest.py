"""A real browser in front of the built site, with the network blocked."""

import contextlib
import functools
import http.server
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the network is blocked
]
LOCAL = ("http://127.0.0.1:", "file://", "data:", "blob:")
TOC = Path(__file__).resolve().parents[2].joinpath("_toc.yml").read_text(encoding="utf-8")
HTML = Path(__file__).resolve().parents[2] / "_build" / "html"


def site_pages() -> list[str]:
    """Return every page of the built site, relative to its folder."""
    pages = (page.relative_to(HTML).as_posix() for page in HTML.rglob("*.html"))
    return sorted(page for page in pages if not page.startswith("_")) or ["index.html"]


@dataclass
class Site:
    """One tab on the site, and all that went wrong in it."""

    page: Page
    address: str
    failures: list[str] = field(default_factory=list)

    def open(self, name: str, *, theme: str = "light") -> Page:
        """Open a page of the site in one of its two themes and wait until it has settled."""
        if f"file: {name.removesuffix('.html')}\n" not in TOC and re.match(r"(chapters|labs)/.*\d\d_", name):
            pytest.skip(f"{name} is of a week that this copy of the course leaves out")
        self.page.add_init_script(
            f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
        )
        self.page.goto(f"{self.address}/{name}", wait_until="load")
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_function(
            "() => !window.MathJax?.startup?.promise || window.MathJax.startup.promise.then(() => true)"
        )
        return self.page


@pytest.fixture(scope="session")
def html() -> Path:
    """Return the folder of the built site."""
    if not (HTML / "index.html").is_file():
        pytest.skip("the site is not built: run make book")
    return HTML


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine and give its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def served(html: Path) -> Iterator[str]:
    """Serve the site and return its address."""
    with serve(html) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return Debian's Chromium, driven by Playwright."""
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium, or name another with CHROMIUM=/path")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def viewport() -> dict[str, int]:
    """Return the window's size; a test parametrizes it to be a phone's."""
    return {"width": 1280, "height": 900}


@pytest.fixture
def address(served: str) -> str:
    """Return where the site is; a test overrides it to read from files."""
    return served


@pytest.fixture
def site(browser: Browser, address: str, viewport: dict[str, int]) -> Iterator[Site]:
    """Return an empty tab that records each failed request and console error."""
    context = browser.new_context(viewport=viewport)  # type: ignore[arg-type]
    tab = Site(context.new_page(), address)

    def note_request(request: Request) -> None:
        if not request.url.startswith(LOCAL):
            tab.failures.append(f"asked the network for {request.url}")

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            tab.failures.append(f"console: {message.text}")

    def note_response(response: Response) -> None:
        if response.status >= 400:
            tab.failures.append(f"{response.status} for {response.url}")

    def note_failed(request: Request) -> None:
        tab.failures.append(f"failed: {request.url} ({request.failure})")

    tab.page.on("request", note_request)
    tab.page.on("console", note_console)
    tab.page.on("pageerror", lambda error: tab.failures.append(f"script: {error}"))
    tab.page.on("response", note_response)
    tab.page.on("requestfailed", note_failed)
    yield tab
    context.close()


def write_page(folder: Path, name: str, title: str, body: str) -> None:
    """Write a page that has one interactive of coursekit.book, such as "digits", and nothing else."""
    for file in (f"{name}.js", f"{name}.css", "style.css", "scrubber.css"):
        shutil.copy(str(files("coursekit.book").joinpath(file)), folder)
    folder.joinpath("index.html").write_text(
        f'<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="style.css"><link rel="stylesheet" href="scrubber.css">'
        f'<link rel="stylesheet" href="{name}.css">'
        "<style>body { margin: 0 } [data-theme=dark] body { background: #14181d; color: #d5dce3 }</style>"
        '<script>document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "light"</script>'
        f'<script defer src="{name}.js"></script></head><body><main class="bd-main">'
        f'<article class="bd-article"><h1>{title}</h1>{body}</article></main></body></html>',
        encoding="utf-8",
    )
