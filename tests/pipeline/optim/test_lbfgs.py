from dataclasses import replace

import pytest
from problems import make_inputs

from marr_pipeline.optim import lbfgs
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.settings import PRESETS


def test_float32_gives_way_to_float64_where_it_sees_no_descent():
    fit = fit_rectifier(make_inputs(), replace(PRESETS["paper"], l2=1e-3, tolerance=1e-16))
    assert fit.status is FitStatus.CONVERGED
    assert fit.gradient_norm <= (2e-3 * 1e-16) ** 0.5


@pytest.mark.parametrize(
    ("num_parameters", "num_pairs"), [(200, 20), (513_000, 20), (16_682_958, 4), (10**9, 4)]
)
def test_pairs_of_a_large_head_are_fewer(num_parameters, num_pairs):
    """Of 8142 classes and 2048 features 20 pairs would take 5 GB."""
    assert lbfgs.num_pairs(num_parameters) == num_pairs
