"""Charts for reports: drawn as inline SVG, the same for the same numbers."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 7.2, 2.8


@dataclass(frozen=True)
class Chart:
    """A plot of a report: named series of points (x, y), drawn as lines or, if `bars`, as bars over categories x."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[tuple[float | str, float]]]
    bars: bool = False


def as_svg(chart: Chart) -> str:
    """The chart as an SVG element.

    Deterministic ids, and text as text: the same numbers give the same page, which a reader can search.
    """
    with mpl.rc_context({"svg.hashsalt": chart.title, "svg.fonttype": "none", "font.size": 9}):
        text = io.StringIO()
        _draw(chart).savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _draw(chart: Chart) -> Figure:
    most = max((len(points) for points in chart.series.values()), default=0)
    height = _HEIGHT if not chart.bars else 1.2 + most * (0.25 + 0.12 * len(chart.series))
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for number, (name, points) in enumerate(chart.series.items()):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if chart.bars:  # lying, so that the names of categories have room
            width = 0.8 / len(chart.series)
            axes.barh([at + number * width for at in range(len(xs))], ys, width, label=name)
            axes.set_yticks([at + 0.4 - width / 2 for at in range(len(xs))], [str(x) for x in xs])
        else:
            axes.plot([float(x) for x in xs], ys, label=name)
    x_label, y_label = (chart.y_label, "") if chart.bars else (chart.x_label, chart.y_label)
    figure.suptitle(chart.title)
    axes.set(xlabel=x_label, ylabel=y_label)
    if chart.bars:
        axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    if len(chart.series) > 1:
        figure.legend(loc="outside lower center", ncols=min(3, len(chart.series)), frameon=False)
    return figure
