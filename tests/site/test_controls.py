"""What a reader can operate: the training scrubber, search, the theme, the Colab button."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from coursekit.book import scrubber
from coursekit.book.repository import address as repository_address

from .conftest import Site

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = "chapters/05_grokking.html"
LAB = "labs/05_grokking.html"


@pytest.fixture
def chapter(site: Site) -> Page:
    page = site.open(CHAPTER)
    expect(page.locator(".ck-scrubber[data-ready]").first).to_be_attached()
    page.locator(".ck-scrubber").first.scroll_into_view_if_needed()
    return page


def seen(page: Page) -> dict[str, str | None]:
    """Return what the three panels and the text of the first scrubber show."""
    box = page.locator(".ck-scrubber").first
    return {
        "value": box.locator("input").input_value(),
        "spoken": box.locator("input").get_attribute("aria-valuetext"),
        "text": box.locator("output").inner_text(),
        "accuracy": box.locator(".ck-chart .ck-val:not(.ck-future)").nth(0).get_attribute("d"),
        "loss": box.locator(".ck-chart").nth(1).locator(".ck-train:not(.ck-future)").first.get_attribute("d"),
        "embedding": box.locator(".ck-circle .ck-point").nth(1).get_attribute("cx"),
    }


def test_keyboard_moves_all_three_panels(chapter: Page, site: Site) -> None:
    control = chapter.locator(".ck-scrubber input").first
    control.focus()
    chapter.keyboard.press("Home")
    first = seen(chapter)
    assert first["value"] == "0"
    chapter.keyboard.press("ArrowRight")
    assert seen(chapter)["value"] == "1"
    chapter.keyboard.press("End")
    last = seen(chapter)
    assert last["value"] == control.get_attribute("max")
    assert [name for name in first if first[name] == last[name]] == []
    assert last["spoken"].startswith("step ")
    assert "training accuracy" in last["spoken"]
    assert site.failures == []


def test_mouse_on_the_slider_moves_it(chapter: Page) -> None:
    control = chapter.locator(".ck-scrubber input").first
    box = control.bounding_box()
    chapter.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + box["height"] / 2)
    early = seen(chapter)
    chapter.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + box["height"] / 2)
    chapter.mouse.down()
    chapter.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2, steps=5)
    chapter.mouse.up()
    late = seen(chapter)
    assert int(early["value"]) < int(late["value"])
    assert [name for name in early if early[name] == late[name]] == []


def test_mouse_on_a_chart_moves_it(chapter: Page) -> None:
    chart = chapter.locator(".ck-chart").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    values = []
    for place in (0.2, 0.9):
        chapter.mouse.click(box["x"] + place * box["width"], box["y"] + box["height"] / 2)
        values.append(int(seen(chapter)["value"]))
    assert values[0] < values[1]


def test_play_and_pause_with_the_space_bar(chapter: Page) -> None:
    control = chapter.locator(".ck-scrubber input").first
    control.focus()
    chapter.keyboard.press("Home")
    button = chapter.locator(".ck-scrubber .ck-play").first
    button.focus()
    chapter.keyboard.press("Space")
    expect(control).not_to_have_value("0")
    chapter.keyboard.press("Space")
    assert "Play" in button.inner_text()
    stopped = control.input_value()
    chapter.wait_for_timeout(600)
    assert control.input_value() == stopped


def test_a_live_notebook_gets_the_same_scrubber_through_html(site: Site) -> None:
    data = {
        "title": "Two steps",
        "description": "A run.",
        "steps": [1, 10],
        "train_accuracy": [0.1, 1.0],
        "val_accuracy": [0.1, 0.2],
        "train_loss": [4.6, 0.1],
        "val_loss": [4.6, 6.0],
        "embeddings": [[[0, 1], [1, 0], [0, -1]], [[0, 2], [2, 0], [0, -2]]],
    }
    site.page.set_content(scrubber(data)._repr_mimebundle_()["text/html"])
    assert site.page.locator(".ck-scrubber input").input_value() == "1"
    assert site.page.locator(".ck-scrubber output").inner_text().startswith("step 10 ")
    site.page.locator(".ck-scrubber input").press("Home")
    assert seen(site.page)["spoken"] == "step 1, training accuracy 10 %, validation accuracy 10 %"


def test_search_finds_grokking(site: Site) -> None:
    page = site.open("search.html?q=grokking")
    page.wait_for_selector("#search-results li", timeout=20_000)
    assert page.locator("#search-results a[href*='05_grokking']").count() >= 1
    assert site.failures == []


@pytest.mark.parametrize("lab", sorted(path.stem for path in (ROOT / "labs").glob("*.ipynb")))
def test_colab_button_of_a_lab_opens_its_notebook_in_the_configured_repository(
    site: Site, root: Path, lab: str
) -> None:
    page = site.open(f"labs/{lab}.html")
    links = page.locator("a[href*='colab.research.google.com']").evaluate_all(
        "links => links.map(a => a.href)"
    )
    wanted = f"https://colab.research.google.com/github/{repository_address(root)}/blob/main/labs/{lab}.ipynb"
    assert wanted in links


def test_chapter_has_no_colab_button_in_its_header(site: Site) -> None:
    page = site.open(CHAPTER)
    assert page.locator(".article-header-buttons a[href*='colab']").count() == 0


def test_switching_the_theme_recolors_a_drawn_figure(site: Site) -> None:
    page = site.open(LAB)
    figure = page.locator(".ck-plotly").first
    figure.scroll_into_view_if_needed()
    page.wait_for_function("box => box.dataset.state === 'drawn'", arg=figure.element_handle())
    tick = figure.locator(".xtick text").first
    light = tick.evaluate("text => getComputedStyle(text).fill")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(
        "([text, light]) => getComputedStyle(text).fill !== light", arg=[tick.element_handle(), light]
    )
