"""What each class has, and how often it is right under each method.

K classes of a split. Tables go from the commonest in training to the rarest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.groups import Cuts, head_to_tail, shot_groups
from marr_pipeline.report.tables import Cell, Column, Estimate, Table

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

SHOWN_END, SHOWN_CHANGES = 10, 10
"""Of many classes: the commonest, as many of the rarest, and those that change most."""


@dataclass(frozen=True, kw_only=True)
class Classes:
    """K classes, in their own order.

    Attributes:
        names: (K,) their names, or ids where they have none.
        class_counts: (K,) of the training list.
        samples: (K,) of the split.
        groups: (K,) `many`, `medium` or `few`.
    """

    names: Sequence[str]
    class_counts: Counts
    samples: Counts
    groups: Sequence[str]

    @classmethod
    def of(
        cls, names: Sequence[str] | None, class_counts: Counts, labels: Counts, cuts: Cuts
    ) -> "Classes":
        """Those of a split, by its labels (N,)."""
        num_classes = len(class_counts)
        groups = np.full(num_classes, "medium")
        for name, members in shot_groups(class_counts, cuts).items():
            groups[members] = name
        return cls(
            names=[str(each) for each in (range(num_classes) if names is None else names)],
            class_counts=class_counts,
            samples=np.bincount(labels, minlength=num_classes),
            groups=groups.tolist(),
        )

    def record(self) -> dict[str, Any]:
        """For JSON, in the order of the classes, as `per_class` is."""
        return {
            "names": list(self.names),
            "class_counts": self.class_counts.tolist(),
            "samples": self.samples.tolist(),
            "groups": list(self.groups),
        }

    def table(
        self,
        accuracy: Mapping[str, Floats],
        *,
        reference: str | None,
        names: Mapping[str, str] | None = None,
        target_prior: Floats | None = None,
    ) -> Table:
        """One row a class.

        Args:
            accuracy: (K,) of each method by key, NaN for a class without samples.
            reference: the method that others are set against, in a column beside their own.
            names: of methods, for readers, where these are not their keys.
            target_prior: (K,) shares that logits were moved to, if they were.
        """
        shown = names or {}
        columns = [
            Column(key="train", heading="train", notation="count"),
            Column(key="samples", heading="scored", notation="count"),
            Column(key="group", heading="group", notation="text"),
        ]
        values: dict[str, npt.NDArray[Any]] = {"train": self.class_counts, "samples": self.samples}
        if target_prior is not None:
            columns.append(Column(key="target_prior", heading="share"))
            values["target_prior"] = target_prior
        for key, own in accuracy.items():
            columns.append(Column(key=f"{key}_accuracy", heading=shown.get(key, key)))
            values[f"{key}_accuracy"] = own
            if reference is not None and key != reference:
                change = Column(
                    key=f"{key}_vs_{reference}", heading="change", notation="difference"
                )
                columns.append(change)
                values[change.key] = own - accuracy[reference]
        rows: dict[str, Mapping[str, Cell]] = {}
        for place in head_to_tail(self.class_counts).tolist():
            name = self.names[place]
            rows[name if name not in rows else f"{name} ({place})"] = {
                **{key: Estimate(value=float(each[place])) for key, each in values.items()},
                "group": self.groups[place],
            }
        against = ""
        if reference is not None:
            against = f", change against {shown.get(reference, reference)} in points"
        moved = "" if target_prior is None else " Logits are moved to the shares, in per cent."
        return Table(columns=columns, rows=rows, caption=f"Accuracy in per cent{against}.{moved}")


def few_rows(table: Table) -> Table:
    """A table of many classes with those that a reader looks for first; the caption says which."""
    names = list(table.rows)
    num_hidden = len(names) - 2 * SHOWN_END - SHOWN_CHANGES
    if num_hidden <= 0:
        return table
    changes = [column.key for column in table.columns if column.notation == "difference"]

    def largest(name: str) -> float:
        cells = (table.rows[name][key] for key in changes)
        found = [abs(cell.value) for cell in cells if isinstance(cell, Estimate) and cell.exists]
        return max(found, default=0.0)

    between = sorted(names[SHOWN_END:-SHOWN_END], key=largest, reverse=True)[:SHOWN_CHANGES]
    kept = {*names[:SHOWN_END], *between, *names[-SHOWN_END:]}
    return Table(
        columns=table.columns,
        rows={name: cells for name, cells in table.rows.items() if name in kept},
        caption=f"{table.caption} The {SHOWN_END} commonest classes, the {SHOWN_END} rarest, and "
        f"the {SHOWN_CHANGES} of the others that change most; {num_hidden:,} of {len(names):,} are "
        "not shown, -o FILE.csv has all.",
    )
