"""Every row of docs/inputs.md on tables of logits: read as it says, or refused in those words."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from inputs_page import import_as_said, key_of, rows_of
from pyarrow import parquet
from safetensors.torch import save_file
from scipy.special import log_softmax, softmax

from marr_pipeline.cache import open_cache
from marr_pipeline.rectify.rectifier_file import load_rectifier

ROWS = rows_of("Tables of logits")
NAMES = ["cat", "dog", "owl"]
RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [30, 20, 10])
LOGITS = (2 * RNG.standard_normal((60, 3)) + 3 * np.eye(3)[LABELS]).astype(np.float32)
PROBABILITIES = softmax(LOGITS, axis=1)
TEXTS = np.array(NAMES)[LABELS]
BINARY = LOGITS[:, 1] - LOGITS[:, 0]
BINARY_LABELS = (LABELS == 1).astype(int)


def table(scores=LOGITS, labels=LABELS, columns=NAMES, label="label", **others):
    frame = pd.DataFrame(scores, columns=columns)
    return frame.assign(**{label: labels}, **others)


def as_csv(frame, name="t.csv", **how):
    return lambda: frame.to_csv(name, index=False, **how)


def as_npz(logits=LOGITS, labels=LABELS, **others):
    return lambda: np.savez("t.npz", logits=logits, labels=labels, **others)


def as_torch(content, name="t.pt"):
    return lambda: torch.save(content, name)


def as_parquet(table):
    return lambda: parquet.write_table(table, "t.parquet")


def both(*writers):
    return lambda: [write() for write in writers]


def pair(logits, labels):
    def write():
        np.save("t.npy", logits)
        np.save("y.npy", labels)

    return write


def bad_row(values):
    changed = values.copy()
    changed[7] = -1
    return changed


T, Y = torch.from_numpy(LOGITS), torch.from_numpy(LABELS)
CSV, NPZ, PARQUET = "--train t.csv", "--train t.npz", "--train t.parquet"
PT, TEST = "--train t.pt", "--train t.csv --test u.csv"
OTHERS = {"Unnamed: 0": range(60), "index": range(60)}
COLUMNS = {name: LOGITS[:, place] for place, name in enumerate(NAMES)}
ARROW = pyarrow.table({"label": LABELS, **COLUMNS})
HOLES = pyarrow.table({"label": [0, 1], "cat": [1.5, 2.5], "dog": [1.5, None]})
STRUCTS = pyarrow.table({"label": [0, 1], "logits": [{"cat": 1.5}, {"cat": 2.5}]})
READ = {
    "`.csv` with columns `label`": [(as_csv(table(id=range(60))), CSV)],
    "`.csv` with numbered columns": [
        (as_csv(table(columns=[form.format(place) for place in range(3)])), CSV)
        for form in ("{}", "logit_{}", "prob[{}]")
    ],
    "`.csv` with columns numbered from 1": [
        (as_csv(table(columns=["X1", "X2", "X3"], labels=LABELS + 1)), CSV)
    ],
    "`.csv` with `Label`": [
        (as_csv(table(label=label, ID=range(60))), CSV) for label in ("Label", "LABELS")
    ],
    "`.csv` with text labels, columns named": [(as_csv(table(labels=TEXTS)), CSV)],
    "`.csv` with text labels, numbered": [(as_csv(table(labels=TEXTS, columns=range(3))), CSV)],
    "`.csv` with labels `0.0`": [(as_csv(table(labels=LABELS.astype(float))), CSV)],
    "`.csv` with one column": [(as_csv(table(BINARY[:, None], BINARY_LABELS, ["score"])), CSV)],
    "`.parquet` with a column": [(as_parquet(ARROW), PARQUET)],
    "`.parquet` with lists": [
        (as_parquet(pyarrow.table({"logits": LOGITS.tolist(), "label": LABELS})), PARQUET)
    ],
    "`.parquet` with labels as": [
        (lambda: table(labels=pd.Categorical(TEXTS)).to_parquet("t.parquet"), PARQUET)
    ],
    "`.npz` with `logits`": [(as_npz(), NPZ)],
    "`.npz` with labels that are text": [(as_npz(labels=TEXTS, class_names=np.array(NAMES)), NPZ)],
    "`.npz` with scores (N,)": [
        (as_npz(BINARY, BINARY_LABELS), NPZ),
        (as_npz(BINARY[:, None], BINARY_LABELS), NPZ),
    ],
    "`.npz` with labels that are whole": [
        (as_npz(labels=LABELS.astype(float)), NPZ),
        (as_npz(labels=LABELS[:, None]), NPZ),
    ],
    "`.npy` with `--train-labels`": [(pair(LOGITS, LABELS), "--train t.npy --train-labels y.npy")],
    "`.safetensors`": [
        (lambda: save_file({"logits": T, "labels": Y}, "t.safetensors"), "--train t.safetensors")
    ],
    "`.pt` with a dict of tensors": [(as_torch({"logits": T, "labels": Y}), PT)],
    "`.pt` with a dict of lists": [
        (as_torch({"logits": list(T.split(16)), "labels": list(Y.split(16))}), PT)
    ],
    "`.pt` with a list of batches": [
        (
            both(as_torch(list(T.split(16))), as_torch(list(Y.split(16)), "y.pt")),
            "--train t.pt --train-labels y.pt",
        )
    ],
    "`.pt` with a sparse": [(as_torch({"logits": T.to_sparse(), "labels": Y}), PT)],
    "`.pt` with a list of rows": [
        (
            both(as_torch(list(T)), as_torch(list(Y.split(16)), "y.pt")),
            "--train t.pt --train-labels y.pt",
        )
    ],
    "`.pt` with a pair": [
        (as_torch((T, Y)), PT),
        (as_torch(list(zip(T.split(16), Y.split(16), strict=True))), PT),
    ],
    "log-probabilities, which": [(as_npz(log_softmax(LOGITS, axis=1)), NPZ)],
    "log-probabilities with": [
        (as_npz(log_softmax(LOGITS, axis=1)), NPZ + " --scale log-probabilities")
    ],
    "probabilities with `--scale": [
        (as_npz(PROBABILITIES), NPZ + " --scale probabilities"),
        (as_csv(table(PROBABILITIES)), CSV + " --scale probabilities"),
    ],
    "`.npz` with `probabilities`": [
        (lambda: np.savez("t.npz", probabilities=PROBABILITIES, labels=LABELS), NPZ)
    ],
    "probabilities rounded": [(as_npz(PROBABILITIES.round(3)), NPZ + " --scale probabilities")],
}
REFUSED = {
    "probabilities": [(as_npz(PROBABILITIES), NPZ), (as_csv(table(PROBABILITIES)), CSV)],
    "probabilities that were": [
        (as_npz(PROBABILITIES.round(2)), NPZ),
        (as_torch({"logits": T.softmax(1).bfloat16(), "labels": Y}), PT),
    ],
    "probabilities with one": [(as_npz(bad_row(PROBABILITIES)), NPZ)],
    "percentages": [(as_npz(100 * PROBABILITIES), NPZ)],
    "sigmoids": [(as_npz(1 / (1 + np.exp(-LOGITS))), NPZ)],
    "probabilities of the second": [
        (as_npz(np.r_[1.0001, PROBABILITIES[1:, 1]], BINARY_LABELS), NPZ)
    ],
    "predictions, one-hot": [(as_npz(np.eye(3)[LABELS]), NPZ)],
    "predictions, one column": [(as_csv(table(LABELS[:, None], columns=["a"])), CSV)],
    "logits with `--scale": [(as_npz(), NPZ + " --scale probabilities")],
    "`Unnamed: 0`": [
        (as_csv(table(**{name: values}, columns=columns)), CSV)
        for name, values in OTHERS.items()
        for columns in (NAMES, range(3))
    ],
    "`pred`": [(as_csv(table(pred=LOGITS.argmax(1), columns=c)), CSV) for c in (NAMES, range(3))],
    "any name beside": [(as_csv(table(margin=LOGITS[:, 0], columns=range(3))), CSV)],
    "a name that no text": [(as_csv(table(margin=LOGITS[:, 0], labels=TEXTS)), CSV)],
    "a column of whole": [(as_csv(table(rank=LOGITS.argmax(1) + 1)), CSV)],
    "numbered columns out": [(as_csv(table(columns=["0", "1", "10"])), CSV)],
    "columns numbered from 1, labels": [(as_csv(table(columns=["1", "2", "3"])), CSV)],
    "integer labels": [(as_csv(table(labels=LABELS + 1)), CSV)],
    "text labels in a test": [
        (
            both(
                as_csv(table(labels=TEXTS, columns=range(3))),
                as_csv(
                    table(labels=np.where(TEXTS == "owl", "yak", TEXTS), columns=range(3)), "u.csv"
                ),
            ),
            TEST,
        )
    ],
    "text labels that are": [(as_csv(table(labels=np.char.capitalize(TEXTS))), CSV)],
    "a test split": [
        (both(as_csv(table()), as_csv(table()[["label", *NAMES[::-1]]], "u.csv")), TEST)
    ],
    "no column of labels": [(as_csv(table(label="target")), CSV)],
    "no header": [(as_csv(table()[["label", *NAMES]], header=False), CSV)],
    "semicolons": [(as_csv(table()[["label", *NAMES]], sep=";"), CSV)],
    "another encoding": [(as_csv(table(), encoding="utf-16"), CSV)],
    "an empty cell": [
        (as_csv(table().replace(float(LOGITS[3, 1]), np.nan)), CSV),
        (as_parquet(HOLES), PARQUET),
    ],
    "`.parquet` with a column of structs": [(as_parquet(STRUCTS), PARQUET)],
    "`.parquet` where": [(as_parquet(ARROW), PARQUET)],
    "`.xlsx`": [(lambda: Path("t.xlsx").write_text(""), "--train t.xlsx")],
    "`.npz` without": [(lambda: np.savez("t.npz", LOGITS, LABELS), NPZ)],
    "`.npy` of logits": [(lambda: np.save("t.npy", LOGITS), "--train t.npy")],
    "`.npy` or `.pt` with pickled": [
        (pair(LOGITS.astype(object), LABELS), "--train t.npy --train-labels y.npy"),
        (as_torch({"logits": Path("x")}), PT),
    ],
    "`.pt` with two": [(as_torch((T, -T)), PT)],
    "`.pt` with `logits` that": [(as_torch({"logits": [T[:30], T[30:].half()], "labels": Y}), PT)],
    "`.pt` with batches": [(as_torch([T, T[:, :2]]), PT)],
}


def cases_of(handed_in):
    found = {**READ, **REFUSED}
    return found[key_of(handed_in, found)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy's, of pickled objects
@pytest.mark.parametrize(("handed_in", "outcome", "said"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_of_the_page(run, here, monkeypatch, handed_in, outcome, said):
    for write, options in cases_of(handed_in):
        write()
        if "pyarrow is not" in handed_in:
            monkeypatch.setitem(sys.modules, "pyarrow", None)
        cache = import_as_said(run, options, outcome, said)
        if cache is None:
            continue
        train = cache.split("train")
        is_binary = train.logits.shape[2] == 2
        expected = np.stack([0 * BINARY, BINARY], axis=1) if is_binary else LOGITS
        tolerance = 2e-3 if "rounded" in handed_in else 1e-6
        np.testing.assert_array_equal(train.labels, BINARY_LABELS if is_binary else LABELS)
        np.testing.assert_allclose(
            softmax(train.logits[0], axis=1), softmax(expected, axis=1), atol=tolerance
        )


def test_every_case_is_a_row():
    used = {id(cases_of(row[0])) for row in ROWS}
    assert used == {id(cases) for cases in (*READ.values(), *REFUSED.values())}
    assert all((row[1] == "read") == (cases_of(row[0]) in READ.values()) for row in ROWS)


@pytest.fixture
def rectifier(run, here):
    as_csv(table(labels=TEXTS))()
    run("import", *CSV.split(), "-o", "own.h5")
    assert run("rectify", "own.h5", "-o", "marr.safetensors").code == 0
    return load_rectifier(Path("marr.safetensors"))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("source", [".csv", ".parquet", ".npz", ".h5"])
def test_apply_gives_tables_of_names_probabilities_and_predictions(
    run, here, rectifier, source, suffix
):
    frame = table(labels=TEXTS, id=range(60))
    if source == ".csv":
        frame.drop(columns="label").to_csv("new.csv", index=False)
    elif source == ".parquet":
        frame.to_parquet("new.parquet")
    elif source == ".npz":
        np.savez("new.npz", logits=LOGITS)
    rows = "own.h5" if source == ".h5" else f"new{source}"
    split = ["--split", "train"] if source == ".h5" else []
    done = run("apply", rows, "marr.safetensors", *split, "-o", f"out{suffix}")
    assert done.code == 0, done.err
    found = pd.read_csv("out.csv") if suffix == ".csv" else pd.read_parquet("out.parquet")
    expected = rectifier.apply(torch.from_numpy(LOGITS))
    np.testing.assert_allclose(found[[f"logit_{name}" for name in NAMES]], expected, rtol=1e-6)
    probabilities = found[[f"probability_{name}" for name in NAMES]]
    np.testing.assert_allclose(probabilities, expected.softmax(1), rtol=1e-5, atol=1e-30)
    assert found["prediction"].tolist() == np.array(NAMES)[expected.argmax(1)].tolist()
    if source in (".parquet", ".h5"):
        assert found["label"].tolist() == TEXTS.tolist()
    if source in (".csv", ".parquet"):
        assert found["id"].tolist() == list(range(60))


def test_apply_reads_scores_as_import_does(run, here, rectifier):
    expected = rectifier.apply(torch.from_numpy(LOGITS)).softmax(1)
    table(PROBABILITIES).drop(columns="label").to_csv("new.csv", index=False)
    out = ["-o", "out.npz"]
    done = run("apply", "new.csv", "marr.safetensors", *out)
    assert (done.code, "what looks like probabilities" in done.error) == (3, True)
    done = run("apply", "new.csv", "marr.safetensors", "--scale", "probabilities", *out)
    assert (done.code, "was fitted on logits" in done.err) == (0, True)
    with np.load("out.npz") as found:
        np.testing.assert_allclose(found["probabilities"].sum(1), 1, rtol=1e-6)
        agree = found["predictions"] == expected.argmax(1).numpy()
    assert agree.mean() > 0.9
    done = run("apply", "own.h5", "marr.safetensors", "--split", "train", "--scale", "logits", *out)
    assert (done.code, "a cache, which holds logits" in done.error) == (2, True)
    np.savez("p.npz", probabilities=PROBABILITIES, labels=LABELS)
    imported = run("import", "--train", "p.npz", "-o", "p.h5", "--json").document
    assert imported["rows"] is None
    assert "taken as seen by the network" in imported["notes"][0]
    assert open_cache(Path("p.h5")).meta("scale") == "probabilities"
    assert run("rectify", "p.h5", "-o", "p.safetensors").code == 0
    for rows in ("new.csv", "p.npz"):  # as what the rectifier was fitted on
        done = run("apply", rows, "p.safetensors", *out)
        assert (done.code, "was fitted on" in done.err) == (0, False)
    table()[NAMES[::-1]].to_csv("new.csv", index=False)
    done = run("apply", "new.csv", "marr.safetensors", *out)
    assert (done.code, "in its order expected, cat, dog, owl, got owl" in done.error) == (3, True)
    np.savez("views.npz", logits=np.stack([LOGITS, LOGITS]))
    done = run("apply", "views.npz", "marr.safetensors", "-o", "out.csv")
    assert (done.code, "rows of one view expected in a table" in done.error) == (3, True)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_apply_passes_on_labels_of_no_class_as_they_are(run, here, rectifier, suffix):
    labels = LABELS.copy()
    labels[[3, 5]] = -1, 7
    table(labels=labels).to_csv("new.csv", index=False)
    done = run("apply", "new.csv", "marr.safetensors", "-o", f"out{suffix}")
    assert done.code == 0, done.err
    assert "-1, 7 among the labels are no classes of marr.safetensors" in done.err
    found = pd.read_csv("out.csv") if suffix == ".csv" else pd.read_parquet("out.parquet")
    assert found["label"].tolist() == labels.tolist()
    table(labels=np.where(LABELS == 0, "yak", TEXTS)).to_csv("new.csv", index=False)
    done = run("apply", "new.csv", "marr.safetensors", "-o", f"out{suffix}")
    assert (done.code, "yak among the labels" in done.err) == (0, True)


@pytest.mark.parametrize(
    "other", [{"labels": LABELS[:50]}, {"labels": np.eye(3)[LABELS]}, {"ids": np.arange(7)}]
)
@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_apply_refuses_labels_and_ids_of_other_rows(run, here, rectifier, other, suffix):
    np.savez("new.npz", logits=LOGITS, **other)
    done = run("apply", "new.npz", "marr.safetensors", "-o", f"out{suffix}")
    assert (done.code, "one for each row of logits" in done.error) == (3, True)
    assert not Path(f"out{suffix}").exists()


def test_apply_reads_a_mapped_file_and_tells_of_a_column_that_it_wrote(run, here, rectifier):
    np.save("new.npy", LOGITS)
    done = run("apply", "new.npy", "marr.safetensors", "-o", "out.csv")
    assert (done.code, "Warning" in done.err) == (0, False)
    done = run("apply", "out.csv", "marr.safetensors", "-o", "again.csv")
    assert (done.code, "got 'prediction' beside them" in done.error) == (3, True)
