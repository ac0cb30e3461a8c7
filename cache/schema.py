"""The cache format, version 1.2: one HDF5 file holding what phase two needs.

V views, N samples, K classes, D features. Every array is little-endian, contiguous and
uncompressed, so that plain h5py reads it and a reader may map its bytes without a copy.

    /                           attributes: format "marr-cache", format_version "1.2",
                                state "writing" | "sealed", seal "crc32", fingerprint,
                                head_fingerprint, creator, created_utc, <library>_version ...
    /class_counts               (K,) int64        training images per class
    /class_names                (K,) string       optional
    /head                       absent in a cache of features alone, whose head is yet to be fitted;
                                attribute normalise, if there: "unit", rows of features are divided
                                by their L2 norm before the head
    /head/weight_norm           (K,) float64      L2 norm of each row of the head's weight
    /head/weight                (K, D) float32 | float64    optional
    /head/bias                  (K,) float32 | float64      optional
    /head/prior_counts          (K,) float64      optional; the counts that phase one trained on
    /splits/<train|tune|test>/
        labels                  (N,) int64        class ids
        logits                  (N, K) if V = 1, else (V, N, K); float32 | float16
        features                (N, D) if V = 1, else (V, N, D); float32 | float16
                                at least one of the two, features alone where there is no head;
                                both have the attribute `views`, V strings: "clean" (at most one,
                                first) or "augmented"
        ids                     (N,) string | int64         optional
    /meta/<key>                 string            one JSON document each; `parts` is reserved:
                                                  what the root's fingerprint was computed from
    /checksums/<dataset path>   uint32            one CRC-32 for each 4 MiB of the dataset
    /checksums                  attribute `attributes`: CRC-32 of all other attributes

Strings are UTF-8 without NUL: ids of fixed length, padded with NUL, all others of variable length.
A dataset of numbers or of ids is summed over its raw bytes in the file; a dataset of other strings
over their UTF-8 bytes joined by one NUL byte; the attributes over the canonical JSON (sorted keys,
no spaces) of `{"/": {name: value}, "<dataset path>": {name: value}}`, datasets without attributes
left out. What HDF5 keeps beside the rows is summed by the seal behind its file, see `sealed`.

A file under its final name is sealed: complete and never written again. While it is written its
name ends in `.partial` and its state is "writing".

Versions: a reader accepts any minor version of its own major version.
    1.0  the first. Files without the attribute `seal` end in none, and their string ids are of
         variable length; they are read as well.
    1.1  the tree of 1.0. Augmented views are drawn by NumPy's Philox, so the same seed gives other
         views: an unfinished extraction of 1.0 is refused, a sealed cache is read as before.
    1.2  a cache of features alone has no `/head`, and `/head` may say how features are normalised.
         An unfinished extraction of 1.1 is refused.
"""

import h5py

from marr_pipeline.cache.errors import CacheError

FORMAT = "marr-cache"
FORMAT_VERSION = "1.2"

STATE_WRITING = "writing"
STATE_SEALED = "sealed"

SEAL = "seal"
SEAL_CRC32 = "crc32"

SPLITS = ("train", "tune", "test")
VIEW_CLEAN = "clean"
VIEW_AUGMENTED = "augmented"
VIEWS = (VIEW_CLEAN, VIEW_AUGMENTED)

CLASS_COUNTS = "class_counts"
CLASS_NAMES = "class_names"
HEAD = "head"
HEAD_NORMALISE = "normalise"
SPLITS_GROUP = "splits"
META = "meta"
META_PARTS = "parts"
CHECKSUMS = "checksums"
CHECKSUM_OF_ATTRIBUTES = "attributes"

LABEL_DTYPE = "<i8"
LOGIT_DTYPES = {"float32": "<f4", "float16": "<f2"}
CHECKSUM_DTYPE = "<u4"
CHECKSUM_BYTES = 4 << 20

# Readable by every HDF5 since 1.8, and the oldest layout whose own metadata carry a checksum.
LIBVER = ("v108", "v110")


def split_dataset(split: str, name: str) -> str:
    """Path of one dataset of a split: `splits/train/logits`."""
    return f"{SPLITS_GROUP}/{split}/{name}"


def text(value: object) -> str:
    """A string attribute as `str`, whether it was stored with variable or fixed length."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def check_header(file: h5py.File, *, has_seal: bool) -> None:
    """Refuse whatever this version cannot read.

    Args:
        file: an open HDF5 file.
        has_seal: whether a seal was found at its end.

    Raises:
        CacheError: the file is of another kind, of another major version, unfinished, or its seal
            is gone.
    """
    found = text(file.attrs.get("format", "no such attribute"))
    if found != FORMAT:
        raise CacheError(
            f"{file.filename}: attribute format = {FORMAT!r} expected, got {found!r}; "
            "this HDF5 file is not a cache: make one with `pipeline extract` or `pipeline import`"
        )
    version = text(file.attrs.get("format_version", "none"))
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise CacheError(
            f"{file.filename}: format version {FORMAT_VERSION} expected, got {version}; "
            "update this program or run `pipeline extract` again"
        )
    state = text(file.attrs.get("state", "none"))
    if state != STATE_SEALED:
        raise CacheError(
            f"{file.filename}: state {STATE_SEALED!r} expected, got {state!r}; "
            "the file is unfinished: run the command that writes it again"
        )
    if SEAL in file.attrs and not has_seal:
        raise CacheError(
            f"{file.filename}: a seal behind the HDF5 file expected, got none; the file is "
            "truncated or was changed by another program: write or copy it again"
        )
