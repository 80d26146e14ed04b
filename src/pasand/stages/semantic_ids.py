"""`SemanticIds`: gives a model short codes of the items' content, whose prefixes similar items share, as features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import sparse

from pasand.contracts import AddsItems, Model
from pasand.data.dataset import Dataset
from pasand.data.features import Feature, Features
from pasand.encoders.feature_blocks import FeatureBlocks
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Queries, Rows, Scores

Floats = NDArray[np.float64]

STEPS = 25
"""Most steps of k-means."""
CELLS = 2**22
"""Most distances that are computed at a time."""
LAYOUT = {
    "axes": Entry("float32", "C D"),
    "mean": Entry("float32", "D"),
    "centres": Entry("float32", "L k D", gaps=True),
    "codes": Entry("int32", "n L", lowest=-1, below="k"),
}


@dataclass(kw_only=True)
class SemanticIds:
    """Returns the scores of `model`, which is trained on item features that include semantic ids.

    The content of an item is its row of `FeatureBlocks`, in its main directions. Residual k-means codes it: the first
    code is the nearest of `codes` centres, the second that of what is left after subtracting this centre, and so on.
    The prefixes of the codes are categorical features of items, "semantic_id_1", "semantic_id_2" and on, which all
    towers and rankers read; a new item thus shares parameters with the items of similar content. It is coded at once by
    the same centres; a prefix that no item had in training is unknown. Rajput et al., "Recommender systems with
    generative retrieval" (TIGER), NeurIPS 2023, have such ids, by a trained quantiser; as features of rankers they are
    those of Singh et al., "Better generalization with semantic IDs", RecSys 2024. Codes depend on the features of
    `Dataset.known_items` alone, and on no event.
    """

    model: Model
    """Trained model; it is fitted here, and no other component may fit it. Later components may use it."""
    levels: int = 3
    """Number of codes of an item."""
    codes: int = 256
    """Number of centres of a level, at most a quarter of the known items."""
    dimensions: int = 64
    """Number of main directions of the content that are coded."""
    item_features: tuple[str, ...] | None = None
    """Features that are coded; None: all of them."""
    name: str = "semantic_id"
    """Beginning of the names of the features."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _blocks: FeatureBlocks = field(default_factory=FeatureBlocks, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("levels", "codes", "dimensions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def owned(self) -> tuple[object, ...]:
        """The model."""
        return (self.model,)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Code the known items, then fit the model; raises InputError without usable features and for a name in use."""
        used = [name for name in self._names() if name in data.item_features]
        if used:
            cure = "give this component another `name`"
            raise InputError(data.name, column=used[0], cause="the items have a feature of that name", cure=cure)
        for name in self.item_features or ():
            if name not in data.item_features:
                cure = f"choose from: {', '.join(data.item_features) or '(there are none)'}"
                raise InputError(data.name, column="item_features", value=name, cause="no such feature", cure=cure)
        known = np.flatnonzero(data.known_items).astype(np.int32)
        chosen = {name: data.item_features[name] for name in self.item_features or data.item_features}
        self._blocks = FeatureBlocks().fit({name: feature.select(known) for name, feature in chosen.items()})
        if not self._blocks.feature_names():
            cure = "put a table of items, items.csv, beside the log, or leave this component out"
            raise InputError(data.name, cause="no features that could be coded", cure=cure)
        own = rng.spawn(1)[0]
        rows = self._blocks.rows({name: feature.select(known) for name, feature in chosen.items()}, len(known))
        axes = _main_directions(rows, self.dimensions, own)
        vectors = rows @ axes
        mean = vectors.mean(axis=0)
        centres = residual_centres(vectors - mean, self.levels, min(self.codes, max(1, len(known) // 4)), own)
        self._learnt = {
            "axes": axes.astype(np.float32),
            "mean": mean.astype(np.float32),
            "centres": centres.astype(np.float32),
            "codes": np.empty((0, self.levels), np.int32),
        }
        self._learnt["codes"] = np.unique(self.codes_of(data.item_features, data.n_items)[known], axis=0)
        self.model.fit(
            replace(data, item_features={**data.item_features, **self._coded(data.item_features, data.n_items)}),
            rng=rng,
        )
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the model's scores."""
        return self.model.score(queries, items)

    def add_items(self, features: Features) -> None:
        """Append items to the model, with their codes, if it accepts new items."""
        if isinstance(self.model, AddsItems):
            n_new = max(map(len, features.values()), default=0)
            self.model.add_items({**features, **self._coded(features, n_new)})

    def codes_of(self, features: Features, n: int) -> Rows:
        """Return the codes of n items, (n, levels); -1 for an item without a known feature."""
        rows = self._blocks.rows(features, n)
        vectors = rows @ self._learnt["axes"].astype(np.float64) - self._learnt["mean"]
        codes = residual_codes(vectors, self._learnt["centres"].astype(np.float64))
        codes[np.diff(rows.indptr) == 0] = -1
        return codes

    def state(self) -> Arrays:
        """Return directions, centres, the codes of training items, and the encoding of features ("blocks...")."""
        return {**self._learnt, **{f"blocks.{name}": array for name, array in self._blocks.state().items()}}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        blocks = {key.removeprefix("blocks."): value for key, value in arrays.items() if key.startswith("blocks.")}
        self._learnt = {key: value for key, value in arrays.items() if not key.startswith("blocks.")}
        self._blocks = FeatureBlocks()
        self._blocks.load_state(blocks)
        check(self._learnt, LAYOUT, C=len(self._blocks.feature_of_column()), L=self.levels)

    def _names(self) -> list[str]:
        return [f"{self.name}_{level}" for level in range(1, self.levels + 1)]

    def _coded(self, features: Features, n: int) -> dict[str, Feature]:
        """Return the features of n items: the prefixes of their codes that training items have."""
        codes, coded = self.codes_of(features, n), {}
        for level, name in enumerate(self._names(), 1):
            known = np.unique(self._learnt["codes"][:, :level], axis=0)
            known = known[(known >= 0).all(axis=1)]
            number = {tuple(prefix): code for code, prefix in enumerate(known.tolist())}
            values = np.array([number.get(tuple(prefix), -1) for prefix in codes[:, :level].tolist()], np.int32)
            names = tuple("-".join(map(str, prefix)) for prefix in known.tolist())
            coded[name] = Feature(kind="categorical", values=values, names=names)
        return coded


def residual_centres(vectors: Floats, levels: int, n: int, rng: Generator) -> Floats:
    """Return the centres of residual k-means of vectors, (N, D) -> (levels, n, D); nan for centres without a vector."""
    centres = np.full((levels, n, vectors.shape[1]), np.nan)
    left = vectors.copy()
    for level in range(levels):
        found = _k_means(left, n, rng)
        centres[level, : len(found)] = found
        if len(found):
            left -= found[_nearest(left, found)]
    return centres


def residual_codes(vectors: Floats, centres: Floats) -> Rows:
    """Return the code of each vector at each level, (N, D), (L, n, D) -> (N, L)."""
    left, codes = vectors.copy(), np.full((len(vectors), len(centres)), -1, np.int32)
    for level, table in enumerate(centres):
        found = table[~np.isnan(table).any(axis=1)]
        if len(found) and len(left):
            codes[:, level] = _nearest(left, found)
            left -= found[codes[:, level]]
    return codes


def _k_means(vectors: Floats, n: int, rng: Generator) -> Floats:
    """Return at most n centres by Lloyd's algorithm from k-means++ (Arthur & Vassilvitskii, SODA 2007)."""
    if not len(vectors):
        return vectors
    centres = vectors[[int(rng.integers(len(vectors)))]]
    distance = ((vectors - centres[0]) ** 2).sum(axis=1)
    while len(centres) < n and distance.sum() > 1e-12 * len(vectors):
        chosen = vectors[int(rng.choice(len(vectors), p=distance / distance.sum()))]
        centres = np.concatenate([centres, chosen[None]])
        distance = np.minimum(distance, ((vectors - chosen) ** 2).sum(axis=1))
    nearest = np.full(len(vectors), -1)
    for _ in range(STEPS):
        before, nearest = nearest, _nearest(vectors, centres)
        if (before == nearest).all():
            break
        table = sparse.csr_array(
            (np.ones(len(vectors)), (nearest, np.arange(len(vectors)))), (len(centres), len(vectors))
        )
        count = np.bincount(nearest, minlength=len(centres))
        centres = np.where(count[:, None] > 0, table @ vectors / np.maximum(count, 1)[:, None], centres)
    return centres


def _nearest(vectors: Floats, centres: Floats) -> Array:
    """Return the nearest centre of each vector, (N,); the lower number on a tie."""
    size, length = max(1, CELLS // len(centres)), (centres**2).sum(axis=1)
    parts = [np.empty(0, np.int64)]
    for at in range(0, len(vectors), size):
        parts.append(np.argmin(length - 2 * vectors[at : at + size] @ centres.T, axis=1))
    return np.concatenate(parts)


def _main_directions(rows: sparse.csr_array, dimensions: int, rng: Generator) -> Floats:
    """Return the leading right singular vectors of sparse rows, (n, C) -> (C, D), by a randomised range finder.

    Source: Halko et al., SIAM Review 53, 2011, algorithm 4.4.
    """
    width = min(dimensions, *rows.shape)
    basis = rng.normal(size=(rows.shape[1], min(width + 16, *rows.shape)))
    for _ in range(3):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    inside = rows @ basis
    axes: Floats = basis @ np.linalg.eigh(inside.T @ inside)[1][:, ::-1][:, :width]
    return axes
