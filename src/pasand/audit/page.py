"""The audit as one self-contained HTML page for readers without statistics: sentences, charts, checklist."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from pasand.audit import words
from pasand.audit.audit import CORRECTION, Audit, Section
from pasand.audit.checklist import NOTICE
from pasand.audit.estimates import Finding
from pasand.evaluation.report import charts
from pasand.evaluation.report.html import style, write_page


def write(path: Path, audit: Audit) -> None:
    """Write the page to a file atomically; on failure the old file stays, and InputError is raised."""
    write_page(path, render(audit))


def render(audit: Audit) -> str:
    """Return the page as HTML; all its text is escaped."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = page.from_string(files("pasand.audit").joinpath("audit.html.j2").read_text("utf-8"))
    shown = [
        words.sentence(section.name, finding)
        for section in audit.sections
        for finding in section.findings
        if finding.verdict in ("higher", "lower")
    ]
    return template.render(
        audit=audit,
        style=style(),
        shown=shown,
        sections=[(section, section_charts(section)) for section in audit.sections],
        words=words,
        correction=CORRECTION,
        notice=NOTICE,
        p_text=p_text,
    )


def section_charts(section: Section) -> list[tuple[str, Markup]]:
    """Return a chart of each measure and attribute with at least two groups, with its heading, on one axis for each.

    Charts show ratios to the reference, where 1 is no difference; or differences, where a ratio is undefined.
    """
    by_title: dict[str, list[Finding]] = {}
    for finding in section.findings:
        if finding.attribute:
            by_title.setdefault(f"{words.plain(finding.measure)} by {finding.attribute}", []).append(finding)
    out = []
    for title, findings in by_title.items():
        as_ratio = all(math.isfinite(finding.ratio.mean) for finding in findings)
        spans = [(finding.ratio if as_ratio else finding.difference).span for finding in findings]
        what = f"times {findings[0].reference_name}" if as_ratio else f"difference from {findings[0].reference_name}"
        if len(findings) > 1:
            out.append((f"{title}, {what}", _chart(title, findings, spans, 1.0 if as_ratio else 0.0)))
    return out


def _chart(title: str, findings: Sequence[Finding], spans: Sequence[charts.Span], neutral: float) -> Markup:
    axis = charts.axis_range([*spans, (neutral, neutral, neutral)])
    colours = {"higher": charts.colour(0), "lower": charts.colour(1)}
    rows = [
        (finding.group, span, colours.get(finding.verdict, charts.colour(7)))
        for finding, span in zip(findings, spans, strict=True)
    ]
    about = "; ".join(f"{name} {span[0]:.3g}, 95 % interval {span[1]:.3g} to {span[2]:.3g}" for name, span, _ in rows)
    return charts.dot_plot(title, rows, axis, about)


def p_text(p: float) -> str:
    """Return a p value as text; "" where there is none.

    >>> p_text(0.0004), p_text(0.25)
    ('< 0.001', '0.25')
    """
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"
