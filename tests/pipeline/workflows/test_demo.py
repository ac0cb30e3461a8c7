"""The cache that `demo` begins with is whole, and worth rectifying."""

from marr_pipeline.cache import open_cache, verify_cache
from marr_pipeline.workflows.demo import write_embedded_cache
from marr_pipeline.workflows.rectify import rectify_cache


def test_the_embedded_cache_is_whole_and_fits(tmp_path):
    path = tmp_path / "embedded.h5"
    write_embedded_cache(path)
    assert path.stat().st_size < 2_000_000
    assert verify_cache(path) == []
    cached = open_cache(path)
    assert cached.class_counts.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert all(split.features is None for split in cached.splits.values())
    found = rectify_cache(cached).metrics
    assert found["after"].overall > found["before"].overall + 0.1
