"""The evaluation report as one self-contained HTML file, without scripts, web fonts or external images."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from markupsafe import Markup

from pasand.errors import InputError
from pasand.evaluation.intervals import Interval
from pasand.evaluation.report import charts


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A paired comparison with another model, ready to display."""

    verdict: str
    """better, not shown or worse."""
    p: str
    """The corrected p value, with "p"."""
    difference: str
    """The difference, with its sign."""
    interval: str
    """The interval of the difference."""


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow:
    """One model of the leaderboard."""

    name: str
    metrics: Mapping[str, Interval]
    hyperparameters: str = ""
    """In words, shown below the name."""
    fit_seconds: float | None = None
    evaluate_seconds: float | None = None
    peak_memory_mb: float | None = None
    spreads: Mapping[str, str] = field(default_factory=dict)
    """Standard deviation over training seeds by metric, with ±; missing for models that are trained once."""
    against_popularity: Verdict | None = None
    """None for what is not compared: its `role` is shown instead."""
    role: str = "baseline"


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The events of train and test over time."""

    edges: Sequence[float]
    """(bins + 1,) seconds since 1970, rising."""
    parts: Mapping[str, Sequence[float]]
    """Events per bin of each part, such as "train" and "test", in the order in which they are stacked."""
    cut: float | None = None
    """Time of the cut, seconds since 1970; None if the split is not one cut in time."""

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or any(not low < high for low, high in pairwise(self.edges)):
            raise ValueError("edges must be at least two rising times")
        wrong = [name for name, counts in self.parts.items() if len(counts) != len(self.edges) - 1]
        if wrong:
            raise ValueError(f"each part needs {len(self.edges) - 1} counts, got another number for {wrong[0]!r}")


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of test queries, and the metric of each model over them."""

    name: str
    users: int
    queries: int | None = None
    values: Mapping[str, Interval]
    """By name of model."""


@dataclass(frozen=True, kw_only=True)
class GroupedMetric:
    """One metric by groups of test queries."""

    metric: str
    groups: Sequence[Group]
    by: str = "by length of history"
    """The kind of groups, as the end of the heading."""
    about: str = ""
    """The text below the heading."""


@dataclass(frozen=True, kw_only=True)
class PopularityShares:
    """The popularity of the recommended items, by decile of the catalogue."""

    shares: Mapping[str, Sequence[float]]
    """By name of model, (10,): share of its recommendations in each tenth of the items, most popular items first."""
    reference: Sequence[float] | None = None
    """(10,) the shares of the positives of the test part."""

    def __post_init__(self) -> None:
        for name, shares in [*self.shares.items(), ("reference", self.reference or [0.0] * 10)]:
            if len(shares) != 10:
                raise ValueError(f"shares must be ten, got {len(shares)} for {name!r}")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The learning curve of one configuration."""

    name: str
    values: Sequence[float]
    """One value per epoch, in order."""
    stop: int | None = None
    """Epoch, from 1, whose model is kept."""


@dataclass(frozen=True, kw_only=True)
class LearningCurves:
    """Learning curves that share one plot."""

    title: str
    metric: str
    curves: Sequence[Curve]
    lower_is_better: bool = True


@dataclass(frozen=True, kw_only=True)
class Report:
    """The contents of a report; empty parts are left out of the page."""

    title: str
    verdict: str = ""
    """Which is best and whether that is shown, in words."""
    protocol: str = ""
    """The protocol, in words."""
    leakage: str = ""
    """The leakage of the protocol, in words."""
    rules: Mapping[str, str] = field(default_factory=dict)
    """What the protocol means by relevant and seen, and what the columns mean, by term."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Key figures of the data, ready to display: "users" to "943"."""
    timeline: Timeline | None = None
    leaderboard: Sequence[LeaderboardRow] = ()
    """In display order, the best first."""
    lower_is_better: frozenset[str] = frozenset({"rmse", "mae"})
    """Metrics whose smallest value is the best, without "@k"."""
    grouped_metrics: Sequence[GroupedMetric] = ()
    popularity: PopularityShares | None = None
    learning_curves: Sequence[LearningCurves] = ()
    notes: Sequence[str] = ()

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics of the leaderboard, in order of appearance."""
        return list(dict.fromkeys(name for entry in self.leaderboard for name in entry.metrics))

    def best(self, metric: str) -> frozenset[str]:
        """Return the names of the models with the best mean; none if there are several and all are equal."""
        means = {e.name: e.metrics[metric].mean for e in self.leaderboard if metric in e.metrics}
        means = {name: mean for name, mean in means.items() if math.isfinite(mean)}
        choose = min if metric.partition("@")[0] in self.lower_is_better else max
        top = choose(means.values(), default=math.nan)
        found = frozenset(name for name, mean in means.items() if mean == top)
        return found if len(found) == 1 or len(found) < len(means) else frozenset()


def write(path: Path, report: Report) -> None:
    """Write the report to a file atomically; on failure the old file stays, and InputError is raised."""
    write_page(path, render(report))


def write_page(path: Path, page: str) -> None:
    """Write a page to a file atomically; on failure the old file stays, and InputError is raised."""
    name = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        cause = f"cannot be written: {error.strerror or error}"
        raise InputError(path, cause=cause, cure="free disk space, or choose another file") from error


def render(report: Report) -> str:
    """Return the report as HTML; all its text is escaped."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = page.from_string(files("pasand.evaluation.report").joinpath("report.html.j2").read_text("utf-8"))
    return template.render(
        report=report,
        charts=charts,
        style=style(),
        leaderboard_columns=leaderboard_columns(report),
        colours=colours(report),
        timeline=timeline_charts(report.timeline) if report.timeline else (),
        grouped_metrics=[(part, group_charts(part, report)) for part in report.grouped_metrics if part.groups],
        popularity=popularity_charts(report.popularity, colours(report)) if report.popularity else (),
        learning_curves=[
            (part, curve_charts(part), best_epochs(part)) for part in report.learning_curves if part.curves
        ],
        duration=duration,
        isfinite=math.isfinite,
    )


def style() -> Markup:
    """Return the style sheet that pages of results share."""
    return Markup(files("pasand.evaluation.report").joinpath("style.css").read_text("utf-8").rstrip())


def colours(report: Report) -> dict[str, int]:
    """Return the position of each model's colour, which is the same throughout the page."""
    named = [entry.name for entry in report.leaderboard]
    named += [name for part in report.grouped_metrics for group in part.groups for name in group.values]
    named += list(report.popularity.shares) if report.popularity else []
    return {name: position for position, name in enumerate(dict.fromkeys(named))}


def leaderboard_columns(report: Report) -> list[tuple[str, frozenset[str], dict[str, Markup]]]:
    """Return for each metric its name, the best models, and the chart of each model's interval."""
    columns = []
    for metric in report.metrics:
        spans = {entry.name: entry.metrics[metric].span for entry in report.leaderboard if metric in entry.metrics}
        axis, best = charts.axis_range(list(spans.values())), report.best(metric)
        reference = spans[min(best)][0] if best else None
        drawn = {
            name: charts.whisker(
                span, axis, charts.colour(colours(report)[name]), f"{name}: {interval_text(span)}", reference
            )
            for name, span in spans.items()
        }
        columns.append((metric, best, drawn))
    return columns


def interval_text(span: charts.Span) -> str:
    """Return a mean and its interval in words.

    >>> interval_text((0.25, 0.2, 0.3))
    '0.2500, 95 % interval 0.2000 to 0.3000'
    """
    mean, low, high = span
    words = f"{mean:.4f}" if math.isfinite(mean) else "undefined"
    return f"{words}, 95 % interval {low:.4f} to {high:.4f}" if math.isfinite(low) and math.isfinite(high) else words


def timeline_charts(part: Timeline) -> list[Markup]:
    """Return the timeline as a chart for wide pages and one for narrow pages."""
    title = "Events over time, by part of the split"
    shown = list(part.parts.items())
    return [charts.histogram(title, part.edges, shown, part.cut, width) for width in (980, 350)]


def group_charts(part: GroupedMetric, report: Report) -> list[tuple[Group, Markup]]:
    """Return one chart per group of users, all with the same axis."""
    axis = charts.axis_range([value.span for group in part.groups for value in group.values.values()])
    drawings = []
    for group in part.groups:
        rows = [(name, value.span, charts.colour(colours(report)[name])) for name, value in group.values.items()]
        about = "; ".join(f"{name} {interval_text(span)}" for name, span, _ in rows)
        drawings.append((group, charts.dot_plot(f"{part.metric} of {group.name}", rows, axis, about)))
    return drawings


def popularity_charts(part: PopularityShares, position: Mapping[str, int]) -> list[tuple[str, Markup]]:
    """Return one chart per model, all with the same axis."""
    top = 1.05 * max([0.1, *(part.reference or []), *(share for shares in part.shares.values() for share in shares)])
    return [
        (name, charts.decile_chart(f"Popularity of the recommendations of {name}", shares, part.reference, top, style))
        for name, shares in part.shares.items()
        for style in [charts.colour(position[name])]
    ]


def curve_charts(part: LearningCurves) -> list[Markup]:
    """Return the curves as a chart for wide pages and one for narrow pages."""
    shown = [(curve.name, curve.values, curve.stop) for curve in part.curves]
    return [charts.line_chart(part.title, shown, "epoch", part.metric, width) for width in (980, 350)]


def best_epochs(part: LearningCurves) -> list[tuple[int, Curve, float, int]]:
    """Return each curve with the position of its colour, its best value and the epoch of that; the best curve first."""
    choose = min if part.lower_is_better else max
    rows = []
    for position, curve in enumerate(part.curves):
        values = [(value, epoch) for epoch, value in enumerate(curve.values, 1) if math.isfinite(value)]
        best, epoch = choose(values, key=lambda pair: pair[0]) if values else (math.nan, 0)
        rows.append((position, curve, best, epoch))
    sign = 1 if part.lower_is_better else -1
    return sorted(rows, key=lambda row: (math.isnan(row[2]), sign * row[2]))


def duration(seconds: float) -> str:
    """Return a duration in milliseconds, seconds or minutes, as text.

    >>> duration(0.0123), duration(4.25), duration(150)
    ('12 ms', '4.2 s', '2.5 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
