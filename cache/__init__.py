"""The cache: one HDF5 file that holds everything phase two needs, as a published format.

`schema` is the format's page. Imports numpy and h5py and nothing of the project.
"""

from marr_pipeline.cache.agreement import check_head_makes_logits
from marr_pipeline.cache.convert import SplitArrays, as_strings, split_arrays
from marr_pipeline.cache.errors import CacheError, CacheWriteError, StaleCacheError
from marr_pipeline.cache.fingerprint import differences, digest, fingerprint, require_same
from marr_pipeline.cache.head import Head
from marr_pipeline.cache.npy import map_npy
from marr_pipeline.cache.npz import read_npz, write_npz
from marr_pipeline.cache.partner import PartnerWriter
from marr_pipeline.cache.plan import SplitPlan
from marr_pipeline.cache.read import Cache, Split, ViewKind, open_cache
from marr_pipeline.cache.table import read_csv
from marr_pipeline.cache.verify import Damage, verify_cache
from marr_pipeline.cache.write import CacheWriter
from marr_pipeline.cache.write_arrays import write_arrays

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
    "as_strings",
    "check_head_makes_logits",
    "differences",
    "digest",
    "fingerprint",
    "map_npy",
    "open_cache",
    "read_csv",
    "read_npz",
    "require_same",
    "split_arrays",
    "verify_cache",
    "write_arrays",
    "write_npz",
]
