"""Which column of a table is what, and the cells that a reader finds in them.

One column is `label`, one may be `id`, in any case; what the others are, the table's kind says:
scores of one class each (`logits`), features, or, in a table of labels, nothing that is read.
N rows.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError
from marr_pipeline.labels import shown

Array = npt.NDArray[Any]
Holds = Literal["logits", "features", "labels"]
"""What the columns beside label and id are."""

ADVICE = {
    "logits": "write a column 'label', if wanted 'id', and one of logits for each class, in class "
    "order",
    "features": "write a column for each feature and, unless labels are in a file of their own, "
    "'label'",
    "labels": "write a column 'label' and, if wanted, 'id'",
}
_LABEL, _ID = ("label", "labels"), ("id", "ids")
# What programs write beside scores or features. A class of such a name is one that rows are
# labelled with.
_OTHER = re.compile(
    r"|index|level_\d+|__index_level_\d+__|unnamed:? ?\d+|y_?(?:true|pred|hat)|true_?label|target"
    r"|pred(?:s|icted|ictions?)?(?:_?(?:label|class|id))?|argmax|conf(?:idence)?|correct|loss|nll"
    r"|entropy|split|fold|file(?:_?name)?|path|image(?:_?id)?",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"-?\d*\.\d+(?:e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where in the header each kind of column is.

    Attributes:
        names: of all columns.
        label: place of the labels, if there.
        sample: place of the ids, if there.
        numbers: places of all that hold scores or features.
    """

    names: list[str]
    label: int | None
    sample: int | None
    numbers: list[int]

    @property
    def number_names(self) -> list[str]:
        """Names of the columns of numbers."""
        return [self.names[place] for place in self.numbers]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What a table holds.

    Attributes:
        columns: which is what.
        numbers: (N, M) float32, a column for each of `columns.numbers`.
        labels: (N,) float64 or text, if there.
        ids: (N,) int64 or text, if there.
        lists: (N, W) by name, columns of lists, which then stand in place of `numbers`.
    """

    columns: Columns
    numbers: Array
    labels: Array | None = None
    ids: Array | None = None
    lists: dict[str, Array] = field(default_factory=dict)


def find_columns(names: list[str], *, holds: Holds, is_labelled: bool, where: str) -> Columns:
    """Which column is what, by its name.

    Args:
        names: of all columns.
        holds: what those beside label and id are; a single one in a table of labels is theirs.
        is_labelled: whether a table without labels is refused.
        where: how errors name the table.

    Raises:
        DataError: no label, two, two columns of one name, or a header that is a row.
    """
    label, sample = (
        [place for place, name in enumerate(names) if name.lower() in known]
        for known in (_LABEL, _ID)
    )
    if holds == "labels" and len(names) == 1 and not names[0].lstrip("-").isdecimal():
        label = [0]
    is_single = len(label) <= 1 and len(sample) <= 1 and len(set(names)) == len(names)
    is_header = holds == "logits" or not any(map(_FRACTION.fullmatch, names))
    if not is_single or not is_header or len(label) < is_labelled:
        expected = "with one column 'label' and a name of its own for each other column"
        if holds == "features" and not is_labelled:
            expected = "with a name of its own for each column"
        raise DataError(
            f"{where}: a header row {expected} expected, got {shown(names) or 'nothing'}; "
            f"{ADVICE[holds]}"
        )
    numbers = [place for place in range(len(names)) if place not in (*label, *sample)]
    return Columns(
        names=names,
        label=next(iter(label), None),
        sample=next(iter(sample), None),
        numbers=[] if holds == "labels" else numbers,
    )


def is_other(name: str) -> bool:
    """Whether programs write such a column beside scores or features."""
    return _OTHER.fullmatch(name) is not None


def other_columns(found: list[str], *, holds: Holds, where: str) -> DataError:
    """The refusal of columns that are neither label nor id nor what the table holds."""
    expected = "of features"
    if holds == "logits":
        expected = "of classes"
    rule = ", all of them numbered or all named as classes" if holds == "logits" else ""
    return DataError(
        f"{where}: only columns {expected} beside label and id expected{rule}, got "
        f"{shown([repr(name) for name in found])} beside them; leave such columns out (an index of "
        "pandas: index=False)"
    )


def stripped(texts: Array) -> Array:
    """Text without spaces around it."""
    found: Array = np.char.strip(texts.astype(str))
    return found
