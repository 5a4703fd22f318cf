"""Every page opens with nothing missing and no error also from a USB stick, and fits a phone."""

from pathlib import Path

import pytest

from .conftest import Site, site_pages

PAGES = site_pages()


def test_the_chapter_shows_figures_and_not_their_text(site: Site) -> None:
    page = site.open("chapters/05_grokking.html")
    assert page.locator(".ck-plotly").count() >= 1
    assert "Figure({" not in page.locator(".bd-article").inner_text()


class TestFromFiles:
    """The same site opened with a double click."""

    @pytest.fixture
    def address(self, html: Path) -> str:
        return html.as_uri()

    @pytest.mark.parametrize("viewport", [{"width": 390, "height": 844}], ids=["phone"])
    @pytest.mark.parametrize("name", PAGES)
    def test_page_opens_and_a_phone_has_no_sideways_scroll(self, site: Site, name: str) -> None:
        page = site.open(name)
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(300)
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        sticking_out = page.evaluate(
            """() => [...document.querySelectorAll('.bd-main *')]
              .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1)
              .slice(0, 5).map(e => e.tagName + '.' + e.className)"""
        )
        assert widths[0] <= widths[1], f"{name} is {widths[0]} px wide: {sticking_out}"
        assert site.failures == []

    def test_search_finds_grokking(self, site: Site) -> None:
        page = site.open("search.html?q=grokking")
        page.wait_for_selector("#search-results li", timeout=20_000)
        assert "grokking" in page.locator("#search-results").inner_text().lower()
        assert site.failures == []
