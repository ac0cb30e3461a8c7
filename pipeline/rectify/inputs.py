"""What a fit takes: arrays, checked where they enter, what is known of their head, and the rest.

N samples in V views, K classes, D features. The loss weights (equation 12) follow from
class_counts (K,) of the training list, the prior from prior_counts (K,) that phase one saw.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.groups import ABSENT_CLASS_IMAGES
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.rows.source import FeatureLogits, Rows, StoredLogits
from marr_pipeline.rectify.settings import FittedRows, RectifySettings, Reduction, Sampling

LEFT_OUT = -1e4
"""Offset of a class that has no part in the softmax: its probability is 0 in float32 and float64,
and its own rows, which must have no weight, keep a finite loss."""


@dataclass(frozen=True, kw_only=True)
class HeadFacts:
    """The classifier whose logits are rectified, beside its logits; K classes.

    Attributes:
        weight_norm: (K,) float64 norms of the head's rows; ones where the head is unknown.
        prior_counts: (K,) images per class that phase one trained on, or their shares.
        bias: (K,) of the head; None if it has none, or none is known.
        unit: whether the head takes features of length 1.
    """

    weight_norm: Tensor
    prior_counts: Tensor
    bias: Tensor | None = None
    unit: bool = False

    @property
    def left_out(self) -> Tensor:
        """(K,) bool: classes that the head never predicts, since it had no rows of them."""
        if self.bias is None:
            return torch.zeros_like(self.weight_norm, dtype=torch.bool)
        return self.bias < 0.5 * LEFT_OUT

    @property
    def log_prior(self) -> Tensor:
        """(K,) float64 logarithm of the prior of phase one."""
        return log_prior(self.prior_counts)


@dataclass(frozen=True, kw_only=True)
class GivenHead:
    """A head that another is pulled to.

    Attributes:
        weight: (K, D).
        bias: (K,); None for a matrix alone, which is known up to scale.
        log_prior: (K,) logarithm of the prior that its logits stand for; None for the uniform one.
        normalise: `unit` if it takes features of length 1.
    """

    weight: Tensor
    bias: Tensor | None = None
    log_prior: Tensor | None = None
    normalise: str = "none"


@dataclass(frozen=True, kw_only=True)
class FitInputs(HeadFacts):
    """V views of N samples, and the facts of the head that made their logits.

    Attributes:
        logits: (V, N, K) float16, float32 or float64, or what makes them from features; None where
            no head has made any, for methods that fit one.
        labels: (N,) int64, the same for every view.
        class_counts: (K,) int64 training images per class.
        weight: (K, D) of the head, if it is known.
        features: (V, N, D) float16, float32 or float64, if they are known; they are where there
            are no logits.
        center: the head that `center` `file` pulls to, if there is one.
        rows: whether phase one has seen the samples.
        refuse_not_finite: raises what names the number of these rows that is none, if there is one;
            asked where a fit fails, since looking takes as long as a pass.

    Raises:
        DataError: shapes contradict each other, there is no row, a label lies outside 0..K-1, or
            norms or counts are negative, infinite, or all counts 0.
    """

    logits: Tensor | FeatureLogits | None
    labels: Tensor
    class_counts: Tensor
    weight: Tensor | None = None
    features: Tensor | None = None
    center: GivenHead | None = None
    rows: FittedRows = "seen"
    refuse_not_finite: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        views, samples = self._rows.shape[:2]
        classes = self.num_classes
        if views == 0 or samples == 0:
            raise DataError(
                f"fit: at least one row expected, got {views} views of {samples} "
                "samples; choose another fit_split or fit_views"
            )
        for name in ("weight_norm", "class_counts", "prior_counts"):
            vector = getattr(self, name)
            _check_shape(vector, classes, name)
            is_valid = torch.isfinite(vector) & (vector >= 0)
            if not bool(is_valid.all()):
                found = vector[~is_valid][0].item()
                raise DataError(f"{name}: finite numbers >= 0 expected, got {found:g}")
        for name in ("class_counts", "prior_counts"):
            if not bool(getattr(self, name).any()):
                raise DataError(f"{name}: samples of at least one class expected, got zeros alone")
        if self.bias is not None:
            _check_shape(self.bias, classes, "bias")
        if self.features is not None and self.features.shape[:2] != (views, samples):
            raise DataError(
                f"features: {views} views of {samples} samples expected, as there are logits of, "
                f"got shape {tuple(self.features.shape)}"
            )
        if self.labels.shape != (samples,):
            shape = tuple(self.labels.shape)
            raise DataError(f"labels: shape ({samples},) expected, got {shape}")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= classes:
            raise DataError(
                f"labels: classes 0..{classes - 1} expected, got {low}..{high}; "
                "was this cache made with another class list?"
            )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_counts) if self.logits is None else self.logits.shape[2]

    @property
    def num_views(self) -> int:
        """V."""
        return self._rows.shape[0]

    @property
    def fitted_counts(self) -> Tensor:
        """(K,) int64 samples that are fitted."""
        return torch.bincount(self.labels, minlength=self.num_classes)

    def weight_counts(self, rows: Tensor | None = None) -> Tensor:
        """n (K,) int64 of the loss weights: of the training list, or of the samples held out.

        Those have shares of their own, and with the list's counts classes would not count alike.

        Args:
            rows: (R,) int64 of all views' that are fitted, of which each class's count follows.
                With the whole counts a class of two images would lose half of its share of the
                loss where a large one loses a fifth. None for all.
        """
        counts, sizes = self.class_counts, self.fitted_counts
        if self.rows == "held-out":
            counts = torch.where(counts > 0, sizes, 0)
        if rows is None:
            return counts
        labels = self.labels.repeat(self.num_views)[rows]
        kept = torch.bincount(labels, minlength=self.num_classes)
        remaining = counts * kept // (self.num_views * sizes).clamp(min=1)
        return torch.where(sizes > 0, torch.maximum(remaining, counts.clamp(max=1)), counts)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self._rows.device

    @property
    def _rows(self) -> Tensor | FeatureLogits:
        """Those that there are of logits and features."""
        rows = self.features if self.logits is None else self.logits
        if rows is None:
            raise DataError("fit: logits, features or both expected, got neither; give them")
        return rows

    def loss_weights(
        self, settings: RectifySettings, sampling: Sampling, rows: Tensor | None = None
    ) -> tuple[Tensor, Reduction]:
        """Class weights (K,) and reduction of the loss that a batch has in expectation.

        Of some rows (R,) int64 of all views' alone, where they are given.

        Where every class is drawn alike, a sample of class j is drawn in proportion to 1 / n_j, so
        its weight is U_j / n_j and the divisor the sum of these; with gamma 0 that is the weighted
        mean with gamma 1.

        Raises:
            DataError: no row has a weight.
        """
        if not bool((self.class_counts[self.labels] > 0).any()):
            raise DataError(
                "labels: at least one of a class with training samples expected, got classes of "
                "count 0 alone; are class_counts and labels in one order?"
            )
        weights = class_weights(self.weight_counts(rows), settings.gamma)
        if sampling == "instance":
            return weights, settings.reduction
        return weights / self.fitted_counts.clamp(min=1), "weighted"

    def feature_rows(self, method: str) -> Tensor:
        """Features (V N, D) for a method that cannot do without, a view of the same memory.

        Raises:
            DataError: there are none.
        """
        if self.features is None:
            raise DataError(
                f"features: those of every row expected for {method}, got none; give them too"
            )
        return self.features.flatten(0, 1)

    def own_head(self) -> GivenHead:
        """The head that made the logits.

        Raises:
            DataError: it is not known.
        """
        if self.weight is None:
            raise DataError(
                "center: the weight of the head that made the logits expected for cache, got none; "
                "give it, or choose another centre"
            )
        bias = self.weight.new_zeros(len(self.weight)) if self.bias is None else self.bias
        return GivenHead(
            weight=self.weight,
            bias=bias,
            log_prior=self.log_prior,
            normalise="unit" if self.unit else "none",
        )

    def source(self) -> tuple[Rows, Tensor]:
        """Rows (V N, K) to be taken block by block, and labels (V N,).

        Raises:
            DataError: there are no logits.
        """
        if self.logits is None:
            raise DataError("logits: those of every row expected, got features alone; give them")
        labels = self.labels.repeat(self.num_views)
        if isinstance(self.logits, Tensor):
            return StoredLogits(self.logits.flatten(0, 1)), labels
        return self.logits, labels

    def first_views(self, count: int) -> "FitInputs":
        """The first views alone, without a copy.

        Raises:
            DataError: there are fewer.
        """
        if not 1 <= count <= self.num_views:
            raise DataError(
                f"views: 1 to {self.num_views}, as in the cache, expected, got {count}; ask "
                "for fewer"
            )
        return self._at(slice(count), self.labels)

    def of_samples(self, samples: Tensor) -> "FitInputs":
        """All views of some samples (B,) int64, copied; logits made from features are made anew."""
        return self._at((slice(None), samples), self.labels[samples])

    def _at(self, index: Any, labels: Tensor) -> "FitInputs":
        """Some views, or some samples of all views, whose labels are given."""
        logits = None if self.logits is None else self.logits[index]
        features = None if self.features is None else self.features[index]
        return replace(self, logits=logits, features=features, labels=labels)

    @contextmanager
    def fitted(self) -> Iterator[None]:
        """A fit of these rows: where it fails and a number of them is none, that is the error."""
        try:
            yield
        except Exception:
            if self.refuse_not_finite is not None:
                self.refuse_not_finite()
            raise

    def warnings(self) -> list[str]:
        """What a result stands on that a user should know of."""
        without_norm = int((self.weight_norm == 0).sum())
        if not without_norm:
            return []
        return [f"{without_norm} classes have a weight norm of 0; their beta is held at 0"]


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """What surrounds a fit.

    Attributes:
        dataset: name, which decides the length of `sgd`'s schedule.
        progress: told the passes over all rows, or the iterations of `sgd`.
        resources: bound on memory, and the processes that share the rows.
        held_out: samples that phase one has not seen, for what a fit cannot choose on its own rows;
            None to hold out folds of those.
    """

    dataset: str | None = None
    progress: Progress = silent
    resources: Resources = UNLIMITED
    held_out: FitInputs | None = None


def class_weights(class_counts: Tensor, gamma: float) -> Tensor:
    """Loss weights  U_j = K n_j^-gamma / sum_k n_k^-gamma  (equation 12).

    Args:
        class_counts: (K,) training images per class; a class without any gets weight 0 and
            does not count in K.
        gamma: 0 for no weighting; the paper's value is 1.2.

    Returns:
        (K,) float64 with mean 1 over the classes that have images.

    Raises:
        ConfigError: gamma is not a finite number, or so large that the weights overflow.
    """
    present = class_counts > 0
    relative = class_counts.double() / class_counts[present].double().min()
    powers = torch.where(present, relative.clamp(min=1.0) ** -gamma, 0.0)
    weights = present.sum() * powers / powers.sum()
    if not bool(torch.isfinite(weights).all()):
        raise ConfigError(f"gamma: a finite exponent expected, got {gamma}; the paper uses 1.2")
    return weights


def log_prior(prior_counts: Tensor) -> Tensor:
    """Logarithm of the class prior (K,) float64; an absent class counts half an image.

    Where the prior is of shares, it counts half of the smallest.
    """
    counts = prior_counts.double()
    unit = counts[counts > 0].min().clamp(max=1.0)
    counts = torch.where(counts > 0, counts, ABSENT_CLASS_IMAGES * unit)
    return torch.log(counts / counts.sum())


def fitted_log_prior(rows: Tensor, weights: Tensor, *, tau: float = 0.0) -> Tensor:
    """Logarithm of the prior (K,) float64 of probabilities whose shifts a fit left free.

    The gradient in them vanishes at the minimum, so the mean prediction of each class is its share
    of the weighted rows: p_j ~ r_j^(1 - tau) U_j, with r_j the class's share of the rows and tau of
    log r added to the logits in the loss alone.

    Args:
        rows: (K,) number of each class that were fitted.
        weights: U (K,), that each of them had in the loss; a class of weight 0 has no row.
        tau: see above.
    """
    counts = torch.where(weights > 0, rows, 0)
    drawn = torch.where(counts > 0, weights, 1.0).log()
    return torch.log_softmax((1 - tau) * log_prior(counts) + drawn, 0)


def _check_shape(vector: Tensor, num_classes: int, name: str) -> None:
    if vector.shape != (num_classes,):
        raise DataError(f"{name}: shape ({num_classes},) expected, got {tuple(vector.shape)}")
