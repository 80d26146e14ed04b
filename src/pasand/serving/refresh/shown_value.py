"""Acceptance by counterfactual evaluation: what a recipe would have earned in the impressions of the service."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pasand import recipe
from pasand.bundle import Bundle
from pasand.errors import InputError
from pasand.off_policy.evaluate import Value, compare, evaluate
from pasand.off_policy.policies import Policy, of_bundle
from pasand.serving.logs.attribution import attribute
from pasand.serving.logs.impressions import hash_user
from pasand.serving.refresh.training_data import CHUNK, Gathered
from pasand.serving.states.contract import Event, State
from pasand.sources.decision_tables import Decisions, decisions

HASH_SECRET = "PASAND_HASH_SECRET"
"""Environment variable with the secret of the impressions' users, as for `pasand serve --hash-users`."""


def shown_value(
    folder: Path, state: State, gathered: Gathered, text: str, seed: int, margin: float
) -> tuple[dict[str, Any], str]:
    """Return what a recipe earns per list against what was shown, clicks of a week, and the reason not to publish.

    The recipe is fitted to the events before the middle of the logged lists, and evaluated on the lists since, whose
    random slots make that possible. `verdict` in the report is "no worse" if the 95 % interval of the difference lies
    above -margin of what the lists earned, "worse" if it lies below, else "inconclusive"; the reason is "" for "no
    worse". An empty log, one without random slots, and one that shows too little are inconclusive. `folder` is that of
    the impressions.
    """
    try:
        log = logged(folder, state, gathered.data.users.series.to_list())
        middle = int(np.median(log.time[log.first])) if log.time is not None else 0
        log = log.select((log.time >= middle)[log.first][log.list] if log.time is not None else log.list >= 0)
        assembly = recipe.build(text).fit(gathered.data.before(middle), seed=seed)
        served = Bundle(assembly=assembly, data=gathered.data, manifest={})
        new = evaluate(log, of_bundle(log, served, "the new recipe"), seed=seed)
        shown = evaluate(log, Policy(name="what was shown", probability=log.propensity), seed=seed)
    except InputError as error:
        return {"verdict": "inconclusive"}, f"the impressions cannot be used: {error}"
    return _judged(new, shown, margin)


def logged(folder: Path, state: State, users: Sequence[str]) -> Decisions:
    """Return the impressions of a service with the clicks that followed.

    If their users are hashed, with the secret in `HASH_SECRET`, those of `users` and of the state get their ids back.
    Raises InputError if there are no impressions, and where the secret is missing or another one.
    """
    events: list[Event] = []
    after = 0
    while found := state.events(after, CHUNK):
        events += [event for _, event in found]
        after = found[-1][0]
    known = {event.user_id for event in events}.union(users)
    log = _attributed(folder, events, None)
    shown = log.users or ()
    secret = os.environ.get(HASH_SECRET, "").encode()
    names = {hash_user(user, secret): user for user in known} if secret else {}
    if not names.keys().isdisjoint(shown):
        if not known.isdisjoint(shown):
            cure = "move the older files to another folder"
            raise InputError(folder, cause="some users are hashed and others are not", cure=cure)
        log = _attributed(folder, events, secret)
        return replace(log, users=tuple(names.get(user, user) for user in log.users or ()))
    if known.isdisjoint(shown) and all(re.fullmatch("[0-9a-f]{32}", user) for user in shown):
        cause = f"their users are hashed, and {HASH_SECRET} is {'another secret' if secret else 'not set'}"
        raise InputError(folder, cause=cause, cure=f"set {HASH_SECRET} as for `pasand serve --hash-users`")
    return log


def _attributed(folder: Path, events: Sequence[Event], secret: bytes | None) -> Decisions:
    with TemporaryDirectory() as temporary:
        table = Path(temporary, "shown.parquet")
        attribute(folder, events, table, secret=secret)
        return decisions(str(table))


def _judged(new: Value, shown: Value, margin: float) -> tuple[dict[str, Any], str]:
    allowed = -margin * shown.logged.mean
    comparison = compare(new, shown)
    low, high = comparison.difference.low, comparison.difference.high
    if new.status == "wide":
        low, high = new.safe.low - shown.logged.high, new.safe.high - shown.logged.low
    report = {
        "status": new.status,
        "lists": new.diagnosis.n,
        "new": new.usual.as_json() if new.status == "ok" else None,
        "safe": None if new.status == "refused" else new.safe.as_json(),
        "shown": shown.logged.as_json(),
    }
    if new.status == "refused":
        return {"verdict": "inconclusive", **report}, new.diagnosis.sentence
    verdict = "no worse" if low > allowed else "worse" if high < allowed else "inconclusive"
    cause = f"the value of the impressions changes by [{low:+.4f}, {high:+.4f}] per list of {shown.logged.mean:.4f}"
    return {"verdict": verdict, **report}, "" if verdict == "no worse" else cause
