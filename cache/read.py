"""Open a cache: all of it but logits and features is read, compared with its checksums and checked.

No HDF5 handle survives, so a cache may be handed to forked processes, which share its memory. What
was opened is read on, even if the file is replaced meanwhile.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache import schema
from marr_pipeline.cache.contents import Cache, CachedSplit, parsed
from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import is_variable_text
from marr_pipeline.cache.fingerprint import fingerprint
from marr_pipeline.cache.head import Head, Normalisation
from marr_pipeline.cache.plan import check_class_counts, check_labels, check_views, check_widths
from marr_pipeline.cache.schema import split_dataset, text
from marr_pipeline.cache.sealed import OpenedCache, opened
from marr_pipeline.cache.stored import DAMAGED, StoredArray
from marr_pipeline.cache.verify import check_attributes, check_blocks

_HEAD_TYPES: tuple[type[np.floating], ...] = (np.float32, np.float64)
_ROW_TYPES: tuple[type[np.floating], ...] = (np.float32, np.float16)

_Scalar = TypeVar("_Scalar", bound=np.generic)


def open_cache(path: str | PathLike[str]) -> Cache:
    """Open a cache in milliseconds; all but logits and features is compared with its checksums.

    Raises:
        CacheError: not a cache, of a newer version, unfinished, truncated, damaged, or it
            contradicts itself.
    """
    path = Path(path)
    with opened(path) as found:
        if not found.has_seal:
            _compare_records(found)
        attributes = {name: text(value) for name, value in found.file.attrs.items()}
        head = _read_head(found)
        name = schema.CLASS_COUNTS
        class_counts = _needed_array(found, name, np.int64)
        prefix = f"{schema.META}/"
        keys = [each.removeprefix(prefix) for each in found.datasets if each.startswith(prefix)]
        documents = {key: (_read_strings(found, prefix + key) or [""])[0] for key in keys}
        made_from = attributes.get("fingerprint", "")
        parts = _read_parts(found, documents.pop(schema.META_PARTS, ""), made_from)
        names = {each.split("/")[1] for each in found.datasets if each.startswith("splits/")}
        if not names or not names <= set(schema.SPLITS):
            raise CacheError(
                f"{path}: splits named {', '.join(schema.SPLITS)} expected, "
                f"got {', '.join(names) or 'none'}; write the cache again"
            )
        num_classes = class_counts.size if head is None else head.num_classes
        check_class_counts(class_counts, num_classes, where=f"{path}: /{name}")
        splits = {
            name: _read_split(found, name, num_classes) for name in schema.SPLITS if name in names
        }
        widths = {
            name: ("logits" in split.stored, split.num_features) for name, split in splits.items()
        }
        try:
            check_widths(head, widths)
        except CacheError as error:
            raise CacheError(f"{path}: {error}") from error
        return Cache(
            path=path,
            class_counts=class_counts,
            class_names=_read_strings(found, schema.CLASS_NAMES),
            head=head,
            fingerprint=made_from,
            head_fingerprint=attributes.get("head_fingerprint", ""),
            parts=parts,
            attributes=attributes,
            documents=documents,
            splits=splits,
        )


def _compare_records(found: OpenedCache) -> None:
    """Compare what a seal would have been taken over."""
    texts = [name for name, one in found.summed().items() if is_variable_text(one.dtype)]
    damage = [each for name in texts for _, some in check_blocks(found, name) for each in some]
    for each in (*damage, *check_attributes(found)):
        raise CacheError(f"{found.path}: {each}; {DAMAGED}")


def _stored(
    found: OpenedCache,
    name: str,
    *,
    types: Sequence[type[np.generic]],
    ndims: Sequence[int] = (1,),
) -> StoredArray | None:
    """A dataset's numbers as they lie in the file; None if there is none of that name."""
    dataset = found.datasets.get(name)
    if dataset is None:
        return None
    allowed = [np.dtype(kind).newbyteorder("<") for kind in types]
    if dataset.dtype not in allowed or dataset.ndim not in ndims:
        raise CacheError(
            f"{found.path}: /{name}: {' or '.join(dtype.name for dtype in allowed)} with "
            f"{' or '.join(str(ndim) for ndim in ndims)} axes expected, "
            f"got {dataset.dtype} {dataset.shape}; write the cache again"
        )
    return found.stored(name)


def _array(
    found: OpenedCache, name: str, types: Sequence[type[_Scalar]], ndims: Sequence[int] = (1,)
) -> npt.NDArray[_Scalar] | None:
    """A dataset's numbers, compared; None if there is none of that name."""
    stored = _stored(found, name, types=types, ndims=ndims)
    return None if stored is None else cast("npt.NDArray[_Scalar]", stored.read())


def _needed_array(found: OpenedCache, name: str, kind: type[_Scalar]) -> npt.NDArray[_Scalar]:
    array = _array(found, name, [kind])
    if array is None:
        raise CacheError(f"{found.path}: dataset /{name} expected, got none; write the cache again")
    return array


def _read_strings(found: OpenedCache, name: str) -> list[str] | None:
    """A dataset of strings, a single one as a list of one; None if there is none of that name."""
    if name not in found.datasets:
        return None
    return [value.decode("utf-8") for value in np.atleast_1d(found.datasets[name][()])]


def _read_parts(found: OpenedCache, document: str, expected: str) -> Mapping[str, object]:
    where = f"{found.path}: /{schema.META}/{schema.META_PARTS}"
    parts = parsed(document, where=where)
    if not isinstance(parts, dict) or fingerprint(parts) != expected:
        raise CacheError(
            f"{where}: what the fingerprint was computed from expected, got something else; "
            "the file is damaged: run `pipeline verify`, then write or copy it again"
        )
    return parts


def _read_head(found: OpenedCache) -> Head | None:
    group = schema.HEAD
    if not any(name.startswith(f"{group}/") for name in found.datasets):
        return None
    norms = _needed_array(found, f"{group}/weight_norm", np.float64)
    weight = _array(found, f"{group}/weight", _HEAD_TYPES, ndims=(2,))
    bias = _array(found, f"{group}/bias", _HEAD_TYPES)
    prior_counts = _array(found, f"{group}/prior_counts", [np.float64])
    normalise = text(found.file[group].attrs.get(schema.HEAD_NORMALISE, "none"))
    try:
        return Head(
            weight_norm=norms,
            weight=weight,
            bias=bias,
            prior_counts=prior_counts,
            normalise=cast("Normalisation", normalise),  # which the head checks
        )
    except CacheError as error:
        raise CacheError(f"{found.path}: {error}") from error


def _read_split(found: OpenedCache, name: str, num_classes: int) -> CachedSplit:
    where = f"{found.path}: {name}"
    labels = _needed_array(found, split_dataset(name, "labels"), np.int64)
    if len(labels) == 0:
        raise CacheError(f"{where}, labels: at least one row expected, got none; write it again")
    check_labels(labels, num_classes, where=f"{where}, labels")
    stored, views = {}, {}
    for kind in ("logits", "features"):
        path = split_dataset(name, kind)
        rows = _stored(found, path, types=_ROW_TYPES, ndims=(2, 3))
        if rows is not None:
            stored[kind] = rows
            views[kind] = tuple(map(text, found.datasets[path].attrs.get("views", ())))
            check_views(views[kind], where=f"{found.path}: /{path}: views")
    if len(set(views.values())) != 1:
        raise CacheError(
            f"{where}: logits, features or both with the same views expected, "
            f"got {views.get('logits')} and {views.get('features')}; write the cache again"
        )
    kinds = next(iter(views.values()))
    for kind, rows in stored.items():
        shape = rows.extent.shape
        expected = (len(kinds), len(labels), num_classes if kind == "logits" else shape[-1])
        if (1, *shape)[-3:] != expected:
            raise CacheError(
                f"{where}, {kind}: shape {expected} by its views, its labels and the classes "
                f"expected, got {(1, *shape)[-3:]}; write the cache again"
            )
    return CachedSplit(
        name=name,
        views=kinds,
        labels=labels,
        stored_ids=_read_ids(found, split_dataset(name, "ids"), len(labels)),
        stored=stored,
    )


def _read_ids(found: OpenedCache, name: str, count: int) -> npt.NDArray[np.generic] | None:
    dataset = found.datasets.get(name)
    if dataset is None:
        return None
    if dataset.shape != (count,):
        raise CacheError(
            f"{found.path}: /{name}: {count} ids, one for each label, expected, "
            f"got {dataset.shape}; write the cache again"
        )
    if is_variable_text(dataset.dtype):  # of a file from before the seal: in HDF5's heap
        return np.array(dataset[...].tolist(), dtype=np.bytes_)
    if dataset.dtype.kind == "S":
        return found.stored(name).read()
    return _array(found, name, [np.int64])
