"""The cache: one HDF5 file that holds everything phase two needs, as a published format.

`schema` is the format's page. Imports numpy and h5py and nothing of the project.
"""

from marr_pipeline.cache.blocks import row_ranges
from marr_pipeline.cache.errors import CacheError, CacheWriteError, StaleCacheError
from marr_pipeline.cache.fingerprint import differences, digest, fingerprint, require_same
from marr_pipeline.cache.finite import first_not_finite
from marr_pipeline.cache.head import Head
from marr_pipeline.cache.partner import PartnerWriter
from marr_pipeline.cache.plan import SplitPlan, check_labels, check_views
from marr_pipeline.cache.read import Cache, Split, ViewKind, open_cache
from marr_pipeline.cache.verify import Damage, verify_cache
from marr_pipeline.cache.write import CacheWriter
from marr_pipeline.cache.write_arrays import SplitArrays, write_arrays

__all__ = [
    "Cache",
    "CacheError",
    "CacheWriteError",
    "CacheWriter",
    "Damage",
    "Head",
    "PartnerWriter",
    "Split",
    "SplitArrays",
    "SplitPlan",
    "StaleCacheError",
    "ViewKind",
    "check_labels",
    "check_views",
    "differences",
    "digest",
    "fingerprint",
    "first_not_finite",
    "open_cache",
    "require_same",
    "row_ranges",
    "verify_cache",
    "write_arrays",
]
