"""axe-core finds nothing serious on any page, in light and in dark."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from .conftest import Site, site_pages

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def serious(result: dict[str, Any]) -> Iterator[str]:
    """Describe each serious or critical violation in one line."""
    for violation in result["violations"]:
        if violation["impact"] in ("serious", "critical"):
            for node in violation["nodes"]:
                why = node["any"][0]["message"] if node["any"] else ""
                yield f"{violation['id']}: {node['html'][:160]} {why}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", [page for page in site_pages() if page != "index.html"])
def test_axe_reports_nothing_serious(site: Site, name: str, theme: str) -> None:
    page = site.open(name, theme=theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    figures = page.locator(".ck-plotly")
    for i in range(figures.count()):
        figures.nth(i).scroll_into_view_if_needed()
        page.wait_for_function("box => box.dataset.state === 'drawn'", arg=figures.nth(i).element_handle())
    page.evaluate(AXE)
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert list(serious(result)) == []
