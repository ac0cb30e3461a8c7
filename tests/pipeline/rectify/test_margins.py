import torch

from marr_pipeline.rectify.margins import affine_logits, margins
from marr_pipeline.rectify.methods import METHODS


def test_margin_is_the_signed_distance_to_the_class_plane():
    weight = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    bias = torch.tensor([5.0, -2.0])
    feature = torch.tensor([1.0, 1.0])
    logits = (weight @ feature + bias)[None]
    # (3 + 4 + 5) / 5 and (2 - 2) / 2: a point on the second plane is at distance 0.
    expected = torch.tensor([[12.0 / 5.0, 0.0]])
    torch.testing.assert_close(margins(logits, weight.norm(dim=1)), expected)


def test_margin_times_norm_is_the_logit(inputs):
    logits, norm = inputs.logits.double(), inputs.weight_norm
    torch.testing.assert_close(margins(logits, norm) * norm, logits)


def test_rectified_logit_is_norm_times_rectified_margin(inputs):
    logits, norm = inputs.logits.double(), inputs.weight_norm
    omega, beta = torch.rand(7).double(), torch.randn(7).double()
    by_margin = norm * (omega * margins(logits, norm) + beta)  # equations 8 to 10
    scale, shift = METHODS["marr"].family(norm).affine(torch.cat([omega, beta]))
    torch.testing.assert_close(affine_logits(logits, scale, shift), by_margin)
