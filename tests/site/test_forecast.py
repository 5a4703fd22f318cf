"""The forecast with its sliders in a real browser: Python's numbers, mouse, keyboard, both themes, a phone."""

import json
import math
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from coursekit.book import forecast_explorer
from coursekit.book.forecast import forecast_html
from coursekit.experiments.forecasting import analysis
from coursekit.experiments.forecasting.data import INPUTS, OUTCOMES

from .conftest import Site, write_page
from .test_theme_a11y import AXE, serious

DATA = forecast_explorer().data
SLIDERS = {one["name"]: one for one in DATA["inputs"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a page that has the forecast and nothing else."""
    folder = tmp_path_factory.mktemp("page")
    write_page(folder, "forecast", "The forecast", forecast_html(DATA))
    return folder


@pytest.fixture
def address(folder: Path) -> str:
    return folder.as_uri()


@pytest.fixture
def explorer(site: Site) -> Locator:
    page = site.open("index.html")
    expect(page.locator(".ck-forecast[data-ready]")).to_have_count(1)
    return page.locator(".ck-forecast")


def shown(explorer: Locator) -> dict[str, list[float]]:
    """Return the 5th, 25th, 50th, 75th and 95th percentile of each outcome in the page."""
    rows = explorer.locator("li[data-outcome]").evaluate_all(
        "all => all.map(x => [x.dataset.outcome, JSON.parse(x.dataset.values)])"
    )
    return dict(rows)


def slider(explorer: Locator, name: str) -> Locator:
    return explorer.locator(f"input[data-name={name}]")


def move(explorer: Locator, name: str, steps: int) -> float:
    """Set a slider, as a hand does, and return the input's value there."""
    slider(explorer, name).evaluate(
        "(x, at) => { x.value = at; x.dispatchEvent(new Event('input', {bubbles: true})) }", steps
    )
    return SLIDERS[name]["median"] * math.exp(steps * SLIDERS[name]["step"])


def test_medians_and_intervals_are_those_of_python(explorer: Locator, site: Site) -> None:
    expected = analysis.monte_carlo(100_000).set_index("quantity")
    found = shown(explorer)
    assert list(found) == list(OUTCOMES)
    for name, values in found.items():
        random = expected.loc[name, ["p05", "p25", "median", "p75", "p95"]]
        assert values == pytest.approx(random.tolist(), rel=0.05), name
    assert site.failures == []


def test_every_slider_moves_what_depends_on_it_as_in_python(explorer: Locator) -> None:
    for name in INPUTS:
        before = shown(explorer)
        value = move(explorer, name, 17 if name != "training_years" else -17)
        after = shown(explorer)
        expected, base = analysis.forecast({name: value}), analysis.forecast()
        for outcome in OUTCOMES:
            ratio = float(expected[outcome] / base[outcome])
            assert [b / a for a, b in zip(before[outcome], after[outcome], strict=True)] == pytest.approx(
                [ratio] * 5, rel=1e-9
            ), (name, outcome)
        move(explorer, name, 0)


def test_what_is_known_has_no_interval_and_width_scales_it(explorer: Locator) -> None:
    explorer.locator("input[data-known=training_flops]").check()
    known = analysis.monte_carlo(100_000, fixed={"training_flops": 1e28}).set_index("quantity")
    row = known.loc["work_years", ["p05", "p25", "median", "p75", "p95"]]
    assert shown(explorer)["work_years"] == pytest.approx(row.tolist(), rel=0.05)
    explorer.locator("input[data-known=speed]").check()
    assert shown(explorer)["fast_speed"] == pytest.approx([125] * 5)
    expect(explorer.locator(".ck-status")).to_have_text("speed: 5 times human")
    explorer.get_by_role("button", name="As in the post").click()
    one = shown(explorer)["user_person_days"]
    slider(explorer, "width").press("End")
    two = shown(explorer)["user_person_days"]
    base = float(analysis.forecast()["user_person_days"])
    assert [math.log(x / base) for x in two] == pytest.approx([2 * math.log(x / base) for x in one])
    slider(explorer, "width").press("Home")
    assert shown(explorer)["user_person_days"] == pytest.approx([base] * 5)


def test_the_keyboard_and_what_is_said(explorer: Locator) -> None:
    speed = slider(explorer, "speed")
    speed.focus()
    speed.press("ArrowRight")
    expect(speed).to_have_attribute("aria-valuetext", re.compile(r"^5\.\d+ times human$"))
    expect(explorer.locator(".ck-status")).to_have_text(
        re.compile(r"^speed: 5\.\d+ times human \(90 %: 0\.0\d+ to \d+\)$")
    )
    assert explorer.get_by_role("slider", name="training in 2030:").count() == 1
    assert explorer.get_by_role("checkbox", name="training in 2030 is known").count() == 1
    explorer.get_by_role("button", name="As in the post").press("Enter")
    expect(speed).to_have_value("0")


def test_numbers_are_written_for_people(explorer: Locator) -> None:
    work = explorer.locator("li[data-outcome=work_years]")
    expect(work).to_contain_text(re.compile(r"9\d0,000 human-years \(90 %: 2\d,000 to 3\d million\)"))
    expect(work).to_contain_text("the post: 1.8 million")
    expect(explorer.locator(".ck-input", has_text="training in 2030")).to_contain_text("1.0 × 10²⁸ FLOPs")


def test_the_mouse_drags_a_slider(explorer: Locator) -> None:
    control = slider(explorer, "data_limit")
    box = control.bounding_box()
    assert box is not None
    mouse = explorer.page.mouse
    before = shown(explorer)["work_years"][2]
    mouse.click(box["x"] + 0.02 * box["width"], box["y"] + box["height"] / 2)
    assert shown(explorer)["work_years"][2] < before / 5


def test_on_a_phone_it_fits_and_the_result_stays_in_sight(browser: Browser, folder: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 700}, has_touch=True)
    page = context.new_page()
    page.goto(f"{folder.as_uri()}/index.html")
    explorer = page.locator(".ck-forecast")
    explorer.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    speed = slider(explorer, "speed")
    speed.scroll_into_view_if_needed()
    expect(explorer.locator(".ck-status")).to_be_in_viewport()
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_reports_nothing_serious(site: Site, theme: str) -> None:
    page = site.open("index.html", theme=theme)
    page.locator("summary").click()
    page.wait_for_timeout(300)
    page.evaluate(AXE)
    assert list(serious(page.evaluate("axe.run(document, {resultTypes: ['violations']})"))) == []


def test_a_live_notebook_gets_the_same_through_html(site: Site) -> None:
    site.page.set_content(forecast_explorer(title="Live")._repr_mimebundle_()["text/html"])
    explorer = site.page.locator(".ck-forecast")
    expect(explorer.locator(".ck-status")).to_have_text(re.compile("human-years"))
    assert json.loads(explorer.locator("script").text_content() or "")["title"] == "Live"
    assert site.failures == []
