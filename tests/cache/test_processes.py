"""Other processes read the right rows: they share the mapping, never an HDF5 handle."""

import fcntl
import os

import h5py
import numpy as np

from marr_pipeline.cache import open_cache


def test_forked_processes_read_at_the_same_time(sample, splits):
    cache = open_cache(sample)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            split = cache.split("train")
            is_right = all(
                np.array_equal(split.logits, splits["train"].logits)
                and split.ids == splits["train"].ids
                and cache.class_names == ["cat", "dög", "", "owl"]
                for _ in range(20)
            )
            os._exit(0 if is_right else 1)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * 4


def test_no_hdf5_object_outlives_the_opening(sample):
    cache = open_cache(sample)
    assert cache.split("train").ids is not None
    assert cache.class_names is not None
    kinds = h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_GROUP | h5py.h5f.OBJ_DATASET | h5py.h5f.OBJ_ATTR
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, kinds) == 0


def test_a_lock_held_by_another_is_no_obstacle(sample, splits):
    """Some network file systems refuse every request for one; a sealed file needs none."""
    with sample.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        found = open_cache(sample).split("train")
        assert found.ids == splits["train"].ids
        np.testing.assert_array_equal(found.logits, splits["train"].logits)
