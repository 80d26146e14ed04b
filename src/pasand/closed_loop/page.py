"""The closed loops as one self-contained HTML page: what the loop does, what recipes change, charts of the rounds."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from pasand.audit.page import p_text
from pasand.closed_loop.measures import MEASURES, Measure
from pasand.closed_loop.results import METHOD, Simulation
from pasand.evaluation.report import charts
from pasand.evaluation.report.html import style, write_page

WIDTHS = (980.0, 350.0)
"""Widths of the charts on wide and on narrow pages, in pixels."""


def write(path: Path, found: Simulation) -> None:
    """Write the page to a file atomically; on failure the old file stays, and InputError is raised."""
    write_page(path, render(found))


def render(found: Simulation) -> str:
    """Return the page as HTML; all its text is escaped."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = page.from_string(files("pasand.closed_loop").joinpath("simulation.html.j2").read_text("utf-8"))
    drawn = [(measure, drawings(found, measure)) for measure in MEASURES] if found.seeds else []
    return template.render(
        found=found,
        style=style(),
        drawn=[(measure, drawing) for measure, drawing in drawn if drawing],
        method=METHOD,
        measures=MEASURES,
        p_text=p_text,
    )


def drawings(found: Simulation, measure: Measure) -> list[Markup]:
    """Return a measure over the rounds, a line for each recipe, as a wide and a narrow chart; [] if it is undefined."""
    scale = 100.0 if measure.percent else 1.0
    curves = [(name, (scale * found.rounds(name, measure)).tolist(), None) for name in found.names]
    if not any(math.isfinite(value) for _, values, _ in curves for value in values):
        return []
    unit = f"{measure.name}, %" if measure.percent else measure.name
    return [charts.line_chart(measure.name, curves, "round", unit, width) for width in WIDTHS]
