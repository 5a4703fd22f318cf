"""The facilitator's page in the browser: no barrier in either scheme, and no sideways scrolling on a phone."""

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from coursekit.lab.cohort import read_cohort, write_cohort_page

STUDENT = {
    "exercises": {
        "grokking.division_table": {"attempts": 2, "passed": False, "misconceptions": {"integer division": 2}}
    },
    "predictions": {
        "grokking.gap": {
            "revealed": {"answer": 40, "actual": 30, "confidence": 80, "close": True, "unit": "%"}
        }
    },
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_cohort_has_no_barrier(browser: Browser, tmp_path: Path, scheme: str) -> None:
    (tmp_path / "one.json").write_text(json.dumps(STUDENT))
    path = write_cohort_page(read_cohort(tmp_path), tmp_path / "cohort.html")
    context = browser.new_context(viewport={"width": 375, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("table").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    context.close()
