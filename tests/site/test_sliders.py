"""Figures under one control: keyboard, mouse and screen reader reach them on every page, and nothing jumps."""

import json
import re
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import plotly
import pytest
from playwright.sync_api import Locator, Page, expect
from plotly.graph_objects import Figure

from coursekit import figures
from coursekit.book.mime import PLOTLY_MIME, PlotlyRenderer

from .conftest import HTML, Site, site_pages
from .test_theme_a11y import AXE, serious

PAGES = [
    name
    for name in site_pages()
    if (HTML / name).is_file() and '"slider":{' in (HTML / name).read_text(encoding="utf-8")
]


def sliders(page: Page) -> list[Locator]:
    """Return every slider figure of a page, each of them drawn."""
    for box in page.locator(".ck-plotly").all():
        box.scroll_into_view_if_needed()
        page.wait_for_function("box => box.dataset.state === 'drawn'", arg=box.element_handle())
    return page.locator(".ck-slider").all()


def drawn(box: Locator) -> str:
    """Return the marks of a figure as they are drawn, once it shows the frame that its control names."""
    box.page.wait_for_function(
        "box => box.dataset.frame === box.querySelector('input').value", arg=box.element_handle()
    )
    return marks_in(box)


def marks_in(box: Locator) -> str:
    """Return place, form and color of every mark in a plot; its axes are not counted."""
    marks = box.locator(".cartesianlayer :is(.overplot, .plot) :is(path, image)").evaluate_all(
        """marks => marks.map(mark => ['d', 'transform', 'href', 'xlink:href', 'width', 'height']
          .map(name => mark.getAttribute(name)).join() + mark.style.fill)"""
    )
    assert marks
    return "\n".join(marks)


def changed(box: Locator, before: str) -> str:
    """Return the marks of a plot once they are others than before and have come to rest."""
    for _ in range(50):
        marks = marks_in(box)
        box.page.wait_for_timeout(200)
        if before != marks == marks_in(box):
            return marks
    raise AssertionError("the marks have not changed within ten seconds")


def check_keyboard(page: Page) -> None:
    """Move every slider figure by its keys."""
    for box in sliders(page):
        control = box.get_by_role("slider")
        control.focus()
        page.keyboard.press("Home")
        expect(control).to_have_value("0")
        first, spoken = drawn(box), control.get_attribute("aria-valuetext")
        page.keyboard.press("ArrowRight")
        expect(control).to_have_value("1")
        assert control.get_attribute("aria-valuetext") not in (None, spoken)
        expect(box.locator(".ck-value")).to_have_text(str(control.get_attribute("aria-valuetext")))
        drawn(box)
        page.keyboard.press("End")
        expect(control).to_have_value(str(control.get_attribute("max")))
        assert drawn(box) != first


def check_mouse(page: Page) -> None:
    """Move every slider figure by two clicks."""
    for box in sliders(page):
        control = box.get_by_role("slider")
        control.scroll_into_view_if_needed()
        at = control.bounding_box()
        marks = []
        for place in (2, at["width"] - 2):
            page.mouse.click(at["x"] + place, at["y"] + at["height"] / 2)
            marks.append((control.input_value(), drawn(box)))
        assert [value for value, _ in marks] == ["0", control.get_attribute("max")]
        assert marks[0] != marks[1]


def check_screen_reader(page: Page) -> None:
    """See that every slider figure has names, and says what it shows."""
    for box in sliders(page):
        control = box.get_by_role("slider")
        expect(control).to_have_accessible_name(re.compile(r"\w"))
        expect(box.get_by_role("group").first).to_have_accessible_name(re.compile(r"\w"))
        expect(box.get_by_role("button", name=re.compile("^Play: "))).to_have_count(1)
        sentence = box.locator(".ck-sentence span")
        if sentence.count():
            control.press("Home")
            before = sentence.inner_text()
            expect(control).to_have_accessible_description(before)
            control.press("End")
            expect(sentence).not_to_have_text(before)
            expect(box.locator("[aria-live=polite]")).to_have_text(sentence.inner_text())


@pytest.mark.parametrize("name", PAGES)
def test_sliders_of_every_page_as_it_was_built(site: Site, name: str) -> None:
    page = site.open(name)
    check_keyboard(page)
    check_mouse(page)
    check_screen_reader(page)
    assert site.failures == []


def facts(n: int = 6) -> Figure:
    """Return a matrix that fills in column by column, each frame with its sentence."""
    frames = []
    for i in range(n):
        fig = figures.figure("Facts and directions", "direction", "fact")
        fig.add_heatmap(
            x=["same order", "reverse"],
            y=[f"fact {k}" for k in range(n)],
            z=[[int(k < i), 0] for k in range(n)],
            zmin=0,
            zmax=1,
            colorscale=[[0, "#dddddd"], [1, "#0072b2"]],
            colorbar={"title": {"text": "exact match"}},
        )
        frames.append(fig)
    sentences = [
        f"After {1000 * i} steps {i} facts are known in the same order, none in reverse." for i in range(n)
    ]
    sentences[0] = "Nothing is known yet."
    return figures.slider(frames, [1000 * i for i in range(n)], label="training step", describe=sentences)


def curves() -> Figure:
    """Return two curves of which one moves, with an annotation, without sentences and starting in the middle."""
    frames = []
    for overlap in np.linspace(0, 1, 5):
        fig = figures.figure("Overlap", "step", "loss (nats)").update_yaxes(range=[0, 4])
        figures.add_curve(fig, [0, 1, 2], [3, 2, 1], name="forward")
        figures.add_curve(fig, [0, 1, 2], 3 - overlap * np.arange(3), name="reverse", dash="dash")
        fig.add_annotation(x=2, y=3 - 2 * overlap, text=f"overlap {overlap:.2f}")
        frames.append(fig)
    return figures.slider(frames, np.linspace(0, 1, 5), label="cosine of two embeddings", start=2)


def write_figures(folder: Path, *drawn: Figure) -> None:
    """Write a page that has these figures and nothing else."""
    for name in ("plotly_figures.js", "style.css", "scrubber.css"):
        shutil.copy(str(files("coursekit.book").joinpath(name)), folder)
    shutil.copy(Path(str(plotly.__file__)).parent / "package_data" / "plotly.min.js", folder)
    body = ""
    for fig in drawn:
        output = SimpleNamespace(mime_type=PLOTLY_MIME, content=json.loads(fig.to_json()))
        (node,) = PlotlyRenderer.handle_mime(None, output, False) or []
        body += node.astext() + "<p>Text.</p>"
    folder.joinpath("index.html").write_text(
        '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Figures</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="style.css"><link rel="stylesheet" href="scrubber.css">'
        "<style>body { margin: 0 } [data-theme=dark] body { background: #14181d; color: #d5dce3 }</style>"
        f'<script defer src="plotly_figures.js"></script></head><body><main class="bd-main">'
        f'<article class="bd-article"><h1>Figures</h1>{body}</article></main></body></html>',
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a page that has two slider figures."""
    folder = tmp_path_factory.mktemp("page")
    write_figures(folder, facts(), curves())
    return folder


class TestTinyPage:
    """The same, and more, on a page of two figures whose frames are known."""

    @pytest.mark.parametrize("check", [check_keyboard, check_mouse, check_screen_reader])
    def test_sliders(self, opened: Page, site: Site, check: Callable[[Page], None]) -> None:
        check(opened)
        assert site.failures == []

    @pytest.fixture
    def address(self, folder: Path) -> str:
        return folder.as_uri()

    @pytest.fixture
    def opened(self, site: Site) -> Page:
        page = site.open("index.html")
        assert len(sliders(page)) == 2
        return page

    def test_play_goes_on_and_pause_stops(self, opened: Page) -> None:
        box = sliders(opened)[0]
        control, button = box.get_by_role("slider"), box.locator(".ck-play")
        button.focus()
        opened.keyboard.press("Space")
        expect(control).not_to_have_value("0")
        expect(box.locator(".ck-sentence")).to_have_attribute("aria-live", "off")
        opened.keyboard.press("Space")
        stopped = control.input_value()
        opened.wait_for_timeout(900)
        assert control.input_value() == stopped
        expect(button).to_have_accessible_name("Play: training step")
        opened.keyboard.press("Space")
        expect(control).to_have_value("5")
        expect(button).to_have_text("▶ Play")  # at the end it stops by itself

    def test_starts_where_it_should(self, opened: Page) -> None:
        assert [box.get_by_role("slider").input_value() for box in sliders(opened)] == ["0", "2"]
        assert [box.get_attribute("data-frame") for box in sliders(opened)] == ["0", "2"]

    def test_a_fast_hand_ends_at_the_frame_it_asked_for(self, opened: Page) -> None:
        box = sliders(opened)[1]
        marks = {}
        for value in (4, 1):
            box.get_by_role("slider").fill(str(value))
            marks[value] = drawn(box)
        box.get_by_role("slider").evaluate(
            """input => { for (const value of [0, 3, 2, 4, 0, 1]) {
                input.value = value; input.dispatchEvent(new Event('input'));
            } }"""
        )
        assert drawn(box) == marks[1] != marks[4]

    @pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, {"width": 390, "height": 844}])
    def test_nothing_jumps(self, opened: Page) -> None:
        for box in sliders(opened):
            places = []
            for key in ("Home", "End"):
                box.get_by_role("slider").press(key)
                drawn(box)
                places.append(
                    box.evaluate(
                        """box => [box.getBoundingClientRect().height,
                          ...[...box.querySelectorAll('.xtick text, .ytick text, .cbaxis text')].map(text => {
                            const at = text.getBoundingClientRect(), top = box.getBoundingClientRect().top;
                            return [text.textContent, at.x, at.y - top].join();
                          })]"""
                    )
                )
            assert len(places[0]) > 4
            assert places[0] == places[1]

    def test_a_zoom_survives_the_next_frame(self, opened: Page) -> None:
        box = sliders(opened)[1]
        figure = box.locator(".ck-plotly-figure")
        figure.scroll_into_view_if_needed()
        at = box.locator(".nsewdrag").bounding_box()
        opened.mouse.move(at["x"] + 0.25 * at["width"], at["y"] + 20)
        opened.mouse.down()
        opened.mouse.move(at["x"] + 0.75 * at["width"], at["y"] + at["height"] - 20, steps=4)
        opened.mouse.up()
        opened.wait_for_timeout(400)
        zoomed = figure.evaluate("figure => figure.layout.xaxis.range")
        assert zoomed[1] - zoomed[0] < 1.3
        box.get_by_role("slider").press("End")
        drawn(box)
        assert figure.evaluate("figure => figure.layout.xaxis.range") == zoomed

    def test_theme_is_followed_at_the_frame_shown(self, opened: Page) -> None:
        box = sliders(opened)[1]
        box.get_by_role("slider").press("End")
        drawn(box)
        tick = box.locator(".xtick text").first
        light = tick.evaluate("text => getComputedStyle(text).fill")
        opened.evaluate("document.documentElement.dataset.theme = 'dark'")
        opened.wait_for_function(
            "([text, light]) => getComputedStyle(text).fill !== light", arg=[tick.element_handle(), light]
        )
        expect(box.locator(".annotation-text")).to_have_text("overlap 1.00")
        box.get_by_role("slider").press("Home")
        drawn(box)
        assert box.locator(".xtick text").first.evaluate("text => getComputedStyle(text).fill") != light

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_axe_reports_nothing_serious(self, opened: Page, theme: str) -> None:
        opened.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        opened.evaluate(AXE)
        assert list(serious(opened.evaluate("axe.run(document, {resultTypes: ['violations']})"))) == []

    @pytest.mark.parametrize("viewport", [{"width": 390, "height": 844}], ids=["phone"])
    def test_phone_has_no_sideways_scroll(self, opened: Page) -> None:
        sliders(opened)
        assert opened.evaluate("document.documentElement.scrollWidth") <= 390

    def test_paper_gets_the_value_and_not_the_control(self, opened: Page) -> None:
        opened.emulate_media(media="print")
        for box in sliders(opened):
            expect(box.locator("input")).to_be_hidden()
            expect(box.locator(".ck-play")).to_be_hidden()
            expect(box.locator("label")).to_be_visible()
            expect(box.locator(".ck-value")).to_be_visible()

    @pytest.mark.parametrize("viewport", [{"width": 1280, "height": 40}], ids=["low"])
    def test_printing_draws_what_was_never_in_view(self, site: Site) -> None:
        site.page.add_init_script("window.IntersectionObserver = class { observe() {} };")
        page = site.open("index.html")
        assert page.locator(".ck-slider").count() == 0
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        expect(page.locator(".ck-plotly[data-state=drawn]")).to_have_count(2)

    @pytest.mark.parametrize("make", [facts, curves])
    def test_a_live_notebook_moves_it_with_plotlys_own_slider(self, site: Site, folder: Path, make) -> None:
        live = folder / f"{make.__name__}.html"
        live.write_text(make().to_html(include_plotlyjs="directory", auto_play=False), encoding="utf-8")
        page = site.open(live.name)
        figure = page.locator(".js-plotly-plot")
        expect(figure.locator(".slider-rail-touch-rect")).to_be_attached()
        rail = figure.locator(".slider-rail-touch-rect").bounding_box()
        seen = [marks_in(figure)]
        for place in (0.98, 0.02):
            page.mouse.click(rail["x"] + place * rail["width"], rail["y"] + rail["height"] / 2)
            seen.append(changed(figure, seen[-1]))
        assert (seen[0] == seen[2]) == (make is facts)  # which starts at its first frame
        assert site.failures == []
