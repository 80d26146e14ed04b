"""Fits a bundle anew to what its service has been told since, and puts it in use if it is fit for that."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from pasand import bundle as bundles
from pasand import recipe
from pasand.errors import InputError
from pasand.serving import active_bundles
from pasand.serving.engine.engine import prove
from pasand.serving.engine.variant import Variant
from pasand.serving.refresh.acceptance import Limits, drift, foresight, size
from pasand.serving.refresh.training_data import Gathered, gather
from pasand.serving.schemas import RequestError
from pasand.serving.states import open_state
from pasand.serving.states.contract import State, StateUnavailable

LOCK = "refresh.lock"
"""The file in the service's folder that a refresh holds locked."""

STAMP = "%Y%m%d-%H%M%S"
"""Moment in the name of a bundle, UTC."""

Tell = Callable[[str], None]


class Outcome(msgspec.Struct, omit_defaults=True):
    """What a refresh did."""

    outcome: str
    """published, refused or nothing_new."""
    running: str
    """Folder of the bundle that answers from now on."""
    digest: str
    """Its digest, as answers tell it."""
    events: int
    """Events that were new to the bundle before."""
    left_out: int
    """Events of items that are not in the catalogue."""
    forgotten: int
    """Users of the bundle before of whom what it knew was left out."""
    why: str = ""
    """Why it was refused."""
    foresight: dict[str, Any] = {}
    size: dict[str, Any] = {}
    drift: dict[str, Any] = {}
    seconds: float = 0.0

    @property
    def sentence(self) -> str:
        """The same for people, in short."""
        told = f"{self.events:,} new events"
        if self.outcome == "nothing_new":
            return f"nothing new; {self.running} stays in use"
        if self.outcome == "refused":
            return f"refused: {self.why}; {self.running} stays in use ({told})"
        return f"published {self.running} ({told})"


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """How bundles are fitted anew."""

    bundle: Path
    """The bundle that the service was started with; new ones lie beside it, under its name and the time (UTC)."""
    folder: Path
    """The service's folder."""
    state: str | None = None
    """Place of the service's state; None: the file in its folder."""
    variant: str = "main"
    """Which of the service's variants is refreshed."""
    recipe: Path | None = None
    """Another recipe than the running bundle's own; None: that."""
    limits: Limits = field(default_factory=Limits)
    keep: int = 3
    """New bundles that are kept, the one in use among them; at least 2, to go back to."""

    def __post_init__(self) -> None:
        if self.keep < 2:
            raise ValueError(f"keep must be at least 2, got {self.keep}")

    def run(self, tell: Tell) -> Outcome:
        """Do it once, and return what was done; `tell` gets a sentence before each step.

        Whatever ends it early leaves the running bundle in use. Raises InputError where another refresh is running,
        where a bundle or the state is no good, and where the recipe cannot be fitted.
        """
        place = self.state or str(self.folder / "state.sqlite")
        if "://" not in place and not Path(place).exists():
            raise InputError(place, cause="no such state", cure="give --folder, or --state, as for `pasand serve`")
        began = perf_counter()
        with _alone(self.folder):
            state = open_state(place)
            try:
                outcome = self._run(state, tell)
            except StateUnavailable as error:
                cause = f"the state is out of reach: {error}"
                raise InputError(place.split("@")[-1], cause=cause, cure="try again later") from None
            finally:
                state.close()
        outcome.seconds = round(perf_counter() - began, 3)
        return outcome

    def _run(self, state: State, tell: Tell) -> Outcome:
        file = self.folder / active_bundles.NAME
        running = Variant.read(self.variant, active_bundles.read(file).get(self.variant, str(self.bundle.absolute())))
        self._sweep({running.place})
        own, seed = running.bundle.assembly.text, int(running.bundle.manifest.get("seed", 0))
        text = own if self.recipe is None else recipe.read(self.recipe).text
        tell("gathering what is new")
        found = gather(running.bundle, state)
        outcome = Outcome(
            "nothing_new", running.place, running.digest, found.n_new, found.n_strange, len(found.forgotten)
        )
        if text == own and not _new(running, found):
            return outcome
        offered = int(found.offered.sum())
        before = int(running.bundle.manifest.get("offered", running.bundle.data.n_items)), running.bundle.data.n_users
        outcome.size, why = size(before, (offered, found.data.n_users), self.limits)
        running.change(found.changes)
        if not why:
            tell(f"holding the recipe against the running bundle: {found.n_new:,} new events")
            outcome.foresight, why = foresight(running, found, text, seed, self.limits)
        if why:
            return _refused(outcome, why)
        tell(f"fitting to all {len(found.data):,} events")
        assembly = recipe.build(text).fit(found.data, seed=seed)
        about = {"state_upto": found.upto, "changes_upto": found.changed_upto, "offered": offered}
        target = self._target()
        part = target.with_name(f"{target.name}.part")
        tell(f"writing {target}")
        try:
            bundles.write(part, assembly, found.data, seed=seed, about=about)
            tell("trying it")
            fresh, why = self._tried(part, running, found, state, outcome)
            if why:
                return _refused(outcome, why)
            active_bundles.settle(part)
            part.rename(target)
            active_bundles.settle(target.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        active_bundles.write(file, self.variant, str(target))
        self._sweep({running.place, str(target)})
        outcome.outcome, outcome.running, outcome.digest = "published", str(target), fresh.digest
        return outcome

    def _tried(
        self, place: Path, running: Variant, found: Gathered, state: State, outcome: Outcome
    ) -> tuple[Variant, str]:
        """Return the new bundle as it would be served, and why it must not be, or ""."""
        fresh = Variant.read(self.variant, str(place))
        now = int(found.data.time[-1]) + 1 if len(found.data) else 0
        try:
            prove(fresh, state, now)
            outcome.drift, why = drift(running, fresh, state, now, self.limits)
        except RequestError as error:
            why = error.message
        return fresh, why

    def _target(self) -> Path:
        """Return the folder of the next bundle: by the clock, but later than all that are there, if it was set back."""
        whole, moment = self.bundle.absolute(), f"{datetime.now(UTC):{STAMP}}"
        stamps = [one.name.removeprefix(f"{whole.name}-").removesuffix(".part") for one in self._bundles()]
        if stamps and max(stamps) >= moment:
            moment = f"{datetime.strptime(max(stamps), STAMP) + timedelta(seconds=1):{STAMP}}"
        return whole.with_name(f"{whole.name}-{moment}")

    def _bundles(self) -> list[Path]:
        """Return the bundles of refreshes, whole ones and begun ones, the oldest first."""
        whole = self.bundle.absolute()
        ours = re.compile(re.escape(whole.name) + r"-\d{8}-\d{6}(\.part)?")
        return sorted(one for one in whole.parent.iterdir() if ours.fullmatch(one.name) and one.is_dir())

    def _sweep(self, used: set[str]) -> None:
        """Remove older bundles of refreshes, and what one that was killed left behind, but none that is in use."""
        used = used | set(active_bundles.read(self.folder / active_bundles.NAME).values())
        found = self._bundles()
        newest = [one for one in found if one.suffix != ".part"][-self.keep :]
        for one in found:
            if str(one) not in used and one not in newest:
                shutil.rmtree(one)


def _new(running: Variant, found: Gathered) -> bool:
    told = int(running.bundle.manifest.get("changes_upto", 0))
    return found.changed_upto > told or found.data.fingerprint != running.bundle.data.fingerprint


def _refused(outcome: Outcome, why: str) -> Outcome:
    outcome.outcome, outcome.why = "refused", why
    return outcome


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process; raises InputError where another process holds it."""
    import fcntl  # not on Windows

    try:
        handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise InputError(folder, cause=f"cannot be written: {error}", cure="give the folder of the service") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(folder, cause="another refresh is running", cure="wait until it has ended") from None
    finally:
        os.close(handle)
