"""Home page and diagnostic view of a user: the rows of a home page, and the stages behind a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from pasand.data.features import TIME_UNKNOWN
from pasand.explanation import explain, sources
from pasand.explanation import named as item_named
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.feature_values import feature_to_json
from pasand.serving.engine.languages import NAMES, chosen_languages, languages_of, named, own_languages
from pasand.serving.engine.policy import calibrated, outcomes, rules_of
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
from pasand.serving.wording import Wording
from pasand.types import Candidates, Queries

DAY = 86_400
"""Seconds of a day."""
MAX_CARDS, MIN_CARDS = 12, 4
"""Cards of a row at most and at least; shorter rows are not shown."""
N_CANDIDATES = 40
"""Items requested for a row, more than are shown, since those of earlier rows are left out."""
WEEKS = (1, 2, 4, 13)
"""Ages, in weeks, up to which an item counts as new: the first of these that fills a row is used."""
MAX_REASON_ROWS, MAX_LANGUAGES = 2, 3
"""Rows for watched items, and for languages, at most."""
ENOUGH = 3 * MAX_CARDS
"""Items of the languages of a user from which on these are enough for a row of popular ones beside the other rows."""
CATEGORIES = ("genres", "genre", "categories", "category")
"""Names of features that are shown beside the title of an item, in order of preference."""
MAX_VIEWED, MAX_HISTORY = 50, 50
"""Candidates, and events of the history, that a view shows at most."""


@dataclass
class _Plan:
    """A row of the home page, and the request that fills it."""

    kind: str
    title: str
    request: RecommendRequest
    reason_item: ItemName | None = None
    language: str | None = None


@dataclass
class HomePlan:
    """A home page whose lists are still to be recommended."""

    variant: Variant
    empty: Home
    """The page without its rows."""
    plans: list[_Plan]
    time: int
    """When the page is made, in seconds since 1970."""
    words: Wording

    @property
    def requests(self) -> list[RecommendRequest]:
        """The requests for the rows, in their order."""
        return [plan.request for plan in self.plans]

    @property
    def one_by_one(self) -> bool:
        """Whether each row depends on the rows before it: rules must hold in the row that is shown."""
        return rules_of(self.variant) is not None

    def request_after(self, responses: Sequence[RecommendResponse]) -> RecommendRequest:
        """Return the request for the row after those of the responses: no more than it shows, without their items."""
        request = self.plans[len(responses)].request
        shown = [item.item_id for response in responses if len(response.items) >= MIN_CARDS for item in response.items]
        return msgspec.structs.replace(request, k=MAX_CARDS, deny=[*request.deny, *shown])

    def page(self, responses: Sequence[RecommendResponse]) -> Home:
        """Return the page with the responses to its requests, each item in one row only."""
        rows: list[Row] = []
        shown: set[str] = set()
        for plan, response in zip(self.plans, responses, strict=True):
            items = [item for item in response.items if item.item_id not in shown][:MAX_CARDS]
            if len(items) < MIN_CARDS:
                continue
            shown |= {item.item_id for item in items}
            cards = [card(self.variant, item, _reason(self, plan, item)) for item in items]
            done = outcomes(self.variant, [self.variant.row(item.item_id) for item in items], self.time)
            rows.append(Row(plan.kind, plan.title, cards, plan.reason_item, plan.language, done))
        return msgspec.structs.replace(self.empty, rows=rows)


def home_plan(engine: Engine, visitor: HomeRequest) -> HomePlan:
    """Return the rows that a home page has and the requests that fill them; raises RequestError as these do."""
    engine.sync()
    variant = engine.variant_of(visitor.user_id)
    request = RecommendRequest(user_id=visitor.user_id, history=visitor.history, features=visitor.features)
    recent_events, degraded = engine.recent_events(variant, [visitor.user_id])
    queries, _ = variant.queries([request], recent_events, engine.clock())
    known = bool(queries.users[0] >= 0) or bool((queries.history >= 0).any())
    empty = Home(visitor.user_id, known, variant.name, variant.digest, degraded, [])
    words = engine.wording or variant.wording
    liked: dict[str, Any] = {name: list(values) for name, values in visitor.liked.items() if values}
    plans = _plans(variant, request, queries, words, liked)
    return HomePlan(variant, empty, plans, int(queries.time[0]), words)


def home(engine: Engine, visitor: HomeRequest) -> Home:
    """Return the rows of a home page; raises RequestError if a row's request fails."""
    plan = home_plan(engine, visitor)
    if not plan.one_by_one:
        return plan.page(engine.responses(plan.requests))
    responses: list[RecommendResponse] = []
    for _ in plan.plans:
        responses += engine.responses([plan.request_after(responses)])
    return plan.page(responses)


def _plans(
    variant: Variant, request: RecommendRequest, queries: Queries, words: Wording, liked: dict[str, Any]
) -> list[_Plan]:
    """Return the rows of a page.

    Languages that the request names decide about all rows but those of watched items; liked values of other features
    about those that are recommended to the user.
    """
    data = variant.bundle.data
    general, for_you = msgspec.structs.replace(request, k=N_CANDIDATES, explain=True), "Recommended for you"
    if _n_items(variant, liked, int(queries.time[0])) >= MIN_CARDS:
        general = msgspec.structs.replace(general, filters=liked)
        for_you += f": {_joined([name for values in liked.values() for name in values])}"
    language = next(iter(named(data.item_features, NAMES)), None)
    chosen = [] if language is None else chosen_languages(language[1], request)
    own = chosen or ([] if language is None else own_languages(variant, language[1], queries))
    in_chosen = {} if language is None or not chosen else {**general.filters, language[0]: chosen}
    if _n_items(variant, in_chosen, int(queries.time[0])) >= MIN_CARDS:
        general = msgspec.structs.replace(general, filters=in_chosen)
        for_you += f" in {_joined(chosen)}"
    seen = queries.history[0] if queries.seen is None else np.append(queries.history[0], queries.seen[0])
    seen = np.unique(seen[seen >= 0])
    deny = data.items.ids(seen)
    plans = (
        [_Plan("for_you", for_you, general)]
        if len(seen) or request.features or request.user_id or general.filters
        else []
    )
    for row in _liked(variant, queries)[:MAX_REASON_ROWS]:
        item = variant.item_name(row)
        title = f"Because you {words.past} {item.title or item.item_id}"
        alike = RecommendRequest(history=[item.item_id], deny=deny, k=N_CANDIDATES)
        plans.append(_Plan("because_you_watched", title, alike, reason_item=item))
    released = next((name for name, feature in data.item_features.items() if feature.kind == "time"), None)
    if released is not None:
        now, times = int(queries.time[0]), np.delete(data.item_features[released].values, seen)
        for weeks in WEEKS:
            since = now - 7 * weeks * DAY
            if ((times >= since) & (times <= now)).sum() >= MAX_CARDS or weeks == WEEKS[-1]:
                title = "New this week" if weeks == 1 else f"New in the last {weeks} weeks"
                filters = {**general.filters, released: Between(min=since, max=now)}
                plans.append(_Plan("new", title, msgspec.structs.replace(general, filters=filters)))
                break
    if language is not None:
        for name in languages_of(language[1], chosen, queries)[:MAX_LANGUAGES]:
            filtered = msgspec.structs.replace(general, filters={**general.filters, language[0]: name})
            plans.append(_Plan("language", f"In {name}", filtered, language=name))
    popular, title = RecommendRequest(k=N_CANDIDATES, deny=deny), "Popular now"
    if language is not None and _n_items(variant, {language[0]: own}, int(queries.time[0])) >= ENOUGH + len(seen):
        popular, title = msgspec.structs.replace(popular, filters={language[0]: own}), f"Popular in {_joined(own)}"
    plans.append(_Plan("popular", title, popular))
    return plans


def _n_items(variant: Variant, filters: dict[str, Any], now: int) -> int:
    """Return how many available items pass filters; 0 without filters, and for one by no value."""
    if not filters or not all(filters.values()):
        return 0
    allowed = variant.allowed(RecommendRequest(filters=filters), now)
    return variant.bundle.data.n_items if allowed is None else int(np.count_nonzero(allowed))


def _joined(names: Sequence[str]) -> str:
    """Return names as a phrase: Tamil, Hindi and Telugu."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _liked(variant: Variant, queries: Queries) -> list[int]:
    """Return the distinct liked items of a query's history, latest first."""
    liked = queries.liked(variant.bundle.data.positive_from)[0]
    return list(dict.fromkeys(liked[liked >= 0][::-1].tolist()))


def card(variant: Variant, item: Recommended, reason: str) -> Card:
    """Return an item as a page shows it, with its language, genres, year and price if known."""
    row = variant.row(item.item_id)
    shown = (next(iter(named(variant.bundle.data.item_features, names)), None) for names in (NAMES, CATEGORIES))
    language, genres = (None if one is None or row < 0 else feature_to_json(one[1], row) for one in shown)
    numbers = (variant.bundle.data.item_features.get(name) for name in ("year", "price"))
    year, price = (
        None if one is None or one.kind != "number" or row < 0 else feature_to_json(one, row) for one in numbers
    )
    if isinstance(language, list):
        language = language[0] if language else None
    genres = [genres] if isinstance(genres, str) else genres or []
    year = None if year is None else int(year)
    return Card(item.item_id, item.title or item.item_id, reason, item.score, language, genres, year, price)


def _reason(page: HomePlan, plan: _Plan, item: Recommended) -> str:
    if item.propensity is not None and item.propensity < 1:
        return f"Discovery, shown by a chance of {item.propensity:.1%}"
    if plan.kind == "because_you_watched":
        return plan.title
    if plan.kind == "new":
        since = _release_day(page.variant, item.item_id)
        return f"Added on {since}" if since else "New"
    if item.reason:
        return f"Because you {page.words.past} {item.reason[0].title or item.reason[0].item_id}"
    if plan.language:
        return f"Popular in {plan.language}"
    return plan.title if plan.kind == "popular" else "Popular now"


def _release_day(variant: Variant, item: str) -> str:
    """Return the day of an item's first time feature, such as "3 May"; "" if unknown."""
    times = [feature for feature in variant.bundle.data.item_features.values() if feature.kind == "time"]
    row = variant.row(item)
    if not times or row < 0 or times[0].values[row] == TIME_UNKNOWN:
        return ""
    day = datetime.fromtimestamp(int(times[0].values[row]), tz=UTC)
    return f"{day.day} {day:%B}"


def view(engine: Engine, user: str) -> dict[str, Any]:
    """Return the stages behind a user's list: history, candidates of every source, ranks of the items at each step."""
    engine.sync()
    variant = engine.variant_of(user)
    recent_events, degraded = engine.recent_events(variant, [user])
    queries, _ = variant.queries([RecommendRequest(user_id=user, k=MAX_VIEWED)], recent_events, engine.clock())
    data, recommender = variant.bundle.data, variant.recommender
    narrowed = recommender.narrowed(queries)
    steps = [(variant.name_of(part), candidates) for part, candidates in recommender.steps(narrowed)]
    positions = [
        {int(row): i for i, row in enumerate(candidates.items[0].tolist()) if row >= 0} for _, candidates in steps
    ]
    final, propensity = steps[-1][1].items[0], steps[-1][1].propensity
    items = []
    for rank, row in enumerate(final[final >= 0][:MAX_VIEWED].tolist(), 1):
        item_steps = [
            {"name": name, "rank": position[row] + 1, "score": float(candidates.scores[0, position[row]])}
            for (name, candidates), position in zip(steps, positions, strict=True)
            if row in position
        ]
        chance = {} if propensity is None else {"propensity": float(propensity[0, rank - 1])}
        items.append({**item_named(data, row), "rank": rank, "steps": item_steps, **chance})
    wide = replace(narrowed, k=max(recommender.n_candidates, queries.k))
    components = variant.bundle.assembly.components
    return {
        "user_id": user,
        "known": bool(queries.users[0] >= 0) or bool((queries.history >= 0).any()),
        "variant": variant.name,
        "bundle": variant.digest,
        "degraded": degraded,
        "history": _history(variant, queries),
        "sources": [
            {"name": name, "kind": kind, "used": used, "items": _candidates(variant, candidates)}
            for name, kind, used, candidates in sources(recommender, wide, components)
        ],
        "items": items,
        "rules": outcomes(variant, final[final >= 0][:MAX_VIEWED].tolist(), int(queries.time[0])),
        "calibration": calibrated(variant, queries, final[final >= 0][:MAX_VIEWED].tolist()),
    }


def _candidates(variant: Variant, candidates: Candidates) -> list[dict[str, Any]]:
    """Return the first candidates of a single query, with rank and score."""
    return [
        {**item_named(variant.bundle.data, int(row)), "rank": i + 1, "score": float(candidates.scores[0, i])}
        for i, row in enumerate(candidates.items[0][:MAX_VIEWED].tolist())
        if row >= 0
    ]


def _history(variant: Variant, queries: Queries) -> list[dict[str, Any]]:
    """Return the latest events of a single query, latest first."""
    events: list[dict[str, Any]] = []
    for i in range(queries.history.shape[1] - 1, -1, -1):
        row, value = int(queries.history[0, i]), float(queries.history_value[0, i])
        if row < 0 or len(events) == MAX_HISTORY:
            break
        time = int(queries.history_time[0, i])
        events.append(
            {**item_named(variant.bundle.data, row), "time": time, "value": None if np.isnan(value) else value}
        )
    return events


def similar(engine: Engine, item: str, k: int) -> tuple[Variant, RecommendResponse]:
    """Return the first variant and its recommendations to a user with a history of this item alone.

    Raises RequestError if the item is unknown.
    """
    variant = engine.variants[0]
    engine.sync()
    if variant.row(item) < 0:
        raise RequestError(404, "unknown_item", f"there is no item {item!r}", "item_id")
    return variant, engine.responses([RecommendRequest(history=[item], deny=[item], k=k)])[0]


def explained(engine: Engine, request: RecommendRequest, item: str) -> dict[str, Any]:
    """Return an item's rank and score after each step of the recommender for a request, and what supports it.

    Raises RequestError if the item is unknown.
    """
    engine.sync()
    variant = engine.variant_of(request.user_id)
    row = variant.row(item)
    if row < 0:
        raise RequestError(404, "unknown_item", f"there is no item {item!r}", "item_id")
    recent_events, degraded = engine.recent_events(variant, [request.user_id])
    queries, _ = variant.queries([request], recent_events, engine.clock())
    explanation = explain(variant.recommender, queries, row, variant.bundle.assembly.components)
    about = {"user_id": request.user_id, "variant": variant.name, "bundle": variant.digest, "degraded": degraded}
    return {**about, **explanation.as_json(variant.bundle.data)}
