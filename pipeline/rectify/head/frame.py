"""What fits of one head on the same rows share, whatever the strength of the ridge.

K classes, D features x in the fit's coordinates (`coordinates`), r = shares of the fitted rows,
U = class_weights (K,). A head is fitted with tau log r added to its logits in training alone, so
it stands for the prior p ~ r^(1 - tau) U: where its biases are free, the gradient in them vanishes
and the mean prediction of each class is its weighted share. The ridge pulls (W, b) to 0 or to a
head that stands for another prior p_c; that head's bias is then less log p_c, plus log p. This
constant of the classes is added to the logits in training and to the bias of the result, so that a
line of centres goes through the origin.

A class without rows has no part in the softmax: its row of the head stays where the ridge has it,
and its bias is then put so low (`LEFT_OUT`) that it is never the largest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.optim.ridge import Ridge
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.head import HeadCrossEntropy, HeadProblem
from marr_pipeline.rectify.head.centroids import ClassMeans, Discriminant, class_sums, scatter
from marr_pipeline.rectify.head.coordinates import Coordinates, coordinates_of
from marr_pipeline.rectify.inputs import LEFT_OUT, FitInputs, GivenHead, fitted_log_prior, log_prior
from marr_pipeline.rectify.rectifier import HeadRectifier
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.settings import RectifySettings, Sampling

SHED = {"crt": 0.0, "balanced-softmax-head": 1.0}
"""tau of the methods whose authors say it; `head` has it from its settings."""


LEAST_L2 = 1e-14
"""Of a ridge, in units of the rows' mean square: with less no fit reached its tolerance."""
SCALE_L2 = 0.2
"""Of a centre that is known up to scale, where nobody gives it."""


class NoDirectionError(DataError):
    """A centre that is known up to scale, and is zero."""


@dataclass(frozen=True, kw_only=True)
class HeadFrame:
    """See the module's docstring.

    Attributes:
        coordinates: of the rows.
        counts: (K,) int64 fitted rows that count of each class.
        log_prior: (K,) float64 that the head stands for.
        loss: of the rows, prior and constant included.
        center: (K, D + 1) float64 that the ridge pulls to, or the direction of the line.
        line: the strength of the ridge along the line; None for a point.
        constant: (K,) float64 added to the bias of the result.
    """

    coordinates: Coordinates
    counts: Tensor
    log_prior: Tensor
    loss: HeadCrossEntropy
    center: Tensor
    line: float | None
    constant: Tensor

    def problem(self, settings: RectifySettings, progress: Progress = silent) -> HeadProblem:
        """F at the strength of the settings, in units of the rows' mean square but for `sgd`."""
        l2 = settings.ridge
        if settings.optimizer != "sgd":
            l2 *= self.coordinates.mean_square
        held = None
        if settings.free_bias:
            held = torch.ones_like(self.center, dtype=torch.bool)
            held[:, -1] = False
        ridge = Ridge(
            l2=l2,
            center=self.center.flatten(),
            scale_l2=self.line if l2 > 0 else None,
            held=None if held is None else held.flatten(),
        )
        return HeadProblem(self.loss, ridge, progress=progress)

    def rectifier(self, head: Tensor, settings: RectifySettings) -> HeadRectifier:
        """Of a head (K, D + 1) in the fit's coordinates."""
        found = self.coordinates.on_features(head)
        bias = found[:, -1] + self.constant
        return head_rectifier(found[:, :-1], bias, self.counts, self.log_prior, settings)


def head_rectifier(
    weight: Tensor, bias: Tensor, counts: Tensor, prior: Tensor, settings: RectifySettings
) -> HeadRectifier:
    """Of weight (K, D) and bias (K,) on the features, without the classes that have no rows."""
    return HeadRectifier(
        scale=torch.ones_like(bias),
        shift=torch.zeros_like(bias),
        weight=weight.contiguous(),
        bias=torch.where(counts > 0, bias, bias + LEFT_OUT),
        normalise="unit" if settings.normalise == "unit" else "none",
        log_prior=prior,
    )


def left_out(counts: Tensor) -> list[str]:
    """A warning of the classes that have no rows, by counts (K,)."""
    absent = (counts == 0).nonzero()[:, 0].tolist()
    if not absent:
        return []
    return [
        f"{len(absent)} of {len(counts)} classes have no row to fit (first: {absent[0]}); the new "
        f"head never predicts them, and a test row of theirs has a loss of about {-LEFT_OUT:g} "
        "that outweighs all others in an NLL"
    ]


def build_frame(
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    rows: Tensor | None = None,
    sampling: Sampling = "instance",
    resources: Resources = UNLIMITED,
) -> HeadFrame:
    """The frame of the settings over the rows of the inputs.

    Rows that are stored in another form than passes take them in are held in that form, where
    they fit into the spare memory; a bound on memory then has that much less for buffers.

    Args:
        inputs: with features.
        settings: normalisation, prior, centre and class weights.
        rows: (R,) int64 of the inputs' rows that are fitted; None for all.
        sampling: how rows are drawn, where F is what a batch has in expectation.
        resources: see `WeightedRows`, also for errors.

    Raises:
        ConfigError: a centre that these features or the normalisation cannot bear, or a strength
            that is next to none.
        DataError: the inputs have no features, or not the head that the centre is.
        NoDirectionError: that centre tells no class from another.
    """
    if settings.optimizer != "sgd" and 0 < settings.ridge < LEAST_L2:
        raise ConfigError(
            f"l2: 0 or at least {LEAST_L2:g} expected for {settings.method}, got {settings.l2:g}, "
            "which rounding hides; raise it"
        )
    weights, reduction = inputs.loss_weights(settings, sampling, rows)
    labels = inputs.labels.repeat(inputs.num_views)
    labels = labels if rows is None else labels[rows]
    counts = torch.bincount(labels, minlength=inputs.num_classes)
    counts = torch.where(weights > 0, counts, 0)
    coordinates, resources = fit_coordinates(inputs, settings, rows=rows, resources=resources)
    of_rows = log_prior(counts)
    tau = SHED.get(settings.method, settings.known_tau)
    prior = fitted_log_prior(counts, weights, tau=tau)

    @cache
    def means() -> ClassMeans:
        # A pass over the rows, which a centre of zeros and a head with its bias do without.
        sums = class_sums(coordinates.rows, labels, len(counts))
        return ClassMeans.of_sums(sums.cpu(), counts)

    center, stands_for, is_line = _center(inputs, settings, coordinates, labels, means)
    if settings.free_bias:
        center[:, -1] = 0.0
    constant = torch.zeros_like(prior) if stands_for is None else prior - stands_for
    offset = torch.where(counts > 0, tau * of_rows + constant, LEFT_OUT)
    loss = HeadCrossEntropy(
        coordinates.rows, labels, weights, reduction=reduction, offset=offset, resources=resources
    )
    line = None
    if is_line:
        spread = _spread(center, means())
        if not spread > 0:
            raise NoDirectionError(
                f"center: classes that differ expected in {settings.center}, got the same row for "
                "all of them; choose zero"
            )
        scale_l2 = SCALE_L2 if settings.scale_l2 is None else settings.scale_l2
        line = scale_l2 * spread / math.log(max(len(counts), 2))
    return HeadFrame(
        coordinates=coordinates,
        counts=counts,
        log_prior=prior,
        loss=loss,
        center=center,
        line=line,
        constant=constant,
    )


def build_head_problem(
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    sampling: Sampling = "instance",
    resources: Resources = UNLIMITED,
    progress: Progress = silent,
) -> HeadProblem:
    """F of the settings over all rows of the inputs; see `build_frame`."""
    frame = build_frame(inputs, settings, sampling=sampling, resources=resources)
    return frame.problem(settings, progress)


def fit_coordinates(
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    rows: Tensor | None,
    resources: Resources,
) -> tuple[Coordinates, Resources]:
    """The coordinates of some rows (R,) int64, or of all, and what they leave of the resources."""
    features = inputs.feature_rows(settings.method)
    found = coordinates_of(
        features,
        settings.normalise,
        picked=rows,
        most_bytes=resources.spare_bytes(features.device),
    )
    held = found.rows.features
    return found, resources if held is features else resources.without(held.nbytes)


def _center(
    inputs: FitInputs,
    settings: RectifySettings,
    coordinates: Coordinates,
    labels: Tensor,
    means: Callable[[], ClassMeans],
) -> tuple[Tensor, Tensor | None, bool]:
    """Centre (K, D + 1) in the fit's coordinates, the logarithm of the prior (K,) that it stands
    for, None for a head of zeros, and whether it is known up to scale.
    """
    num_classes, width = inputs.num_classes, coordinates.rows.num_features
    uniform = torch.full((num_classes,), -math.log(num_classes), dtype=torch.float64)
    if settings.center == "zero":
        return torch.zeros((num_classes, width + 1), dtype=torch.float64), None, False
    if settings.center in ("class-means", "gda"):
        classes = means()
        if settings.center == "class-means":
            return classes.head(classes.means), uniform, True
        about = classes.means + classes.origin
        group = torch.zeros_like(labels)
        covariance = scatter(coordinates.rows, about, labels, group, 1)[0] / len(labels)
        shrinkage = CENTER_SHRINKAGE if settings.shrinkage is None else settings.shrinkage
        return Discriminant.of_covariance(classes, covariance).head(shrinkage), uniform, True
    if settings.center == "cache":
        given = inputs.own_head()
    elif settings.center == "file" and inputs.center is not None:
        given = inputs.center
    else:
        raise ConfigError(
            f"center: zero, class-means, gda, cache or a file expected for {settings.method}, got "
            f"{settings.center}; choose one of them"
        )
    return _of_given(given, settings, coordinates, num_classes, uniform)


CENTER_SHRINKAGE = 0.6
"""Of the centre `gda` unless shrinkage is given: what was best for it alone on features of a
pretrained network."""


def _of_given(
    given: GivenHead,
    settings: RectifySettings,
    coordinates: Coordinates,
    num_classes: int,
    uniform: Tensor,
) -> tuple[Tensor, Tensor, bool]:
    expected = (num_classes, coordinates.rows.num_features)
    if given.weight.shape != expected:
        raise DataError(
            f"center: a weight of shape {expected} expected, as classes and features have it, got "
            f"{tuple(given.weight.shape)}; is it for these classes and features?"
        )
    if (given.normalise == "unit") != (settings.normalise == "unit") and given.bias is not None:
        raise ConfigError(
            f"normalise: {'unit' if given.normalise == 'unit' else 'none or standard'} expected, "
            f"which the centre's head was made for, got {settings.normalise}"
        )
    bias = given.weight.new_zeros(num_classes) if given.bias is None else given.bias
    head = torch.cat([given.weight, bias[:, None]], 1).double()
    prior = uniform if given.log_prior is None else given.log_prior.double()
    return coordinates.on_rows(head), prior, given.bias is None


def _spread(center: Tensor, means: ClassMeans) -> float:
    """Mean over the classes with rows of the variance of a head's logits at the class's mean."""
    points = (means.means + means.origin)[means.counts > 0]
    logits = points @ center[:, :-1].T + center[:, -1]
    return float(logits[:, means.counts > 0].var(1, correction=0).mean())
