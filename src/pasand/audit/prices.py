"""Prices: those of the recommended items against those that users usually pay."""

from __future__ import annotations

import numpy as np

from pasand.audit.estimates import Finding, compared, mean_of, ratio_of_sums
from pasand.audit.groups import Grouping, item_grouping
from pasand.audit.lists import Lists
from pasand.types import Array

DEFINITION = (
    "Mean price of the recommended items, weighted by position, compared with the mean price of the items in the same "
    "users' histories; the mean price of the items that they chose next is beside it. By band: the share of exposure "
    "in a higher, and in a lower, band of price than the user's usual one, the median of the history; bands are "
    "quarters of the catalogue. Price steering: Hannak et al., Measuring Price Discrimination and Steering on "
    "E-commerce Web Sites, IMC 2014."
)


def measure(lists: Lists, feature: str) -> list[Finding]:
    """Return the recommended price against the usual one, and the exposure above and below the usual band."""
    train = lists.split.train
    price = train.item_features[feature].values.astype(np.float64)
    priced = (lists.items >= 0) & ~np.isnan(price[lists.items])
    shown = np.where(priced, price[lists.items], 0.0)
    usual = lists.history_means(price[:, None])[:, 0]
    has_usual = ~np.isnan(usual)
    total, weight = lists.exposure(shown), lists.exposure(priced)
    recommended = np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)
    _, item, _ = lists.chosen()
    real = ~np.isnan(price[item])
    chosen, of_chosen = lists.merit(np.where(real, price[item], 0.0)), lists.merit(real)
    findings = [
        compared(
            mean_of(recommended, has_usual),
            mean_of(usual, ~np.isnan(recommended)),
            measure="recommended price",
            reference_name="users' histories",
            context={"chosen items": ratio_of_sums(chosen, of_chosen)},
        )
    ]
    return findings + _by_band(lists, item_grouping(feature, train))


def _by_band(lists: Lists, bands: Grouping) -> list[Finding]:
    """Return the share of exposure above and below the usual band, each against the other; not tested."""
    band = np.where(bands.table.any(axis=0), bands.table.argmax(axis=0), -1)
    usual = np.full(len(lists.items), np.nan)
    for which, history, _ in lists.histories():
        usual[which] = _median_band(np.where(history >= 0, band[history], -1))
    of_items = np.where(lists.items >= 0, band[lists.items], -1)
    known = (of_items >= 0) & ~np.isnan(usual)[:, None]
    above, below = known & (of_items > usual[:, None]), known & (of_items < usual[:, None])
    weight = lists.exposure(known)
    higher, lower = ratio_of_sums(lists.exposure(above), weight), ratio_of_sums(lists.exposure(below), weight)
    names = {"reference_name": "share of exposure below the usual price band", "tested": False}
    return [compared(higher, lower, measure="share of exposure above the usual price band", **names)]  # type: ignore[arg-type]


def _median_band(bands: Array) -> Array:
    """Return the lower median of each row's bands, (B, H) padded with -1 -> (B,); nan without any."""
    ordered = np.sort(bands, axis=1)
    count = (bands >= 0).sum(axis=1)
    if not bands.shape[1]:
        return np.full(len(bands), np.nan)
    column = np.clip(bands.shape[1] - count + (count - 1) // 2, 0, bands.shape[1] - 1)
    return np.where(count > 0, ordered[np.arange(len(bands)), column], np.nan)
