"""Cold start: exposure of items that are younger than a number of days at the query."""

from __future__ import annotations

import numpy as np

from pasand.audit import item_exposure
from pasand.audit.estimates import Finding, compared
from pasand.audit.groups import Grouping
from pasand.audit.lists import Lists

DEFINITION = (
    "Share of exposure of the items that have been available for less than a number of days at the query, compared "
    "with their share of the items that the test users chose next; the shares of the available catalogue and of the "
    "positive train events are beside it. Age counts from the item feature available_from, else from the item's "
    "first event. After Schein et al., Methods and Metrics for Cold-Start Recommendations, SIGIR 2002, and Singh & "
    "Joachims, KDD 2018."
)


def measure(lists: Lists, days: float) -> list[Finding]:
    """Return the exposure of the items younger than `days`; [] where no item is, at any query, or merit is 0."""
    available = lists.split.available_from
    if available is None:
        return []
    table = np.zeros((2, len(available)), np.bool_)
    ages = Grouping("age", ["young", "old"], table, times=available, ages=(days,))
    catalogue, merit = item_exposure.catalogue_share(lists, ages, 0), item_exposure.merit_share(lists, ages, 0)
    if not catalogue.value > 0 or not merit.value > 0:
        return []
    return [
        compared(
            item_exposure.exposure_share(lists, ages, 0),
            merit,
            measure=f"exposure of items younger than {days:g} days",
            reference_name="merit",
            context={"catalogue": catalogue, "interactions": item_exposure.interaction_share(lists, ages, 0)},
        )
    ]
