"""Refresh of a bundle: trains it again with the events stored since, tests it and publishes it if it is accepted."""

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
from pasand.bundle_files import read_manifest, sync_folder
from pasand.errors import InputError
from pasand.serving import active_bundles, forgotten, state_owner
from pasand.serving.engine.bundle_check import check_bundle
from pasand.serving.engine.variant import Variant
from pasand.serving.forgotten import ForgottenUsers
from pasand.serving.refresh.acceptance import METRIC, Limits, drift, ranking_quality, size
from pasand.serving.refresh.shown_slots import learn_shown
from pasand.serving.refresh.shown_value import shown_value
from pasand.serving.refresh.training_data import Gathered, gather
from pasand.serving.schemas import RequestError
from pasand.serving.states import open_state
from pasand.serving.states.contract import State, StateUnavailable

LOCK = "refresh.lock"
"""File in the service's folder that is locked during a refresh."""

IMPRESSIONS = "impressions"
"""Folder in the service's folder that holds its impressions."""

STAMP = "%Y%m%d-%H%M%S"
"""Format of the time in the name of a bundle, UTC."""

CURE = "The events are kept for the next refresh. --margin widens the margin, --publish-inconclusive publishes anyway."
"""What to do about an inconclusive comparison."""

Report = Callable[[str], None]
"""Takes a sentence about the next step."""


class Outcome(msgspec.Struct, omit_defaults=True):
    """Result of a refresh."""

    outcome: str
    """published, rejected, inconclusive (not published, as too few queries show that it is no worse) or nothing_new."""
    running: str
    """Folder of the bundle in use from now on."""
    digest: str
    """Digest of that bundle, as in responses."""
    new_events: int
    """Events that the previous bundle's data do not contain."""
    skipped_events: int
    """Events that are left out, since their items are not in the catalogue."""
    forgotten_users: int
    """Users of the previous bundle whose history was left out, since they were forgotten."""
    reason: str = ""
    """Why the new bundle was not published."""
    note: str = ""
    """What was not shown of a bundle that was published all the same."""
    quality: dict[str, Any] = {}
    shown_value: dict[str, Any] = {}
    """What the new bundle would have earned in the impressions, if that is to be tested."""
    size: dict[str, Any] = {}
    drift: dict[str, Any] = {}
    seconds: float = 0.0

    @property
    def sentence(self) -> str:
        """Summary in one sentence."""
        events = f"{self.new_events:,} new events"
        if self.outcome == "nothing_new":
            return f"nothing new; {self.running} stays in use"
        if self.outcome == "rejected":
            return f"rejected: {self.reason}; {self.running} stays in use ({events})"
        if self.outcome == "inconclusive":
            return f"inconclusive: {self.reason}; {self.running} stays in use ({events}). {CURE}"
        note = f"; {self.note}" if self.note else ""
        return f"published {self.running} ({events}){note}"


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """Settings of a service's refreshes."""

    bundle: Path
    """The bundle that the service was started with; new ones are written next to it, under its name and the time."""
    folder: Path
    """The service's folder."""
    state: str | None = None
    """Address of the service's state; None: the file in its folder."""
    variant: str = "main"
    """The service's variant that is refreshed."""
    recipe: Path | None = None
    """Recipe to use; None: the running bundle's own."""
    limits: Limits = field(default_factory=Limits)
    keep: int = 3
    """New bundles that are kept, including the one in use; at least 2, to allow a rollback."""

    def __post_init__(self) -> None:
        if self.keep < 2:
            raise ValueError(f"keep must be at least 2, got {self.keep}")

    def run(self, report: Report) -> Outcome:
        """Refresh once and return the result; `report` gets a sentence before each step.

        If the refresh ends early, for any cause, the running bundle stays in use. Raises InputError if another refresh
        is running, if a bundle or the state cannot be used, and if the recipe cannot be fitted.
        """
        read_manifest(self.bundle)  # raises InputError where there is no bundle
        address = self.state or str(self.folder / "state.sqlite")
        if "://" not in address and not Path(address).exists():
            raise InputError(address, cause="no such state", cure="give --folder, or --state, as for `pasand serve`")
        began = perf_counter()
        with _locked(self.folder):
            state_owner.check(self.folder, self.bundle)
            state = open_state(address)
            try:
                outcome = self._run(state, report)
            except StateUnavailable as error:
                cause = f"the state cannot be reached: {error}"
                raise InputError(address.split("@")[-1], cause=cause, cure="try again later") from None
            finally:
                state.close()
        outcome.seconds = round(perf_counter() - began, 3)
        return outcome

    def _run(self, state: State, report: Report) -> Outcome:
        running = Variant.read(self.variant, self._running_folder())
        self._sweep({running.folder})
        own, seed = running.bundle.assembly.text, int(running.bundle.manifest.get("seed", 0))
        text = own if self.recipe is None else recipe.read(self.recipe).text
        report("collecting new events")
        gathered = gather(running.bundle, state, ForgottenUsers(self.folder / forgotten.NAME))
        outcome = Outcome(
            "nothing_new",
            running.folder,
            running.digest,
            gathered.n_new,
            gathered.n_unknown,
            len(gathered.forgotten),
        )
        if text == own and not _anything_new(running, gathered):
            return outcome
        available = int(gathered.available.sum())
        n_items = int(running.bundle.manifest.get("available_items", running.bundle.data.n_items))
        before, after = (n_items, running.bundle.data.n_users), (available, gathered.data.n_users)
        outcome.size, reason = size(before, after, self.limits)
        running.apply_changes(gathered.changes)
        if not reason:
            report(f"comparing the recipe with the running bundle: {gathered.n_new:,} new events")
            outcome.quality, reason = ranking_quality(running, gathered, text, seed, self.limits)
        if outcome.quality.get("verdict") == "inconclusive":
            reason = f"not shown that {METRIC} falls by less than {100 * self.limits.margin:g} %: {reason}"
            if not self.limits.publish_inconclusive:
                outcome.outcome, outcome.reason = "inconclusive", reason
                return outcome
            outcome.note, reason = reason, ""
        if self.limits.by_impressions and not reason:
            report("evaluating the recipe on the impressions")
            impressions = self.folder / IMPRESSIONS
            outcome.shown_value, reason = shown_value(impressions, state, gathered, text, seed, self.limits.margin)
            if outcome.shown_value["verdict"] == "inconclusive":
                reason = f"not shown that clicks fall by less than {100 * self.limits.margin:g} %: {reason}"
                if not self.limits.publish_inconclusive:
                    outcome.outcome, outcome.reason = "inconclusive", reason
                    return outcome
                outcome.note, reason = "; ".join(filter(None, [outcome.note, reason])), ""
        if reason:
            return _rejected(outcome, reason)
        report(f"fitting to all {len(gathered.data):,} events")
        assembly = recipe.build(text).fit(gathered.data, seed=seed)
        note = learn_shown(assembly, self.folder / IMPRESSIONS, state, gathered.data)
        outcome.note = "; ".join(filter(None, [outcome.note, note]))
        about = {
            "state_upto": gathered.last_event,
            "changes_upto": gathered.last_change,
            "available_items": available,
        }
        target = self._target()
        part = target.with_name(f"{target.name}.part")
        report(f"writing {target}")
        try:
            bundles.write(part, assembly, gathered.data, seed=seed, about=about)
            report("testing the new bundle")
            fresh, reason = self._tested(part, running, gathered, state, outcome)
            if reason:
                return _rejected(outcome, reason)
            part.rename(target)
            sync_folder(target.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        active_bundles.write(self.folder / active_bundles.NAME, self.variant, str(target))
        self._sweep({running.folder, str(target)})
        outcome.outcome, outcome.running, outcome.digest = "published", str(target), fresh.digest
        return outcome

    def _running_folder(self) -> str:
        """Return the folder of the bundle that the variant uses; raises InputError for a variant that is not served."""
        active = active_bundles.read(self.folder / active_bundles.NAME)
        known = active_bundles.read(self.folder / active_bundles.STARTED) or active
        known = {"main": str(self.bundle.absolute())} | {name: known[name] for name in known if name != "main"}
        if self.variant not in known:
            cause = f"the service has no such variant; it has: {', '.join(known)}"
            cure = f"write {' or '.join(f'--variant {name}' for name in known)}; others are known once they are served"
            raise InputError("--variant", value=self.variant, cause=cause, cure=cure)
        return active.get(self.variant, known[self.variant])

    def _tested(
        self, folder: Path, running: Variant, gathered: Gathered, state: State, outcome: Outcome
    ) -> tuple[Variant, str]:
        """Return the new bundle as it would be served, and the reason to reject it, or ""."""
        fresh = Variant.read(self.variant, str(folder))
        now = int(gathered.data.time[-1]) + 1 if len(gathered.data) else 0
        try:
            check_bundle(fresh, state, now)
            outcome.drift, reason = drift(running, fresh, state, now, self.limits)
        except RequestError as error:
            reason = error.message
        return fresh, reason

    def _target(self) -> Path:
        """Return the folder of the next bundle, named by the clock but always after the existing ones."""
        original, stamp = self.bundle.absolute(), f"{datetime.now(UTC):{STAMP}}"
        stamps = [path.name.removeprefix(f"{original.name}-").removesuffix(".part") for path in self._bundles()]
        if stamps and max(stamps) >= stamp:
            stamp = f"{datetime.strptime(max(stamps), STAMP) + timedelta(seconds=1):{STAMP}}"
        return original.with_name(f"{original.name}-{stamp}")

    def _bundles(self) -> list[Path]:
        """Return the folders of refreshed bundles, complete or not, oldest first."""
        original = self.bundle.absolute()
        pattern = re.compile(re.escape(original.name) + r"-\d{8}-\d{6}(\.part)?")
        return sorted(path for path in original.parent.iterdir() if pattern.fullmatch(path.name) and path.is_dir())

    def _sweep(self, used: set[str]) -> None:
        """Remove older refreshed bundles, and what a killed refresh left behind, but none that is in use."""
        used = used | set(active_bundles.read(self.folder / active_bundles.NAME).values())
        folders = self._bundles()
        newest = [folder for folder in folders if folder.suffix != ".part"][-self.keep :]
        for folder in folders:
            if str(folder) not in used and folder not in newest:
                shutil.rmtree(folder)


def _anything_new(running: Variant, gathered: Gathered) -> bool:
    known = running.bundle.counter("changes_upto")
    return gathered.last_change > known or gathered.data.fingerprint != running.bundle.data.fingerprint


def _rejected(outcome: Outcome, reason: str) -> Outcome:
    outcome.outcome, outcome.reason = "rejected", reason
    return outcome


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process; raises InputError if another process holds it."""
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
