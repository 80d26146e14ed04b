"""The evaluation as one HTML file that stands alone: no script, no font, no picture from elsewhere."""

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
class Entry:
    """What one model achieved."""

    name: str
    metrics: Mapping[str, Interval]
    hyperparameters: str = ""
    """As a person reads them; shown below the name."""
    fit_seconds: float | None = None
    evaluate_seconds: float | None = None
    peak_memory_mb: float | None = None
    beats_popularity: bool | None = None
    """None where the question makes no sense, as for popularity itself."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """How the split cuts the log."""

    edges: Sequence[float]
    """(bins + 1,) seconds since 1970, rising."""
    parts: Mapping[str, Sequence[float]]
    """Events per bin of each part, such as "train" and "test", in the order in which they are stacked."""
    cut: float | None = None
    """Seconds since 1970; None where the split is not one cut in time."""

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or any(not low < high for low, high in pairwise(self.edges)):
            raise ValueError("edges must be at least two rising times")
        wrong = [name for name, counts in self.parts.items() if len(counts) != len(self.edges) - 1]
        if wrong:
            raise ValueError(f"each part needs {len(self.edges) - 1} counts, got another number for {wrong[0]!r}")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Users who were about equally active, and what each model achieves for them."""

    name: str
    users: int
    values: Mapping[str, Interval]
    """By name of model."""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """One metric by groups of users."""

    metric: str
    groups: Sequence[Group]
    by: str = "by activity of users"
    """How the groups were made, as the heading says it."""
    about: str = "Groups by number of events before the test; all panels share one axis."


@dataclass(frozen=True, kw_only=True)
class Popularity:
    """How popular the recommended items are, by tenths of the catalogue."""

    shares: Mapping[str, Sequence[float]]
    """By name of model, (10,): share of its recommendations in each tenth of the items, the most popular first."""
    reference: Sequence[float] | None = None
    """(10,) the same of what the users really chose in the test."""

    def __post_init__(self) -> None:
        for name, shares in [*self.shares.items(), ("reference", self.reference or [0.0] * 10)]:
            if len(shares) != 10:
                raise ValueError(f"shares must be ten, got {len(shares)} for {name!r}")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One configuration, epoch by epoch."""

    name: str
    values: Sequence[float]
    """One per epoch, the first epoch first."""
    stop: int | None = None
    """Epoch, from 1, whose model was kept."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Learning curves that share one plot."""

    title: str
    metric: str
    curves: Sequence[Curve]
    lower_is_better: bool = True


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a report may show; empty parts are left out."""

    title: str
    protocol: str = ""
    """A sentence that names the split and says whether it leaks."""
    rules: Mapping[str, str] = field(default_factory=dict)
    """What relevant, seen, warm and cold mean here."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Facts about the data, ready to read: "users" to "943"."""
    timeline: Timeline | None = None
    leaderboard: Sequence[Entry] = ()
    """In the order in which they are shown, the best first."""
    lower_is_better: frozenset[str] = frozenset({"rmse", "mae"})
    """Metrics whose smallest value is the best; an "@k" at the end is not looked at."""
    activity: Sequence[Activity] = ()
    popularity: Popularity | None = None
    learning: Sequence[Learning] = ()
    notes: Sequence[str] = ()

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics of the leaderboard, in order of appearance."""
        return list(dict.fromkeys(name for entry in self.leaderboard for name in entry.metrics))

    def best(self, metric: str) -> frozenset[str]:
        """Return the names of the models with the best mean; none where several models are all equal."""
        means = {e.name: e.metrics[metric].mean for e in self.leaderboard if metric in e.metrics}
        means = {name: mean for name, mean in means.items() if math.isfinite(mean)}
        choose = min if metric.partition("@")[0] in self.lower_is_better else max
        top = choose(means.values(), default=math.nan)
        found = frozenset(name for name, mean in means.items() if mean == top)
        return found if len(found) == 1 or len(found) < len(means) else frozenset()


def write(path: Path, report: Report) -> None:
    """Write the report to a file; it is there whole, or as it was before. Raises InputError where it cannot be."""
    page, name = render(report), None
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
        raise InputError(path, cause=cause, cure="make room, or name another file") from error


def render(report: Report) -> str:
    """Return the report as HTML; every word of it is escaped."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = page.from_string(files("pasand.evaluation.report").joinpath("report.html.j2").read_text("utf-8"))
    return template.render(
        report=report,
        charts=charts,
        columns=columns(report),
        colours=colours(report),
        timeline=timeline(report.timeline) if report.timeline else (),
        activity=[(part, panels(part, report)) for part in report.activity if part.groups],
        popularity=tenths(report.popularity, colours(report)) if report.popularity else (),
        learning=[(part, curves(part), summary(part)) for part in report.learning if part.curves],
        duration=duration,
        isfinite=math.isfinite,
    )


def colours(report: Report) -> dict[str, int]:
    """Return the position of each model's colour: the same model has one colour throughout."""
    named = [entry.name for entry in report.leaderboard]
    named += [name for part in report.activity for group in part.groups for name in group.values]
    named += list(report.popularity.shares) if report.popularity else []
    return {name: position for position, name in enumerate(dict.fromkeys(named))}


def columns(report: Report) -> list[tuple[str, frozenset[str], dict[str, Markup]]]:
    """Return for each metric its name, the best models, and by model the dot with its interval."""
    found = []
    for metric in report.metrics:
        spans = {entry.name: entry.metrics[metric].span for entry in report.leaderboard if metric in entry.metrics}
        axis, best = charts.reach(list(spans.values())), report.best(metric)
        reference = spans[min(best)][0] if best else None
        drawn = {
            name: charts.whisker(span, axis, charts.colour(colours(report)[name]), f"{name}: {spoken(span)}", reference)
            for name, span in spans.items()
        }
        found.append((metric, best, drawn))
    return found


def spoken(span: charts.Span) -> str:
    """Return a mean and its interval in words.

    >>> spoken((0.25, 0.2, 0.3))
    '0.2500, 95 % interval 0.2000 to 0.3000'
    """
    mean, low, high = span
    words = f"{mean:.4f}" if math.isfinite(mean) else "undefined"
    return f"{words}, 95 % interval {low:.4f} to {high:.4f}" if math.isfinite(low) and math.isfinite(high) else words


def timeline(part: Timeline) -> list[Markup]:
    """Return the split as a drawing for wide and one for narrow pages."""
    title = "Events over time, by part of the split"
    shown = list(part.parts.items())
    return [charts.histogram(title, part.edges, shown, part.cut, width) for width in (980, 350)]


def panels(part: Activity, report: Report) -> list[tuple[Group, Markup]]:
    """Return one drawing per group of users, all over the same axis."""
    axis = charts.reach([value.span for group in part.groups for value in group.values.values()])
    found = []
    for group in part.groups:
        rows = [(name, value.span, charts.colour(colours(report)[name])) for name, value in group.values.items()]
        about = "; ".join(f"{name} {spoken(span)}" for name, span, _ in rows)
        found.append((group, charts.dots(f"{part.metric} of {group.name}", rows, axis, about)))
    return found


def tenths(part: Popularity, position: Mapping[str, int]) -> list[tuple[str, Markup]]:
    """Return one drawing per model, all over the same axis."""
    top = 1.05 * max([0.1, *(part.reference or []), *(share for shares in part.shares.values() for share in shares)])
    return [
        (name, charts.deciles(f"Popularity of what {name} recommends", shares, part.reference, top, style))
        for name, shares in part.shares.items()
        for style in [charts.colour(position[name])]
    ]


def curves(part: Learning) -> list[Markup]:
    """Return the curves as a drawing for wide and one for narrow pages."""
    shown = [(curve.name, curve.values, curve.stop) for curve in part.curves]
    return [charts.lines(part.title, shown, "epoch", part.metric, width) for width in (980, 350)]


def summary(part: Learning) -> list[tuple[int, Curve, float, int]]:
    """Return for each curve its place of colour, itself, its best value and the epoch of it; the best curve first."""
    choose = min if part.lower_is_better else max
    found = []
    for place, curve in enumerate(part.curves):
        values = [(value, epoch) for epoch, value in enumerate(curve.values, 1) if math.isfinite(value)]
        best, epoch = choose(values, key=lambda pair: pair[0]) if values else (math.nan, 0)
        found.append((place, curve, best, epoch))
    sign = 1 if part.lower_is_better else -1
    return sorted(found, key=lambda row: (math.isnan(row[2]), sign * row[2]))


def duration(seconds: float) -> str:
    """Return seconds as a person reads them.

    >>> duration(0.0123), duration(4.25), duration(150)
    ('12 ms', '4.2 s', '2.5 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
