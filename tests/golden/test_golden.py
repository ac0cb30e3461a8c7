"""Behaviour is that of the record, but for the changes that are named with their reasons."""

import json
import math
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
from golden.cases import CASES, HEADS
from golden.record import RECORD, arithmetic, record_case

CHANGES: dict[str, str] = {
    "*/passes": "Passes are counted where rows are read, those of a full Hessian and of the "
    "certificate too.",
    "import.*/attributes/format_version": "The format is 1.2: draws of views have a "
    "name, a head its normalisation.",
    **dict.fromkeys(
        (
            f"rectify.*.{case}/{field}"
            for case in ("temperature", "vector-scaling", "tune-temperature")
            for field in ("commands/0/run", "commands/0/out/preset", "files/*/header/preset")
        ),
        "The weighted, pulled form is a preset now, and the plain name its authors'.",
    ),
    **dict.fromkeys(
        (f"refuse.apply/commands/{place}/said/0" for place in (7, 8, 9)),
        "Rows that a rectifier cannot take are named by their file.",
    ),
    "rectify.*/files/*/header/features": "A rectifier of features says which they are.",
    "refuse.rows.bad-label-range.npz/commands/0/said/0": "More labels than columns may be those of "
    "features.",
    "refuse.prior.bad-prior*/commands/0/said/0": "Numbers may stand by class name, and in `.csv`.",
    **dict.fromkeys(
        ("*/out/target_prior", "*/out/unmoved", "evaluate.*/out/class_distribution"),
        "Logits are moved to another prior, where one is asked for.",
    ),
    **dict.fromkeys(
        ("*/out/prior*", "evaluate.*/methods/*/prior*"),
        "Probabilities say which prior they stand for.",
    ),
    "*/header/class_counts": "A rectifier keeps the class counts of training.",
    "refuse.prior.*/commands/*/run": "`--prior` is `--class-distribution` now.",
    "refuse.fit.preset/commands/*/said/0": "`tempered` is a preset more.",
    "refuse.compare.options/commands/*/said/0": "`tempered` is a preset more.",
    "refuse.plot/commands/*/said/0": "There are more figures.",
    "plot.confusion.*/confusion.csv/series/*": "A figure calls a file by method and preset.",
    "compare.latex/commands/0/out/*": "LaTeX calls methods by their proper names.",
    "compare.*/fit_split": "A row says which split its method was fitted on.",
    "refuse.extract.stale/commands/*/said/0": "A cache names how its views were drawn.",
    "refuse.fit.seed/commands/0/said/0": "A seed has 64 bits.",
    "refuse.fit.l2-infinite/commands/0/said/0": "An option of numbers is finite.",
    "refuse.sweep/commands/3/said/0": "A ridge has a largest strength.",
    "refuse.no-argument/commands/*/said/0": "`inspect` takes rectifiers too.",
    "refuse.cache.*/commands/1/said/0": "`inspect` takes rectifiers too.",
    "*.safetensors/format_version": "1.1: heads for normalised features, priors.",
    "refuse.rectifier.bad-newer.*/commands/*/said/0": "The version expected is 1.1.",
    **dict.fromkeys(
        (f"*/header/{name}" for name in ("free_bias", "shrinkage", "scale")),
        "Settings of whole heads and of heads in closed form.",
    ),
    **dict.fromkeys(
        (
            f"rectify.*.{case}/{field}"
            for case in ("crt", "crt-lbfgs", "crt-clean", "crt-gamma")
            for field in ("commands/0/*", "files/*")
        ),
        "The strength of a whole head is in units of the rows' mean square.",
    ),
    **dict.fromkeys(
        (
            f"rectify.*.{case}/{field}"
            for case in ("balanced-softmax-head", "balanced-softmax-head-lbfgs")
            for field in ("commands/0/*", "files/*")
        ),
        "The strength of a whole head is in units of the rows' mean square.",
    ),
    "*/tensors/log_prior": "A rectifier says which prior it stands for.",
    **dict.fromkeys(
        (f"compare.*/methods/{name}*" for name in ("crt", "balanced-softmax-head")),
        "The strength of a whole head is in units of the rows' mean square.",
    ),
    **dict.fromkeys(
        (f"compare.*/methods/{name}*" for name in ("head", "ncm", "gda")),
        "Heads with a centre and heads in closed form are methods more.",
    ),
    **dict.fromkeys(
        (f"compare.tail*/commands/0/{field}" for field in ("said", "said/*", "out/warnings*")),
        "A whole head leaves classes without rows out, and says so.",
    ),
    "refuse.config.bad-top-key.toml/commands/0/said/0": "There are more options.",
    "refuse.fit.center/commands/0/said/0": "There are more centres, and files.",
    "refuse.config.bad-choice.toml/commands/0/said/0": "There are more centres, and files.",
    "refuse.fit.crt-center/commands/0/said/0": "A whole head has centres.",
    "refuse.sweep/commands/2/said/0": "There are more centres.",
    "refuse.fit.tau-of-another/commands/0/said/0": "`head` has a tau too.",
    "refuse.fit.*-tune/commands/0/said/0": "The strength of a whole head is tuned.",
    "*/header/normalise": "A head says what is done to its features first.",
    "*/commands/?/out/head/normalise": "A head may divide features by their norms.",
    "*/commands/*/out/probe": "Of features alone the references are a plain probe's.",
    "*/header/class_names": "A rectifier keeps the names of its classes.",
    "*/applied.npz/class_names": "What is applied names its classes.",
    **dict.fromkeys(
        (
            f"refuse.rows.bad-{name}/commands/0/said/0"
            for name in ("probabilities.npz", "percentages.npz", "one-hot.npz")
        ),
        "Scores are judged by the share of rows, and the remedy is `--scale`.",
    ),
    "refuse.rows.bad-no*/commands/0/said/0": "Features alone are read too.",
    "refuse.rows.bad-float-labels.npz/*": "Labels that are whole floats are read.",
    "refuse.rows.bad-predictions.npz/commands/0/said/0": "One column may be a binary score.",
    "refuse.rows.bad-one-class.csv/commands/0/said/0": "One column may be a binary score.",
    "refuse.rows.bad-tuple.pt/commands/0/said/0": "It says what is in the tuple.",
    "refuse.rows.bad-kind.txt/commands/0/said/0": "Tables as `.parquet` are read.",
    "refuse.extract.lists/commands/*/said/0": "It shows the first three lines at fault, and takes "
    "other headers.",
    "refuse.import.labels/commands/*/said/0": "Logits alone may be a torch file.",
    "refuse.apply/commands/0/*": "`apply` writes tables.",
    "refuse.apply/files/applied.csv": "`apply` writes tables.",
    "refuse.apply/commands/[45]/said/0": "`apply` reads rows as `import` does.",
    **dict.fromkeys(
        (f"compare.seeds*/commands/3/{field}" for field in ("said", "out/warnings")),
        "Of imported caches nothing tells that they differ in their seeds alone.",
    ),
    "*/balanced*": "The mean accuracy of the classes stands beside overall accuracy.",
    "*/out/head/normalise": "A head may divide features by their norms, and `inspect` says so.",
    "refuse.fit.method/commands/0/said/0": "There are more methods.",
    "rectify.tail.crt-lbfgs/*/after/ece": "L-BFGS ends elsewhere within the certified gap, where a "
    "bin of few rows is another.",
    "*/out/prior_counts": "`inspect` shows prior counts.",
    "refuse.command/commands/*/said/0": "An unknown command is told a known one.",
    "*/out/checks": "Numbered checks stand beside warnings.",
}
"""Deliberate changes: a glob of `case` or `case/field`, and the reason in a sentence.

A field is where a value stands in the record, `rectify.digits.marr/commands/0/out/loss`. All that
matches is not compared, all else still is.
"""

RENAMED = {"prior": "class_distribution", "--prior": "--class-distribution"}
"""Words of the record that are others now, in fields and in text: the option only scores."""
LABELS = {
    **dict.fromkeys(("marr", "fit"), "marr (paper)"),
    "crt": "crt (default)",
    "disalign": "disalign (default)",
}
"""What a figure calls the file of that stem: its legend says method and preset."""

NUMBERED = (
    "have no training image (first",
    "every row is on its own side",
    "have a negative scale",
    "tuned by cross-validation over split",
)
"""Warnings of the record that numbered checks say now: R01, R04, R05 and R11."""

EXACT = (1e-9, 1e-9)
HEAD_TOLERANCES = {
    "*/loss": (1e-6, 0),
    "*/gap_bound": (0, 1e-3),
    "*/grad*_norm": (0, 1e-3),
    "*/passes": (0.5, 0),
    "*/tensors/*": (0.1, 0.1),
    "*/logits/*": (0, math.inf),  # their probabilities are compared
    "*/predictions/*": (0, math.inf),
    "*/probabilities/*": (0, 1e-3),
    "*/metrics/*": (0, 1e-3),
    "*/methods/*": (0, 1e-3),
}
"""Relative and absolute, where a head is fitted: until a bound on the loss is met, not to a point.

What is in none of these, as every setting, is exact.
"""
ELSEWHERE = {
    "*.marr-no-ridge/*": (0, math.inf),  # along flat directions rounding decides
    "*/passes": (0.5, 0),
    "*": (1e-3, 1e-3),
}
"""On another processor or with another torch, whose rounding in float32 leads to a point nearby."""


def tolerance(field: str) -> tuple[float, float]:
    is_fitted_head = field.startswith(("rectify.", "compare.")) and any(
        method in field for method in HEADS
    )
    patterns = HEAD_TOLERANCES if is_fitted_head else {}
    if record()["arithmetic"] != arithmetic():
        patterns = {**patterns, **ELSEWHERE}
    return next((found for glob, found in patterns.items() if fnmatchcase(field, glob)), EXACT)


def differences(stored: Any, found: Any, field: str) -> Iterator[str]:
    if any(fnmatchcase(field, glob) for glob in CHANGES):
        return
    if isinstance(stored, dict) and isinstance(found, dict):
        stored = {in_new_fields(key): value for key, value in stored.items()}
        for key in {**stored, **found}:
            missing = "nothing"
            yield from differences(
                stored.get(key, missing), found.get(key, missing), f"{field}/{key}"
            )
    elif isinstance(stored, list) and isinstance(found, list):
        stored = [each for each in stored if not is_numbered(each)]
        if len(stored) != len(found):
            yield f"{field}: {stored!r:.500} expected, got {found!r:.500}"
        for index, (one, other) in enumerate(zip(stored, found, strict=False)):
            yield from differences(one, other, f"{field}/{index}")
    elif not are_alike(stored, found, field):
        yield f"{field}: {stored!r:.500} expected, got {found!r:.500}"


def is_numbered(each: Any) -> bool:
    return isinstance(each, str) and any(part in each for part in NUMBERED)


def are_alike(stored: Any, found: Any, field: str) -> bool:
    if stored == found or (isinstance(stored, str) and in_new_words(stored) == found):
        return True
    if {type(stored), type(found)} <= {int, float}:
        relative, absolute = tolerance(field)
        return math.isclose(stored, found, rel_tol=relative, abs_tol=absolute)
    return False


def in_new_fields(key: str) -> str:
    stem, dot, quantity = key.partition(".")
    if stem in LABELS and dot and quantity not in ("safetensors", "npz"):
        return f"{LABELS[stem]}.{quantity}"
    return RENAMED.get(key, key)


REWORDED = {
    "give --l2 (the": "give l2 (the",
    "raise --memory": "raise memory",
    "leave --center out": "leave center out",
    "leave --optimizer out": "leave optimizer out",
    "choose another -o": "choose another output",
    " images (many": " samples (many",
    "no training image (": "no training sample (",
    "half an image": "half a sample",
    "new images": "new samples",
    "test images cannot": "test samples cannot",
    "count the training images": "count the training samples",
    "count the images": "count the samples",
    "extract or import them too": "give them too",
    "extract with more --views or ask": "ask",
    "extract with --store both or import them too": "import them too",
    "choose others or extract with --views": "choose others or import them",
}
"""Advice that Python's callers read too names the setting and not the option; that on a table of
logits speaks of no images."""


def in_new_words(text: str) -> str:
    for old, new in REWORDED.items():
        text = text.replace(old, new)
    return re.sub(r"--prior(?![-\\w])", RENAMED["--prior"], text)


@cache
def record() -> dict[str, Any]:
    return json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_as_recorded(name):
    found = list(differences(record()["cases"][name], record_case(name), name))
    assert not found, "\n".join(found[:20])


def test_every_case_is_recorded():
    assert list(record()["cases"]) == list(CASES)


def test_every_change_is_of_a_case_and_has_its_sentence():
    for glob, reason in CHANGES.items():
        assert any(fnmatchcase(name, glob.split("/")[0]) for name in CASES), glob
        assert reason.endswith("."), glob
