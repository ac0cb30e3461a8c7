"""What the report page says in words: what happened to a model, and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from marr_pipeline.findings import Finding
from marr_pipeline.groups import PAPER_CUTS, Cuts, shot_groups
from marr_pipeline.names import REFERENCES
from marr_pipeline.report.comparison import Standing, difference_key


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the page is about.

    Attributes:
        dataset: its name.
        class_counts: (K,) of the training list.
        split: whose rows are scored.
        cuts: between the shot groups.
        unit: what the rows are, `images` or `samples`.
        names: of the references, as readers see them; where there is no head, of a plain probe.
    """

    dataset: str
    class_counts: npt.NDArray[np.int64]
    split: str
    cuts: Cuts = PAPER_CUTS
    unit: str = "images"
    names: Mapping[str, str] = field(default_factory=lambda: {key: key for key in REFERENCES})

    @property
    def model(self) -> str:
        """What it was before any method."""
        return (
            "the model" if self.names["softmax"] == "softmax" else "a plain probe on its features"
        )

    @property
    def softmax(self) -> str:
        """That in a table."""
        return f"the {self.names['softmax']}"


def words(
    about: Subject, standings: Mapping[str, Standing], *, main: str, findings: Sequence[Finding]
) -> list[str]:
    """What happened and what to do, in a few sentences.

    Args:
        about: the rows and the model.
        standings: softmax, logit adjustment and `main` among them.
        main: the rectifier that the words are about.
        findings: of the checks.
    """
    class_counts, dataset = about.class_counts, about.dataset
    softmax, after = standings["softmax"], standings[main]
    present = class_counts[class_counts > 0]
    groups = [
        f"{members.sum():,} {name}-shot"
        for name, members in shot_groups(class_counts, about.cuts).items()
        if members.any()
    ]
    first = (
        f"As it is {about.model} is right on {percent(softmax, 'overall')} of the {about.split} "
        f"rows of {dataset}; with {main} on {percent(after, 'overall')}. "
        f"{_rare(softmax, after)} {_advice(about, standings, main, findings)}"
    )
    second = (
        f"{dataset} has {len(class_counts):,} classes of {class_counts.max():,} to "
        f"{present.min():,} training {about.unit} ({', '.join(groups)}). {main} is worth "
        f"{_gain(after, 'softmax', about.softmax)}. "
    )
    adjusted = after.estimates.get(difference_key("overall", "logit-adjustment"))
    if adjusted is not None:
        is_apart, gain = adjusted.is_significant, _gain(after, "logit-adjustment", "it")
        second += (
            f"Logit adjustment, which fits nothing, is right on "
            f"{percent(standings['logit-adjustment'], 'overall')}: {main} is "
            + (f"{gain}. " if is_apart else f"not told apart ({gain}). ")
        )
    second += (
        f"Its negative log likelihood is {after.estimates['nll'].value:.3f}, against "
        f"{softmax.estimates['nll'].value:.3f} of {about.softmax} and "
        f"{standings['logit-adjustment'].estimates['nll'].value:.3f} of logit adjustment."
    )
    return [first, second]


def _rare(softmax: Standing, after: Standing) -> str:
    """About the rarest group that there is."""
    for name in ("few", "medium"):
        before, then = softmax.estimates[name], after.estimates[name]
        if before.exists and then.exists:
            verb = "rise" if then.value >= before.value else "fall"
            return (
                f"Its {name}-shot classes {verb} from {percent(softmax, name)} to "
                f"{percent(after, name)}."
            )
    return ""


def _advice(
    about: Subject, standings: Mapping[str, Standing], main: str, findings: Sequence[Finding]
) -> str:
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
            f"Keep {about.softmax} where rows come as these do; {main} serves the rare classes "
            "at the price of the common ones."
        )
    elif advice is None:
        advice = f"On these rows {main} changes too little to be told from chance."
    if best not in (main, *REFERENCES):
        advice += (
            f" The largest accuracy in the table is {best}'s; to choose it by these rows would "
            "flatter it."
        )
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
    likelihoods = [round(one.estimates["nll"].value, 3) for one in (standings[main], adjusted)]
    told = f"is not told apart from {main} in accuracy"
    if likelihoods[0] < likelihoods[1]:
        return (
            f"Logit adjustment, which fits nothing, {told}: where only the class counts it does as "
            f"well. {main} has the better likelihood: use it where probabilities count."
        )
    worth = "as good a" if likelihoods[0] == likelihoods[1] else "the better"
    return f"Use logit adjustment: it fits nothing, {told}, and has {worth} likelihood."


def percent(standing: Standing, name: str) -> str:
    """A fraction by its key: `61.5 %`."""
    return f"{100 * standing.estimates[name].value:.1f} %"


def _gain(standing: Standing, reference: str, named: str) -> str:
    """`+4.1 points over the softmax, 95 % between +3.2 and +5.0`."""
    found = standing.estimates[difference_key("overall", reference)]
    text = f"{_points(found.value)} points against {named}"
    if found.interval is not None:
        low, high = map(_points, found.interval)
        text += f", 95 % of resamples between {low} and {high}"
    return text


def _points(fraction: float) -> str:
    """With its sign; what rounds to nothing is `+0.0`."""
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"
