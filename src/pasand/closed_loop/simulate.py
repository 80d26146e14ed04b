"""`simulate`: closed loops of several recipes in the markets of several seeds; finished ones are kept and resumed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pasand import __version__, recipe
from pasand.closed_loop.contenders import Contender
from pasand.closed_loop.loop import BATCH, run
from pasand.closed_loop.results import Simulation
from pasand.data.dataset import Dataset
from pasand.data.memory_estimate import Estimate, free_bytes
from pasand.encoders import columns
from pasand.errors import InputError, is_interruption
from pasand.evaluation.memory_estimate import training_memory
from pasand.progress import listening, step
from pasand.simulation.market import Market
from pasand.training.checkpoints import SUFFIX, Checkpoint
from pasand.types import Array

logger = logging.getLogger(__name__)
LABEL = "simulating rounds"
FEW_USERS = 500
"""Users of a market below which a note warns."""


def simulate(
    contenders: Sequence[Contender],
    market: Market,
    *,
    seeds: int = 3,
    k: int = 10,
    retrain_every: int = 1,
    encode: Sequence[str] = (),
    kept: Path | None = None,
) -> Simulation:
    """Return the figures of the recipes in the market with its seed and the next ones, `seeds` in all.

    `encode` names columns of the items that are encoded as vectors before the first round, as `--encode` does, such as
    "description=tfidf". With `kept`, each finished run is a file in that folder, and a later call reads it from there.
    After Ctrl-C the result is that of the runs which are finished, and not `complete`. Raises InputError for no recipe,
    for more memory than is free, for a recipe that cannot be fitted, and for files in `kept` of other settings.
    """
    if not contenders:
        raise InputError("--recipe", cause="no recipe to simulate", cure="give one, such as --recipe market")
    if seeds < 1 or k < 1 or retrain_every < 1:
        cause = f"seeds, k and retrain_every must be at least 1, got {seeds}, {k} and {retrain_every}"
        raise InputError("pasand simulate", cause=cause, cure="give larger numbers")
    require_memory(memory_needed(market, k))
    runs: dict[int, dict[str, Mapping[str, Array]]] = {market.seed + number: {} for number in range(seeds)}
    result = Simulation(
        market=market,
        names=[one.name for one in contenders],
        k=k,
        retrain_every=retrain_every,
        n_seeds=seeds,
        runs=runs,
        notes=notes(contenders, market, seeds, retrain_every),
    )
    total = seeds * len(contenders) * market.rounds
    done = 0
    step(LABEL, done, total)

    def on_round() -> None:
        nonlocal done
        done += 1
        step(LABEL, done, total)

    try:
        for seed in runs:
            one, log = replace(market, seed=seed), None
            for contender in contenders:
                file = kept_file(kept, contender, one, k, retrain_every, encode)
                saved = None if file is None else file.read()
                if saved is not None:
                    runs[seed][contender.name] = saved[0]
                    done += market.rounds
                    step(LABEL, done, total)
                    continue
                log = log or _log(one, contenders, encode)
                found = run(
                    contender.name,
                    contender.text,
                    one,
                    log,
                    k=k,
                    retrain_every=retrain_every,
                    on_round=on_round,
                )
                if file is not None:
                    file.write(found, {})
                runs[seed][contender.name] = found
    except (KeyboardInterrupt, SystemError) as error:
        if not is_interruption(error):
            raise
    return result


def notes(contenders: Sequence[Contender], market: Market, seeds: int, retrain_every: int) -> tuple[str, ...]:
    """Return what a reader has to know about the settings: few users or seeds, and recipes that do not learn."""
    found = []
    if market.n_users < FEW_USERS:
        found.append(f"{market.n_users} users are few: figures are noisy below {FEW_USERS}.")
    if seeds < 2:
        found.append("One seed is one market: intervals and tests need at least two (--seeds).")
    if retrain_every >= market.rounds > 1:
        found.append("Recipes are fitted in the first round only, so no model learns from what it showed.")
    found += [
        f"The recipe {one.name} has nothing to fit: it cannot be retrained, and learns nothing from what it showed."
        for one in contenders
        if not one.learns
    ]
    return tuple(found)


def kept_file(
    folder: Path | None,
    contender: Contender,
    market: Market,
    k: int,
    retrain_every: int,
    encode: Sequence[str] = (),
) -> Checkpoint | None:
    """Return the file of a finished run, which may not exist yet; None without a folder."""
    if folder is None:
        return None
    digest = hashlib.sha256(contender.text.encode()).hexdigest()
    name = hashlib.sha256(contender.name.encode()).hexdigest()[:12]
    about = {
        "recipe": digest,
        **asdict(market),
        "k": k,
        "retrain_every": retrain_every,
        "pasand": __version__,
        **({"encode": ",".join(encode)} if encode else {}),
    }
    return Checkpoint(folder / f"{name}-seed-{market.seed}{SUFFIX}", about)


def memory_needed(market: Market, k: int, model: int = 0) -> Estimate:
    """Return an estimate of the peak memory of one loop, of which `model` bytes are those of a fit."""
    films, visits = market.n_items, market.rounds * min(1.0, market.visits * market.round_days)
    events = market.n_users * (market.visits * market.warm_days + 1.5 * visits)  # up to three clicks in a visit
    of_users = market.n_users * (700 + 4 * 32 + 30 * k)
    of_batch = BATCH * (films * 16 + 200 * 40)
    return Estimate(data=int(events * 90 + of_users + of_batch), model=model, free=free_bytes())


def require_memory(needed: Estimate) -> None:
    """Raise InputError if more memory is needed than is free."""
    if not needed.fits:
        cause = f"too large for this machine: {needed}"
        raise InputError("pasand simulate", cause=cause, cure="give fewer --users or --rounds")


def _log(market: Market, contenders: Sequence[Contender], encode: Sequence[str]) -> Dataset:
    """Return the log of the market; raises InputError if a recipe cannot be fitted to it in the free memory."""
    requested = columns.parse(encode) if encode else []
    with listening(None):
        log = columns.encode(market.log(), requested, Path())
    for one in contenders:
        fitted = recipe.build(one.text, where=one.name).fitted.values()
        model = training_memory(log, fitted).model
        needed = memory_needed(market, 1, model)
        if not needed.fits:
            cause = f"too large for this machine: {needed}"
            raise InputError(f"the recipe {one.name}", cause=cause, cure="give fewer --users or --items")
    return log
