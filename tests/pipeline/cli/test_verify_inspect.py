"""`verify` and `inspect`: sound files in full, damaged ones in clear lines and exit code 3."""

import h5py
import numpy as np
import pytest
from caches import write_splits

from marr_pipeline.cache import Head, SplitArrays, open_cache
from marr_pipeline.cache.extent import Extent, is_variable_text
from marr_pipeline.cache.sealed import opened, write_seal


@pytest.fixture
def cache(tmp_path):
    """Two splits, of which one has every kind of array."""
    rng = np.random.default_rng(0)
    train = SplitArrays(
        logits=rng.standard_normal((2, 7, 4)),
        labels=np.arange(7) % 4,
        features=rng.standard_normal((2, 7, 3)),
        ids=[f"{row}.png" for row in range(7)],
        views=("clean", "augmented"),
    )
    test = SplitArrays(logits=rng.standard_normal((1, 4, 4)), labels=np.arange(4))
    head = Head.from_linear(rng.standard_normal((4, 3)), rng.standard_normal(4))
    write_splits(tmp_path / "c.h5", {"train": train, "test": test}, head=head)
    return tmp_path / "c.h5"


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def edit(path, name, value):
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    with path.open("r+b") as file:
        write_seal(file.fileno(), [])


DAMAGES = {
    "newer": (lambda path: edit(path, "format_version", "2.0"), "version 1.2 expected, got 2.0"),
    "writing": (lambda path: edit(path, "state", "writing"), "the file is unfinished"),
}


@pytest.mark.parametrize("command", ["verify", "inspect"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_sound_cache(run, cache, damage, command):
    spoil, message = DAMAGES[damage]
    spoil(cache)
    done = run(command, cache, "--json")
    assert done.code == 3
    assert done.out == ""
    assert done.error.startswith(f"error: {cache}: ")
    assert message in done.error
    assert done.err == done.error + "\n"


def test_one_flipped_byte_in_each_dataset_of_rows(run, cache):
    """All of them at once: every one is named on a line of its own."""
    with opened(cache) as found:
        # Those of strings lie in the sealed records: the file is not even opened.
        raw = {k: one for k, one in found.summed().items() if not is_variable_text(one.dtype)}
        names, offsets = [*raw], [Extent.of(one).offset for one in raw.values()]
    for offset in offsets:
        flip(cache, offset)
    done = run("verify", cache, "--json")
    assert done.code == 3
    assert done.out == ""
    lines = done.err.splitlines()
    assert [line.split(": ")[2] for line in lines] == names
    assert all(line.startswith(f"error: {cache}: ") for line in lines)


def test_a_sound_file(run, cache):
    assert run("verify", cache).out == f"{cache}: every checksum holds\n"
    assert run("verify", cache, "--json").document == {
        "schema_version": 1,
        "command": "verify",
        "cache": str(cache),
        "damaged": [],
    }


def test_the_lines_on_how_to_read_are_true(run, cache):
    document = run("inspect", cache, "--json").document
    for path, rows in document["splits"]["train"]["datasets"].items():
        with h5py.File(cache) as file:
            assert list(file[path].shape) == rows["shape"]
            assert file[path].dtype == rows["dtype"]


def test_inspect_cuts_what_is_long(run, tmp_path):
    rows = SplitArrays(logits=np.eye(300)[None], labels=np.arange(300))
    names = [f"bird {index}" for index in range(300)]
    meta = {"config": {f"option {index}": [0.5] * index for index in range(500)}}
    write_splits(tmp_path / "c.h5", {"train": rows}, class_names=names, meta=meta)
    lines = run("inspect", tmp_path / "c.h5").out.splitlines()
    assert f"names        {', '.join(names[:12])}, ..." in lines
    assert "config: 440 more values; --json shows all" in lines
    assert max(map(len, lines)) < 200


def test_inspect_shows_a_rectifier(run, digits_cache, digits_rectifier):
    document = run("inspect", digits_rectifier, "--json").document
    assert (document["method"], document["num_classes"]) == ("marr", 10)
    assert set(document["tensors"]) >= {"scale", "shift", "omega", "beta", "weight_norm"}
    assert document["tensors"]["scale"]["shape"] == [10]
    assert document["metadata"]["cache_fingerprint"] == open_cache(digits_cache).fingerprint
    text = run("inspect", digits_rectifier).out
    for part in ("marr: 10 classes", "scale        10: ", "status = converged", "gamma = 1.0"):
        assert part in text
    assert max(map(len, text.splitlines())) < 300


def test_inspect_shows_the_settings_that_a_method_heeds(run, digits_rectifier):
    document, text = (run("inspect", digits_rectifier, *more) for more in (("--json",), ()))
    assert {"normalise", "free_bias", "tau"} <= document.document["metadata"].keys()
    shown = [line.split(" = ")[0] for line in text.out.splitlines() if " = " in line]
    assert shown == sorted(shown)
    assert "gamma" in shown
    assert not {"normalise", "free_bias", "tau", "shrinkage"} & {*shown}


def test_inspect_shows_the_prior_where_it_is_not_the_training_counts(run, tmp_path):
    rows = SplitArrays(logits=np.eye(3)[None], labels=np.arange(3))
    for name, prior, line in (("a.h5", [9, 0.5, 3], "prior        9, 0.5, 3"), ("b.h5", None, "")):
        head = Head(weight_norm=np.ones(3), prior_counts=prior and np.array(prior, float))
        write_splits(tmp_path / name, {"train": rows}, head=head)
        lines = run("inspect", tmp_path / name).out.splitlines()
        assert (line in lines) == bool(line)
        assert run("inspect", tmp_path / name, "--json").document["prior_counts"] == prior
