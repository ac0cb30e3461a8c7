"""Datasets that are folders: one for each split, and in it one for each class.

`train/` or `training/` is `train`, `test/` or `testing/` is `test`, `tune/` is `tune`, in any case
of letters. `val/`, `valid/` and `validation/` are `tune` beside a test folder; without one they may
be either, and the user says which. A class has the pictures at every depth of its folder. What
programs leave behind is passed over, and everything else that is no picture is counted.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.data.class_order import in_order, named, numbers_as_text
from marr_pipeline.data.image_files import SUFFIXES, ImageFiles
from marr_pipeline.data.source import DatasetSource, FileSource, SourceRequest
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import SPLITS
from marr_pipeline.protocols import PROTOCOLS

SPLIT_FOLDERS = {"train": ("train", "training"), "tune": ("tune",), "test": ("test", "testing")}
VALIDATION = ("val", "valid", "validation")
NO_SPLIT = "none"
"""What a validation folder is for a checkpoint that was trained without it."""
LEFT_BEHIND = frozenset({"@eadir", "thumbs.db", "desktop.ini", "__macosx"})
"""By file managers and archives, in lower case, beside all that begins with a dot."""


@dataclass
class _PassedOver:
    """What was no picture, by kind, with the first of each."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, path: str) -> None:
        self.counts[kind] += 1
        self.first[kind] = min(path, self.first.get(kind, path))

    def __str__(self) -> str:
        return ", ".join(
            f"{count:,} {kind} ({self.first[kind]})" for kind, count in self.counts.most_common()
        )


def folder_source(request: SourceRequest) -> DatasetSource:
    """List the images of the data root; nothing is decoded and nothing drawn yet.

    Raises:
        ConfigError: no root was given, it does not show what its validation folder is, or the
            image size is below 8.
        DataError: the root has no `train` folder, a training class has no image, a split has
            classes that `train` has not or a folder of another split's, or the class order is of
            other classes.
    """
    data_root = request.root("a folder with train/ and test/")
    image_size = request.side(PROTOCOLS["folder"].image_size)
    folders, others = _split_folders(data_root, request.val_is)
    passed_over = _PassedOver()
    found = {split: _class_folders(data_root, name, passed_over) for split, name in folders.items()}
    where = str(data_root / folders["train"])
    class_names = in_order(set(found["train"]), request.class_order, where=where)
    notes = numbers_as_text(class_names) if request.class_order is None else []
    _check_apart(data_root, folders, found)
    warnings, splits = [], {}
    for split, folder in folders.items():
        _check_known(data_root / folder, found[split], class_names)
        labels, ids = _images(data_root, folder, found[split], class_names, passed_over)
        lacking = [
            class_names[label]
            for label in np.flatnonzero(np.bincount(labels, minlength=len(class_names)) == 0)
        ]
        if lacking and split == "train":
            raise DataError(
                f"{where}/{lacking[0]}: at least one image expected, got an empty class folder"
                f"{_except_for(passed_over)}; add images ({' '.join(sorted(SUFFIXES))}) or remove "
                "the folder"
            )
        if not len(labels):
            raise DataError(
                f"{data_root / folder}: an image in the folder of a class expected, got none"
                f"{_except_for(passed_over)}; put the images into folders named as in {where}, or "
                "move the folder away"
            )
        if lacking:
            warnings.append(
                f"{data_root / folder}: no image of {len(lacking):,} of {len(class_names):,} "
                f"classes ({named(lacking)}), which this split does not score"
            )
        splits[split] = FileSource(
            labels=labels,
            files=ImageFiles(data_root, ids, decoding=request.decoding),
            image_size=image_size,
            name=split,
            request=request,
        )
    if passed_over.counts:
        warnings.append(f"{data_root}: passed over, as no image that is read: {passed_over}")
    if others:
        warnings.append(
            f"{data_root}: folders that are no split passed over: {named(sorted(others))}"
        )
    return DatasetSource(
        name="folder",
        class_names=class_names,
        splits=splits,
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def _split_folders(root: Path, val_is: str | None) -> tuple[dict[str, str], list[str]]:
    """Name of each split's folder, in the order of `SPLITS`, and the names of other folders."""
    there = [entry.name for entry in os.scandir(root) if entry.is_dir() and _counts(entry.name)]
    found = {
        split: [name for name in there if name.lower() in names]
        for split, names in SPLIT_FOLDERS.items()
    }
    validation = [name for name in there if name.lower() in VALIDATION and val_is != NO_SPLIT]
    if not found["train"]:
        inner = next((name for name in there if (root / name / "train").is_dir()), None)
        hint = f"give --data-root {root / inner}" if inner else "move the training images there"
        raise DataError(
            f"{root}: a folder train/ with one folder a class expected, got "
            f"{named(sorted(there)) or 'none'}; {hint}"
        )
    if validation and val_is is None and not found["test"]:
        raise ConfigError(
            f"--val-is: tune or test expected, as {root} has {validation[0]}/ and no test/, got "
            "none; say whether it is for choosing settings (tune) or for scoring only (test)"
        )
    if val_is not in (None, NO_SPLIT) and not validation:
        raise ConfigError(
            f"--val-is: a folder val/, valid/ or validation/ in {root} expected, got none; leave "
            "it out"
        )
    if validation:
        found[val_is or "tune"] += validation
    for split, names in found.items():
        if len(names) > 1:
            raise ConfigError(
                f"{root}: one folder of the split {split} expected, got "
                f"{' and '.join(f'{name}/' for name in sorted(names))}; move one away, or say "
                "--val-is"
            )
    splits = {split: found[split][0] for split in SPLITS if found[split]}
    return splits, [name for name in there if name not in splits.values()]


def _class_folders(root: Path, folder: str, passed_over: _PassedOver) -> list[str]:
    names = []
    for entry in os.scandir(root / folder):
        if not _counts(entry.name):
            continue
        if entry.is_dir():
            names.append(entry.name)
        else:
            passed_over.add("beside the class folders", f"{folder}/{entry.name}")
    return names


def _check_known(folder: Path, found: list[str], class_names: tuple[str, ...]) -> None:
    unknown = sorted(set(found) - set(class_names))
    if unknown:
        missing = sorted(set(class_names) - set(found))
        raise DataError(
            f"{folder}: class folders of train expected, got {len(unknown):,} unknown "
            f"({named(unknown)}), and {len(missing):,} missing ({named(missing) or 'none'}); "
            "name them as in train"
        )


def _check_apart(root: Path, folders: dict[str, str], found: dict[str, list[str]]) -> None:
    """No class folder may be in two splits, as it is by a link: its images would be trained on."""
    owner: dict[str, tuple[str, str]] = {}
    for split, folder in folders.items():
        for name in found[split]:
            path = root / folder / name
            other, before = owner.setdefault(os.path.realpath(path), (split, f"{folder}/{name}"))
            if other != split:
                raise DataError(
                    f"{path}: images of one split expected, got those of {before}, to which a link "
                    "leads; put others there, or remove the link"
                )


def _images(
    root: Path,
    folder: str,
    found: list[str],
    class_names: tuple[str, ...],
    passed_over: _PassedOver,
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels (M,) and paths relative to the root, class by class, sorted part by part."""
    ids: list[str] = []
    sizes = []
    there = set(found)
    for name in class_names:
        own = _pictures(f"{root}/", f"{folder}/{name}", passed_over) if name in there else []
        ids += sorted(own, key=lambda path: path.split("/"))
        sizes.append(len(own))
    return np.repeat(np.arange(len(class_names)), sizes), tuple(ids)


def _pictures(root: str, folder: str, passed_over: _PassedOver) -> list[str]:
    """The pictures at every depth of a folder; a link back to a folder above is not followed."""
    pictures = []
    with os.scandir(root + folder) as entries:
        for entry in entries:
            path = f"{folder}/{entry.name}"
            if not _counts(entry.name):
                continue
            dot = entry.name.rfind(".")
            suffix = entry.name[dot:].lower() if dot > 0 else ""
            if entry.is_dir():
                if entry.is_symlink() and _leads_back(entry):
                    passed_over.add("link to a folder above", path)
                else:
                    pictures += _pictures(root, path, passed_over)
            elif entry.is_symlink() and not entry.is_file():
                passed_over.add("link to nothing", path)
            elif suffix in SUFFIXES:
                pictures.append(path)
            else:
                passed_over.add(suffix or "without a suffix", path)
    return pictures


def _leads_back(entry: os.DirEntry[str]) -> bool:
    above, place = Path(entry.path).resolve(), Path(entry.path).parent.resolve()
    return above == place or above in place.parents


def _counts(name: str) -> bool:
    """Whether a file or folder is the user's, and not left behind by a program."""
    return name[0] != "." and name.lower() not in LEFT_BEHIND


def _except_for(passed_over: _PassedOver) -> str:
    return f" (and {passed_over})" if passed_over.counts else ""
