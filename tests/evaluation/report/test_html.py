"""The HTML report is complete, escaped and self-contained, and shows the values that it is given."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pasand.errors import InputError
from pasand.evaluation.intervals import Interval
from pasand.evaluation.report import charts
from pasand.evaluation.report.html import (
    Curve,
    Group,
    GroupedMetric,
    LeaderboardRow,
    LearningCurves,
    PopularityShares,
    Report,
    Timeline,
    Verdict,
    best_epochs,
    render,
    write,
)

DAY = 86_400.0
START = 1_735_689_600.0


def full() -> Report:
    """Return a report with all parts, and with odd values."""
    names = ["ease", "popularity", "<script>alert(1)</script>"]
    better = Verdict(verdict="better", p="p < 0.001", difference="+0.1000", interval="[+0.0800, +0.1200]")
    worse = Verdict(verdict="worse", p="p = 0.01", difference="-0.1000", interval="[-0.1200, -0.0800]")
    entries = [
        LeaderboardRow(
            name=name,
            metrics={
                "ndcg@10": Interval(mean=0.3 - 0.1 * i, low=0.28 - 0.1 * i, high=0.32 - 0.1 * i),
                "rmse": Interval(mean=0.9 - 0.1 * i),
            },
            hyperparameters="l2 100",
            fit_seconds=0.01 * 10**i,
            evaluate_seconds=0.03,
            peak_memory_mb=1200.0 * i,
            spreads={"ndcg@10": "± 0.0100"} if i else {},
            against_popularity=[better, None, worse][i],
        )
        for i, name in enumerate(names)
    ]
    group = Group(
        name="1–5 events", users=1200, values={name: Interval(mean=0.1, low=0.05, high=0.2) for name in names}
    )
    return Report(
        title="Tea & <b>films</b>",
        protocol='One cut in "time".',
        rules={"relevant": "rated >= 4"},
        data={"users": "1,200"},
        timeline=Timeline(
            edges=[START + 30 * DAY * i for i in range(7)],
            parts={"train": [5, 6, 7, 8, 9, 0], "test": [0, 0, 0, 0, 1, 9]},
            cut=START + 140 * DAY,
        ),
        leaderboard=entries,
        grouped_metrics=[
            GroupedMetric(
                metric="ndcg@10", groups=[group, Group(name="empty", users=0, values={"ease": Interval(mean=math.nan)})]
            )
        ],
        popularity=PopularityShares(shares={name: [0.5, 0.5] + [0.0] * 8 for name in names}, reference=[0.1] * 10),
        learning_curves=[
            LearningCurves(
                title="Curves",
                metric="rmse",
                curves=[Curve(name=f"k={i}", values=[1.0 + i, 0.9 + i, math.nan], stop=2) for i in range(12)],
            )
        ],
        notes=["a note"],
    )


def drawings(page: str) -> list[ElementTree.Element]:
    """Return the parsed SVGs of the page; fails if one is not well formed."""
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page, flags=re.S)]


def numbers(drawing: ElementTree.Element) -> list[float]:
    names = ("x", "y", "cx", "cy", "x1", "x2", "y1", "y2")
    return [float(mark.attrib[name]) for mark in drawing.iter() for name in names if name in mark.attrib]


def test_all_text_is_escaped() -> None:
    page = render(full())
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "Tea &amp; &lt;b&gt;films&lt;/b&gt;" in page


def test_the_page_is_self_contained() -> None:
    page = render(full())
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", page)


def test_drawings_are_well_formed_named_and_inside_their_frames() -> None:
    found = drawings(render(full()))
    assert len(found) == 3 * 2 + 2 + 2 + 3 + 2 + 12
    for drawing in found:
        if drawing.get("aria-hidden"):
            continue
        assert drawing.find("title") is not None
        _, _, width, height = map(float, drawing.attrib["viewBox"].split())
        assert all(-0.01 <= value <= max(width, height) for value in numbers(drawing))


def test_tables_have_captions() -> None:
    page = render(full())
    assert page.count("<table") == page.count("<caption") == 2


def test_the_best_of_each_column_is_marked() -> None:
    report = full()
    assert report.best("ndcg@10") == {"ease"}
    assert report.best("rmse") == {"<script>alert(1)</script>"}
    cells = re.findall(r'<td class="best"><b>([\d.]+)', render(report))
    assert cells == ["0.3000", "0.7000", "0.9000"]


def test_verdicts_are_shown_with_difference_and_p() -> None:
    page = render(full())
    assert page.count('class="bad">worse</span><small>-0.1000, p = 0.01</small><small>[-0.1200, -0.0800]</small>') == 1
    assert page.count("<span>better</span><small>+0.1000, p &lt; 0.001</small><small>[+0.0800, +0.1200]</small>") == 1
    assert page.count('<span class="soft">baseline</span>') == 1
    assert page.count("<small>± 0.0100</small>") == 2
    assert "± is the standard deviation over training seeds" in page


def test_empty_parts_are_left_out() -> None:
    page = render(Report(title="Nothing"))
    assert "<section" not in page
    assert "<dl" not in page
    assert "<svg" not in page
    assert "Nothing" in page


def test_undefined_values_never_reach_the_page() -> None:
    assert not re.search(r"\bnan\b|\binf\b", render(full()))


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    write(path, Report(title="first"))

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match="no space"):
        write(path, Report(title="second"))
    assert "first" in path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_histogram_shows_each_count_and_the_cut() -> None:
    drawing = drawings(charts.histogram("t", [0.0, DAY, 2 * DAY], [("train", [4, 0]), ("test", [0, 2])], DAY, 860))[0]
    boxes = [mark for mark in drawing if mark.tag == "rect"]
    heights = [float(box.attrib["height"]) for box in boxes]
    assert [box.attrib["class"] for box in boxes] == ["fill c0", "fill c1"]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert any(mark.text == "cut 1970-01-02" for mark in drawing)


def test_best_epochs_are_listed_best_curve_first() -> None:
    part = LearningCurves(
        title="t",
        metric="rmse",
        curves=[Curve(name="a", values=[3, 2, 4]), Curve(name="b", values=[1, 5]), Curve(name="c", values=[])],
    )
    assert [(curve.name, best, epoch) for _, curve, best, epoch in best_epochs(part)[:2]] == [("b", 1, 1), ("a", 2, 2)]
    assert best_epochs(part)[2][1].name == "c"


def test_an_axis_of_shares_stays_in_their_range() -> None:
    assert charts.axis_range([(0.96, 0.92, 1.0)]) == pytest.approx((0.9152, 1.0))
    assert charts.axis_range([(0.0, 0.0, 0.0)]) == (0.0, 1.0)
    assert charts.axis_range([(1.0, 1.0, 1.0)]) == pytest.approx((0.94, 1.0))
    assert charts.axis_range([(0.9, 0.8, 1.2)])[1] > 1.2


def test_names_at_line_ends_keep_their_distance() -> None:
    placed = charts.spaced([50, 50.1, 49.9, 90, 99, 99.5, 3], 12, 0, 100)
    ordered = sorted(placed)
    assert all(b - a >= 12 - 1e-9 for a, b in pairwise(ordered))
    assert min(placed) >= 0
    assert max(placed) <= 100
    assert placed[6] == 3


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.871, 0.944), (0, 12_345), (-3, 3), (5, 5), (1e-6, 2e-6)])
def test_ticks_are_inside_and_few(low: float, high: float) -> None:
    found = charts.ticks(low, high)
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)
    assert 1 <= len(found) <= 7
    assert len(set(charts.labels(found))) == len(found)


@pytest.mark.parametrize("days", [0.5, 3, 20, 180, 900, 9000])
def test_time_ticks_fit_the_span(days: float) -> None:
    found = charts.time_ticks(START, START + days * DAY, 6)
    assert 1 <= len(found) <= 8
    assert all(START <= time <= START + days * DAY for time, _ in found)


def test_invalid_parts_are_rejected() -> None:
    with pytest.raises(ValueError, match="rising"):
        Timeline(edges=[1, 1], parts={})
    with pytest.raises(ValueError, match="2 counts"):
        Timeline(edges=[1, 2, 3], parts={"train": [1]})
    with pytest.raises(ValueError, match="ten"):
        PopularityShares(shares={"a": [1.0]})


def test_curves_without_a_kept_epoch_need_no_table() -> None:
    curve = Curve(name="train rmse", values=[1.0, 0.5])
    page = render(Report(title="t", learning_curves=[LearningCurves(title="t", metric="rmse", curves=[curve])]))
    assert "<table" not in page
    assert "A ring" not in page
    assert page.count("<svg") == 2


def test_long_settings_fold_away() -> None:
    long = "learning_rate 0.02, epochs 100, dimensions 100, l2 0.06"
    page = render(Report(title="t", leaderboard=[LeaderboardRow(name="mf", metrics={}, hyperparameters=long)]))
    assert f"<details><summary>hyper-parameters</summary><small>{long}</small></details>" in page


def test_ties_share_the_mark_unless_all_are_equal() -> None:
    def best(*means: float) -> frozenset[str]:
        board = [LeaderboardRow(name=f"m{i}", metrics={"ndcg@10": Interval(mean=mean)}) for i, mean in enumerate(means)]
        return Report(title="t", leaderboard=board).best("ndcg@10")

    assert best(0.2, 0.2, 0.1) == {"m0", "m1"}
    assert best(0.2, 0.2) == frozenset()
    assert best(0.2) == {"m0"}
    assert best(math.nan, 0.1, 0.05) == {"m1"}
    assert best(math.nan) == frozenset()
