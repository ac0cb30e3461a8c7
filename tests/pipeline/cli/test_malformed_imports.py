"""What cannot become a cache: one clear line, exit code 3, and no file left."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(3), [5, 3, 2])
WEIGHT, BIAS = RNG.standard_normal((3, 4)), RNG.standard_normal(3)
FEATURES = RNG.standard_normal((10, 4))
LOGITS = FEATURES @ WEIGHT.T + BIAS
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)


def npz(**arrays):
    return lambda path: np.savez(path, **{"logits": LOGITS, "labels": LABELS, **arrays})


def tensors(content):
    return lambda path: torch.save(content, path)


def text(content):
    return lambda path: path.write_text(content)


def with_nan(row):
    logits = LOGITS.copy()
    logits[row, 2] = np.nan
    return logits


class Unknown:
    """Stands for any class that a pickle could run the code of."""


def pickled(path):
    path.write_bytes(pickle.dumps({"logits": LOGITS, "labels": Unknown}))


TRAIN = {
    "not finite": ("t.npz", npz(logits=with_nan(7)), "got nan in row 7"),
    "probabilities": ("t.npz", npz(logits=PROBABILITIES), "what looks like probabilities"),
    "percentages": ("t.npz", npz(logits=100 * PROBABILITIES), "what looks like percentages"),
    "one-hot rows": ("t.npz", npz(logits=np.eye(3)[LABELS]), "what looks like one-hot rows"),
    "predictions": ("t.npz", npz(logits=LABELS * 1.0), "got (10,)"),
    "whole numbers": ("t.npz", npz(logits=LOGITS.astype(int)), "floating numbers expected"),
    "one-hot labels": ("t.npz", npz(labels=np.eye(3)[LABELS]), "save labels.argmax(1)"),
    "labels as floats": ("t.npz", npz(labels=LABELS * 1.0), "integers expected, got float64"),
    "labels from 1": ("t.npz", npz(labels=LABELS + 1), "they seem to count from 1"),
    "labels of a longer list": ("t.npz", npz(labels=LABELS * 2), "got 4 in row 8"),
    "no rows": ("t.npz", npz(logits=LOGITS[:0], labels=LABELS[:0]), "without an empty axis"),
    "fewer labels": ("t.npz", npz(labels=LABELS[:9]), "shape (10,), one for each row"),
    "transposed": ("t.npz", npz(logits=LOGITS.T), "look transposed"),
    "features of other rows": ("t.npz", npz(features=FEATURES[:9]), "got 1 and 9"),
    "an id twice": ("t.npz", npz(ids=[*range(9), 3]), "got 3 in rows 3 and 9"),
    "class names of other classes": (
        "t.npz",
        npz(class_names=["a", "b"]),
        "class_names of 3 classes",
    ),
    "class names that are numbers": ("t.npz", npz(class_names=[1, 2, 3]), "a list of strings"),
    "no labels": ("t.pt", tensors({"logits": torch.zeros(3, 3)}), "save labels under that name"),
    "a tuple": ("t.pt", tensors((torch.zeros(3, 3), torch.zeros(3))), "got: a tuple"),
    "pickled code": ("t.pt", pickled, "a dict of tensors as .safetensors or by torch.save"),
    "an empty file": ("t.pt", text(""), "a dict of tensors as .safetensors or by torch.save"),
    "no safetensors": ("t.safetensors", text("text"), "a dict of tensors as .safetensors or"),
    "no archive": ("t.npz", text("text"), "an .npz archive of plain arrays expected"),
    "a table without labels": ("t.csv", text("id,a,b\n1,2,3\n"), "one column 'label'"),
    "text in a table": ("t.csv", text("label,a,b\n0,1,2\n1,2,x\n"), "'x' in line 3, column 'b'"),
    "a table of one class": ("t.csv", text("label,a\n0,1\n"), "at least 2 classes"),
    "a table of labels": ("t.csv", text("label\n0\n"), "without an empty axis expected"),
    "an unknown kind": ("t.txt", text("1 2 3"), "a pair of .npy expected, got '.txt'"),
}


def check_refused(run, folder, message, *options):
    before = sorted(folder.iterdir())
    done = run("import", *options, "-o", folder / "own.h5", "--json")
    assert done.code == 3, done.err
    assert message in done.error
    assert done.err == done.error + "\n"
    assert done.out == ""
    assert sorted(folder.iterdir()) == before
    return done.error


@pytest.mark.parametrize("case", TRAIN)
def test_rows(run, tmp_path, case):
    name, write, message = TRAIN[case]
    write(tmp_path / name)
    error = check_refused(run, tmp_path, message, "--train", tmp_path / name)
    assert error.startswith(f"error: {tmp_path / name}: ")


HEADS = {
    "other classes": ({"weight": WEIGHT[:2]}, "weight of 3 classes expected, as in the logits"),
    "other features": ({"weight": WEIGHT[:, :3]}, "as wide as the head's weight (3) expected"),
    "another head": ({"weight": WEIGHT[::-1] * 2, "bias": BIAS}, "they are of another model"),
    "no bias": ({"weight": WEIGHT}, "but the head lacks"),
    "not finite": ({"weight": WEIGHT * np.nan, "bias": BIAS}, "finite values expected, got"),
    "text": ({"weight": np.full((3, 4), "a"), "bias": BIAS}, "weight as numbers expected"),
    "norms of another weight": (
        {"weight": WEIGHT, "bias": BIAS, "weight_norm": np.ones(3)},
        "weight_norm = norm of each row of weight expected, got 1 instead of",
    ),
    "a class without images": (
        {"weight": WEIGHT, "bias": BIAS, "class_counts": [5, 3, 0]},
        "got 0 for class 2, which has 2 rows",
    ),
    "half an image": (
        {"weight": WEIGHT, "bias": BIAS, "class_counts": [5, 3, 2.5]},
        "class_counts as whole numbers of at least 0 expected, got 2.5",
    ),
    "an unknown count": (
        {"weight": WEIGHT, "bias": BIAS, "class_counts": [5, 3, np.nan]},
        "class_counts as whole numbers of at least 0 expected, got nan",
    ),
    "names of other classes": (
        {"weight": WEIGHT, "bias": BIAS, "class_names": ["a", "b"]},
        "class_names of 3 classes expected",
    ),
    "nothing of a head": ({"kernel": WEIGHT}, "'weight_norm' (K,) expected, got kernel"),
}


@pytest.mark.parametrize("case", HEADS)
def test_heads(run, tmp_path, case):
    arrays, message = HEADS[case]
    npz(features=FEATURES)(tmp_path / "t.npz")
    np.savez(tmp_path / "head.npz", **arrays)
    options = ["--train", tmp_path / "t.npz", "--head", tmp_path / "head.npz"]
    assert str(tmp_path / "head.npz") in check_refused(run, tmp_path, message, *options)


def test_splits_of_two_models(run, tmp_path):
    npz()(tmp_path / "t.npz")
    npz(logits=RNG.standard_normal((10, 5)))(tmp_path / "other.npz")
    options = ["--train", tmp_path / "t.npz", "--test", tmp_path / "other.npz"]
    check_refused(run, tmp_path, "logits of 3 classes expected, as in train, got 5", *options)


def test_splits_with_two_class_lists(run, tmp_path):
    npz(class_names=["a", "b", "c"])(tmp_path / "t.npz")
    npz(class_names=["a", "c", "b"])(tmp_path / "other.npz")
    options = ["--train", tmp_path / "t.npz", "--test", tmp_path / "other.npz"]
    check_refused(run, tmp_path, "are the classes in one order?", *options)


def test_a_pair_of_arrays(run, tmp_path):
    np.save(tmp_path / "l.npy", LOGITS)
    np.save(tmp_path / "y.npy", LABELS[:4])
    options = ["--train", tmp_path / "l.npy", "--train-labels", tmp_path / "y.npy"]
    check_refused(run, tmp_path, f"{tmp_path / 'y.npy'}: labels: shape (10,)", *options)
    np.savez(tmp_path / "z.npz", LABELS)
    (tmp_path / "z.npz").rename(tmp_path / "y.npy")
    check_refused(run, tmp_path, "got an archive; name it .npz", *options)


def test_a_damaged_head(run, tmp_path):
    npz()(tmp_path / "t.npz")
    save_file({"weight": torch.from_numpy(WEIGHT)}, tmp_path / "head.safetensors")
    content = (tmp_path / "head.safetensors").read_bytes()
    (tmp_path / "head.safetensors").write_bytes(content[:-5])
    options = ["--train", tmp_path / "t.npz", "--head", tmp_path / "head.safetensors"]
    check_refused(run, tmp_path, "a dict of tensors as .safetensors", *options)
