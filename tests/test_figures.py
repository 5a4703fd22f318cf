import itertools
import json

import numpy as np
import plotly.graph_objects as go
import pytest

from coursekit import figures

# Machado, Oliveira & Fernandes 2009, severity 1: colors without one kind of cone, in linear RGB.
COLOR_VISION = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


def linear(color):
    srgb = np.array(list(bytes.fromhex(color.removeprefix("#")))) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    light = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


def lab(rgb):
    xyz = np.clip(rgb, 0, 1) @ np.array(
        [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    )
    x, y, z = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("background", ["#ffffff", "#121212"])
@pytest.mark.parametrize("color", figures.COLORS.values(), ids=figures.COLORS)
def test_colors_stand_out_on_light_and_dark_pages(color, background):
    assert contrast(color, background) >= 3  # WCAG 2.1, 1.4.11


@pytest.mark.parametrize("matrix", COLOR_VISION.values(), ids=COLOR_VISION)
def test_training_and_validation_differ_in_any_color_vision(matrix):
    train, val = (lab(np.array(matrix) @ linear(figures.COLORS[name])) for name in ("train", "val"))
    assert np.linalg.norm(train - val) > 40  # 2.3 is just noticeable


def test_curves_of_one_figure_all_differ():
    styles = [tuple(figures.style(number).values()) for number in range(24)]
    assert all(one != other for one, other in itertools.combinations(styles, 2))


def test_figure_is_transparent_and_titled():
    fig = figures.figure("a title", "x (steps)", "y", log_y=True)
    layout = json.loads(fig.to_json())["layout"]
    assert layout["title"]["text"] == "a title"
    assert layout["xaxis"]["title"]["text"] == "x (steps)"
    assert layout["yaxis"]["type"] == "log"
    assert "type" not in layout["xaxis"]
    assert layout["template"]["layout"]["paper_bgcolor"] == "rgba(0, 0, 0, 0)"


def test_a_curve_has_a_band_of_its_own_color():
    fig = figures.figure("t")
    figures.add_curve(fig, [1, 2], [5.0, 6.0], [4.0, 5.0], [6.0, 8.0], name="a")
    figures.add_curve(fig, [1, 2], [1.0, 2.0], name="b")
    band, line, other = fig.data
    assert list(band.x) == [1, 2, 2, 1]
    assert list(band.y) == [6, 8, 5, 4]
    assert band.fillcolor == figures.transparent(line.line.color, 0.2)
    assert not band.showlegend
    assert line.showlegend
    assert line.line.color != other.line.color


def test_add_curve_takes_any_numbers_and_leaves_the_figure_json():
    fig = figures.figure("t")
    figures.add_curve(fig, range(3), np.array([1.0, np.nan, 3.0]), symbol="square")
    trace = json.loads(fig.to_json(engine="json"))["data"][0]
    assert trace["marker"]["symbol"] == "square"
    assert trace["showlegend"] is False
    assert isinstance(go.Figure(json.loads(fig.to_json())), go.Figure)


@pytest.mark.parametrize(
    ("band", "message"),
    [
        ({"low": [1, 2]}, "both low and high"),
        ({"low": [1, 2], "high": [1]}, r"one length; got \[2, 2, 2, 1\]"),
    ],
)
def test_bad_bands_are_named(band, message):
    with pytest.raises(ValueError, match=message):
        figures.add_curve(figures.figure("t"), [1, 2], [1, 2], **band)
