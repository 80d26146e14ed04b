"""The tradeoff as one self-contained HTML page: what is free, and accuracy against each measure of fairness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from pasand.audit import words
from pasand.audit.estimates import Finding
from pasand.audit.page import p_text
from pasand.audit.tradeoff import CORRECTION, Curve, Point, Tradeoff
from pasand.evaluation.report import charts
from pasand.evaluation.report.html import style, write_page

WIDTH, HEIGHT = 340.0, 272.0
"""Size of a chart in pixels."""
LEFT, RIGHT, TOP, BASE = 56.0, 328.0, 30.0, 232.0
"""Edges of its plot."""


def write(path: Path, found: Tradeoff) -> None:
    """Write the page to a file atomically; on failure the old file stays, and InputError is raised."""
    write_page(path, render(found))


def render(found: Tradeoff) -> str:
    """Return the page as HTML; all its text is escaped."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = page.from_string(files("pasand.audit").joinpath("tradeoff.html.j2").read_text("utf-8"))
    return template.render(
        tradeoff=found,
        style=style(),
        curves=[(curve, curve_charts(curve)) for curve in found.curves],
        words=words,
        correction=CORRECTION,
        p_text=p_text,
    )


def curve_charts(curve: Curve) -> list[tuple[str, Markup]]:
    """Return a chart of accuracy against each measure that the dial's table is there to change, then the others.

    A measure that is undefined, or the same at all points, has no chart.
    """
    others = [m for m, measure in enumerate(curve.measures) if not measure.dial]
    out = []
    for m in (*curve.own, *others):
        findings = [point.fairness[m] for point in curve.points]
        values = [findings[0].reference.mean, *(finding.value.mean for finding in findings)]
        if all(map(math.isfinite, values)) and max(values) > min(values):
            heading = f"{curve.measures[m].name} (fairer: {curve.measures[m].fairer})"
            out.append((heading, chart(curve, curve.points, findings)))
    return out


def chart(curve: Curve, points: Sequence[Point], findings: Sequence[Finding]) -> Markup:
    """Return accuracy (upwards) against a measure (to the right), as changes from the lists without the table.

    Points are joined in the order of the dial and begin at the lists without the table, where both changes are 0. Lines
    are 95 % intervals, paired by user; a ring is around the strongest value that is free. Points with a loss that is
    shown have another colour.
    """
    title = f"{points[0].loss.measure} against {findings[0].measure}"
    changes = [
        (finding.difference.span, point.loss.difference.span) for finding, point in zip(findings, points, strict=True)
    ]
    nothing = (0.0, 0.0, 0.0)
    across = charts.axis_range([nothing, *(right for right, _ in changes)])
    upwards = charts.axis_range([nothing, *(up for _, up in changes)])
    about = "; ".join(
        f"{point.value:g}: {right[0]:+.3g} and {up[0]:+.3g}, 95 % interval {up[1]:+.3g} to {up[2]:+.3g}"
        for point, (right, up) in zip(points, changes, strict=True)
    )
    drawing = charts.Drawing(WIDTH, HEIGHT, title, f"Change of the measure and of {points[0].loss.measure} at {about}.")

    def x(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (value - across[0]) / ((across[1] - across[0]) or 1)

    def y(value: float) -> float:
        return BASE - (BASE - TOP) * (value - upwards[0]) / ((upwards[1] - upwards[0]) or 1)

    ticks = charts.ticks(*upwards, 4)
    for value, label in zip(ticks, charts.labels(ticks), strict=True):
        drawing.line(LEFT, y(value), RIGHT, y(value), "grid")
        drawing.text(LEFT - 6, y(value) + 4, label, "tick end")
    ticks = charts.ticks(*across, 4)
    for value, label in zip(ticks, charts.labels(ticks), strict=True):
        drawing.line(x(value), TOP, x(value), BASE, "grid")
        drawing.text(x(value), BASE + 16, label, "tick middle")
    drawing.text((LEFT + RIGHT) / 2, BASE + 36, f"change of {charts.truncated(findings[0].measure, 40)}", "tick middle")
    drawing.text(LEFT - 48, 14, f"change of {points[0].loss.measure}", "tick")
    drawing.line(LEFT, y(0), RIGHT, y(0), "axis")
    drawing.line(x(0), TOP, x(0), BASE, "axis")
    drawing.path([(x(0), y(0)), *((x(right[0]), y(up[0])) for right, up in changes)], "line c7")
    drawing.dot(x(0), y(0), 4, "fill c7")
    for point, (right, up) in zip(points, changes, strict=True):
        colour = charts.colour(1 if point.loss.verdict == "lower" else 0)
        at = x(right[0]), y(up[0])
        if all(map(math.isfinite, right)):
            drawing.line(x(right[1]), at[1], x(right[2]), at[1], f"bar {colour}")
        if all(map(math.isfinite, up)):
            drawing.line(at[0], y(up[1]), at[0], y(up[2]), f"bar {colour}")
        if point is curve.free:
            drawing.dot(*at, 8, f"ring {colour}")
        drawing.dot(*at, 4, f"fill {colour}")
        drawing.text(at[0] + 7, at[1] - 6, f"{point.value:g}", "tick")
    return drawing.finish()
