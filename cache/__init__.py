"""The cache: one HDF5 file that holds everything phase two needs, as a published format.

`schema` is the format's page. Imports numpy and h5py and nothing of the project.
"""

from cache.agreement import check_head_makes_logits
from cache.convert import SplitArrays, as_strings, split_arrays
from cache.errors import CacheError, CacheWriteError, StaleCacheError
from cache.fingerprint import differences, digest, fingerprint, require_same
from cache.head import Head
from cache.npy import map_npy
from cache.npz import read_npz, write_npz
from cache.partner import PartnerWriter
from cache.plan import SplitPlan
from cache.read import Cache, Split, ViewKind, open_cache
from cache.table import read_csv
from cache.verify import Damage, verify_cache
from cache.write import CacheWriter
from cache.write_arrays import write_arrays

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
