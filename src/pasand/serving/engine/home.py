"""What the page shows of a user: the rows of a home, and what stands behind an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pasand.data.features import TIME_UNKNOWN, Feature
from pasand.explanation import named, sources
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.feature_values import shown
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import (
    Between,
    Card,
    Home,
    HomeRequest,
    ItemName,
    Recommended,
    RecommendRequest,
    RecommendResponse,
    RequestError,
    Row,
)
from pasand.types import Queries

DAY = 86_400
CARDS, FEWEST = 12, 4
"""Cards of a row at most; a row of fewer than the second number is not shown."""
ASKED = 40
"""Items that are asked for a row, since those of earlier rows are left out."""
WEEKS = (1, 2, 4, 13)
"""Within how many weeks an item is called new: the first of these that fills a row."""
BECAUSE, LANGUAGES = 2, 3
"""Rows for items of the history, and for languages, at most."""
VIEWED, PAST = 50, 50
"""Candidates, and events of the history, that a view shows."""


@dataclass
class _Plan:
    """A row to be asked for."""

    kind: str
    title: str
    ask: RecommendRequest
    because: ItemName | None = None
    language: str | None = None


def home(engine: Engine, visitor: HomeRequest) -> Home:
    """Return the rows of a home page, each item in one row only; raises Refused as the answers do."""
    variant = engine.variant_of(visitor.user)
    ask = RecommendRequest(user=visitor.user, history=visitor.history, features=visitor.features)
    recent_events, degraded = engine.recent_events(variant, [visitor.user])
    queries, _ = variant.queries([ask], recent_events, engine.clock())
    plans = [*_plans(variant, ask, queries)]
    found = engine.answer([plan.ask for plan in plans])
    rows: list[Row] = []
    used: set[str] = set()
    for plan, answer in zip(plans, found, strict=True):
        if isinstance(answer, RequestError):
            raise answer
        fresh = [one for one in answer.items if one.item not in used][:CARDS]
        if len(fresh) < FEWEST:
            continue
        used |= {one.item for one in fresh}
        cards = [card(variant, one, _reason(variant, plan, one)) for one in fresh]
        rows.append(Row(plan.kind, plan.title, cards, plan.because, plan.language))
    known = bool(queries.users[0] >= 0) or bool((queries.history >= 0).any())
    return Home(visitor.user, known, variant.name, variant.digest, degraded, rows)


def _plans(variant: Variant, ask: RecommendRequest, queries: Queries) -> list[_Plan]:
    data = variant.bundle.data
    whole = replace_ask(ask, k=ASKED, explain=True)
    seen = queries.history[0][queries.history[0] >= 0]
    deny = data.items.ids(np.unique(seen))[-1000:]
    plans = [_Plan("for_you", "For you", whole)] if len(seen) or ask.features or ask.user else []
    for row in _liked(variant, queries)[:BECAUSE]:
        item = variant.named(row)
        one = RecommendRequest(history=[item.item], deny=deny, k=ASKED)
        plans.append(_Plan("because", f"Because you watched {item.title or item.item}", one, because=item))
    fresh = next((name for name, feature in data.item_features.items() if feature.kind == "time"), None)
    if fresh is not None:
        now, came = int(queries.time[0]), np.delete(data.item_features[fresh].values, np.unique(seen))
        for weeks in WEEKS:
            since = now - 7 * weeks * DAY
            if ((came >= since) & (came <= now)).sum() >= CARDS or weeks == WEEKS[-1]:
                title = "New this week" if weeks == 1 else f"New in the last {weeks} weeks"
                inside = {fresh: Between(min=since, max=now)}
                plans.append(_Plan("new", title, replace_ask(whole, filters=inside)))
                break
    language = _feature(variant, "language")
    if language is not None:
        for name in _languages(language[1], ask, queries)[:LANGUAGES]:
            within = replace_ask(whole, filters={language[0]: name})
            plans.append(_Plan("language", f"In {name}", within, language=name))
    plans.append(_Plan("popular", "Popular now", RecommendRequest(k=ASKED, deny=deny)))
    return plans


def replace_ask(ask: RecommendRequest, **changes: Any) -> RecommendRequest:
    """Return a request with other fields."""
    return RecommendRequest(**{name: changes.get(name, getattr(ask, name)) for name in ask.__struct_fields__})


def _liked(variant: Variant, queries: Queries) -> list[int]:
    """Return the different items that a query's history likes, latest first."""
    liked = queries.liked(variant.bundle.data.positive_from)[0]
    return list(dict.fromkeys(liked[liked >= 0][::-1].tolist()))


def _languages(language: Feature, ask: RecommendRequest, queries: Queries) -> list[str]:
    """Return languages: those that a request names, then those of its history, or else those of most items."""
    told = [str(one) for value in ask.features.values() for one in (value if isinstance(value, list) else [value])]
    named = [one for one in told if one in language.names]

    def often(rows: Any) -> list[str]:
        codes = language.values[rows].reshape(-1)
        return [language.names[code] for code, _ in Counter(codes[codes >= 0].tolist()).most_common()]

    history = queries.history[0]
    mine = often(history[(history >= 0) & (history < len(language))])
    return list(dict.fromkeys([*named, *mine, *([] if named or mine else often(slice(None)))]))


def _feature(variant: Variant, name: str) -> tuple[str, Feature] | None:
    """Return a feature of categories that is called so, in the singular or the plural."""
    for own, feature in variant.bundle.data.item_features.items():
        if own.lower() in (name, f"{name}s") and feature.kind in ("categorical", "bag"):
            return own, feature
    return None


def card(variant: Variant, one: Recommended, reason: str) -> Card:
    """Return an item as a page shows it, with its language, genres and year where they are known."""
    row = variant.row(one.item)
    values: dict[str, Any] = {}
    for name in ("language", "genre"):
        found = _feature(variant, name)
        values[name] = None if found is None or row < 0 else shown(found[1], row)
    years = variant.bundle.data.item_features.get("year")
    year = None if years is None or years.kind != "number" or row < 0 else shown(years, row)
    language, genres = values["language"], values["genre"]
    if isinstance(language, list):
        language = language[0] if language else None
    genres = [genres] if isinstance(genres, str) else genres or []
    return Card(
        one.item, one.title or one.item, reason, one.score, language, genres, None if year is None else int(year)
    )


def _reason(variant: Variant, plan: _Plan, one: Recommended) -> str:
    if plan.kind == "because":
        return plan.title
    if plan.kind == "new":
        came = _came(variant, one.item)
        return f"New since {came}" if came else "New"
    if one.because:
        return f"Because you watched {one.because[0].title or one.because[0].item}"
    return f"Popular in {plan.language}" if plan.language else "Popular now"


def _came(variant: Variant, item: str) -> str:
    times = [feature for feature in variant.bundle.data.item_features.values() if feature.kind == "time"]
    row = variant.row(item)
    if not times or row < 0 or times[0].values[row] == TIME_UNKNOWN:
        return ""
    day = datetime.fromtimestamp(int(times[0].values[row]), tz=UTC)
    return f"{day.day} {day:%B}"


def view(engine: Engine, user: str) -> dict[str, Any]:
    """Return what stands behind the answer to a user: history, candidates of every source, and the way of each item."""
    variant = engine.variant_of(user)
    recent_events, degraded = engine.recent_events(variant, [user])
    queries, _ = variant.queries([RecommendRequest(user=user, k=VIEWED)], recent_events, engine.clock())
    data, recommender = variant.bundle.data, variant.recommender
    narrowed = recommender.narrowed(queries)
    steps = [(variant.name_of(part), candidates) for part, candidates in recommender.steps(narrowed)]
    places = [{int(row): at for at, row in enumerate(found.items[0].tolist()) if row >= 0} for _, found in steps]
    final = steps[-1][1].items[0]
    items = []
    for rank, row in enumerate(final[final >= 0][:VIEWED].tolist(), 1):
        way = [
            {"name": name, "rank": at[row] + 1, "score": float(found.scores[0, at[row]])}
            for (name, found), at in zip(steps, places, strict=True)
            if row in at
        ]
        items.append({**named(data, row), "rank": rank, "steps": way})
    wide = replace(narrowed, k=max(recommender.n_candidates, queries.k))
    proposed = [
        {
            "name": name,
            "kind": kind,
            "asked": asked,
            "items": [
                {**named(data, int(row)), "rank": at + 1, "score": float(found.scores[0, at])}
                for at, row in enumerate(found.items[0][:VIEWED].tolist())
                if row >= 0
            ],
        }
        for name, kind, asked, found in sources(recommender, wide, variant.bundle.assembly.components)
    ]
    return {
        "user": user,
        "known": bool(queries.users[0] >= 0),
        "variant": variant.name,
        "bundle": variant.digest,
        "degraded": degraded,
        "history": _history(variant, queries),
        "sources": proposed,
        "items": items,
    }


def _history(variant: Variant, queries: Queries) -> list[dict[str, Any]]:
    """Return the latest events of a query, latest first."""
    told: list[dict[str, Any]] = []
    for at in range(queries.history.shape[1] - 1, -1, -1):
        row, value = int(queries.history[0, at]), float(queries.history_value[0, at])
        if row < 0 or len(told) == PAST:
            break
        when = int(queries.history_time[0, at])
        told.append({**named(variant.bundle.data, row), "time": when, "value": None if np.isnan(value) else value})
    return told


def similar(engine: Engine, item: str, k: int) -> tuple[Variant, RecommendResponse]:
    """Return what is recommended to somebody of whom that item alone is known; raises Refused if it is unknown."""
    variant = engine.variants[0]
    engine.sync()
    if variant.row(item) < 0:
        raise RequestError(404, "unknown_item", f"there is no item {item!r}", "item")
    found: Sequence[RecommendResponse | RequestError] = engine.answer(
        [RecommendRequest(history=[item], deny=[item], k=k)]
    )
    if isinstance(found[0], RequestError):
        raise found[0]
    return variant, found[0]
