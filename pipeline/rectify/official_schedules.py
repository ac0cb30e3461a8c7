"""The released codes' schedules of every method that SGD fits, by method and dataset.

Classifier re-training (Kang et al. 2020; decoupled Balanced Softmax, Ren et al. 2020) runs
floor(N / s) steps an epoch, N samples in batches of s, and steps its scheduler at the start of an
epoch: the rate of epoch e = 0, 1, ..., E - 1 is  peak (1 + cos(pi (e + 1) / E)) / 2,  so the last
epoch runs at rate 0. On CIFAR the released configurations count epochs by an inflated loader and
run a fraction of the iterations that they name; here 2,000 are 2,000.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from marr_pipeline.optim.schedule import Schedule, phase_two_schedule
from marr_pipeline.rectify.settings import RectifySettings


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """What a paper states of its SGD on one dataset.

    Attributes:
        peak_rate: from which the cosine falls.
        batch_size: samples a step.
        epochs: over the samples; None for `iterations`.
        iterations: optimiser steps in all, where there are no epochs.
        epochs_ahead: of the rate; see `Schedule`.
    """

    peak_rate: float
    batch_size: int
    epochs: int | None = None
    iterations: int = 0
    epochs_ahead: int = 1

    def schedule(self, num_samples: int) -> Schedule:
        """For N samples; a batch holds no more."""
        batch_size = min(self.batch_size, num_samples)
        steps = num_samples // batch_size
        iterations = self.iterations if self.epochs is None else self.epochs * steps
        return Schedule(
            iterations=iterations,
            steps_per_epoch=steps,
            batch_size=batch_size,
            epochs=math.ceil(iterations / steps),
            peak_rate=self.peak_rate,
            per_epoch=True,
            epochs_ahead=self.epochs_ahead,
        )


OTHER = "other"
"""Every dataset that is not named: CIFAR, and what is nearer to it than to the large sets."""
CIFAR = Retraining(peak_rate=0.1, batch_size=512, iterations=2000)

CRT: Mapping[str, Retraining] = {
    "imagenet-lt": Retraining(peak_rate=0.2, batch_size=512, epochs=10),
    "places-lt": Retraining(peak_rate=0.1, batch_size=256, epochs=10),
    "inaturalist2018": Retraining(peak_rate=0.2, batch_size=512, epochs=30),
    OTHER: CIFAR,
}
LWS: Mapping[str, Retraining] = {
    name: each if each.epochs is None else replace(each, epochs=5) for name, each in CRT.items()
}
BALANCED_SOFTMAX_HEAD: Mapping[str, Retraining] = {
    **CRT,
    "places-lt": Retraining(peak_rate=0.02, batch_size=256, epochs=10),
}
"""Stated for CIFAR and Places-LT alone; the other two have those of cRT, which trains the same
head on the same samples."""

DISALIGN: Mapping[str, Retraining] = {
    "imagenet-lt": Retraining(peak_rate=0.1, batch_size=256, epochs=10, epochs_ahead=0),
}
"""Stated for ImageNet-LT alone; elsewhere it follows MARR's released code."""

OFFICIAL: Mapping[str, Mapping[str, Retraining]] = {
    "crt": CRT,
    "lws": LWS,
    "balanced-softmax-head": BALANCED_SOFTMAX_HEAD,
    "disalign": DISALIGN,
}


def sgd_schedule(settings: RectifySettings, dataset: str | None, num_samples: int) -> Schedule:
    """The schedule of `sgd` for N samples of a dataset.

    It is the method's official one with the preset `official`, and with every preset for a whole
    head, of which MARR's paper says nothing; else MARR's.
    """
    stated = OFFICIAL.get(settings.method, {})
    found = stated.get(dataset or OTHER, stated.get(OTHER))
    is_head = settings.method in ("crt", "balanced-softmax-head")
    if found is None or not (is_head or settings.preset == "official"):
        schedule = phase_two_schedule(settings.preset, dataset, num_samples)
    else:
        schedule = found.schedule(num_samples)
    return replace(schedule, sampling=settings.sampling)
