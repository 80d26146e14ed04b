"""`Inheritance`: finds the established items that are most similar by content, whose statistics a new item inherits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Rows, Vectors

if TYPE_CHECKING:
    from scipy import sparse

MOST_ESTABLISHED = 20_000
"""Most established items that are compared with an item: those with the most positives."""
CELLS = 2**22
"""Most similarities that are computed at a time."""
LAYOUT = {
    "neighbour": Entry("int32", "N k", lowest=-1, below="N"),
    "share": Entry("float32", "N k", lowest=0),
    "strength": Entry("number", above=0),
    "established": Entry("int32", "E", lowest=0, below="N"),
    "offsets": Entry("int64", "E+1", rises_to="V"),
    "columns": Entry("int32", "V", lowest=0, below="C"),
    "values": Entry("float32", "V"),
}


@dataclass(kw_only=True)
class Inheritance:
    """Lets new items begin with discounted statistics of the established items that are most similar to them.

    It is a table of a recipe; a component inherits by one line, `inherits = "@..."`. `Popularity` then counts inherited
    positives, and rankers read them in "popularity" and "recent_popularity", and inherited ratings in
    "mean_rating.item". What is inherited decays as the item gets events of its own (Bayesian shrinkage) and by its age;
    `pasand.features.inherited` has the formula. Similarity is the cosine of the rows of `FeatureBlocks`, in which
    every feature has the same weight, be it a category, a text, a number or a vector of `--encode`. An item that is
    added to a running bundle inherits at once. Nothing is inherited by an item without known features.
    """

    neighbours: int = 10
    """Number of similar established items; their statistics are averaged by similarity."""
    discount: float = 0.5
    """Share of the similar items' mean that is inherited, above 0 and at most 1."""
    strength: float | None = None
    """Strength m of the prior, in events: an item inherits less than m positives, and half as many once it has m of its
    own. None: the mean number of positives of the established items."""
    half_life_days: float | None = 30.0
    """Days since the first event or impression of an item after which half of what it inherits is left, whatever its
    positives; None: it does not decay by age. An item that was never seen does not age, nor does one that is added
    while serving until the next fit."""
    min_events: int = 10
    """Fewest positives of an established item."""
    item_features: tuple[str, ...] | None = None
    """Features by which items are compared; None: all of them."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _blocks: Arrays = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("neighbours", "min_events"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount must be above 0 and at most 1, got {self.discount}")
        for name in ("strength", "half_life_days"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Find the similar established items of each item; there are none in a log without established items.

        Features are encoded as learnt from `Dataset.known_items`. Raises InputError for items without usable features,
        and for a feature that they do not have.
        """
        from pasand.encoders.feature_blocks import FeatureBlocks  # slow to import, and not needed for serving

        features = self._chosen(data.item_features, data.name)
        known = np.flatnonzero(data.known_items).astype(np.int32)
        blocks = FeatureBlocks().fit({name: feature.select(known) for name, feature in features.items()})
        if not blocks.feature_names():
            cure = "put a table of items, items.csv, beside the log, or leave `inherits` out"
            raise InputError(data.name, cause="no features by which items could be compared", cure=cure)
        self._blocks = blocks.state()
        count = np.bincount(data.item[data.is_positive], minlength=data.n_items)
        most = np.argsort(-count, kind="stable")[:MOST_ESTABLISHED]
        established = np.sort(most[count[most] >= self.min_events]).astype(np.int32)
        rows = _unit(blocks.rows(features, data.n_items))
        of_established = rows[established]
        mean = float(count[established].mean()) if len(established) else float(self.min_events)
        neighbour, share = self._similar(rows, of_established, established, np.arange(data.n_items, dtype=np.int32))
        self._learnt = {
            "neighbour": neighbour,
            "share": share,
            "strength": np.array(self.strength or mean),
            "established": established,
            "offsets": of_established.indptr.astype(np.int64),
            "columns": of_established.indices.astype(np.int32),
            "values": of_established.data.astype(np.float32),
        }
        return self

    def add_items(self, features: Features) -> None:
        """Append items and find the items that are similar to them; a feature that is not given is unknown."""
        from scipy import sparse

        from pasand.encoders.feature_blocks import FeatureBlocks

        blocks = FeatureBlocks()
        blocks.load_state(self._blocks)
        n_new = max(map(len, features.values()), default=0)
        rows = _unit(blocks.rows(features, n_new))
        parts = (self._learnt["values"], self._learnt["columns"], self._learnt["offsets"])
        of_established = sparse.csr_array(parts, shape=(len(self._learnt["established"]), rows.shape[1]))
        none = np.full(n_new, -1, np.int32)
        neighbour, share = self._similar(rows, of_established, self._learnt["established"], none)
        self._learnt["neighbour"] = extended(self._learnt["neighbour"], neighbour)
        self._learnt["share"] = extended(self._learnt["share"], share)

    def similar(self, begin: int, n: int) -> tuple[Rows, Vectors]:
        """Return the similar items of n rows from `begin` on, and their shares, which sum to 1; (n, k) each.

        -1 with a share of 0 where there are fewer, and for rows that this component does not know. Raises InputError
        before `fit`.
        """
        if not self._learnt:
            cure = 'fit it first: its table comes before that of the component with `inherits = "@..."`'
            raise InputError("Inheritance", cause="it is not fitted", cure=cure)
        neighbour = np.full((n, self._learnt["neighbour"].shape[1]), -1, np.int32)
        share = np.zeros(neighbour.shape, np.float32)
        known = self._learnt["neighbour"][begin : begin + n]
        neighbour[: len(known)], share[: len(known)] = known, self._learnt["share"][begin : begin + n]
        return neighbour, share

    def numbers(self) -> Array:
        """Return discount, strength and half-life in days, infinite for none; (3,) float64."""
        return np.array([self.discount, float(self._learnt["strength"]), self.half_life_days or np.inf])

    def state(self) -> Arrays:
        """Return similar items, the rows of the established items, and the encoding of features ("blocks...")."""
        return {**self._learnt, **{f"blocks.{name}": array for name, array in self._blocks.items()}}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        from pasand.encoders.feature_blocks import FeatureBlocks

        self._blocks = {
            key.removeprefix("blocks."): value for key, value in arrays.items() if key.startswith("blocks.")
        }
        self._learnt = {key: value for key, value in arrays.items() if not key.startswith("blocks.")}
        blocks = FeatureBlocks()
        blocks.load_state(self._blocks)
        check(self._learnt, LAYOUT, C=len(blocks.feature_of_column()))

    def _chosen(self, features: Features, where: str) -> Features:
        if self.item_features is None:
            return features
        for name in self.item_features:
            if name not in features:
                cure = f"choose from: {', '.join(features) or '(there are none)'}"
                raise InputError(
                    where, column="item_features", value=name, cause="items have no such feature", cure=cure
                )
        return {name: features[name] for name in self.item_features}

    def _similar(
        self, rows: sparse.csr_array, of_established: sparse.csr_array, established: Rows, own: Rows
    ) -> tuple[Rows, Vectors]:
        """Return the most similar established items of each row and their shares, (n, k) each.

        `own` (n,) is the item of each row, which is not similar to itself; -1: none of the catalogue.
        """
        width = min(self.neighbours, len(established))
        neighbour = np.full((rows.shape[0], width), -1, np.int32)
        share = np.zeros(neighbour.shape, np.float32)
        size = max(1, CELLS // max(len(established), 1))
        transposed = of_established.T.tocsr()
        for at in range(0, rows.shape[0] if width else 0, size):
            part = slice(at, at + size)
            cosine = (rows[part] @ transposed).toarray()
            cosine[own[part, None] == established[None, :]] = 0
            best = np.sort(np.argpartition(-cosine, width - 1, axis=1)[:, :width], axis=1)
            value = np.maximum(np.take_along_axis(cosine, best, axis=1), 0)
            total = value.sum(axis=1, keepdims=True)
            neighbour[part] = np.where(value > 0, established[best], -1)
            share[part] = value / np.where(total > 0, total, 1)
        return neighbour, share


def _unit(rows: sparse.csr_array) -> sparse.csr_array:
    """Return the rows scaled to length 1; rows of zeros are unchanged."""
    from scipy import sparse

    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).reshape(-1))
    unit: sparse.csr_array = (sparse.diags_array(1 / np.where(length > 0, length, 1)) @ rows).tocsr()
    return unit
