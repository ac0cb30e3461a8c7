"""Every row of docs/inputs.md on features: read as it says, or refused in those words."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from inputs_page import import_as_said, key_of, rows_of
from safetensors.torch import save_file

from marr_pipeline.cache import open_cache, verify_cache
from marr_pipeline.workflows.import_logits import import_logits

ROWS = rows_of("Features")
RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [30, 20, 10])
X = RNG.standard_normal((60, 5)).astype(np.float32)
Z = RNG.standard_normal((60, 3)).astype(np.float32)
NAMES = np.array(["cat", "dog", "owl"])
F, BARE = "--features --train t", "--features --train t.npy --train-labels y"
TWO, SHARDS = "--train a.npz --train b.npz", "--features --shards --train s_*.npy --train-labels y"


def npz(name="t", **arrays):
    return lambda: np.savez(f"{name}.npz", **arrays)


def npy(x=X, labels=LABELS):
    return lambda: (np.save("t.npy", x), np.save("y.npy", labels))


def csv(x=X, name="t.csv", **columns):
    frame = pd.DataFrame(x, columns=[f"f{place}" for place in range(x.shape[1])])
    return lambda: frame.assign(**columns).to_csv(name, index=False)


def parquet(**columns):
    return lambda: pd.DataFrame(columns).to_parquet("t.parquet")


def both(*writers):
    return lambda: [write() for write in writers]


def shards(*sizes, labels=LABELS, width=5):
    def write():
        ends = np.cumsum(sizes)
        for place, stop in enumerate(ends):
            np.save(f"s_{place}.npy", X[stop - sizes[place] : stop, : width if place else 5])
        np.save("y.npy", labels)

    return write


def tensors(content, name="t.pt"):
    return lambda: (save_file if name.endswith("s") else torch.save)(content, name)


T, Y = torch.from_numpy(X), torch.from_numpy(LABELS)
PAIR = both(npz("a", features=X, labels=LABELS, ids=np.arange(60)), npz("b", features=Z))
# Row of the page, by its beginning: what is written, and the options.
READ = {
    "`.npz` with `features`, `labels`": [(npz(features=X, labels=LABELS), "--train t.npz")],
    "`.npz` with labels that are text": [
        (npz(features=X, labels=NAMES[LABELS]), "--train t.npz"),
        (npz(features=X, labels=NAMES[LABELS], class_names=NAMES), "--train t.npz"),
    ],
    "`.npz`, `.safetensors` or `.pt` with one matrix": [
        (npz(embeddings=X, labels=LABELS), f"{F}.npz"),
        (both(npz(arr_0=X), npy()), f"{F}.npz --train-labels y.npy"),
        (tensors({"z": T, "labels": Y}), f"{F}.pt"),
        (tensors({"z": T, "labels": Y}, "t.safetensors"), f"{F}.safetensors"),
    ],
    "`.safetensors` with `features`": [
        (tensors({"features": T, "labels": Y}, "t.safetensors"), "--train t.safetensors")
    ],
    "`.npy` with `--features": [
        (npy(), f"{BARE}.npy"),
        (npy(X.astype(np.float64)), f"{BARE}.npy"),
        (npy(labels=LABELS[:, None].astype(float)), f"{BARE}.npy"),
    ],
    "`.npy`, labels in": [
        (both(npy(), csv(X[:, :0], "y.csv", label=LABELS)), f"{BARE}.csv"),
        (both(npy(), csv(X[:, :0], "y.csv", klass=LABELS)), f"{BARE}.csv"),
        (both(npy(), csv(X[:, :0], "y.csv", path="p", label=LABELS)), f"{BARE}.csv"),
        (both(npy(), npz("y", labels=LABELS)), f"{BARE}.npz"),
        (both(npy(), tensors(Y, "y.pt")), f"{BARE}.pt"),
    ],
    "`.pt` with a tensor": [
        (both(npy(), tensors(T)), f"{F}.pt --train-labels y.npy"),
        (tensors([(T[:40], Y[:40]), (T[40:], Y[40:])]), f"{F}.pt"),
    ],
    "`.csv` with `--features`": [
        (csv(label=LABELS), f"{F}.csv"),
        (both(npy(), csv()), f"{F}.csv --train-labels y.npy"),
    ],
    "`.parquet` with lists": [(parquet(label=LABELS, emb=X.tolist()), f"{F}.parquet")],
    "two files": [(PAIR, TWO)],
    "two `.npy`": [
        (
            lambda: (np.save("t.npy", X), np.save("u.npy", Z), np.save("y.npy", LABELS)),
            "--features --train t.npy --train u.npy --train-labels y.npy",
        )
    ],
    "a pattern with `--shards`": [(shards(*[5] * 12), f"{SHARDS}.npy")],
    "files with `--shards`": [
        (
            both(
                npz("a", features=X[:20], labels=LABELS[:20]),
                npz("b", features=X[20:], labels=LABELS[20:]),
            ),
            f"{TWO} --shards",
        )
    ],
}
REFUSED = {
    "`.npy` without labels": [(npy(), f"{F}.npy")],
    "a pattern without": [(shards(30, 30), SHARDS.replace("--shards ", "") + ".npy")],
    "a pattern of no file": [(npy(), f"{SHARDS}.npy")],
    "`.npz` without names": [(npz(arr_0=X, arr_1=LABELS), "--train t.npz")],
    "`.npz` with two matrices": [(npz(a=X, b=Z, labels=LABELS), f"{F}.npz")],
    "labels from 1": [(npz(features=X, labels=LABELS + 1), "--train t.npz")],
    "labels that are ids": [(npz(features=X, labels=LABELS * 999), "--train t.npz")],
    "rows and labels of": [(npy(labels=LABELS[:50]), f"{BARE}.npy")],
    "a transposed": [(npy(np.ascontiguousarray(X[:40].T), LABELS[:40]), f"{BARE}.npy")],
    "integers": [(npy(X.astype(np.int8)), f"{BARE}.npy")],
    "not-a-numbers": [(npy(np.where(X > 2, np.nan, X)), f"{BARE}.npy")],
    "`index`": [
        (csv(label=LABELS, index=range(60)), f"{F}.csv"),
        (csv(label=LABELS, target=LABELS), f"{F}.csv"),
    ],
    "a column of text": [(csv(label=LABELS, name_="a.png"), f"{F}.csv")],
    "`.csv` without a header": [
        (
            both(npy(), lambda: np.savetxt("t.csv", X, delimiter=",")),
            f"{F}.csv --train-labels y.npy",
        )
    ],
    "a test split with its columns": [
        (
            both(csv(label=LABELS), lambda: csv(label=LABELS)() or swap_columns("t.csv", "u.csv")),
            f"{F}.csv --test u.csv",
        )
    ],
    "a test split of another width": [
        (
            both(npz(features=X, labels=LABELS), npz("u", features=Z, labels=LABELS)),
            "--train t.npz --test u.npz",
        )
    ],
    "a test split with logits": [
        (
            both(npz(features=X, labels=LABELS), npz("u", logits=4 * Z, labels=LABELS)),
            "--train t.npz --test u.npz",
        )
    ],
    "two files with other ids": [(both(PAIR, npz("b", features=Z, ids=np.arange(60)[::-1])), TWO)],
    "two files with other labels": [(both(PAIR, npz("b", features=Z, labels=LABELS[::-1])), TWO)],
    "two files of other": [(both(PAIR, npz("b", features=Z[:59])), TWO)],
    "a file twice": [(PAIR, TWO.replace("b.npz", "a.npz"))],
    "two files of logits": [
        (both(PAIR, npz("b", logits=Z, labels=LABELS)), TWO),
    ],
    "shards of other": [(shards(30, 30, width=4), f"{SHARDS}.npy")],
    "shards whose labels": [(shards(30, 30, labels=LABELS[:59]), f"{SHARDS}.npy")],
    "labels beside": [
        (both(npy(), npz(features=X, labels=LABELS)), f"{F}.npz --train-labels y.npy")
    ],
    "`--scale`": [(npz(features=X, labels=LABELS), "--train t.npz --scale probabilities")],
    "a head of norms": [
        (
            both(npz(features=X, labels=LABELS), npz("h", weight_norm=np.ones(3))),
            "--train t.npz --head h.npz",
        )
    ],
    "a head of another": [
        (
            both(npz(features=X, labels=LABELS), npz("h", weight=np.ones((3, 4)))),
            "--train t.npz --head h.npz",
        )
    ],
    "a head of fewer": [
        (
            both(npz(features=X, labels=LABELS), npz("h", weight=np.ones((2, 5)))),
            "--train t.npz --head h.npz",
        )
    ],
}


def swap_columns(old, new):
    frame = pd.read_csv(old)
    frame[["f1", "f0", *frame.columns[2:]]].to_csv(new, index=False)


@pytest.mark.parametrize(("handed_in", "outcome", "said"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_of_the_page(run, here, handed_in, outcome, said):
    cases = {**READ, **REFUSED}
    for write, options in cases[key_of(handed_in, cases)]:
        write()
        cache = import_as_said(run, options, outcome, said)
        if cache is None:
            continue
        assert cache.head is None
        expected = np.hstack([X, Z]) if handed_in.startswith("two") else X
        np.testing.assert_array_equal(cache.split("train").labels, LABELS)
        np.testing.assert_array_equal(cache.split("train").features[0], expected)


def test_every_case_is_a_row():
    keys = [key_of(row[0], {**READ, **REFUSED}) for row in ROWS]
    assert sorted(keys) == sorted({**READ, **REFUSED})
    assert all((row[1] == "read") == (key in READ) for key, row in zip(keys, ROWS, strict=True))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("joint", ["columns", "rows"])
def test_joined_files_give_the_cache_of_the_joined_array(here, dtype, joint):
    z = RNG.standard_normal((2, 60, 8)).astype(dtype)
    parts = np.split(z, [5], axis=2) if joint == "columns" else np.split(z, [13, 40], axis=1)
    labels = [LABELS] * 2 if joint == "columns" else np.split(LABELS, [13, 40])
    for place, (part, own) in enumerate(zip(parts, labels, strict=True)):
        np.savez(f"p{place}.npz", features=part, labels=own)
    np.savez("whole.npz", features=z, labels=LABELS)
    names = [f"p{place}.npz" for place in range(len(parts))]
    joined = import_logits({"train": names}, "joined.h5", shards=joint == "rows")
    whole = import_logits({"train": "whole.npz"}, "whole.h5")
    assert joined.fingerprint == whole.fingerprint
    assert verify_cache(Path("joined.h5")) == []
    found = open_cache("joined.h5").split("train")
    np.testing.assert_array_equal(found.features, z.astype(found.features.dtype))
    assert found.features.dtype == ("float16" if dtype == "float16" else "float32")


def test_shards_of_logits(run, here):
    logits = 3 * RNG.standard_normal((60, 3))
    for name, rows in (("a", slice(None, 25)), ("b", slice(25, None))):
        np.savez(f"{name}.npz", logits=logits[rows], labels=LABELS[rows])
    assert run("import", *TWO.split(), "--shards", "-o", "own.h5").code == 0
    np.testing.assert_array_equal(
        open_cache("own.h5").split("train").logits[0], logits.astype(np.float32)
    )


def test_features_larger_than_the_memory_allowed_are_streamed(here):
    """24 MiB of float16 in two shards; beside the libraries a few blocks of 8 MiB are held."""
    z = np.random.default_rng(1).standard_normal((2, 60_000, 100)).astype(np.float16)
    for place, part in enumerate(z):
        np.save(f"s_{place}.npy", part)
    np.save("y.npy", np.arange(120_000) % 10)
    script = (
        "from pathlib import Path\n"
        "from marr_pipeline.workflows.import_logits import SplitFiles, import_logits\n"
        "def held():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(l.split()[1]) for l in lines if l.startswith('RssAnon')) // 1024\n"
        "import threading, time\n"
        "most, done = [held()], []\n"
        "def watch():\n"
        "    while not done:\n"
        "        most.append(held()); time.sleep(0.002)\n"
        "thread = threading.Thread(target=watch); thread.start()\n"
        "rows = tuple(Path(f's_{i}.npy') for i in (0, 1))\n"
        "files = SplitFiles(rows=rows, labels=(Path('y.npy'),))\n"
        "import_logits({'train': files}, 'own.h5', features=True, shards=True)\n"
        "done.append(1); thread.join(); print(max(most) - most[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 24 * 2
    np.testing.assert_array_equal(
        open_cache("own.h5").split("train").features[0], np.concatenate(z)
    )


def test_an_order_that_nothing_checks_is_said(run, here):
    PAIR()
    done = run("import", *TWO.split(), "-o", "own.h5")
    assert "warning: rows of b.npz are taken in the order of a.npz: it has no ids" in done.err
    np.savez("b.npz", features=Z, ids=np.arange(60))
    assert "are taken" not in run("import", *TWO.split(), "-o", "own.h5", "--overwrite").err
