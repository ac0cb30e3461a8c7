from dataclasses import replace

import pytest
import torch
from problems import make_head_inputs

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.settings import RectifySettings

TDE = RectifySettings(method="tde")


@pytest.fixture
def inputs():
    plain = make_head_inputs()
    features = plain.features + torch.tensor([2.0, 1.0, 0.0, -1.0])
    return replace(plain, features=features)


def unit_mean(inputs):
    mean = inputs.features.double().mean((0, 1))
    return mean / mean.norm()


@pytest.mark.parametrize("alpha", [0.0, 0.7, 3.0])
def test_logits_are_those_of_each_sample_without_its_part_along_the_mean(inputs, alpha):
    """methods.md, section 8, sample by sample: z - alpha (z . c) c through the old head."""
    fit = fit_rectifier(inputs, replace(TDE, alpha=alpha))
    direction, weight = unit_mean(inputs), inputs.weight.double()
    found = fit.rectifier.apply(inputs.logits, inputs.features)
    for view, sample in ((0, 0), (0, 57), (1, 123)):
        z = inputs.features[view, sample].double()
        expected = weight @ (z - alpha * float(z @ direction) * direction) + inputs.bias
        torch.testing.assert_close(found[view, sample], expected, rtol=0, atol=1e-12)
    assert fit.status is FitStatus.CLOSED_FORM
    assert (fit.loss, fit.num_parameters) == (None, 0)


@pytest.mark.parametrize(
    ("dataset", "alpha"),
    [("cifar10-lt", 1.0), ("cifar100-lt", 1.5), ("imagenet-lt", 3.0), ("places-lt", 3.0)],
)
def test_alpha_is_what_is_stated_for_the_dataset(inputs, dataset, alpha):
    fit = fit_rectifier(inputs, TDE, dataset=dataset)
    assert float(fit.rectifier.own["alpha"]) == alpha
    given = fit_rectifier(inputs, replace(TDE, alpha=0.25), dataset=dataset)
    assert float(given.rectifier.own["alpha"]) == 0.25


def test_elsewhere_alpha_times_the_mean_cosine_is_one(inputs):
    rows = inputs.features.flatten(0, 1).double()
    cosine = torch.nn.functional.cosine_similarity(rows, unit_mean(inputs)[None]).mean()
    fit = fit_rectifier(inputs, TDE, dataset="folder")
    assert float(fit.rectifier.own["alpha"] * cosine) == pytest.approx(1.0)


def test_what_tde_needs_is_asked_for(inputs):
    with pytest.raises(DataError, match="features: those of every row expected for tde"):
        fit_rectifier(replace(inputs, features=None), TDE)
    with pytest.raises(DataError, match="weight: that of the head expected for tde"):
        fit_rectifier(replace(inputs, weight=None), TDE)
    with pytest.raises(DataError, match="a mean other than 0 expected for tde"):
        fit_rectifier(replace(inputs, features=torch.zeros_like(inputs.features)), TDE)
    with pytest.raises(ConfigError, match="alpha: a finite number expected, got inf"):
        replace(TDE, alpha=float("inf"))
