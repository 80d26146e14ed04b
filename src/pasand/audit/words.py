"""Findings of an audit as plain sentences."""

from __future__ import annotations

import math

from pasand.audit.estimates import POWER, Finding
from pasand.evaluation.intervals import Interval

SHARES = ("exposure", "share", "discovery rate", "association")
"""First words of the measures that are shares, written in per cent."""
METRICS = {
    "ndcg": "ranking quality",
    "recall": "share of choices found",
    "map": "average precision",
    "mrr": "reciprocal rank",
    "novelty": "novelty of the lists",
    "average_popularity": "popularity of the lists",
    "intra_list_diversity": "diversity of the lists",
    "rmse": "root mean squared error of predicted ratings",
    "mae": "mean absolute error of predicted ratings",
}
"""Metrics in words, by their name without k."""
SUBJECTS = {
    "users": "Users with {name}: {measure} is {value}, against {reference} for {other}",
    "geography": "Users with {name}: {measure} is {value}, against {reference} for {other}",
    "exposure": "Items with {name} get {value} of the exposure, and are {reference} of what users chose",
    "languages": "Lists of users without {name} in their history have an item in it in {value} of cases, "
    "{other} in {reference}",
    "ratings": "Users with {name}: {measure} is {value}, against {reference} for {other}",
    "drift": "{measure} in {name} is {value}, against {reference} in {other}",
    "stereotypes": "{name} has {value} more of the exposure than for other users with the same history",
}
"""Beginnings of sentences by section."""
OTHERS = "{name}: {measure} is {value}, against {reference} ({other})"


def sentence(section: str, finding: Finding) -> str:
    """Return a finding in words: the figure, its reference, and whether a difference is shown.

    Where none is shown, the sentence names the smallest difference that the audit would have found.
    """
    name = finding.name
    if section == "stereotypes":
        name = f"Category {finding.group} for users with {finding.attribute}"
    elif section == "drift":
        name = f"{finding.attribute} {finding.group}"
    elif section.startswith(("rule ", "policy ")):
        name = finding.group if not finding.attribute else f"Users with {finding.name}"
    begin = SUBJECTS.get(section, OTHERS)
    if begin == OTHERS and name == finding.measure:
        begin = OTHERS.removeprefix("{name}: ")
    words = begin.format(
        name=name,
        measure=plain(finding.measure),
        value=figure(finding, finding.value.mean),
        reference=figure(finding, finding.reference.mean),
        other=finding.reference_name,
    )
    return f"{words[0].upper()}{words[1:]}. {conclusion(finding)}"


def plain(measure: str) -> str:
    """Return a measure in words, with the name of a metric after them.

    >>> plain("ndcg@10"), plain("exposure")
    ('ranking quality (ndcg@10)', 'exposure')
    """
    words = METRICS.get(measure.partition("@")[0])
    return f"{words} ({measure})" if words else measure


def conclusion(finding: Finding) -> str:
    """Return whether a difference is shown, in a sentence; what would have been found, if not."""
    if finding.verdict in ("higher", "lower"):
        return f"This is {finding.verdict}: {amount(finding)}."
    if finding.verdict == "not shown":
        if not finding.detectable > 0:
            return "No difference is shown."
        detectable = figure(finding, finding.detectable)
        return f"No difference is shown; one of {detectable} would have been found in {100 * POWER:.0f} of 100 audits."
    return "Described, not tested."


def amount(finding: Finding) -> str:
    """Return the ratio with its interval, or the difference where there is no ratio."""
    if all(map(math.isfinite, finding.ratio.span)):
        mean, low, high = finding.ratio.span
        return f"{mean:.2f} times as much (95 % interval {low:.2f} to {high:.2f})"
    from_0, least, most = (figure(finding, number) for number in finding.difference.span)
    return f"a difference of {from_0} (95 % interval {least} to {most})"


def figure(finding: Finding, value: float) -> str:
    """Return a figure in the unit of its measure: per cent of shares, and three digits otherwise.

    >>> interval = Interval(0.25)
    >>> f = Finding(measure="exposure", value=interval, reference_name="", reference=interval, difference=interval,
    ...             ratio=interval, n_users=2)
    >>> figure(f, 0.1234)
    '12.3 %'
    """
    if math.isnan(value):
        return "undefined"
    return f"{100 * value:.1f} %" if finding.measure.startswith(SHARES) else f"{value:.3g}"


def interval_text(finding: Finding, interval: Interval) -> str:
    """Return a figure with its interval; "" where it is undefined, and the figure alone without an interval."""
    if math.isnan(interval.mean):
        return ""
    low, high = interval.low, interval.high
    if math.isnan(low) or low == high:
        return figure(finding, interval.mean)
    if finding.measure.startswith(SHARES):
        return f"{figure(finding, interval.mean)} [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{figure(finding, interval.mean)} [{figure(finding, low)}, {figure(finding, high)}]"
