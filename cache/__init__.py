"""The cache: one HDF5 file that holds everything phase two needs, as a published format.

`schema` is the format's page. Imports numpy and h5py and nothing of the project.
"""

from cache.convert import SplitArrays, read_npz, read_npz_split
from cache.errors import CacheError, CacheWriteError, StaleCacheError
from cache.fingerprint import differences, digest, fingerprint, require_same
from cache.head import Head
from cache.plan import SplitPlan
from cache.read import Cache, Split, ViewKind, open_cache
from cache.verify import Damage, verify_cache
from cache.write import CacheWriter, write_arrays

__all__ = [
    "Cache",
    "CacheError",
    "CacheWriteError",
    "CacheWriter",
    "Damage",
    "Head",
    "Split",
    "SplitArrays",
    "SplitPlan",
    "StaleCacheError",
    "ViewKind",
    "differences",
    "digest",
    "fingerprint",
    "open_cache",
    "read_npz",
    "read_npz_split",
    "require_same",
    "verify_cache",
    "write_arrays",
]
