"""What is written in a figure can be read, on a wide screen and on a phone."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

from coursekit import figures

from .test_sliders import sliders, write_figures

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
UNREADABLE = """figure => {
  const kinds = ".legendtext, .xtick text, .ytick text, .annotation-text, .cbtitle text, .cbaxis text"
    + ", [class^=g-x] text, [class^=g-y] text, .g-gtitle text";
  const frame = figure.getBoundingClientRect(), found = [];
  const texts = [...figure.querySelectorAll(kinds)]
    .map(node => [node.textContent, node.getBoundingClientRect()])
    .filter(([said, at]) => said.trim() && at.width > 2);
  texts.forEach(([said, at], i) => {
    const out = [frame.left - at.left, at.right - frame.right, frame.top - at.top, at.bottom - frame.bottom];
    if (Math.max(...out) > 2) found.push(`${said} is cut`);
    for (const [other, its] of texts.slice(i + 1)) {
      const across = Math.min(at.right, its.right) - Math.max(at.left, its.left);
      const down = Math.min(at.bottom, its.bottom) - Math.max(at.top, its.top);
      if (across > 3 && down > 4) found.push(`${said} and ${other} lie on each other`);
    }
  });
  return found;
}"""


def many_names() -> Figure:
    """Return curves with names, titles and labels that are too long for a phone."""
    title = "What becomes of the loss of a small network in twelve thousand steps"
    fig = figures.figure(
        title, "optimization steps", "minus the logarithm of the probability of the answer (nats)"
    )
    for i in range(8):
        figures.add_curve(fig, [0, 1000], [i, i + 1], name=f"number {i}: one that has a name of some length")
    return fig


def long_labels() -> Figure:
    """Return bars with labels of several lines, which lie where the legend is put."""
    fig = figures.figure("What helps", "", "exact match (%)")
    for name in ("same order", "reverse order"):
        fig.add_bar(x=["as<br>in<br>the<br>paper<br>of<br>2023", "both<br>orders"], y=[90, 10], name=name)
    return fig


def categories() -> Figure:
    """Return bars whose labels leave little room for the title below."""
    fig = figures.figure("Twelve operations", "best validation accuracy within four thousand steps", "")
    return fig.add_bar(x=[1, 0.2], y=["x / y if y is odd, else x - y", "x + y"], orientation="h")


def parts() -> Figure:
    """Return three plots side by side, the outer ones with longer titles than a phone has room for."""
    titles = ("held-out loss (bits per byte)", "negation", "resisting correction")
    fig = make_subplots(cols=3, subplot_titles=titles, figure=figures.figure(""))
    for col in (1, 2, 3):
        fig.add_scatter(x=[0, 1], y=[0, 1], row=1, col=col, showlegend=False)
    return fig.update_xaxes(title_text="bytes trained on").update_yaxes(visible=False)


def frames() -> Figure:
    """Return a slider figure with as much to say."""
    made = []
    for step in range(3):
        fig = many_names().update_layout(title_text="Many names")
        made.append(
            fig.add_heatmap(
                z=[[step]], zmin=0, zmax=2, colorbar={"title": {"text": "share of prompts"}}, opacity=0
            )
        )
    return figures.slider(made, [0, 1, 2], label="step")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_figures(folder, many_names(), long_labels(), categories(), parts(), frames())
    return folder


def opened(browser: Browser, folder: Path, viewport: dict[str, int]) -> Page:
    page = browser.new_page(viewport=viewport, has_touch=viewport is PHONE)  # type: ignore[arg-type]
    page.goto(f"{folder.as_uri()}/index.html")
    sliders(page)
    return page


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_text_is_cut_or_lies_on_another(browser: Browser, folder: Path, viewport: dict[str, int]) -> None:
    page = opened(browser, folder, viewport)
    for figure in page.locator(".ck-plotly-figure").all():
        assert figure.evaluate(UNREADABLE) == []
    page.close()


def test_the_other_theme_and_the_next_frame_keep_the_room(browser: Browser, folder: Path) -> None:
    page = opened(browser, folder, PHONE)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    (box,) = sliders(page)
    box.get_by_role("slider").press("End")
    page.wait_for_function("box => box.dataset.frame === '2'", arg=box.element_handle())
    for figure in page.locator(".ck-plotly-figure").all():
        assert figure.evaluate(UNREADABLE) == []
    page.close()


def test_tools_cover_nothing_where_there_is_no_mouse(browser: Browser, folder: Path) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{folder.as_uri()}/index.html")
    sliders(page)
    assert page.locator(".modebar-btn").count() == 0
    context.close()
    page = opened(browser, folder, WIDE)
    assert page.locator(".modebar-btn").count() > 0
    page.close()
