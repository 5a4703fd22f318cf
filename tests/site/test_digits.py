"""The drawing field in a real browser: the network's arithmetic, mouse, touch, keyboard, both themes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from coursekit.book import digit_drawing
from coursekit.book.digits import digits_html
from coursekit.experiments.neural_networks import analysis
from coursekit.experiments.neural_networks.data import load_digits
from coursekit.results import read_measured

from .conftest import Site, write_page
from .test_theme_a11y import AXE, serious

DIGITS = load_digits()
Strokes = list[list[tuple[float, float]]]
NETWORK = analysis.stored_network(read_measured("neural_networks", "digits"))
RELU = analysis.new_network((64, 5, 10), activation="relu", cost="cross_entropy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a page that has two drawing fields and nothing else."""
    folder = tmp_path_factory.mktemp("page")
    texts = {"title": "Draw a digit", "description": "Its weights are in the page."}
    body = ""
    for network in (NETWORK, RELU):
        made = analysis.drawing_data(network, DIGITS, n_examples=3)
        body += digits_html(digit_drawing(texts | made).data) + "<p>Text.</p>"
    write_page(folder, "digits", "Two fields", body)
    return folder


@pytest.fixture
def address(folder: Path) -> str:
    return folder.as_uri()


@pytest.fixture
def field(site: Site) -> Locator:
    page = site.open("index.html")
    expect(page.locator(".ck-digits[data-ready]")).to_have_count(2)
    return page.locator(".ck-digits").first


def columns(field: Locator) -> list[np.ndarray]:
    """Return the activations in the page: the pixels, then every column."""
    pixels = field.locator(".ck-network .ck-ink").evaluate_all(
        "all => all.map(x => +x.getAttribute('fill-opacity'))"
    )
    units = field.locator(".ck-unit").evaluate_all(
        "all => all.map(x => [x.getAttribute('cx'), +x.dataset.value])"
    )
    places = sorted({float(x) for x, _ in units})
    return [np.array(pixels), *(np.array([v for x, v in units if float(x) == place]) for place in places)]


def surface(field: Locator) -> Locator:
    return field.locator(".ck-surface")


def test_the_activations_are_those_of_numpy(field: Locator) -> None:
    page = field.page
    for box, network in ((field, NETWORK), (page.locator(".ck-digits").nth(1), RELU)):
        for number in (0, 1, 2, 0):
            seen = columns(box)
            np.testing.assert_allclose(seen[0], DIGITS.val_images[number], atol=1e-12)
            for mine, theirs in zip(
                seen, analysis.forward(network, DIGITS.val_images[number][None]), strict=True
            ):
                np.testing.assert_allclose(mine, theirs[0], atol=2e-4)
            box.get_by_role("button", name="A real digit").click()


def test_what_it_reads_is_said(field: Locator, site: Site) -> None:
    outputs = analysis.forward(NETWORK, DIGITS.val_images[:1])[-1][0]
    best = int(outputs.argmax())
    expect(field.locator(".ck-status")).to_have_text(
        re.compile(
            rf"This is a real {DIGITS.val_labels[0]}\. The network reads {best} \({outputs[best]:.2f}\), then "
        )
    )
    field.get_by_role("button", name="Clear").click()
    expect(field.locator(".ck-status")).to_have_text(
        re.compile("Nothing is drawn, and the network still reads")
    )
    field.get_by_role("button", name="Noise").click()
    expect(field.locator(".ck-status")).to_have_text(re.compile("This is noise, and the network reads"))
    assert columns(field)[0].std() > 0.1
    assert site.failures == []


def draw(field: Locator, strokes: Strokes, corner: tuple[float, float] = (0, 0), size: float = 1) -> None:
    """Draw with the mouse; a stroke's points are shares of the field, first made smaller and put into a corner."""
    box = surface(field).bounding_box()
    assert box is not None
    mouse = field.page.mouse
    for stroke in strokes:
        points = [
            (
                box["x"] + (corner[0] + size * x) * box["width"],
                box["y"] + (corner[1] + size * y) * box["height"],
            )
            for x, y in stroke
        ]
        mouse.move(*points[0])
        mouse.down()
        for point in points[1:]:
            mouse.move(*point)
        mouse.up()


def fit(field: Locator) -> Locator:
    return field.get_by_role("checkbox", name="Center and resize the drawing, as the training images were")


def test_a_stroke_of_the_mouse_inks_its_pixels_and_replaces_what_was_loaded(field: Locator) -> None:
    fit(field).uncheck()
    draw(field, [[(3.5 / 8, 0.05), (3.5 / 8, 0.95)]])  # down the middle of the fourth column
    box = surface(field).bounding_box()
    assert box is not None
    field.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"])  # not pressed
    pixels = columns(field)[0].reshape(8, 8)
    assert (pixels[1:-1, 3] == 1).all()
    assert (pixels[1:-1, [2, 4]] < 0.3).all()
    assert pixels[:, [0, 1, 5, 6, 7]].sum() == 0
    expect(field.locator(".ck-status")).to_have_text(re.compile("^The network reads"))


def test_a_drawing_is_centered_and_fills_the_rows_wherever_it_is(field: Locator) -> None:
    seven: Strokes = [[(0.1, 0.1), (0.7, 0.1), (0.3, 0.9)]]
    seen = []
    for corner, size in (((0, 0), 1.0), ((0.5, 0.6), 0.3), ((0.02, 0.3), 0.6)):
        field.get_by_role("button", name="Clear").click()
        draw(field, seven, corner, size)
        seen.append(columns(field)[0].reshape(8, 8))
    for pixels in seen:
        np.testing.assert_allclose(pixels, seen[0], atol=0.3)
        assert pixels[0].max() > 0.5
        assert pixels[-1].max() > 0.5
        assert pixels[:, [0, 7]].max() < 0.3  # as in the data, which leave both edges white
        assert 14 < pixels.sum() < 26
    assert seen[0].any(0).sum() <= 6
    fit(field).uncheck()
    assert not np.allclose(columns(field)[0].reshape(8, 8), seen[-1], atol=0.3)
    field.get_by_role("button", name="Clear").click()
    fit(field).check()
    draw(field, [[(0.2, 0.2), (0.2, 0.2)]])
    assert 0 < columns(field)[0].sum() < 2  # a dot stays a dot
    assert columns(field)[0].reshape(8, 8)[3:5, 3:5].sum() > 1


def arc(
    x: float, y: float, across: float, down: float, start: float, end: float
) -> list[tuple[float, float]]:
    """Return points of an ellipse, angles in degrees."""
    angles = np.radians(np.linspace(start, end, 13))
    return [(x + across * float(np.cos(angle)), y + down * float(np.sin(angle))) for angle in angles]


HAND: list[Strokes] = [
    [arc(0.5, 0.5, 0.28, 0.45, -90, -450)],
    [[(0.35, 0.25), (0.52, 0.05), (0.52, 0.95)]],
    [[*arc(0.5, 0.28, 0.25, 0.23, -170, 30), (0.22, 0.95), (0.8, 0.95)]],
    [arc(0.46, 0.27, 0.25, 0.22, -150, 80) + arc(0.46, 0.71, 0.3, 0.24, -80, 150)],
    [[(0.54, 0.05), (0.2, 0.63), (0.8, 0.63)], [(0.63, 0.32), (0.63, 0.95)]],
    [[(0.75, 0.05), (0.3, 0.05), (0.28, 0.43), *arc(0.46, 0.66, 0.28, 0.29, -120, 140)]],
    [[(0.6, 0.05), (0.34, 0.42), *arc(0.48, 0.7, 0.24, 0.25, -170, 190)]],
    [[(0.22, 0.05), (0.78, 0.05), (0.42, 0.95)]],
    [arc(0.5, 0.27, 0.21, 0.22, 90, -270) + arc(0.5, 0.72, 0.25, 0.23, -90, 270)],
    [[*arc(0.48, 0.3, 0.24, 0.25, 0, -360), (0.72, 0.32), (0.67, 0.95)]],
]


def test_digits_drawn_small_in_a_corner_are_read(field: Locator) -> None:
    read = []
    for strokes in HAND:
        field.get_by_role("button", name="Clear").click()
        draw(field, strokes, corner=(0.55, 0.5), size=0.4)
        read.append(int(columns(field)[-1].argmax()))
    assert sum(answer == digit for digit, answer in enumerate(read)) >= 9, read


def test_for_mnist_a_drawing_is_put_around_its_center_of_mass(site: Site) -> None:
    network = analysis.new_network((784, 16, 10))
    texts = {"title": "Draw", "description": "A network."}
    site.page.set_content(
        digit_drawing(texts | analysis.drawing_data(network))._repr_mimebundle_()["text/html"]
    )
    field = site.page.locator(".ck-digits")
    draw(field, [[(0.1, 0.1), (0.1, 0.4), (0.3, 0.4)]])  # an L, heavier below and on the left
    pixels = columns(field)[0].reshape(28, 28)
    rows, across = np.indices((28, 28)) + 0.5
    assert (rows * pixels).sum() / pixels.sum() == pytest.approx(14, abs=0.6)
    assert (across * pixels).sum() / pixels.sum() == pytest.approx(14, abs=0.6)
    inked = pixels > 0.2
    assert inked.any(1).sum() in (20, 21)  # a border may lie within a pixel
    assert inked.any(0).sum() in (14, 15)  # the shape is kept
    assert site.failures == []


def test_the_cursor_is_seen_after_a_key_and_not_after_a_click(field: Locator) -> None:
    pad, cursor = surface(field), field.locator(".ck-cursor")
    keyed = re.compile(r"\bck-keyed\b")  # Firefox goes by this
    pad.click()
    expect(cursor).to_be_hidden()
    pad.press("ArrowUp")
    expect(cursor).to_be_visible()
    expect(pad).to_have_class(keyed)
    pad.click()
    expect(pad).not_to_have_class(keyed)


def test_the_keyboard_draws_and_erases(field: Locator) -> None:
    fit(field).uncheck()
    field.get_by_role("button", name="Clear").click()
    pad, where = surface(field), field.locator(".ck-where")
    pad.focus()
    pad.press("ArrowUp")
    expect(where).to_have_text("Row 4, column 5: paper")
    assert columns(field)[0].sum() == 0  # moving alone inks nothing
    pad.press("Space")
    expect(where).to_have_text("Row 4, column 5: ink")
    pixels = columns(field)[0].reshape(8, 8)
    assert pixels[3, 4] > 0.9
    assert pixels.sum() - pixels[3, 4] < 1
    pad.press("Shift+ArrowRight")
    pad.press("Shift+ArrowRight")
    assert (columns(field)[0].reshape(8, 8)[3, 4:7] > 0.9).all()
    pad.press("Backspace")
    expect(where).to_have_text("Row 4, column 7: paper")
    assert columns(field)[0].reshape(8, 8)[3, 6] < 0.3
    for _ in range(20):
        pad.press("ArrowLeft")
    expect(where).to_have_text("Row 4, column 1: paper")
    field.get_by_role("button", name="A real digit").click()  # what was loaded can be erased, too
    pad.focus()
    pad.press("Backspace")
    assert columns(field)[0].reshape(8, 8)[3, 0] == 0
    pad.press("Tab")
    expect(field.get_by_role("button", name="Clear")).to_be_focused()


def test_a_finger_draws_without_scrolling(browser: Browser, folder: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 600}, has_touch=True)
    page = context.new_page()
    page.goto(f"{folder.as_uri()}/index.html")
    field = page.locator(".ck-digits").first
    field.get_by_role("button", name="Clear").click()
    box = surface(field).bounding_box()
    assert box is not None
    session = context.new_cdp_session(page)
    for kind, share in (("Start", 0.2), ("Move", 0.5), ("Move", 0.8), ("End", None)):
        at = (
            []
            if share is None
            else [{"x": box["x"] + box["width"] / 2, "y": box["y"] + share * box["height"]}]
        )
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": at})
    pixels = columns(field)[0].reshape(8, 8)
    assert (pixels[1:7, 3:5] > 0.3).all()
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_reports_nothing_serious(site: Site, theme: str) -> None:
    page = site.open("index.html", theme=theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    surface(page.locator(".ck-digits").first).focus()
    page.keyboard.press("Space")
    page.wait_for_timeout(300)
    page.evaluate(AXE)
    assert list(serious(page.evaluate("axe.run(document, {resultTypes: ['violations']})"))) == []


def test_a_live_notebook_gets_the_same_field_through_html(site: Site) -> None:
    texts = {"title": "Draw", "description": "A network."}
    drawing = digit_drawing(texts | analysis.drawing_data(RELU))
    page: Page = site.page
    page.set_content(drawing._repr_mimebundle_()["text/html"])
    field = page.locator(".ck-digits")
    expect(field.locator(".ck-status")).to_have_text(re.compile("Nothing is drawn"))
    assert field.get_by_role("button", name="A real digit").count() == 0
    assert json.loads(field.locator("script").text_content() or "")["title"] == "Draw"
    assert site.failures == []
