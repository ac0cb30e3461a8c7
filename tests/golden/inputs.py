"""The files that cases are given, by name; each is written where a command line names it."""

import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

CACHES = Path(__file__).parent / "caches"
Write = Callable[[Path], object]

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(3), [5, 3, 2])
WEIGHT, BIAS = RNG.standard_normal((3, 4)), RNG.standard_normal(3)
FEATURES = RNG.standard_normal((10, 4))
LOGITS = FEATURES @ WEIGHT.T + BIAS
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
TENSORS = {"logits": torch.from_numpy(LOGITS).float(), "labels": torch.from_numpy(LABELS)}


def arrays(**content: Any) -> Write:
    return lambda path: np.savez(path, **content)


def rows(**changes: Any) -> Write:
    return arrays(**{"logits": LOGITS, "labels": LABELS, **changes})


def head(**changes: Any) -> Write:
    return arrays(**{"weight": WEIGHT, "bias": BIAS, **changes})


def text(content: str) -> Write:
    return lambda path: path.write_text(content)


def changed(values: np.ndarray, place: Any, value: float) -> np.ndarray:
    values = values.copy()
    values[place] = value
    return values


def seed(number: int, counts: tuple[int, ...], sizes: tuple[int, ...]) -> Write:
    """Logits of one split of a long tail; another number is another seed of one experiment."""
    generator = np.random.default_rng(number)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    logits = generator.normal(size=(len(labels), len(counts))) + np.log(counts)
    logits[np.arange(len(labels)), labels] += 1.5
    return arrays(logits=logits.astype(np.float32), labels=labels)


def cut(size: Callable[[int], int]) -> Write:
    """The start of the digits' cache."""
    content = (CACHES / "digits.h5").read_bytes()
    return lambda path: path.write_bytes(content[: size(len(content))])


def flipped(place: int, name: str = "digits.h5") -> Write:
    def write(path: Path) -> None:
        content = bytearray((CACHES / name).read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

    return write


def flipped_logit(path: Path) -> None:
    with h5py.File(CACHES / "digits.h5") as file:
        place = file["splits/train/logits"].id.get_offset()
    flipped(place + 1000)(path)


def foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)


def rectifier(header: Mapping[str, str], **tensors: torch.Tensor) -> Write:
    """The stored MARR, with changes."""
    stored = load_file(CACHES / "marr.safetensors")
    header = {"format": "marr-rectifier", "format_version": "1.0", "method": '"marr"', **header}
    return lambda path: save_file({**stored, **tensors}, path, header)


GOOD_LISTS = {
    "good.txt": "a/1.png 0\nb/1.png 1\n",
    "other-class.txt": "a/2.png 0\nb/2.png 5\n",
}
BAD_LISTS = {
    "gap.txt": "a/1.png 0\nb/1.png 2\n",
    "from-one.txt": "a/1.png 1\nb/1.png 2\n",
    "word.txt": "a/1.png ant\nb/1.png 1\n",
    "negative.txt": "a/1.png -1\nb/1.png 0\n",
    "no-label.txt": "a/1.png\n",
    "absent.txt": "a/1.png 0\nb/9.png 1\n",
    "twice.txt": "a/1.png 0\na/1.png 1\n",
    "header.csv": "thing,value\na/1.png,0\n",
    "empty.txt": "",
}


def photos(path: Path) -> None:
    """Images of two classes, lists of them that are wrong in one way each, and an empty folder."""
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), "red").save(path / name)
    (path / "empty").mkdir()
    (path / "train/a").mkdir(parents=True)
    (path / "train/b").mkdir()
    for split in ("train", "test"):
        shutil.copytree(path / "a", path / split / "a", dirs_exist_ok=True)
    for name, lines in {**GOOD_LISTS, **BAD_LISTS}.items():
        (path / name).write_text(lines)


class Unknown:
    """Stands for any class that a pickle could run the code of."""


COUNTS, SIZES = (300, 150, 60, 30, 10), (40, 30, 30, 20, 10)
TEN = RNG.standard_normal((20, 10)).astype(np.float32)
SEPARABLE = 3 * np.eye(3)[LABELS] - RNG.random((10, 3))

SOUND: dict[str, Write] = {
    **{
        stored.name: lambda path, stored=stored: shutil.copyfile(stored, path)
        for stored in sorted(CACHES.iterdir())
    },
    # Rows that are in order.
    "rows.npz": rows(),
    "rows-features.npz": rows(features=FEATURES, ids=[f"image {row}" for row in range(10)]),
    "rows-views.npz": rows(
        logits=np.stack([LOGITS, LOGITS + 0.1]), views=["clean", "augmented"], ids=np.arange(10)
    ),
    "rows-half.npz": rows(logits=LOGITS.astype(np.float16)),
    "rows-named.npz": rows(class_names=["a", "b", "c"]),
    "rows-renamed.npz": rows(class_names=["a", "c", "b"]),
    "rows.csv": text("label,id,ant,bee\n" + "0,x,1.5,-2\n1,y,0.25,1e-3\n1,z,-1,4\n"),
    "rows-counted.csv": text("label,logit_0,logit_1\n" + "0,1.5,-2\n1,0.25,1e-3\n"),
    "rows.npy": lambda path: np.save(path, LOGITS),
    "labels.npy": lambda path: np.save(path, LABELS),
    "rows.safetensors": lambda path: save_file(TENSORS, path),
    "rows.pt": lambda path: torch.save(TENSORS, path),
    "rows-separable.npz": rows(logits=SEPARABLE),
    "rows-ten.npz": arrays(logits=TEN, labels=np.arange(20) % 10),
    "rows-ten-features.npz": arrays(
        logits=TEN, labels=np.arange(20) % 10, features=RNG.standard_normal((20, 64))
    ),
    "rows-ten-narrow.npz": arrays(
        logits=TEN, labels=np.arange(20) % 10, features=RNG.standard_normal((20, 3))
    ),
    "rows-ten-views.npz": arrays(logits=np.stack([TEN, -TEN]), labels=np.arange(20) % 10),
    **{f"train-{number}.npz": seed(number, COUNTS, COUNTS) for number in range(3)},
    **{f"test-{number}.npz": seed(10 + number, COUNTS, SIZES) for number in range(3)},
    "test-gap.npz": seed(10, COUNTS, (40, 30, 0, 20, 10)),
    "train-four.npz": seed(0, COUNTS[:4], COUNTS[:4]),
    "train-flat.npz": seed(0, COUNTS, (100, 100, 60, 30, 10)),
    # Heads that are in order.
    "head.npz": head(),
    "head-counts.npz": head(
        class_counts=[50, 3, 2], prior_counts=[9, 5.5, 1], class_names=["a", "b", "c"]
    ),
    "head-norms.npz": arrays(weight_norm=[1.0, 2.0, 0.5]),
    "head.safetensors": lambda path: save_file({"weight_norm": torch.ones(3) * 2}, path),
    # Those that one case or two need.
    "bad-other-classes.npz": rows(logits=RNG.standard_normal((10, 5))),
    "bad-text.npy": text("text"),
    "bad-labels.npy": lambda path: np.save(path, LABELS[:4]),
    "bad-flipped-logit.h5": flipped_logit,
    # Numbers of each class, and configurations.
    "prior.txt": text("1 2 3, 4 5 6 7 8 9 10\n"),
    "prior.json": text(json.dumps({"prior": list(range(1, 11))})),
    "prior.npy": lambda path: np.save(path, np.arange(1, 11)),
    "prior.npz": arrays(class_counts=np.arange(1, 11)),
    "config.toml": text('gamma = 0.5\n[rectify]\nl2 = 0.01\ncenter = "identity"\n'),
    # Images.
    "photos": photos,
}
BAD_ROWS: dict[str, Write] = {
    "bad-nan.npz": rows(logits=changed(LOGITS, (7, 2), np.nan)),
    "bad-infinite.npz": rows(logits=changed(LOGITS, (3, 1), np.inf)),
    "bad-probabilities.npz": rows(logits=PROBABILITIES),
    "bad-percentages.npz": rows(logits=100 * PROBABILITIES),
    "bad-one-hot.npz": rows(logits=np.eye(3)[LABELS]),
    "bad-predictions.npz": rows(logits=LABELS * 1.0),
    "bad-whole.npz": rows(logits=LOGITS.astype(int)),
    "bad-one-hot-labels.npz": rows(labels=np.eye(3)[LABELS]),
    "bad-float-labels.npz": rows(labels=LABELS * 1.0),
    "bad-labels-from-one.npz": rows(labels=LABELS + 1),
    "bad-label-range.npz": rows(labels=LABELS * 2),
    "bad-label-negative.npz": rows(labels=LABELS - 1),
    "bad-no-rows.npz": rows(logits=LOGITS[:0], labels=LABELS[:0]),
    "bad-fewer-labels.npz": rows(labels=LABELS[:9]),
    "bad-transposed.npz": rows(logits=LOGITS.T),
    "bad-features.npz": rows(features=FEATURES[:9]),
    "bad-ids.npz": rows(ids=[*range(9), 3]),
    "bad-views.npz": rows(logits=np.stack([LOGITS, LOGITS]), views=["clean", "clean"]),
    "bad-names.npz": rows(class_names=["a", "b"]),
    "bad-number-names.npz": rows(class_names=[1, 2, 3]),
    "bad-nothing.npz": arrays(scores=LOGITS),
    "bad-archive.npz": text("text"),
    "bad-no-labels.pt": lambda path: torch.save({"logits": torch.zeros(3, 3)}, path),
    "bad-tuple.pt": lambda path: torch.save((torch.zeros(3, 3), torch.zeros(3)), path),
    "bad-pickle.pt": lambda path: path.write_bytes(pickle.dumps({"logits": 1, "labels": Unknown})),
    "bad-empty.pt": text(""),
    "bad-text.safetensors": text("text"),
    "bad-no-label.csv": text("id,a,b\n1,2,3\n"),
    "bad-word.csv": text("label,a,b\n0,1,2\n1,2,x\n"),
    "bad-short-line.csv": text("label,a,b\n0,1,2\n1,2\n"),
    "bad-one-class.csv": text("label,a\n0,1\n"),
    "bad-no-logits.csv": text("label\n0\n"),
    "bad-empty.csv": text(""),
    "bad-kind.txt": text("1 2 3"),
}
BAD_HEADS: dict[str, Write] = {
    "bad-head-classes.npz": arrays(weight=WEIGHT[:2]),
    "bad-head-features.npz": arrays(weight=WEIGHT[:, :3]),
    "bad-head-other.npz": head(weight=WEIGHT[::-1] * 2),
    "bad-head-no-bias.npz": arrays(weight=WEIGHT),
    "bad-head-nan.npz": head(weight=WEIGHT * np.nan),
    "bad-head-text.npz": head(weight=np.full((3, 4), "a")),
    "bad-head-bias.npz": head(bias=BIAS[:2]),
    "bad-head-norms.npz": head(weight_norm=np.ones(3)),
    "bad-head-absent.npz": head(class_counts=[5, 3, 0]),
    "bad-head-half.npz": head(class_counts=[5, 3, 2.5]),
    "bad-head-nan-count.npz": head(class_counts=[5, 3, np.nan]),
    "bad-head-prior.npz": head(prior_counts=[5, -3, 2]),
    "bad-head-names.npz": head(class_names=["a", "b"]),
    "bad-head-kernel.npz": arrays(kernel=WEIGHT),
}
BAD_CACHES: dict[str, Write] = {
    "bad-empty.h5": text(""),
    "bad-text.h5": text("no hdf5 at all"),
    "bad-magic.h5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"),
    "bad-foreign.h5": foreign,
    "bad-cut.h5": cut(lambda size: size - 1),
    "bad-half.h5": cut(lambda size: size // 2),
    "bad-flipped-record.h5": flipped(100),
    "bad-flipped-seal.h5": flipped(-1),
}
BAD_RECTIFIERS: dict[str, Write] = {
    "bad-plain.safetensors": lambda path: save_file({"x": torch.zeros(3)}, path),
    "bad-newer.safetensors": rectifier({"format_version": "2.0"}),
    "bad-nan.safetensors": rectifier({}, shift=torch.full((10,), torch.nan).double()),
    "bad-head.safetensors": rectifier({"head_fingerprint": '"0"'}),
    "bad-cut.safetensors": lambda path: path.write_bytes(
        (CACHES / "marr.safetensors").read_bytes()[:-5]
    ),
}
BAD_NUMBERS: dict[str, Write] = {
    "bad-prior-short.txt": text("1 2 3"),
    "bad-prior-negative.txt": text("1 " * 9 + "-1"),
    "bad-prior-zeros.txt": text("0 " * 10),
    "bad-prior-words.txt": text("one two"),
    "bad-prior-nan.txt": text("1 " * 9 + "nan"),
    "bad-prior-key.json": text('{"numbers": [1, 2]}'),
    "bad-prior.json": text("{"),
    "bad-prior-key.npz": arrays(numbers=np.arange(10)),
}
BAD_CONFIGS: dict[str, Write] = {
    "bad-key.toml": text("[rectify]\ngama = 1\n"),
    "bad-top-key.toml": text("lambda = 1\n"),
    "bad-table.toml": text("[rectifie]\ngamma = 1\n"),
    "bad-value.toml": text('[rectify]\ngamma = "much"\n'),
    "bad-choice.toml": text('[rectify]\ncenter = "middle"\n'),
    "bad-syntax.toml": text("gamma = \n"),
}
INPUTS = {
    **SOUND,
    **BAD_ROWS,
    **BAD_HEADS,
    **BAD_CACHES,
    **BAD_RECTIFIERS,
    **BAD_NUMBERS,
    **BAD_CONFIGS,
}
