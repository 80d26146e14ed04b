"""Adds to a log what `--encode` needs: vectors that the user has, from a column or a file, and kinds of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from pasand.data.features import Kind
from pasand.data.log import Log
from pasand.encoders.columns import Requested
from pasand.errors import InputError


def prepared(log: Log, requested: Sequence[Requested]) -> Log:
    """Return the log with its encoded columns read as texts, and its own vectors as a column of the items.

    A file of vectors is `.npy`, (n, D) with a row for each line of the table of items, or Parquet with an id and either
    one column of lists or a column for each number. Raises InputError for other files, and without a table of items.
    """
    if not requested:
        return log
    if log.items is None:
        cause, cure = "there is no table of items", "put items.csv beside the log, or name it: --items FILE"
        raise InputError("--encode", value=requested[0].column, cause=cause, cure=cure)
    items, kinds = log.items, dict(log.kinds)
    for one in requested:
        kind: Kind = "vector" if one.kind == "vector" else "text"
        kinds[f"items.{one.column}"] = kind
        if one.kind == "vector" and one.model:
            items = _with_file(items, one.column, Path(one.model))
        elif one.column not in items.columns:
            has = ", ".join(name for name in items.columns if name != "id") or "none"
            cause = f"the table of items has no such column; it has: {has}"
            raise InputError("--encode", value=one.column, cause=cause, cure="name one of them")
    return replace(log, items=items, kinds=kinds)


def _with_file(items: pl.DataFrame, column: str, path: Path) -> pl.DataFrame:
    """Return the table of items with the vectors of a file in a column of lists."""
    if not path.is_file():
        raise InputError(path, cause="there is no such file", cure="check the path")
    if path.suffix.lower() == ".npy":
        vectors = _array(path)
        if len(vectors) != len(items):
            cause = f"it has {len(vectors):,} rows, and the table of items has {len(items):,} lines"
            raise InputError(path, cause=cause, cure="give a vector for each line, or Parquet with an id")
        return items.with_columns(pl.Series(column, vectors).arr.to_list())
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        cause = f"neither .npy nor Parquet: {str(error).splitlines()[0]}"
        raise InputError(path, cause=cause, cure="save the vectors as one of them") from error
    names = [name for name in frame.columns if name != "id"]
    if "id" not in frame.columns:
        raise InputError(path, cause="it has no column id", cure="name the column with the item's id so")
    lists = [name for name in names if isinstance(frame.schema[name], pl.List | pl.Array)]
    numeric = [name for name in names if frame.schema[name].is_numeric()]
    if not lists and not numeric:
        raise InputError(path, cause="it has no numbers beside the id", cure="give lists, or a column for each number")
    values = pl.col(lists[0]) if lists else pl.concat_list([pl.col(name).cast(pl.Float32) for name in numeric])
    found = frame.select(pl.col("id").cast(pl.String), values.cast(pl.List(pl.Float32)).alias(column))
    found = found.unique("id", keep="first", maintain_order=True)
    items = items.with_columns(pl.col("id").cast(pl.String)).drop(column, strict=False)
    return items.join(found, on="id", how="left", maintain_order="left")


def _array(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(path, cause=f"not a .npy file of numbers: {error}", cure="save it with numpy.save") from error
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not values.shape[1]:
        cause = f"it holds {values.dtype} of shape {values.shape}, not a row of numbers for each item"
        raise InputError(path, cause=cause, cure="save an array of two axes")
    return np.asarray(values, np.float32)
