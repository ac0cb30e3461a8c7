"""What tells features apart: names of columns, networks, and the head of a stacked cache."""

import numpy as np
import pandas as pd
import pytest
from caches import write_splits

from marr_pipeline.cache import SplitArrays, open_cache
from marr_pipeline.rectify.rectifier_file import load_rectifier

K, D = 3, 6
COLUMNS = [f"f{place}" for place in range(D)]
LABELS = {"train": np.repeat([0, 1, 2], [60, 30, 15]), "test": np.arange(45) % K}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of features of two splits."""
    found, rng = tmp_path_factory.mktemp("columns"), np.random.default_rng(0)
    for name, labels in LABELS.items():
        rows = 2 * np.eye(K, D)[labels] + rng.normal(size=(len(labels), D))
        frame = pd.DataFrame(rows, columns=COLUMNS).assign(label=np.array(list("abc"))[labels])
        frame.to_csv(found / f"{name}.csv", index=False)
        frame.to_parquet(found / f"{name}.parquet")
    return found


def imported(run, folder, name, *splits, options=()):
    path = folder / f"{name}.h5"
    if not path.exists():
        done = run("import", "--features", *splits, *options, "-o", path)
        assert done.code == 0, done.err
    return path


@pytest.fixture
def made(run, folder):
    """A cache of the tables, and a head on it."""
    splits = [f"--{name}={folder / f'{name}.csv'}" for name in LABELS]
    cache, head = imported(run, folder, "cache", *splits), folder / "head.safetensors"
    if not head.exists():
        done = run(
            "rectify", cache, "--method", "head", "--l2", 0.01, "--center", "zero", "-o", head
        )
        assert done.code == 0, done.err
    return cache, head


def logits_of(run, source, head, *options):
    output = head.with_name("out.npz")
    done = run("apply", source, head, *options, "-o", output)
    assert done.code == 0, done.err
    with np.load(output) as found:
        return found["logits"], done.err


def test_columns_are_stored_and_put_into_their_order(run, made, folder, tmp_path):
    cache, head = made
    assert open_cache(cache).meta("features") == {"columns": COLUMNS}
    assert load_rectifier(head).metadata["features"] == {"columns": COLUMNS}
    expected, said = logits_of(run, folder / "test.csv", head)
    assert "order" not in said
    frame = pd.read_csv(folder / "test.csv")
    moved = frame[[*COLUMNS[::-1], "label"]]
    moved.to_csv(tmp_path / "moved.csv", index=False)
    moved.to_parquet(tmp_path / "moved.parquet")
    for source in (tmp_path / "moved.csv", tmp_path / "moved.parquet"):
        found, said = logits_of(run, source, head)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert "moved" in said
        assert "columns of features were put into the rectifier's order by name" in said
    frame.assign(age=1.5).to_csv(tmp_path / "more.csv", index=False)
    found, said = logits_of(run, tmp_path / "more.csv", head)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert "no features of the rectifier, and left out: age" in said
    assert "order" not in said
    np.save(tmp_path / "bare.npy", frame[COLUMNS].to_numpy())  # says no names: taken as it comes
    np.testing.assert_allclose(logits_of(run, tmp_path / "bare.npy", head)[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"f0": "g0"}, "got g0, f1, f2, f3, f4, ..., without f0", id="renamed"),
        pytest.param({name: f"x{name}" for name in COLUMNS}, "without f0, f1", id="all renamed"),
    ],
)
def test_other_columns_are_refused(run, made, folder, tmp_path, change, said):
    frame = pd.read_csv(folder / "test.csv").rename(columns=change)
    frame.to_csv(tmp_path / "other.csv", index=False)
    done = run("apply", tmp_path / "other.csv", made[1], "-o", tmp_path / "o.npz")
    assert done.code == 3
    assert "columns of the features that the rectifier was fitted on" in done.error
    assert said in done.error


def test_a_rectifier_of_other_columns_on_a_cache(run, made, folder, tmp_path):
    splits = []
    for name in LABELS:
        frame = pd.read_csv(folder / f"{name}.csv")
        frame[[*COLUMNS[::-1], "label"]].to_csv(tmp_path / f"{name}.csv", index=False)
        splits.append(f"--{name}={tmp_path / f'{name}.csv'}")
    other = imported(run, tmp_path, "other", *splits)
    for command in ("evaluate", "apply"):
        options = [] if command == "evaluate" else ["-o", tmp_path / "o.npz"]
        done = run(command, other, made[1], *options)
        assert done.code == 3
        assert "a rectifier of the features of" in done.error
        assert "(f5, f4, f3, f2, f1, ...) expected, got one of others (f0, f1" in done.error
        assert run(command, other, made[1], "--any-head", *options).code == 0


def test_files_of_two_backbones_are_joined(run, made, folder, tmp_path):
    expected, _ = logits_of(run, folder / "test.csv", made[1])
    frame = pd.read_csv(folder / "test.csv").drop(columns="label").assign(id=range(45))
    frame[["id", *COLUMNS[:2]]].to_csv(tmp_path / "a.csv", index=False)
    frame[["id", *COLUMNS[2:]]].to_csv(tmp_path / "b.csv", index=False)
    joined, said = logits_of(run, tmp_path / "a.csv", made[1], "--join", tmp_path / "b.csv")
    np.testing.assert_allclose(joined, expected, atol=1e-6)
    assert "warning" not in said
    swapped, said = logits_of(run, tmp_path / "b.csv", made[1], "--join", tmp_path / "a.csv")
    np.testing.assert_allclose(swapped, expected, atol=1e-6)
    assert "into the rectifier's order by name" in said
    frame.iloc[::-1][["id", *COLUMNS[2:]]].to_csv(tmp_path / "b.csv", index=False)
    options = ["--join", tmp_path / "b.csv", "-o", tmp_path / "o.npz"]
    assert "ids as in" in run("apply", tmp_path / "a.csv", made[1], *options).error
    done = run("apply", made[0], made[1], *options)
    assert done.code == 2
    assert "a cache, which holds its own" in done.error


def test_the_head_of_a_stacked_cache_is_known_on_it(run, made, folder):
    _, head = made
    splits = [f"--{name}={folder / f'{name}.csv'}" for name in LABELS]
    stacked = imported(run, folder, "stacked", *splits, options=["--head", head])
    done = run("evaluate", stacked, head, "--json")
    assert done.code == 0, done.err
    found = done.document["methods"]
    assert found["head"]["nll"] == pytest.approx(found["softmax"]["nll"], rel=1e-5)
    affine = folder / "affine.safetensors"
    assert run("rectify", stacked, "--method", "bias", "-o", affine).code == 0
    assert run("evaluate", made[0], affine).code == 3  # its logits are another head's


def test_features_of_another_network_of_their_width_are_told(run, tmp_path, rng):
    """As `extract --pretrained --store features` writes them: no head, but known weights."""
    caches = [tmp_path / f"{name}.h5" for name in ("one", "other", "unknown")]
    for cache, layer in zip(caches, ("aaa", "bbb", None), strict=True):
        arrays = {
            name: SplitArrays(
                logits=None,
                labels=labels,
                features=rng.normal(size=(1, len(labels), D)).astype("f"),
            )
            for name, labels in LABELS.items()
        }
        known = {} if layer is None else {"weights": {"conv1.weight": layer, "head.weight": layer}}
        config = {"backbone": "resnet8"}
        write_splits(cache, arrays, num_classes=K, head=None, parts=known, meta={"config": config})
    head = tmp_path / "head.safetensors"
    fit = ["--method", "ncm", "--logit-scale", 1, "-o", head]
    assert run("rectify", caches[0], *fit).code == 0
    assert run("evaluate", caches[0], head).code == 0
    assert run("evaluate", caches[2], head).code == 0  # nothing contradicts
    done = run("evaluate", caches[1], head)
    assert done.code == 3
    assert "a rectifier of the features of" in done.error
    assert "(resnet8, weights" in done.error
    assert run("evaluate", caches[1], head, "--any-head").code == 0


@pytest.mark.parametrize(
    ("columns", "labels", "code"),
    [
        pytest.param(40, [0, 1, 2], 0, id="more columns than classes"),
        pytest.param(40, ["a", "b", "c"], 3, id="labels of other names"),
        pytest.param(2, [0, 1, 2], 3, id="fewer columns than classes"),
    ],
)
def test_features_taken_for_logits_are_given_a_hint(run, tmp_path, rng, columns, labels, code):
    frame = pd.DataFrame(rng.normal(size=(60, columns))).add_prefix("f")
    frame.assign(label=np.resize(labels, 60)).to_csv(tmp_path / "t.csv", index=False)
    done = run("import", "--train", tmp_path / "t.csv", "-o", tmp_path / "t.h5")
    assert done.code == code
    assert "if the columns are features, not logits, give --features" in done.err.lower()
