"""The report page: what it holds, what it says in words, and how it becomes HTML.

The template is `page.html` beside this file. It is filled by jinja2 with escaping on, since class
names are anybody's, and loads nothing from outside.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from textwrap import dedent
from typing import Any

import jinja2
from markupsafe import Markup

from marr_pipeline.findings import Finding
from marr_pipeline.report.compared import PRESETS
from marr_pipeline.report.comparison import Standing
from marr_pipeline.report.tables import COMPARED_METRICS, FACTS, GAINS, Estimate, Table, against
from marr_pipeline.report.words import Subject, percent

COLUMNS = (*COMPARED_METRICS, *GAINS, *FACTS)
HEADINGS = {
    "overall": "share of all rows that are right",
    "balanced": "mean accuracy of the classes, each counting alike",
    "many": "mean class accuracy, classes of more than {0} training {unit}",
    "medium": "mean class accuracy, classes of {1} to {0}",
    "few": "mean class accuracy, classes of fewer than {1}",
    "macro_f1": "mean F1 of the classes",
    "harmonic_mean": "harmonic mean of class accuracies; 0 if a class is never right",
    "worst_class": "the smallest class accuracy",
    "nll": "negative log likelihood: how sure it is of what is true; less is better",
    "ece": "expected calibration error, 15 bins; less is better",
    "margin_correlation": "Spearman's correlation of a class's training count and mean margin (its "
    "logit over the norm of its row of the head)",
    "logit_correlation": "the same with its mean logit",
}
SECTIONS = {
    "methods": "Methods",
    "checks": "Checks",
    "figures": "Figures",
    "priors": "Where it is used",
    "sweep": "Gamma and pull",
    "classes": "Classes",
    "provenance": "Where this comes from",
}
FIGURE_WORDS = {
    "curves": (
        "From the commonest class to the rarest",
        "A margin is a class's logit over the norm of its row of the head. A model without a bias "
        "has level lines; rho is the rank correlation with training counts.",
    ),
    "confusion": (
        "What is taken for what",
        "Each row is a true class. A dark column is a class that others are taken for.",
    ),
    "classwise": ("Each class before and after", "What the rare classes gain and the common pay."),
    "priors": (
        "Which method for which distribution of test classes",
        "The strip below names the best; it is pale where chance could have made it so.",
    ),
    "geometry": (
        "Hyperplanes before and after",
        "The commonest and the rarest class, in the plane of their rows. The dots are an image "
        "here; pipeline plot geometry writes them as vectors.",
    ),
    "reliability": (
        "Is it as sure as it is right?",
        "Below the diagonal the model is surer than it is right.",
    ),
    "parameters": (
        "The numbers that were fitted",
        "A scale above 1 stretches a class's logit; a larger shift favours the class.",
    ),
    "forest": (
        "Differences and their intervals",
        "A bar that crosses 0 cannot be told from no difference.",
    ),
}
"""Title, and how to read it."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page shows.

    Attributes:
        subject: what it is about.
        words: paragraphs.
        main: key of the rectifier that the page is about.
        standings: every method, the references first.
        findings: of the checks.
        figures: the SVG element of each, by name.
        classes: one record a class.
        priors: exponents, and per method [accuracy in per cent, NLL] at each.
        sweep: gammas, ridges and points [gamma, ridge, overall, balanced, many, medium, few, NLL];
            or None.
        provenance: short values by name.
        commands: how to make it again.
        passed_over: what is not there, and why.
    """

    subject: Subject
    words: Sequence[str]
    main: str
    standings: Mapping[str, Standing]
    findings: Sequence[Finding]
    figures: Mapping[str, str]
    classes: Sequence[Mapping[str, Any]]
    priors: Mapping[str, Any]
    sweep: Mapping[str, Any] | None
    provenance: Mapping[str, str]
    commands: Sequence[str]
    passed_over: Mapping[str, str]


def render(page: Page) -> str:
    """The page as one document of HTML."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        (files("marr_pipeline.report") / "page.html").read_text(encoding="utf-8")
    )
    about, names = page.subject, page.subject.names
    priors = {names.get(key, key): each for key, each in page.priors["methods"].items()}
    data = {
        "priors": {**page.priors, "methods": priors},
        "sweep": page.sweep,
        "main": page.main,
    }
    # In a script element only "</" and "<!--" could end what they stand in.
    script = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    headings = [
        HEADINGS.get(column.key, "").format(*about.cuts, unit=about.unit) for column in COLUMNS
    ]
    return template.render(
        page=page,
        about=about,
        columns=list(zip(against(COLUMNS, about.names["softmax"]), headings, strict=True)),
        rows=_rows(page),
        figures=[(*FIGURE_WORDS[name], Markup(svg)) for name, svg in page.figures.items()],
        seen=_seen(page.standings, about.split),
        presets=PRESETS,
        headline=_headline(page.standings["softmax"], page.standings[page.main]),
        sections=[each for each in SECTIONS.items() if each[0] != "sweep" or page.sweep],
        pages=explanations(),
        data=Markup(script),
    )


def explanations() -> dict[str, list[tuple[str, str]]]:
    """By number, the section of docs/checks.md: its parts, each with its element."""
    text = (files("marr_pipeline.checks") / "checks.md").read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->\n", "", text, flags=re.DOTALL)
    sections = re.findall(r"^## (R\d+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return {
        code: [
            ("pre" if part.startswith("    ") else "p", dedent(part).replace("`", ""))
            for part in section.strip("\n").split("\n\n")
        ]
        for code, section in sections
    }


def _rows(page: Page) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Of the methods: key, name, and what each cell shows with the number it is sorted by."""
    cells = {key: one.cells() for key, one in page.standings.items()}
    table = Table(columns=COLUMNS, rows=cells, reference="softmax")
    rows = []
    for key, own in cells.items():
        numbers = [own.get(column.key) for column in COLUMNS]
        values = [
            repr(each.value) if isinstance(each, Estimate) and each.exists else ""
            for each in numbers
        ]
        shown = list(zip(table.texts(key), values, strict=True))
        rows.append((key, page.subject.names.get(key, key), shown))
    return rows


def _seen(standings: Mapping[str, Standing], split: str) -> str:
    """Who has seen the rows that are scored."""
    fitted = [key for key, one in standings.items() if one.fit_split == split]
    if split == "train":
        return "The network was trained on these rows: numbers on new ones are lower."
    if fitted:
        return f"Fitted on these very rows, and so too good on them: {', '.join(fitted)}."
    return "No method saw these rows, but choosing the best of a table on them does."


def _headline(before: Standing, after: Standing) -> list[tuple[str, str, str]]:
    """What the reader looks for first, before and after."""
    rarest = [name for name in ("few", "medium") if after.estimates[name].exists][:1]
    accuracies = [
        (what, percent(before, name), percent(after, name))
        for what, name in [
            ("right overall", "overall"),
            ("right with each class counting alike", "balanced"),
            *((f"right in {name}-shot classes", name) for name in rarest),
        ]
    ]
    likelihoods = [f"{one.estimates['nll'].value:.3f}" for one in (before, after)]
    return [
        *accuracies,
        ("negative log likelihood (less is better)", likelihoods[0], likelihoods[1]),
    ]
