"""A page as one HTML file that loads nothing: style, scripts, numbers and pictures are inside."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from vaegan.report.page import Chart, Charts, Page, all_blocks

# What keeps the page from any request, also by a script that a browser's extension adds to it.
POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
FEW_POINTS = 30  # of a curve: each is marked
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}  # plotly reads tags in text, even links


def as_html(page: Page) -> str:
    """The whole file, with plotly.js where the page has charts."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["as_plotly"] = as_plotly
    blocks = [block for section in page.sections for block in all_blocks(section.blocks)]
    has_charts = any(isinstance(block, Charts) for block in blocks)
    return environment.get_template("page.html").render(
        page=page,
        policy=POLICY,
        style=Markup(_template("page.css")),
        script=Markup(_template("page.js")),
        library=Markup(get_plotlyjs() if has_charts else ""),
    )


def as_plotly(chart: Chart) -> dict[str, Any]:
    """`data` and `layout` of a plotly figure without its colours of paper and ink.

    A trace's `x` is on the page's first axis; `axes` has it on all of them.
    """
    names = [curve.name for curve in chart.curves]
    several = len(set(names)) < len(names)  # curves that share an entry of the legend
    data = []
    for place, curve in enumerate(chart.curves):
        about = _plain(curve.about or curve.name)
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "lines+markers" if len(curve.y) <= FEW_POINTS else "lines",
            "name": _plain(curve.name),
            "legendgroup": _plain(curve.name),
            "showlegend": curve.name not in names[:place],
            "y": list(curve.y),
            "x": list(next(iter(curve.x.values()))),
            "line": {"width": 1.6},
            "marker": {"size": 4},
            "hovertemplate": f"%{{y:.5~g}}<extra>{about}</extra>",
        }
        if curve.colour:
            trace["line"]["color"] = curve.colour
        data.append(trace)
    layout = {
        "hovermode": "closest" if several else "x unified",
        "yaxis": {"title": {"text": _plain(chart.unit)}, "type": "log" if chart.log else "linear"},
        "showlegend": several or len(names) > 1,
    }
    return {"data": data, "layout": layout, "axes": [_listed(c.x) for c in chart.curves]}


def _listed(axes: Mapping[str, Any]) -> dict[str, list[float]]:
    return {axis: list(places) for axis, places in axes.items()}


def _plain(text: str) -> str:
    return "".join(_MARKUP.get(character, character) for character in text)


def _template(name: str) -> str:
    return files("vaegan.report").joinpath(name).read_text(encoding="utf-8")
