"""What the MARR paper prints, as plain data: the rows of its tables, their numbers, its figures.

Top-1 test accuracies in per cent. Many numbers were not run by the paper's authors but taken from
others' papers with other phase ones (CIFAR's baselines from Balanced Meta-Softmax, ImageNet-LT's
from LADE and Kang et al.), and the figures' text does not always say the ratio; where it is
silent, the choice is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

GROUPS = ("many", "medium", "few", "overall")


@dataclass(frozen=True, kw_only=True)
class Images:
    """What a network is trained and tested on.

    Attributes:
        dataset: one of `names.DATASETS`.
        ratio: of its largest class to its smallest; None takes the images as they are.
    """

    dataset: str
    ratio: int | None = None

    @property
    def name(self) -> str:
        """For files and headings."""
        return self.dataset if self.ratio is None else f"{self.dataset}-{self.ratio}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """How a row of tables 2 to 5 is made.

    Attributes:
        trained_by: method of phase one.
        options: of it, `NAME=VALUE` each.
        keys: methods of phase two on top, each of which is a row of ours.
    """

    trained_by: str = "softmax"
    options: tuple[str, ...] = ()
    keys: tuple[str, ...] = ("softmax",)


@dataclass(frozen=True, kw_only=True)
class AccuracyTable:
    """One of tables 2 to 5.

    Attributes:
        title: what it shows.
        images: of its columns.
        metrics: of each of them.
        printed: accuracy by row, image set by image set and metric by metric; None where the
            paper has none.
    """

    title: str
    images: tuple[Images, ...]
    metrics: tuple[str, ...]
    printed: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One of the figures.

    Attributes:
        title: what it shows.
        kind: one of `names.FIGURES`.
        images: whose plain softmax network is shown.
        keys: methods of phase two whose rectifiers are shown beside it.
        finding: what the paper says of it in numbers.
    """

    title: str
    kind: str
    images: Images
    keys: tuple[str, ...] = ()
    finding: str = ""


CIFAR10_100, CIFAR10_200, CIFAR100_50, CIFAR100_100, CIFAR100_200 = (
    Images(dataset=f"{name}-lt", ratio=ratio)
    for name, ratio in (
        ("cifar10", 100),
        ("cifar10", 200),
        ("cifar100", 50),
        ("cifar100", 100),
        ("cifar100", 200),
    )
)
IMAGENET, PLACES, INATURALIST = (
    Images(dataset=name) for name in ("imagenet-lt", "places-lt", "inaturalist2018")
)

ROWS: Mapping[str, Row] = {
    "Softmax": Row(),
    "logit adjustment": Row(keys=("logit-adjustment",)),
    "CBS": Row(trained_by="cbs"),
    "CBW": Row(trained_by="cbw"),
    "Class-Balanced": Row(trained_by="class-balanced"),
    "Focal": Row(trained_by="focal"),
    "LADE": Row(trained_by="lade"),
    "LDAM": Row(trained_by="ldam"),
    "Equalization": Row(trained_by="equalization"),
    "Balanced Softmax": Row(trained_by="balanced-softmax"),
    "Seesaw": Row(trained_by="seesaw"),
    "DisAlign": Row(keys=("disalign:paper", "disalign:official", "disalign")),
    "cRT": Row(keys=("crt:official", "crt")),
    "LWS": Row(keys=("lws:paper", "lws:official", "lws")),
    "tau-norm": Row(keys=("tau-norm",)),
    "OLTR": Row(trained_by="oltr"),
    "Causal Norm": Row(trained_by="causal-norm"),
    "BBN": Row(trained_by="bbn"),
    "Hybrid-SC": Row(trained_by="hybrid-sc"),
    "MARR": Row(keys=("marr:paper", "marr:official", "marr")),
}
"""By the paper's names, and one that it has not, which every other is to be held against."""

OF_INATURALIST: Mapping[str, Row] = {
    "Hybrid-SC": Row(trained_by="hybrid-sc", options=("variant=psc",)),
}
"""Rows that Table 5 means otherwise: the prototypical variant."""

TABLES: Mapping[str, AccuracyTable] = {
    "table2": AccuracyTable(
        title="CIFAR-10-LT and CIFAR-100-LT, overall accuracy",
        images=(CIFAR10_100, CIFAR10_200, CIFAR100_100, CIFAR100_200),
        metrics=("overall",),
        printed={
            "Softmax": (78.7, 74.4, 45.3, 41.0),
            "CBS": (77.8, 68.3, 42.6, 37.8),
            "CBW": (78.6, 72.5, 42.3, 36.7),
            "Class-Balanced": (78.2, 72.6, 44.6, 39.9),
            "Focal": (77.1, 71.8, 43.8, 40.2),
            "LADE": (81.8, 76.9, 45.4, 43.6),
            "LDAM": (78.9, 73.6, 46.1, 41.3),
            "Equalization": (78.5, 74.6, 47.4, 43.3),
            "Balanced Softmax": (83.1, 79.0, 50.3, 45.9),
            "DisAlign": (78.0, 71.2, 49.1, 43.6),
            "cRT": (82.0, 76.6, 50.0, 44.5),
            "LWS": (83.7, 78.1, 50.5, 45.3),
            "BBN": (79.8, None, 42.6, None),
            "Hybrid-SC": (81.4, None, 46.7, None),
            "MARR": (85.3, 81.1, 50.8, 47.4),
        },
    ),
    "table3": AccuracyTable(
        title="ImageNet-LT, accuracy by group of classes",
        images=(IMAGENET,),
        metrics=GROUPS,
        printed={
            "Softmax": (65.1, 35.7, 6.6, 43.1),
            "Focal": (64.3, 37.1, 8.2, 43.7),
            "LADE": (62.3, 49.3, 31.2, 51.9),
            "Balanced Softmax": (62.2, 48.8, 29.8, 51.4),
            "Seesaw": (67.1, 45.2, 21.4, 50.4),
            "DisAlign": (60.8, 50.4, 34.7, 52.2),
            "cRT": (61.8, 46.2, 27.4, 49.6),
            "LWS": (60.2, 47.2, 30.3, 49.9),
            "tau-norm": (59.1, 46.9, 30.7, 49.4),
            "OLTR": (51.0, 40.8, 20.8, 41.9),
            "Causal Norm": (62.7, 48.8, 31.6, 51.8),
            "MARR": (60.4, 50.3, 36.6, 52.3),
        },
    ),
    "table4": AccuracyTable(
        title="Places-LT, accuracy by group of classes",
        images=(PLACES,),
        metrics=GROUPS,
        printed={
            "Softmax": (46.4, 27.9, 12.5, 31.5),
            "Focal": (41.1, 34.8, 22.4, 34.6),
            "LADE": (42.8, 39.0, 31.2, 38.8),
            "Balanced Softmax": (42.0, 38.0, 17.2, 35.4),
            "DisAlign": (40.0, 39.6, 32.3, 38.3),
            "LWS": (40.6, 39.1, 28.6, 37.6),
            "tau-norm": (37.8, 40.7, 31.8, 37.9),
            "OLTR": (44.7, 37.0, 25.3, 35.9),
            "Causal Norm": (23.8, 35.8, 40.4, 32.4),
            "MARR": (39.9, 39.8, 32.6, 38.4),
        },
    ),
    "table5": AccuracyTable(
        title="iNaturalist 2018, overall accuracy",
        images=(INATURALIST,),
        metrics=("overall",),
        printed={
            "Softmax": (65.0,),
            "Class-Balanced": (61.1,),
            "LADE": (70.0,),
            "LDAM": (64.6,),
            "Balanced Softmax": (69.8,),
            "DisAlign": (70.3,),
            "LWS": (69.5,),
            "tau-norm": (69.3,),
            "Causal Norm": (63.9,),
            "Hybrid-SC": (68.1,),
            "MARR": (70.4,),
        },
    ),
}
"""OLTR's numbers for Places-LT contradict each other: its groups imply 37.5 overall."""

FORMULAS: Mapping[str, tuple[str, str]] = {
    "softmax": ("eta", "none"),
    "tau-norm": ("(eta - b) / w ** tau", "none; tau is given"),
    "crt": ("W' z + b'", "W', b'"),
    "lws:paper": ("s * (eta - b) + b", "s"),
    "lws": ("s * eta", "s"),
    "disalign": ("sigma(v z + c) (s * eta + t) + (1 - sigma(v z + c)) eta", "v, c, s, t"),
    "logit-adjustment": ("eta - tau * log(pi)", "none; tau is given"),
    "marr": ("omega * eta + beta * w", "omega, beta"),
}
"""Table 1: the rectified logit of a class with logit eta = W z + b, norm w = |W| and share pi, and
what is fitted of it."""

PARAMETERS: Mapping[str, str] = {
    "crt": "p K + K",
    "lws": "K",
    "disalign": "p + 2 K",
    "marr": "2 K",
}
"""Table 6, for features of p numbers and K classes. It leaves out disalign's c."""
TABLE6_IMAGES = (CIFAR10_100, CIFAR100_100, IMAGENET, PLACES, INATURALIST)

TABLE7: Mapping[Images, float] = {CIFAR100_200: 47.1, CIFAR100_100: 50.7, CIFAR100_50: 54.5}
"""MARR on the training images of CIFAR-100-LT 200 with networks of these; Table 2 has 47.4 where
this has 47.1."""
TABLE7_KEYS = ("marr:paper", "marr:official", "marr")

FIGURES: Mapping[str, Figure] = {
    "figure1": Figure(
        title="mean logit and margin of each class", kind="curves", images=CIFAR100_200
    ),
    "figure2": Figure(
        title="hyperplanes of two classes, before and after",
        kind="geometry",
        images=CIFAR10_200,
        keys=("marr:paper",),
    ),
    "figure3": Figure(
        title="mean logit and margin of each class, before and after",
        kind="curves",
        images=CIFAR100_200,
        keys=("marr:paper",),
    ),
    "figure4": Figure(
        title="accuracy against gamma",
        kind="gamma",
        images=CIFAR100_200,
        keys=("marr:paper",),
        finding="gamma 0: 45.2 %; best at gamma 1.2: 47.4 %",
    ),
    "figure5": Figure(
        title="mean logit and margin of each class under DisAlign",
        kind="curves",
        images=IMAGENET,
        keys=("disalign:paper",),
    ),
    "figure6": Figure(
        title="confusion matrices before and after",
        kind="confusion",
        images=CIFAR10_200,
        keys=("marr:paper",),
    ),
}
