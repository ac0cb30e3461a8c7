"""The cache: one HDF5 file that holds everything phase two needs, as a published format.

`schema` is the format's page. Imports numpy, h5py and filelock, and nothing of the project.
"""

from marr_pipeline.cache.contents import READ_UP_TO, Cache, CachedSplit, ViewKind
from marr_pipeline.cache.errors import CacheError, CacheWriteError, StaleCacheError
from marr_pipeline.cache.fingerprint import (
    differences,
    digest,
    digest_blocks,
    fingerprint,
    require_same,
    row_ranges,
)
from marr_pipeline.cache.head import Head, Normalisation, first_not_finite
from marr_pipeline.cache.plan import CachePlan, SplitArrays, SplitPlan, check_labels, check_views
from marr_pipeline.cache.read import open_cache
from marr_pipeline.cache.verify import Damage, verify_cache
from marr_pipeline.cache.write import CacheWriter, PartnerWriter, write_arrays

__all__ = [
    "READ_UP_TO",
    "Cache",
    "CacheError",
    "CachePlan",
    "CacheWriteError",
    "CacheWriter",
    "CachedSplit",
    "Damage",
    "Head",
    "Normalisation",
    "PartnerWriter",
    "SplitArrays",
    "SplitPlan",
    "StaleCacheError",
    "ViewKind",
    "check_labels",
    "check_views",
    "differences",
    "digest",
    "digest_blocks",
    "fingerprint",
    "first_not_finite",
    "open_cache",
    "require_same",
    "row_ranges",
    "verify_cache",
    "write_arrays",
]
