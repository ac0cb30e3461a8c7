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
    "refuse.extract.stale/commands/2/*": "No command replaces another file than its own result.",
    "*/header/sha256": "A rectifier that is written carries the digest of its bytes.",
    **dict.fromkeys(
        (
            "refuse.*.bad-archive.npz/commands/*/said/0",
            "refuse.rectifier.bad-text.safetensors/commands/*/said/0",
            "refuse.rectifier.bad-cut.safetensors/commands/*/said/0",
            "refuse.prior.bad-prior-words.txt/commands/*/said/0",
            "refuse.prior.bad-prior.json/commands/*/said/0",
        ),
        "Whatever a library meets in a file is told in one form of words.",
    ),
    "evaluate.*/out/classes": "Names and counts stand beside the accuracies of the classes.",
    **dict.fromkeys(
        ("*/header/calibration", "*/header/uncalibrated", "*/tensors/calibration_*"),
        "A rectifier that is written is calibrated, or says why it is not.",
    ),
    **dict.fromkeys(
        ("inspect.digits/commands/1/out/[3-5]", "inspect.tail/commands/1/out/[2-4]"),
        "A split of a single view is said to have none.",
    ),
    "*/checks/*/remedy": "R06 names the command, since `report` lacks the option.",
    **dict.fromkeys(
        ("import*/out/rows", "refuse.rows.*/out/rows", "*/out/notes"),
        "The document of import says what nobody said of the training rows, as the terminal does.",
    ),
    "*.safetensors/format_version": "1.2 adds a calibration.",
    "refuse.rectifier.bad-newer.*/commands/*/said/0": "The version expected is 1.2.",
    **dict.fromkeys(
        ("compare.markdown/commands/0/out*", "compare.latex/commands/0/out*"),
        "A table with presets says which of them is the paper's.",
    ),
    "compare.seeds-table/commands/3/out/7": "A spread over seeds that is 0 is written, as others.",
    "refuse.compare.options/commands/0/said/0": "compare takes rectifier files too.",
    "compare.terminal/commands/0/out": "Marks of better and worse change widths and captions.",
    **dict.fromkeys(
        (
            *(f"refuse.cache.{what}/commands/4/said/0" for what in ("missing.h5", "photos")),
            "refuse.compare.options/commands/0/said/0",
        ),
        "compare takes rectifier files beside caches, and its argument says so.",
    ),
    "refuse.config.bad-top-key.toml/commands/0/said/0": "Options that came since are known.",
    **dict.fromkeys(
        ("refuse.rows.bad-empty.pt/commands/*/said/0", "refuse.extract.options/commands/12/said/0"),
        "An error of a library that says nothing is named by its kind.",
    ),
    "*/scale_bias": "lws may scale W alone.",
    **dict.fromkeys(
        (
            "rectify.*.lws-paper/*",
            "sweep.digits.lws/*",
            "compare.*/methods/lws:paper/*",
            "compare.tail/*/p_holm",
            "compare.tail/commands/0/out/checks",
        ),
        "lws:paper scales W alone, as the paper writes it.",
    ),
    "refuse.plot/commands/1/said/0": "The argument of plot is called FIGURE.",
    "rectify.*.marr-plain/*": "Strengths that the rows decide are for the mean that is taken.",
    "*/passes": "The last pass of a fit tells the prior that it stands for: one fewer.",
}
"""Deliberate changes: a glob of `case` or `case/field`, and the reason in a sentence.

A field is where a value stands in the record, `rectify.digits.marr/commands/0/out/loss`. All that
matches is not compared, all else still is. A record made anew empties it: the last one when the
default objective's strengths came to follow from the rows, after all cases had been as recorded
with the former strengths.
"""

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
    "*.marr-tolerance-least/*/passes": (0, math.inf),  # which nothing but rounding ends
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
    if stored == found or any(fnmatchcase(field, glob) for glob in CHANGES):
        return
    if isinstance(stored, dict) and isinstance(found, dict):
        for key in {**stored, **found}:
            missing = "nothing"
            yield from differences(
                stored.get(key, missing), found.get(key, missing), f"{field}/{key}"
            )
    elif isinstance(stored, list) and isinstance(found, list):
        found = [each for each in found if not (isinstance(each, str) and LEGEND.fullmatch(each))]
        if len(stored) != len(found):
            yield f"{field}: {stored!r:.500} expected, got {found!r:.500}"
        for index, (one, other) in enumerate(zip(stored, found, strict=False)):
            yield from differences(one, other, f"{field}/{index}")
    elif not are_alike(stored, found, field):
        yield f"{field}: {stored!r:.500} expected, got {found!r:.500}"


def are_alike(stored: Any, found: Any, field: str) -> bool:
    if stored == found:
        return True
    if isinstance(stored, str) and isinstance(found, str):
        return unmarked(stored) == unmarked(found)
    if {type(stored), type(found)} <= {int, float}:
        relative, absolute = tolerance(field)
        return math.isclose(stored, found, rel_tol=relative, abs_tol=absolute)
    return False


MARKS = re.compile(r"(?<=[\d\]])[-+~](?=[ |*]|$)")
LEGEND = re.compile(r" ?\+ better, - worse than [\w ~,;-]+\.")
"""Of tables, in which numbers are marked now as better or worse than softmax's."""


def unmarked(text: str) -> str:
    return re.sub(" +", " ", MARKS.sub("", LEGEND.sub("", text)))


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
