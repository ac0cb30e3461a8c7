"""The released codes' schedules of every method that SGD fits, by method and dataset.

Classifier re-training (Kang et al. 2020; decoupled Balanced Softmax, Ren et al. 2020) runs
floor(N / s) steps an epoch, N samples in batches of s, and steps its scheduler at the start of an
epoch: the rate of epoch e = 0, 1, ..., E - 1 is  peak (1 + cos(pi (e + 1) / E)) / 2,  so the last
epoch runs at rate 0. On CIFAR the released configurations count epochs by an inflated loader and
run a fraction of the iterations that they name; here 2,000 are 2,000.
"""

import math
from dataclasses import replace

from marr_pipeline.optim.schedule import Schedule, phase_two_schedule
from marr_pipeline.protocols import SgdTerms, protocol_of
from marr_pipeline.rectify.settings import RectifySettings


def sgd_schedule(settings: RectifySettings, dataset: str | None, num_samples: int) -> Schedule:
    """The schedule of `sgd` for N samples of a dataset.

    It is the method's official one with the preset `official`, and with every preset for a whole
    head, of which MARR's paper says nothing; else MARR's.
    """
    found = protocol_of(dataset).retraining.get(settings.method)
    is_head = settings.method in ("crt", "balanced-softmax-head")
    if found is None or not (is_head or settings.preset == "official"):
        schedule = phase_two_schedule(settings.preset, dataset, num_samples)
    else:
        schedule = _by_epoch(found, num_samples)
    return replace(schedule, sampling=settings.sampling)


def _by_epoch(terms: SgdTerms, num_samples: int) -> Schedule:
    """For N samples; a batch holds no more."""
    batch_size = min(terms.batch_size, num_samples)
    steps = num_samples // batch_size
    iterations = terms.iterations if terms.epochs is None else terms.epochs * steps
    return Schedule(
        iterations=iterations,
        steps_per_epoch=steps,
        batch_size=batch_size,
        epochs=math.ceil(iterations / steps),
        peak_rate=terms.peak_rate,
        per_epoch=True,
        epochs_ahead=terms.epochs_ahead,
    )
