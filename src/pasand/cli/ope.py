"""pasand ope: estimates what another policy would have earned, from a log of shown items with their probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pasand.cli import console

if TYPE_CHECKING:
    from pasand.bundle import Bundle
    from pasand.data.dataset import Dataset
    from pasand.off_policy.evaluate import Comparison, Value
    from pasand.off_policy.policies import Policy
    from pasand.sources.decision_tables import Decisions
    from pasand.types import Mask


def command(
    log: str = typer.Argument(
        ...,
        help="Table of shown items, a file or a folder: user, item, time, position, clicks "
        "and propensity; what `attribute` writes, or a log of the Open Bandit data.",
    ),
    policy: list[str] = typer.Option(
        [],
        help="Policy to evaluate: the folder of a bundle, or another log, whose distribution of items by position it "
        "is; may be repeated.",
    ),
    policy_column: list[str] = typer.Option(
        [], help="Column of LOG with the probability of the shown item under a policy; may be repeated."
    ),
    compare: bool = typer.Option(
        False, "--compare", help="Compare the first of two policies with the second, by user."
    ),
    by: list[str] = typer.Option(
        [], help="Column of LOG, or feature of a bundle's users or items, whose values are groups; may be repeated."
    ),
    estimator: str | None = typer.Option(
        None, help="Estimator reported first: ips, clipped_ips, snips, dm, dr, sndr, dros, switch_dr, iips, rips ..."
    ),
    column: list[str] = typer.Option(
        [], help="Name a column: user=NAME, item, time, list, position, reward or propensity; may be repeated."
    ),
    events: str | None = typer.Option(
        None,
        help="Events of the service that LOG is of, from which bundles recommend as well: a file, or redis://HOST:PORT/0.",
    ),
    floor: float | None = typer.Option(None, help="Least propensity of a list that the logging policy admits."),
    max_reward: float | None = typer.Option(None, help="Largest possible reward of a list."),
    seed: int = typer.Option(0, help="Seed of the bootstrap and of the folds of the reward model."),
    json: Path | None = typer.Option(None, help='Write the values as JSON to a file; "-": standard output.'),
) -> None:
    """Estimate from LOG what other policies would have earned per list, or report that LOG cannot show it.

    Prints first whether the log can show it, then the value with a usual and a safe interval, then other estimators.
    Exits with 1 if the log cannot show one of the values.
    """
    from pasand.errors import InputError
    from pasand.off_policy.evaluate import compare as compared
    from pasand.off_policy.evaluate import evaluate
    from pasand.sources.decision_tables import decisions

    console.check_writable(json)
    if not policy and not policy_column:
        raise InputError("pasand ope", cause="there is no policy to evaluate", cure="add --policy BUNDLE")
    if compare and len(policy) + len(policy_column) != 2:
        cause = f"two policies are compared, and {len(policy) + len(policy_column)} are given"
        raise InputError("--compare", cause=cause, cure="give --policy or --policy-column twice")
    with console.progress():
        bundles = {one: pair for one in policy if (pair := read_bundle(one, events)) is not None}
        datasets = [data for _, data in bundles.values()]
        features = {name for data in datasets for name in (*data.user_features, *data.item_features)}
        texts = {name: "text" for name in by if name not in features}
        also = texts | dict.fromkeys(policy_column, "probability")
        names = console.assignments(column, "--column")
        read = decisions(log, names, also=also)
        groups = {name: groups_of(read, name, datasets) for name in by}
        found = [
            evaluate(read, one, estimator=estimator, floor=floor, max_reward=max_reward, by=groups, seed=seed)
            for one in policies_of(read, policy, policy_column, bundles, names)
        ]
    comparison = compared(*found) if compare else None
    if not console.quiet(json):
        for note in dict.fromkeys(note for value in found for note in value.notes):
            console.output.print(f"  {console.printable(note, lines=False)}", style="dim", soft_wrap=True)
        for value in found:
            show(value)
        if comparison is not None:
            show_comparison(comparison)
    content = {"values": [value.as_json() for value in found]}
    if comparison is not None:
        difference = None if comparison.verdict == "refused" else comparison.difference.as_json()
        content["comparison"] = [{"verdict": comparison.verdict, "difference": difference}]
    console.write_json(json, content)
    if any(value.status == "refused" for value in found):
        raise typer.Exit(1)


def read_bundle(path: str, events: str | None = None) -> tuple[Bundle, Dataset] | None:
    """Return the bundle in a folder, and its data with the events of a state after them; None if it is not one."""
    from pasand import bundle
    from pasand.bundle_files import MANIFEST
    from pasand.errors import InputError
    from pasand.serving.refresh.training_data import gather
    from pasand.serving.states import open_state

    if not (Path(path) / MANIFEST).exists():
        return None
    read = bundle.read(Path(path))
    if events is None:
        return read, read.data
    if "://" not in events and not Path(events).exists():
        raise InputError(
            "--events", value=events, cause="no such state", cure="give state.sqlite of the service's folder"
        )
    state = open_state(events)
    try:
        return read, gather(read, state).data
    finally:
        state.close()


def policies_of(
    log: Decisions, names: list[str], columns: list[str], bundles: dict[str, tuple[Bundle, Dataset]], roles: object
) -> list[Policy]:
    """Return the policies that are named: bundles, other logs, and columns of the log."""
    from pasand.off_policy import policies
    from pasand.sources.decision_tables import decisions

    found = []
    for name in names:
        if name in bundles:
            found.append(policies.of_bundle(log, bundles[name][0], name, data=bundles[name][1]))
        else:
            found.append(policies.of_log(log, decisions(name, dict(roles), needs_propensity=False)))  # type: ignore[call-overload]
    return found + [policies.of_column(log, column) for column in columns]


def groups_of(log: Decisions, name: str, datasets: list[Dataset]) -> tuple[str, dict[str, Mask]]:
    """Return "users" or "items" and the rows of each group that has any.

    A column that varies in a list is one of items. Groups overlap where a feature is a bag: a film of two genres is in
    the groups of both.
    """
    import numpy as np

    from pasand.audit.groups import item_grouping, user_grouping

    if name in log.columns:
        label = log.columns[name]
        varies = (label != label[log.first][log.list]).any()
        return ("items" if varies else "users"), {one: label == one for one in sorted(set(label.tolist()) - {""})}
    for data in datasets:
        for of, features in (("users", data.user_features), ("items", data.item_features)):
            if name not in features:
                continue
            grouping = (user_grouping if of == "users" else item_grouping)(name, data)
            ids, own = (log.users or (), log.user) if of == "users" else (log.items, log.item)
            vocabulary = data.users if of == "users" else data.items
            rows = vocabulary.rows(list(ids))[own]
            time = np.zeros(len(log), np.int64) if log.time is None else log.time
            members = {text: grouping.member(g, rows, time) for g, text in enumerate(grouping.labels)}
            return of, {text: inside for text, inside in members.items() if inside.any()}
    raise AssertionError(name)  # decisions() has refused unknown columns


def show(value: Value) -> None:
    """Print a value: its status, the diagnosis, the two intervals, all estimators and groups."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from pasand.off_policy.evaluate import SHRUNK

    out, found = console.output, value.diagnosis
    style = {"ok": "bold green", "wide": "bold yellow", "refused": "bold red"}[value.status]
    name = console.printable(value.policy, lines=False)
    out.print(Text.assemble((name, "bold"), ": ", (value.status, style)), soft_wrap=True)
    out.print(found.sentence, soft_wrap=True)
    never = "unknown" if found.never_logged != found.never_logged else f"{found.never_logged:.1%}"
    out.print(
        f"  mean weight {found.mean_weight:.3f} ({found.deviation:+.1f} s.e. from 1), effective sample "
        f"{found.effective:,.0f} of {found.n:,}, Pareto k {found.tail:.2f}, largest weight {found.max_weight:,.1f}, "
        f"never logged {never}",
        style="dim",
        soft_wrap=True,
    )
    out.print(f"  logged lists earned {value.logged}")
    if value.status == "refused":
        return
    if value.status == "ok":
        out.print(f"  usual {value.usual}  ({value.estimator})")
    out.print(f"  safe  {value.safe}  (weights up to {value.max_weight:,.4g}, rewards up to {value.max_reward:g})")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("estimator", "value [usual 95 %]", "s.e.", "parameter", "assumes"):
        table.add_column(head, no_wrap="[" in head)
    for one in value.valuations:
        parameter = "" if one.parameter is None else f"{one.parameter:.4g}"
        alone = one.estimator in SHRUNK or value.status == "wide"
        text = f"{one.value.mean:.4f}" if alone else str(one.value)
        table.add_row(*map(Text, (one.estimator, text, f"{one.error:.4f}", parameter, one.assumption)))
    out.print(table)
    for group in value.groups:
        shown = str(group.value) if group.status == "ok" else f"{group.status}: too little of it is logged"
        text = (
            f"  {group.attribute}: {group.group}: {shown}, logged {group.logged:.4f} ({group.n:,} {of_lists(group.of)})"
        )
        out.print(console.printable(text, lines=False), soft_wrap=True)


def of_lists(of: str) -> str:
    """Return what a group counts: lists of users, shown items."""
    return "lists" if of == "users" else "shown items"


def show_comparison(comparison: Comparison) -> None:
    """Print the difference of two policies and what it shows."""
    names = [console.printable(one.policy, lines=False) for one in (comparison.first, comparison.second)]
    difference = "" if comparison.verdict == "refused" else f" {comparison.difference}"
    console.output.print(f"{names[0]} - {names[1]}:{difference} {comparison.verdict}", style="bold", soft_wrap=True)
