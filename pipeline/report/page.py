"""The report page: what it holds, what it says in words, and how it becomes HTML.

The template is `page.html` beside this file. It is filled by jinja2 with escaping on, since class
names are anybody's, and loads nothing from outside.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from marr_pipeline.findings import Finding
from marr_pipeline.groups import Cuts, shot_groups
from marr_pipeline.names import REFERENCES
from marr_pipeline.report.comparison import Standing, difference_key
from marr_pipeline.report.tables import (
    COMPARED_METRICS,
    FACTS,
    GAINS,
    Column,
    Estimate,
    cell_text,
)

COLUMNS = (*COMPARED_METRICS, *GAINS, *FACTS)
HEADINGS = {
    "overall": "share of all rows that are right",
    "balanced": "mean accuracy of the classes, each counting alike",
    "many": "mean class accuracy, classes of more than {0} training images",
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
        title: of the page.
        words: paragraphs.
        main: key of the rectifier that the page is about.
        split: whose rows are scored.
        cuts: between the shot groups.
        standings: every method, the references first.
        findings: of the checks.
        figures: the SVG element of each, by name.
        classes: one record a class.
        priors: exponents, and per method [accuracy in per cent, NLL] at each.
        sweep: gammas, ridges and points [gamma, ridge, overall, many, medium, few, NLL]; or None.
        provenance: short values by name.
        commands: how to make it again.
        passed_over: what is not there, and why.
    """

    title: str
    words: Sequence[str]
    main: str
    split: str
    cuts: Cuts
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
    data = {"priors": page.priors, "sweep": page.sweep, "main": page.main}
    # In a script element only "</" and "<!--" could end what they stand in.
    script = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return template.render(
        page=page,
        columns=[(column, HEADINGS.get(column.key, "").format(*page.cuts)) for column in COLUMNS],
        rows=[
            (key, [_cell(standing, column) for column in COLUMNS])
            for key, standing in page.standings.items()
        ],
        figures=[(*FIGURE_WORDS[name], Markup(svg)) for name, svg in page.figures.items()],
        seen=_seen(page.standings, page.split),
        headline=_headline(page.standings["softmax"], page.standings[page.main]),
        sections=[each for each in SECTIONS.items() if each[0] != "sweep" or page.sweep],
        data=Markup(script),
    )


def _seen(standings: Mapping[str, Standing], split: str) -> str:
    """Who has seen the rows that are scored."""
    fitted = [key for key, one in standings.items() if one.fit_split == split]
    if split == "train":
        return "The network was trained on these rows: numbers on new ones are lower."
    if fitted:
        return f"Fitted on these very rows, and so too good on them: {', '.join(fitted)}."
    return "No method saw these rows, but choosing the best of a table on them does."


def _cell(standing: Standing, column: Column) -> tuple[str, str]:
    """What a cell shows, and the number it is sorted by."""
    cell = standing.cells().get(column.key)
    value = cell.value if isinstance(cell, Estimate) and cell.exists else None
    return cell_text(cell, column), "" if value is None else repr(value)


def words(
    dataset: str,
    class_counts: npt.NDArray[np.int64],
    standings: Mapping[str, Standing],
    *,
    main: str,
    split: str,
    cuts: Cuts,
    findings: Sequence[Finding],
) -> list[str]:
    """What happened and what to do, in a few sentences.

    Args:
        dataset: its name.
        class_counts: (K,) of the training list.
        standings: softmax, logit adjustment and `main` among them.
        main: the rectifier that the words are about.
        split: whose rows are scored.
        cuts: between the shot groups.
        findings: of the checks.
    """
    softmax, after = standings["softmax"], standings[main]
    present = class_counts[class_counts > 0]
    groups = [
        f"{members.sum():,} {name}-shot"
        for name, members in shot_groups(class_counts, cuts).items()
        if members.any()
    ]
    first = (
        f"As it is the model is right on {_percent(softmax, 'overall')} of the {split} rows of "
        f"{dataset}; with {main} on {_percent(after, 'overall')}. {_rare(softmax, after)} "
        f"{_advice(standings, main, findings)}"
    )
    second = (
        f"{dataset} has {len(class_counts):,} classes of {class_counts.max():,} to "
        f"{present.min():,} training images ({', '.join(groups)}). {main} is worth "
        f"{_gain(after, 'softmax')}. "
    )
    adjusted = after.estimates.get(difference_key("overall", "logit-adjustment"))
    if adjusted is not None:
        is_apart = adjusted.is_significant
        second += (
            f"Logit adjustment, which fits nothing, is right on "
            f"{_percent(standings['logit-adjustment'], 'overall')}: {main} is "
            + (
                f"{_gain(after, 'logit-adjustment')}. "
                if is_apart
                else f"not told apart from it ({_gain(after, 'logit-adjustment')}). "
            )
        )
    second += (
        f"Its negative log likelihood is {after.estimates['nll'].value:.3f}, against "
        f"{softmax.estimates['nll'].value:.3f} of the softmax and "
        f"{standings['logit-adjustment'].estimates['nll'].value:.3f} of logit adjustment."
    )
    return [first, second]


def _headline(before: Standing, after: Standing) -> list[tuple[str, str, str]]:
    """What the reader looks for first, before and after."""
    rarest = [name for name in ("few", "medium") if after.estimates[name].exists][:1]
    accuracies = [
        (what, _percent(before, name), _percent(after, name))
        for what, name in [
            ("right overall", "overall"),
            *((f"right in {name}-shot classes", name) for name in rarest),
        ]
    ]
    likelihoods = [f"{one.estimates['nll'].value:.3f}" for one in (before, after)]
    return [
        *accuracies,
        ("negative log likelihood (less is better)", likelihoods[0], likelihoods[1]),
    ]


def _rare(softmax: Standing, after: Standing) -> str:
    """About the rarest group that there is."""
    for name in ("few", "medium"):
        before, then = softmax.estimates[name], after.estimates[name]
        if before.exists and then.exists:
            verb = "rise" if then.value >= before.value else "fall"
            return (
                f"Its {name}-shot classes {verb} from {_percent(softmax, name)} to "
                f"{_percent(after, name)}."
            )
    return ""


def _advice(standings: Mapping[str, Standing], main: str, findings: Sequence[Finding]) -> str:
    best = max(standings, key=lambda key: standings[key].estimates["overall"].value)
    gain = standings[main].estimates[difference_key("overall", "softmax")]
    advice = _against_adjustment(standings, main)
    if advice is None and gain.is_significant and gain.value > 0:
        likeliest = min(standings, key=lambda key: standings[key].estimates["nll"].value)
        advice = f"Use {main} where all classes matter alike"
        if likeliest != main:
            advice += f"; {likeliest} has the best likelihood here"
        advice += "."
    elif advice is None and gain.is_significant:
        advice = (
            f"Keep the softmax where rows come as these do; {main} serves the rare classes "
            "at the price of the common ones."
        )
    elif advice is None:
        advice = f"On these rows {main} changes too little to be told from chance."
    if best not in (main, *REFERENCES):
        advice += f" The largest accuracy in the table is {best}'s, which was seen on these rows."
    if findings:
        codes = ", ".join(finding.code for finding in findings)
        advice += f" First look at the checks below: {codes}."
    return advice


def _against_adjustment(standings: Mapping[str, Standing], main: str) -> str | None:
    """What to use where logit adjustment does as well or better; None where it does not."""
    adjusted = standings["logit-adjustment"]
    against = standings[main].estimates.get(difference_key("overall", "logit-adjustment"))
    gains = [
        one.estimates[difference_key("overall", "softmax")] for one in (standings[main], adjusted)
    ]
    helps, adjustment_helps = (gain.is_significant and gain.value > 0 for gain in gains)
    if against is None or (against.is_significant and against.value > 0):
        return None
    if against.is_significant and adjustment_helps:
        return f"Use logit adjustment, which fits nothing and is right more often than {main}."
    if against.is_significant or not (helps or adjustment_helps):
        return None
    likelihoods = [one.estimates["nll"].value for one in (standings[main], adjusted)]
    told = f"is not told apart from {main} in accuracy"
    if likelihoods[0] < likelihoods[1]:
        return (
            f"Logit adjustment, which fits nothing, {told}: where only the class counts it does as "
            f"well. {main} has the better likelihood: use it where probabilities count."
        )
    return f"Use logit adjustment: it fits nothing, {told}, and has the better likelihood."


def _percent(standing: Standing, name: str) -> str:
    return f"{100 * standing.estimates[name].value:.1f} %"


def _gain(standing: Standing, reference: str) -> str:
    """`+4.1 points over the softmax, 95 % between +3.2 and +5.0`."""
    found = standing.estimates[difference_key("overall", reference)]
    named = {"softmax": "the softmax", "logit-adjustment": "logit adjustment"}[reference]
    text = f"{_points(found.value)} points against {named}"
    if found.interval is not None:
        low, high = map(_points, found.interval)
        text += f", 95 % of resamples between {low} and {high}"
    return text


def _points(fraction: float) -> str:
    """With its sign; what rounds to nothing is `+0.0`."""
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"
