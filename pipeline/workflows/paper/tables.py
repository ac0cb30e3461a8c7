"""The paper's tables filled with runs of ours: number, spread, what is printed, and the difference.

A run's record is what `runs.make` gives; several of one experiment differ in their seeds.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from marr_pipeline.data.source import RESIDENT_UP_TO
from marr_pipeline.protocols import protocol_of
from marr_pipeline.report.tables import Cell, Column, Estimate, Table
from marr_pipeline.workflows.paper.published import (
    FORMULAS,
    PARAMETERS,
    TABLE6_IMAGES,
    TABLE7,
    TABLE7_KEYS,
    AccuracyTable,
    Images,
    Row,
)

Record = Mapping[str, Any]
Records = Sequence[Record]
"""Of one experiment, a seed each."""

FEATURES = {"resnet32": 64, "resnext50_32x4d": 2048, "resnet152": 2048, "resnet50": 2048}
"""Numbers that a network hands to its head."""


def accuracy_table(
    table: AccuracyTable,
    rows: Mapping[str, Row],
    found: Mapping[tuple[Images, Row], Records],
    seeds: int = 1,
) -> Table:
    """One of tables 2 to 5: each method of ours beside the paper's number, empty where none ran.

    Args:
        table: its images and numbers.
        rows: how its rows are made, in the order that they are shown in.
        found: what has run.
        seeds: how many were asked for.
    """
    columns = []
    for images in table.images:
        for metric in table.metrics:
            key, heading = _key(images, metric), f"{images.name} {metric}".removesuffix(" overall")
            columns += [
                Column(key=key, heading=heading, seeds=seeds),
                Column(key=f"paper_{key}", heading="paper", goes_on=True),
                Column(
                    key=f"difference_{key}", heading="diff.", notation="difference", goes_on=True
                ),
            ]
    cells: dict[str, dict[str, Cell]] = {}
    for name, row in rows.items():
        for key in row.keys:
            shown = name if len(row.keys) == 1 else f"{name} ({key})"
            cells[shown] = _row(table, name, row, key, found)
    caption = "Test accuracy in %: ours, the paper's, and the difference in points."
    return Table(columns=columns, rows=cells, caption=caption)


def _key(images: Images, metric: str) -> str:
    return f"{images.name}_{metric}".replace("-", "_")


def _row(
    table: AccuracyTable,
    name: str,
    row: Row,
    key: str,
    found: Mapping[tuple[Images, Row], Records],
) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    printed = iter(table.printed.get(name, ()))
    for images in table.images:
        for metric in table.metrics:
            paper = next(printed, None)
            ours = mean_of(found.get((images, row), ()), key, metric)
            cells |= _against(_key(images, metric), ours, paper)
    return cells


def _against(key: str, ours: Estimate | None, paper: float | None) -> dict[str, Cell]:
    cells: dict[str, Cell] = {} if ours is None else {key: ours}
    if paper is not None:
        cells[f"paper_{key}"] = Estimate(value=paper / 100)
        if ours is not None:
            cells[f"difference_{key}"] = Estimate(value=ours.value - paper / 100)
    return cells


def mean_of(records: Records, key: str, metric: str) -> Estimate | None:
    """A method's mean over seeds and their standard deviation; None where it did not run."""
    values = [
        float(value)
        for record in records
        if (value := record["methods"].get(key, {}).get(metric)) is not None
    ]
    if not values:
        return None
    std = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(value=statistics.fmean(values), std=std, n=len(values))


def table1() -> Table:
    """The rectified logit of each method, and what is fitted of it."""
    columns = [
        Column(key="formula", heading="rectified logit", notation="text"),
        Column(key="fitted", heading="fitted", notation="text"),
    ]
    rows = {
        key: {"formula": formula, "fitted": fitted} for key, (formula, fitted) in FORMULAS.items()
    }
    legend = (
        "Of class j: eta = W z + b its logit, w = |W| the norm of its row, pi its share of the "
        "training images. MARR's margin is eta / w, so that omega * (eta / w) + beta is the "
        "rectified one."
    )
    return Table(columns=columns, rows=rows, caption=legend)


def table6(found: Mapping[Images, Records], seeds: int = 1) -> Table:
    """Parameters of the methods for each image set, counted, and the seconds of their fits."""
    columns = [Column(key="formula", heading="parameters", notation="text")]
    rows: dict[str, dict[str, Cell]] = {
        key: {"formula": formula} for key, formula in PARAMETERS.items()
    }
    for images in TABLE6_IMAGES:
        protocol = protocol_of(images.dataset)
        in_memory = protocol.image_size <= RESIDENT_UP_TO
        backbone = (protocol.small if in_memory else protocol.large).backbone
        num_features, num_classes = FEATURES[backbone], protocol.num_classes
        assert num_classes is not None
        name = images.name
        columns += [
            Column(key=f"parameters_{name}", heading=name, notation="count"),
            Column(key=f"fitted_{name}", heading="fitted", notation="count", goes_on=True),
            Column(
                key=f"seconds_{name}", heading="s", notation="seconds", seeds=seeds, goes_on=True
            ),
        ]
        for key in PARAMETERS:
            count = num_parameters(key, num_features, num_classes)
            rows[key][f"parameters_{name}"] = Estimate(value=count)
            for fact, column in (("parameters", "fitted"), ("seconds", "seconds")):
                ours = mean_of(found.get(images, ()), key, fact)
                if ours is not None:
                    rows[key][f"{column}_{name}"] = ours
    caption = (
        "Parameters by the paper's formula for p features and K classes, those fitted here, and "
        "the seconds of their fits, which the paper does not print."
    )
    return Table(columns=columns, rows=rows, caption=caption)


def num_parameters(key: str, num_features: int, num_classes: int) -> int:
    """By the paper's formula, for features of p numbers and K classes."""
    own = {"p": num_features, "K": num_classes}
    terms = [term.split() for term in PARAMETERS[key].split(" + ")]
    counts = 0
    for term in terms:
        product = 1
        for factor in term:
            product *= own[factor] if factor in own else int(factor)
        counts += product
    return counts


def table7(found: Mapping[Images, Records], seeds: int = 1) -> Table:
    """MARR on the same training images with networks of others, a row each."""
    columns = [Column(key="paper", heading="paper")]
    for key in ("softmax", "logit-adjustment", *TABLE7_KEYS):
        columns.append(Column(key=key, heading=key, seeds=seeds))
    columns.append(Column(key="difference", heading="diff.", notation="difference"))
    rows: dict[str, dict[str, Cell]] = {}
    for images, paper in TABLE7.items():
        cells: dict[str, Cell] = {"paper": Estimate(value=paper / 100)}
        for column in columns[1:-1]:
            ours = mean_of(found.get(images, ()), column.key, "overall")
            if ours is not None:
                cells[column.key] = ours
        first = cells.get(TABLE7_KEYS[0])
        if isinstance(first, Estimate):
            cells["difference"] = Estimate(value=first.value - paper / 100)
        rows[f"network of {images.name}"] = cells
    caption = (
        f"Test accuracy in %: the paper's, ours, and the difference of {TABLE7_KEYS[0]} in points."
    )
    return Table(columns=columns, rows=rows, caption=caption)
