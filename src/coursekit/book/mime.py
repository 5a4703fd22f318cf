"""How the book shows what cells put out: plotly figures, interactives and widgets, which are dead here."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from docutils import nodes

from coursekit.book.digits import DIGITS_MIME, digits_html
from coursekit.book.forecast import FORECAST_MIME, forecast_html
from coursekit.book.interactive import SCRUBBER_MIME, json_for_html, scrubber_html

PLOTLY_MIME = "application/vnd.plotly.v1+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def _html(text: str) -> list[nodes.Element]:
    """Return HTML as a docutils node."""
    return [nodes.raw(text=text, format="html", classes=["output"])]


def _content(data: Any) -> Any:
    """Return a JSON output whether it arrives parsed or as text."""
    return json.loads(data.content) if isinstance(data.content, str) else data.content


def _without_live_controls(figure: dict[str, Any]) -> dict[str, Any]:
    """Take out of a figure made by `coursekit.figures.slider` what ``plotly_figures.js`` draws by itself."""
    live = figure.get("layout", {})
    meta = live.get("meta")
    slider = meta.get("slider") if isinstance(meta, dict) else None
    if slider is None:
        return figure
    layout = {key: value for key, value in live.items() if key not in ("sliders", "updatemenus")}
    # the last annotation of a live figure is the describing sentence
    notes = slice(None, -1 if slider["describe"] else None)
    layout["annotations"] = live.get("annotations", [])[notes]
    # a page writes the title above the control: what stays is room for annotations above the plot
    crowded = any(note.get("yref") == "paper" and note.get("y", 0) >= 1 for note in layout["annotations"])
    layout |= {
        "height": slider["height"],
        "title": {"text": live.get("title", {}).get("text", "")},
        "margin": live.get("margin", {}) | {"t": 40 if crowded else 20},
    }
    frames = []
    for frame in figure["frames"]:
        moved = dict(frame.get("layout", {}))
        moved["annotations"] = moved.get("annotations", live.get("annotations", []))[notes]
        moved = {
            part: value for part, value in moved.items() if part != "annotations" or value != layout[part]
        }
        frames.append({"data": frame.get("data", []), "traces": frame.get("traces", []), "layout": moved})
    return figure | {"layout": layout, "frames": frames}


class PlotlyRenderer:
    """Emits a plotly figure as JSON for ``plotly_figures.js``, which draws it when it comes into view."""

    mime_priority_overrides: ClassVar[Sequence[tuple[str, str, int | None]]] = [("html", PLOTLY_MIME, 1)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: Any) -> list[nodes.Element] | None:
        """Return the figure's element.

        Parameters
        ----------
        renderer, inline : object
            Given by myst-nb and not used.
        data : myst_nb.core.render.MimeData
            The output.

        Returns
        -------
        list of docutils nodes, or None
            None leaves the output to the next renderer.
        """
        if data.mime_type != PLOTLY_MIME:
            return None
        figure = _content(data)
        figure = _without_live_controls(
            {key: figure[key] for key in ("data", "layout", "frames") if figure.get(key)}
        )
        height = int(figure.get("layout", {}).get("height") or 420)
        return _html(
            f'<div class="ck-plotly" style="min-height:{height}px">'
            f'<script type="application/json">{json_for_html(figure)}</script>'
            "<noscript>This figure needs JavaScript.</noscript></div>"
        )


class ScrubberRenderer:
    """Emits a training scrubber as JSON for ``scrubber.js``."""

    mime_priority_overrides: ClassVar[Sequence[tuple[str, str, int | None]]] = [("html", SCRUBBER_MIME, 1)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: Any) -> list[nodes.Element] | None:
        """Return the interactive's element; see `PlotlyRenderer.handle_mime`."""
        return _html(scrubber_html(_content(data))) if data.mime_type == SCRUBBER_MIME else None


class DigitsRenderer:
    """Emits a drawing field with its network as JSON for ``digits.js``."""

    mime_priority_overrides: ClassVar[Sequence[tuple[str, str, int | None]]] = [("html", DIGITS_MIME, 1)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: Any) -> list[nodes.Element] | None:
        """Return the interactive's element; see `PlotlyRenderer.handle_mime`."""
        return _html(digits_html(_content(data))) if data.mime_type == DIGITS_MIME else None


class ForecastRenderer:
    """Emits the forecast with its sliders as JSON for ``forecast.js``."""

    mime_priority_overrides: ClassVar[Sequence[tuple[str, str, int | None]]] = [("html", FORECAST_MIME, 1)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: Any) -> list[nodes.Element] | None:
        """Return the interactive's element; see `PlotlyRenderer.handle_mime`."""
        return _html(forecast_html(_content(data))) if data.mime_type == FORECAST_MIME else None


class WidgetRenderer:
    """Replaces a widget, dead in a static page, by a sentence that says where it lives."""

    mime_priority_overrides: ClassVar[Sequence[tuple[str, str, int | None]]] = [("html", WIDGET_MIME, 2)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: Any) -> list[nodes.Element] | None:
        """Return the sentence; see `PlotlyRenderer.handle_mime`."""
        if data.mime_type != WIDGET_MIME:
            return None
        return _html(
            '<p class="ck-widget">An input field stands here when the lab runs in Colab or Jupyter.</p>'
        )
