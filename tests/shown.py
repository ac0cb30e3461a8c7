"""What pages show in code blocks: commands and snippets that run, and what they print.

A block in ```sh holds commands of `pipeline`, one in ```python a snippet, one in ```text what both
have printed. All of a page run in their order, in a folder with the files that pages speak of; what
would take too long stands under a comment that says so, `<!-- by hand 2026-11-28: 20 minutes -->`,
or under one that names the file that runs it instead.
"""

import re
import shlex

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from told import DATE, ROOT
from torchvision.models import mobilenet_v3_small

from marr_pipeline.cache import open_cache
from marr_pipeline.workflows.import_logits import import_logits
from marr_pipeline.workflows.rectify import rectify_cache

BLOCK = re.compile(
    r"^(?:<!-- (?!numbers)(?P<mark>.*?) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"[(\[]?([+-]?\d[\d,]*\.?(\d*))[%\])+~,-]*")


def blocks(page):
    """Language and content of every block of a page (text) that is to be run or compared."""
    for found in BLOCK.finditer(page):
        mark = found["mark"] or ""
        if not DATE.match(mark) and not (mark and (ROOT / re.split("[ ,:]", mark)[0]).exists()):
            yield found["language"], found["body"]


def unfenced(page):
    """Lines of commands that stand in no block, and so would not be run."""
    return re.findall(r"^ +(?:pipeline|python|torchrun) .*$", BLOCK.sub("", page), re.MULTILINE)


def commands(body):
    """The words of each command of a block."""
    for line in body.replace("\\\n", " ").splitlines():
        yield from (shlex.split(part, comments=True) for part in line.split(" && "))


def is_printed(expected, printed):
    """Whether a text was printed: word by word, `...` for any, numbers within three last places."""
    wanted, words = expected.split(), printed.split()
    return any(_follows(wanted, words[start:]) for start in range(len(words)))


def _follows(wanted, words):
    for place, word in enumerate(wanted):
        if word == "...":
            rest = wanted[place + 1 :]
            return any(_follows(rest, words[later:]) for later in range(place, len(words) + 1))
        if place >= len(words) or not _is_alike(word, words[place]):
            return False
    return True


def _is_alike(wanted, word):
    first, second = (NUMBER.fullmatch(each) for each in (wanted, word))
    if wanted == word or not (first and second):
        return wanted == word
    values = [float(each[1].replace(",", "")) for each in (first, second)]
    return abs(values[0] - values[1]) <= 3.01 * 10.0 ** -len(first[2])


def fill(folder, digits_cache):
    """The files that pages speak of, small: digits, their logits, features and networks."""
    cache = open_cache(digits_cache)
    train, test = cache.split("train"), cache.split("test")
    halves = {"tune": slice(0, None, 2), "test": slice(1, None, 2)}
    for name, split in (("train", train), ("tune", test), ("test", test)):
        rows = halves.get(name, slice(None))
        logits, features = split.logits[:1, rows], split.features[:1, rows]
        labels = split.labels[rows]
        np.savez(folder / f"{name}.npz", logits=logits, features=features, labels=labels)
        np.save(folder / f"{name}.npy", features[0])
        np.save(folder / f"{name}-labels.npy", labels)
    head = {**cache.head.arrays(), "class_counts": cache.class_counts}
    np.savez(folder / "head.npz", **head)
    np.savez(folder / "new.npz", logits=test.logits[0], features=test.features[0])
    files = {name: folder / f"{name}.npz" for name in ("train", "test", "tune")}
    import_logits(files, folder / "cache.h5", head=folder / "head.npz")
    without_tune = {name: files[name] for name in ("train", "test")}
    import_logits(without_tune, folder / "c10.h5", head=folder / "head.npz")
    for seed, name in enumerate(("a", "b", "seed0", "seed1", "seed2")):
        for split in files:
            rows = np.load(folder / f"{split}.npz")
            logits = rows["logits"] * (1 + seed / 10)
            np.savez(folder / f"{name}-{split}.npz", logits=logits, labels=rows["labels"])
        import_logits(
            {split: folder / f"{name}-{split}.npz" for split in files}, folder / f"{name}.h5"
        )
    rectify_cache(folder / "cache.h5", output=folder / "fit.safetensors")
    (folder / "rows.npz").symlink_to("new.npz")
    rng = np.random.default_rng(0)
    for split, per_class in (("train", (6, 4, 2)), ("test", (2, 2, 2))):
        for name, count in zip(("ant", "cat", "fox"), per_class, strict=True):
            (folder / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / split / name / f"{number}.png")
    torch.manual_seed(0)
    save_file(mobilenet_v3_small(num_classes=3).state_dict(), folder / "model.safetensors")
