"""Everything in a cache comes out as arrays, and the same cache is made of them again."""

import json
import os
import resource
import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import Head, SplitArrays, open_cache, write_arrays


def assert_same_content(one, other):
    assert one.split_names == other.split_names
    for name, split in one.splits.items():
        again = other.split(name)
        assert again.views == split.views
        for array in ("logits", "labels", "features"):
            expected, found = getattr(split, array), getattr(again, array)
            assert (found is None) == (expected is None)
            if expected is not None:
                np.testing.assert_array_equal(found, expected)
                assert found.dtype == expected.dtype
        assert type(again.ids) is type(split.ids)
        np.testing.assert_array_equal(again.ids, split.ids)
    assert one.head.arrays().keys() == other.head.arrays().keys()
    for name, array in one.head.arrays().items():
        np.testing.assert_array_equal(other.head.arrays()[name], array)
        assert other.head.arrays()[name].dtype == array.dtype
    assert one.head_fingerprint == other.head_fingerprint
    np.testing.assert_array_equal(one.class_counts, other.class_counts)
    assert one.class_names == other.class_names


def import_options(cached, folder, *, single):
    files = {name: folder / ("all.npz" if single else f"{name}.npz") for name in cached.splits}
    head = folder / ("all.npz" if single else "head.npz")
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    return [*options, "--head", head]


@st.composite
def caches(draw):
    """Arguments of `write_arrays` for any cache that an import can make."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_classes, num_features = draw(st.integers(2, 5)), draw(st.none() | st.integers(1, 4))
    dtype = draw(st.sampled_from(["float32", "float16"]))
    has_weight, has_bias = draw(st.booleans()), draw(st.booleans())
    float_type = draw(st.sampled_from([np.float32, np.float64]))
    weight = rng.standard_normal((num_classes, num_features or 3)).astype(float_type)
    bias = rng.standard_normal(num_classes).astype(float_type) if has_bias else None
    prior = rng.uniform(0.5, 9, num_classes) if draw(st.booleans()) else None
    norms = np.linalg.norm(weight.astype(np.float64), axis=1)
    head = (
        Head.from_linear(weight, bias, prior)
        if has_weight
        else Head(weight_norm=norms, bias=bias, prior_counts=prior)
    )
    splits = {}
    names = draw(st.sets(st.sampled_from(["tune", "test"])))
    for name in ["train", *sorted(names)]:
        num_views, num_samples = draw(st.integers(1, 3)), draw(st.integers(1, 7))
        views = (draw(st.sampled_from(["clean", "augmented"])),) + ("augmented",) * (num_views - 1)
        features = rng.standard_normal((num_views, num_samples, weight.shape[1])).astype(dtype)
        logits = features.astype(np.float64) @ weight.T + (0 if bias is None else bias)
        ids = draw(st.sampled_from(["none", "numbers", "strings"]))
        splits[name] = SplitArrays(
            logits=logits.astype(dtype),
            labels=rng.integers(0, num_classes, num_samples),
            features=None if num_features is None else features,
            views=views,
            ids={
                "none": None,
                "numbers": rng.permutation(num_samples) * 2**33,
                "strings": [f"ü{index}" * (index + 1) for index in range(num_samples)],
            }[ids],
        )
    return {
        "splits": splits,
        "head": head,
        "dtype": dtype,
        "class_counts": rng.integers(1, 99, num_classes),
        "class_names": draw(
            st.none() | st.lists(st.text("aä /", max_size=3), min_size=5).map(lambda n: n[:5])
        )
        if num_classes == 5
        else None,
        "parts": {"weights": "abc"},
        "meta": {"config": {"seed": 3}},
        "creator": "tests",
        "libraries": {},
    }


@given(arguments=caches(), single=st.booleans())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_import_makes_the_same_cache_of_an_export(run, tmp_path_factory, arguments, single):
    folder = tmp_path_factory.mktemp("round")
    write_arrays(folder / "a.h5", **arguments)
    output = folder / "all.npz" if single else folder
    assert run("export-npz", folder / "a.h5", "-o", output).code == 0
    first = open_cache(folder / "a.h5")
    done = run("import", *import_options(first, folder, single=single), "-o", folder / "b.h5")
    assert done.code == 0, done.err
    assert_same_content(first, open_cache(folder / "b.h5"))


def test_an_extracted_cache_goes_around(run, digits_cache, tmp_path):
    assert run("export-npz", digits_cache, "-o", tmp_path / "npz").code == 0
    cached = open_cache(digits_cache)
    options = import_options(cached, tmp_path / "npz", single=False)
    assert run("import", *options, "-o", tmp_path / "b.h5").code == 0
    assert_same_content(cached, open_cache(tmp_path / "b.h5"))


def test_the_files_are_plain_arrays(run, digits_cache, tmp_path):
    done = run("export-npz", digits_cache, "-o", tmp_path / "npz", "--json")
    files = [tmp_path / "npz" / f"{name}.npz" for name in ("train", "test", "head")]
    assert done.document["files"] == [str(path) for path in files]
    assert sorted((tmp_path / "npz").iterdir()) == sorted(files)
    cached = open_cache(digits_cache)
    with np.load(files[0], allow_pickle=False) as train:
        has_ids = cached.split("train").ids is not None
        assert set(train.files) - {"ids"} == {"logits", "labels", "features", "views"}
        assert ("ids" in train.files) == has_ids
        np.testing.assert_array_equal(train["logits"], cached.split("train").logits)
        assert train["views"].tolist() == ["clean", "augmented", "augmented"]
    with np.load(files[2], allow_pickle=False) as head:
        np.testing.assert_array_equal(head["weight"], cached.head.weight)
        meta = json.loads(str(head["meta"]))
    assert meta["parts"] == cached.parts
    assert meta["attributes"]["fingerprint"] == cached.fingerprint
    assert meta["documents"].keys() == set(cached.meta_keys)


def test_apply_takes_an_exported_split(run, digits_cache, digits_rectifier, tmp_path):
    run("export-npz", digits_cache, "-o", tmp_path)
    for source, output in ((digits_cache, "a.npz"), (tmp_path / "test.npz", "b.npz")):
        assert run("apply", source, digits_rectifier, "-o", tmp_path / output).code == 0
    with np.load(tmp_path / "a.npz") as one, np.load(tmp_path / "b.npz") as other:
        np.testing.assert_array_equal(one["predictions"], other["predictions"])


@pytest.mark.parametrize("name", ["", "all.npz"])
def test_existing_files_are_kept_unless_asked(run, digits_cache, tmp_path, name):
    output = tmp_path / name
    assert run("export-npz", digits_cache, "-o", output).code == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = run("export-npz", digits_cache, "-o", output, "--json")
    assert done.code == 1
    assert done.out == ""
    assert "got an existing file; choose another -o or --overwrite" in done.error
    assert run("export-npz", digits_cache, "-o", output, "--overwrite").code == 0
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["missing/npz", "missing/all.npz", "file/npz", "file/all.npz"])
def test_an_output_that_cannot_be_written(run, digits_cache, tmp_path, name):
    (tmp_path / "file").write_text("")
    done = run("export-npz", digits_cache, "-o", tmp_path / name)
    assert done.code == 1
    assert str(tmp_path / name) in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_nothing(run, digits_cache, tmp_path):
    """In a process of its own, as the limit cannot be taken back."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        code = run("export-npz", digits_cache, "-o", tmp_path / "npz").code
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert list((tmp_path / "npz").iterdir()) == []


def test_a_cache_that_is_none(run, tmp_path):
    (tmp_path / "x.h5").write_text("no cache")
    done = run("export-npz", tmp_path / "x.h5", "-o", tmp_path / "npz")
    assert done.code == 3
    assert not (tmp_path / "npz").exists()
