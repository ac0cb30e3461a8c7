import pytest
import torch
from problems import make_inputs

from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rows.kernel import VARIABLE


@pytest.fixture
def inputs():
    return make_inputs()


@pytest.fixture(params=["", "torch"], ids=["usual", "torch"])
def either_way(request, monkeypatch):
    """With the passes that are usual here, compiled if they are, and with torch's."""
    monkeypatch.setenv(VARIABLE, request.param)


@pytest.fixture
def separable_inputs():
    """Four samples of each of five classes on the axes of five features, which are the logits."""
    labels = torch.arange(5).repeat_interleave(4)
    logits = 3.0 * torch.eye(5)[labels][None]
    counts = torch.full((5,), 4)
    return FitInputs(
        logits=logits,
        labels=labels,
        weight_norm=torch.ones(5, dtype=torch.float64),
        class_counts=counts,
        prior_counts=counts,
        weight=torch.eye(5),
        features=logits,
    )
