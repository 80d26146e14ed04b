"""Small charts as inline SVG, without scripts; colours and fonts come from the page around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count

from markupsafe import Markup

COLOURS = 8
"""Number of colours that the page defines, c0 to c7."""


def colour(position: int) -> str:
    """Return the CSS class of the colour at a position; colours repeat after COLOURS."""
    return f"c{position % COLOURS}"


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return about `wanted` round numbers inside [low, high]; one number if low equals high.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= 0.75 * raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)] or [low]


def number(value: float, step: float | None = None) -> str:
    """Return a number as text for an axis or a table, with thousands separators and the decimals that `step` needs.

    >>> number(12500), number(0.25), number(0.5, 0.25)
    ('12,500', '0.25', '0.50')
    """
    if step is None:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    decimals = next((d for d in range(9) if math.isclose(step * 10**d, round(step * 10**d), rel_tol=1e-6)), 9)
    return f"{value:,.{decimals}f}"


def labels(values: Sequence[float]) -> list[str]:
    """Return ticks as text, all with the same number of decimals."""
    return [number(value, values[1] - values[0] if len(values) > 1 else None) for value in values]


def day(seconds: float) -> str:
    """Return the date, UTC, of a time in seconds since 1970.

    >>> day(0)
    '1970-01-01'
    """
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def time_ticks(low: float, high: float, wanted: int = 5) -> list[tuple[float, str]]:
    """Return about `wanted` starts of years, months, days or hours inside [low, high], with their labels."""
    days = (high - low) / 86_400
    if days < wanted:
        step = max(1, math.ceil(days * 24 / wanted)) * 3600
        first = math.ceil(low / step) * step
        hours = [first + i * step for i in range(int((high - first) // step) + 1)] if high >= first else []
        return [(t, f"{datetime.fromtimestamp(t, UTC):%d %b %H:%M}") for t in hours]
    if days < 31 * wanted / 2:
        step = math.ceil(days / wanted) * 86_400
        first = math.ceil(low / step) * step
        return [
            (t, f"{datetime.fromtimestamp(t, UTC):%d %b}".lstrip("0"))
            for t in (first + i * step for i in range(int((high - first) // step) + 1))
        ]
    months = next((m for m in (1, 2, 3, 6, 12, 24, 60, 120, 240) if days / 30.4 / m <= wanted), 600)
    start = datetime.fromtimestamp(low, UTC)
    found: list[tuple[float, str]] = []
    for i in count(start.year * 12 // months):
        time = datetime(i * months // 12, i * months % 12 + 1, 1, tzinfo=UTC)
        if time.timestamp() > high:
            return found
        if time.timestamp() >= low:
            found.append((time.timestamp(), f"{time:%Y}" if months >= 12 else f"{time:%b %Y}"))
    return found


def spaced(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return heights near the wanted ones, at least `gap` apart, and inside [low, high] if they fit there.

    >>> spaced([10, 11, 50], 10, 0, 100)
    [5.5, 15.5, 50]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[list[float]] = []  # centre, size
    for i in order:
        groups.append([wanted[i], 1])
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < gap * (groups[-1][1] + groups[-2][1]) / 2:
            (below, n), (above, m) = groups[-2:]
            groups[-2:] = [[(below * n + above * m) / (n + m), n + m]]
    positions = [
        centre + gap * (j - (size - 1) / 2) if size > 1 else centre for centre, size in groups for j in range(int(size))
    ]
    floor, ceiling = low, high
    for j in range(len(positions)):
        positions[j] = max(positions[j], floor)
        floor = positions[j] + gap
    for j in reversed(range(len(positions))):
        positions[j] = min(positions[j], ceiling)
        ceiling = positions[j] - gap
    out = [0.0] * len(wanted)
    for position, i in zip(positions, order, strict=True):
        out[i] = position
    return out


class Drawing:
    """An SVG under construction: a frame, in pixels, and its marks in drawing order."""

    def __init__(self, width: float, height: float, title: str, about: str = "", style: str = "") -> None:
        self.width, self.height, self.title, self.about, self.style = width, height, title, about, style
        self.marks: list[Markup] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """Draw a straight line."""
        mark = '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>'
        self.marks.append(Markup(mark).format(x1, y1, x2, y2, style))

    def box(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """Draw a filled rectangle; nothing when it has no area."""
        if width > 0 and height > 0:
            mark = '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"/>'
            self.marks.append(Markup(mark).format(x, y, width, height, style))

    def dot(self, x: float, y: float, radius: float, style: str) -> None:
        """Draw a disc."""
        self.marks.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}"/>').format(x, y, radius, style))

    def path(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """Draw a line through points."""
        steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.marks.append(Markup('<polyline points="{}" class="{}"/>').format(steps, style))

    def text(self, x: float, y: float, words: str, style: str = "") -> None:
        """Write text with its baseline at y; the style "end" or "middle" aligns its end or middle with x."""
        self.marks.append(Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format(x, y, style, words))

    def finish(self) -> Markup:
        """Return the SVG, at most as wide as its frame, and narrower on narrow pages."""
        about = Markup("<desc>{}</desc>").format(self.about) if self.about else Markup("")
        frame = (
            '<svg role="img" viewBox="0 0 {0:g} {1:g}" width="{0:g}" height="{1:g}" class="{2}"><title>{3}</title>{4}'
        )
        opening = Markup(frame).format(self.width, self.height, self.style, self.title, about)
        return opening + Markup("").join(self.marks) + Markup("</svg>")


Span = tuple[float, float, float]
"""Mean, low and high end of an interval."""


def axis_range(spans: Sequence[Span], room: float = 0.06) -> tuple[float, float]:
    """Return an axis range with some margin around all finite ends; it starts at 0 if that wastes little space.

    Ends in [0, 1] are those of a share, so the axis does not leave [0, 1] either.
    """
    ends = [end for span in spans for end in span if math.isfinite(end)] or [0.0, 1.0]
    low, high = min(ends), max(ends)
    margin = (high - low) * room or abs(high) * room or 1.0
    start, end = (0.0 if 0 <= low <= 0.5 * high else low - margin), high + margin
    return (max(start, 0.0), min(end, 1.0)) if low >= 0 and high <= 1 else (start, end)


def whisker(span: Span, axis: tuple[float, float], style: str, title: str, reference: float | None = None) -> Markup:
    """Return a dot with its interval for a table cell; `reference` is drawn as a thin line for comparison."""
    drawing = Drawing(104, 18, title, style="whisker")
    low, high = axis

    def x(value: float) -> float:
        return 5 + 94 * min(1, max(0, (value - low) / ((high - low) or 1)))

    drawing.line(5, 9, 99, 9, "grid")
    if reference is not None and math.isfinite(reference):
        drawing.line(x(reference), 1, x(reference), 17, "reference")
    draw_interval(drawing, span, x, 9, style)
    return drawing.finish()


def draw_interval(drawing: Drawing, span: Span, x: Callable[[float], float], y: float, style: str) -> None:
    """Draw a dot with its interval; whatever is not finite is left out."""
    mean, low, high = span
    if math.isfinite(low) and math.isfinite(high):
        drawing.line(x(low), y, x(high), y, f"bar {style}")
    if math.isfinite(mean):
        drawing.dot(x(mean), y, 4, f"fill {style}")


def dot_plot(title: str, rows: Sequence[tuple[str, Span, str]], axis: tuple[float, float], about: str) -> Markup:
    """Return a dot plot with one row per name, each a dot with its interval, on a shared axis; 340 pixels wide."""
    left, right, top, gap = 128.0, 326.0, 10.0, 22.0
    bottom = top + gap * len(rows)
    drawing = Drawing(340, bottom + 22, title, about)

    def x(value: float) -> float:
        return left + (right - left) * (value - axis[0]) / ((axis[1] - axis[0]) or 1)

    tick_values = ticks(*axis, 4)
    for value, words in zip(tick_values, labels(tick_values), strict=True):
        drawing.line(x(value), top - 4, x(value), bottom, "grid")
        drawing.text(x(value), bottom + 15, words, "tick middle")
    for row, (name, span, style) in enumerate(rows):
        y = top + gap * (row + 0.5)
        drawing.text(left - 10, y + 4, truncated(name, 18), "end")
        draw_interval(drawing, span, x, y, style)
    return drawing.finish()


def truncated(words: str, most: int) -> str:
    """Return text truncated to at most `most` characters, with an ellipsis."""
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


def decile_chart(
    title: str, shares: Sequence[float], reference: Sequence[float] | None, top: float, style: str
) -> Markup:
    """Return a bar chart of ten shares, most popular first, with `reference` as a step line; the axis ends at top."""
    listed = ", ".join(f"{100 * share:.0f} %" for share in shares)
    drawing = Drawing(232, 132, title, f"Shares by decile, most popular first: {listed}.")
    left, base, width, height = 34.0, 108.0, 19.0, 96.0
    tick_values = ticks(0, top, 4)
    for value in tick_values:
        y = base - height * value / top
        drawing.line(left, y, left + 10 * width, y, "grid")
        drawing.text(left - 5, y + 4, f"{100 * value:.0f} %", "tick end")
    for i, share in enumerate(shares):
        bar_height = height * share / top
        drawing.box(left + width * i + 2, base - bar_height, width - 4, bar_height, f"fill {style}")
    if reference is not None:
        steps = [
            (left + width * (i + side), base - height * r / top) for i, r in enumerate(reference) for side in (0, 1)
        ]
        drawing.path(steps, "line compare")
    drawing.text(left, base + 16, "most popular", "tick")
    drawing.text(left + 10 * width, base + 16, "least popular", "tick end")
    return drawing.finish()


def histogram(
    title: str, edges: Sequence[float], parts: Sequence[tuple[str, Sequence[float]]], cut: float | None, width: float
) -> Markup:
    """Return a stacked histogram over time, one colour per part, with a line at the cut."""
    left, right, top, base = 46.0, width - 12.0, 26.0, 168.0
    total = [sum(values) for values in zip(*(counts for _, counts in parts), strict=True)]
    listed = "; ".join(f"{name} {sum(counts):,.0f} events" for name, counts in parts)
    about = f"{day(edges[0])} to {day(edges[-1])}: {listed}" + (f"; cut at {day(cut)}." if cut is not None else ".")
    drawing = Drawing(width, 196, title, about, "wide" if width > 400 else "narrow")
    high, span = max([*total, 1]) * 1.05, (edges[-1] - edges[0]) or 1

    def x(time: float) -> float:
        return left + (right - left) * (time - edges[0]) / span

    tick_values = ticks(0, high, 4)
    for value, words in zip(tick_values, labels(tick_values), strict=True):
        y = base - (base - top) * value / high
        drawing.line(left, y, right, y, "grid")
        drawing.text(left - 7, y + 4, words, "tick end")
    for i in range(len(total)):
        y = base
        for part, (_, counts) in enumerate(parts):
            bar_height = (base - top) * counts[i] / high
            gap = min(1.0, 0.2 * (x(edges[i + 1]) - x(edges[i])))
            drawing.box(
                x(edges[i]), y - bar_height, x(edges[i + 1]) - x(edges[i]) - gap, bar_height, f"fill {colour(part)}"
            )
            y -= bar_height
    for time, words in time_ticks(edges[0], edges[-1], 6 if width > 400 else 3):
        edge = "start" if x(time) < left + 20 else "end" if x(time) > right - 24 else "middle"
        drawing.line(x(time), base, x(time), base + 5, "axis")
        drawing.text(x(time), base + 19, words, f"tick {edge}")
    drawing.line(left, base, right, base, "axis")
    if cut is not None:
        late = x(cut) > (left + right) / 2
        drawing.line(x(cut), top - 12, x(cut), base, "cut")
        drawing.text(x(cut) + (-6 if late else 6), top - 6, f"cut {day(cut)}", "strong end" if late else "strong")
    return drawing.finish()


def line_chart(
    title: str, curves: Sequence[tuple[str, Sequence[float], int | None]], x_name: str, y_name: str, width: float
) -> Markup:
    """Return a line chart of curves over steps 1, 2, ..., with a ring at `stop`, and names on wide charts."""
    wide = width > 400
    height = max(300.0, 60 + 15.0 * len(curves)) if wide else 240.0
    left, right, top, base = 52.0, width - (204.0 if wide else 14.0), 28.0, height - 42.0
    finite = [value for _, values, _ in curves for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    low, high, last = low - margin, high + margin, max([2, *(len(values) for _, values, _ in curves)])
    drawing = Drawing(
        width, height, title, f"{y_name} against {x_name} of {len(curves)} curves.", "wide" if wide else "narrow"
    )

    def x(step: float) -> float:
        return left + (right - left) * (step - 1) / (last - 1)

    def y(value: float) -> float:
        return base - (base - top) * (value - low) / (high - low)

    tick_values = ticks(low, high, 5)
    for value, words in zip(tick_values, labels(tick_values), strict=True):
        drawing.line(left, y(value), right, y(value), "grid")
        drawing.text(left - 8, y(value) + 4, words, "tick end")
    for step in sorted({max(1, round(value)) for value in ticks(1, last, 6 if wide else 4)} | {1}):
        drawing.line(x(step), base, x(step), base + 5, "axis")
        drawing.text(x(step), base + 18, str(step), "tick middle")
    drawing.line(left, base, right, base, "axis")
    drawing.text((left + right) / 2, base + 36, x_name, "tick middle")
    drawing.text(left - 44, 14, y_name, "tick")
    ends, names = [], []
    for position, (name, values, stop) in enumerate(curves):
        style = f"{colour(position)} dash{position // COLOURS % 3}"
        points = [(x(i + 1), y(value)) for i, value in enumerate(values) if math.isfinite(value)]
        if not points:
            continue
        drawing.path(points, f"line {style}")
        if stop is not None and 1 <= stop <= len(values) and math.isfinite(values[stop - 1]):
            drawing.dot(x(stop), y(values[stop - 1]), 4.5, f"ring {colour(position)}")
        ends.append(points[-1])
        names.append((name, style))
    if wide:
        heights = spaced([point[1] for point in ends], 15, top, base + 12)
        for (name, style), height, (end_x, end_y) in zip(names, heights, ends, strict=True):
            drawing.line(end_x + 4, end_y, right + 14, height, f"leader {style}")
            drawing.text(right + 19, height + 4, truncated(name, 28), f"name {style}")
    return drawing.finish()


def swatch(position: int) -> Markup:
    """Return the line sample of a curve for a table or legend."""
    sample = Markup('<polyline points="1,5 21,5" class="line {}"/>').format(
        f"{colour(position)} dash{position // COLOURS % 3}"
    )
    return Markup('<svg class="swatch" width="22" height="10" aria-hidden="true">{}</svg>').format(sample)
