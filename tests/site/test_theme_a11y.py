"""Every page: nothing missing, nothing asked of the network, no error, and axe-core finds nothing serious."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page

from .conftest import Site, site_pages

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# axe would ask for the style sheets that style sheets import, beside the page
RUN_AXE = "axe.run(document, {resultTypes: ['violations'], preload: false})"


def serious(result: dict[str, Any]) -> Iterator[str]:
    """Describe each serious or critical violation in one line."""
    for violation in result["violations"]:
        if violation["impact"] in ("serious", "critical"):
            for node in violation["nodes"]:
                why = node["any"][0]["message"] if node["any"] else ""
                yield f"{violation['id']}: {node['html'][:160]} {why}"


def draw_figures(page: Page) -> None:
    """Scroll to each plotly figure of a page, and see that marks are drawn in it."""
    figures = page.locator(".ck-plotly")
    for i in range(figures.count()):
        figure = figures.nth(i)
        figure.scroll_into_view_if_needed()
        page.wait_for_function(
            "box => box.dataset.state === 'drawn'", arg=figure.element_handle(), timeout=20_000
        )
        marks = figure.evaluate(
            """box => {
              const size = mark => { const b = mark.getBoundingClientRect(); return b.width + b.height; };
              const kinds = ['path', 'image', 'canvas'].map(kind => '.plot-container ' + kind);
              const drawn = [...box.querySelectorAll(kinds.join())];
              return drawn.filter(mark => mark.closest('.trace, .cartesianlayer .plot, .hm, .gl-container')
                && size(mark) > 0).length;
            }"""
        )
        assert marks > 0, f"figure {i} is empty"


@pytest.mark.parametrize("name", site_pages())
def test_page_is_whole_and_axe_reports_nothing_serious_in_either_theme(site: Site, name: str) -> None:
    page = site.open(name, theme="dark")
    assert page.locator("h1").count() >= 1
    draw_figures(page)
    if name != "index.html":  # which leads to another page
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.evaluate(AXE)
        assert list(serious(page.evaluate(RUN_AXE))) == []
        page.add_style_tag(
            content="* { transition: none !important }"
        )  # colors on their way have other contrasts
        page.evaluate("document.documentElement.dataset.theme = 'light'")
        page.wait_for_timeout(300)  # figures get the colors of the other theme
        assert list(serious(page.evaluate(RUN_AXE))) == []
    assert site.failures == []
