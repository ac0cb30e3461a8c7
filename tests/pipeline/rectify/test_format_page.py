"""The code on the rectifier format's page runs on a file of each kind, and does what we do."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import make_featured_inputs

from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.rectify.rectifier_file import (
    FORMAT_VERSION,
    KINDS,
    load_rectifier,
    save_rectifier,
)

PAGE = (Path(__file__).parents[3] / "docs" / "rectifier-format.md").read_text(encoding="utf-8")
(READ,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def head_rectifier(inputs):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn((7, 4), generator=generator, dtype=torch.float64)
    return HeadRectifier(
        scale=torch.linspace(0.5, 1.5, 7, dtype=torch.float64),
        shift=torch.linspace(-1.0, 1.0, 7, dtype=torch.float64),
        weight=weight,
        bias=weight[:, 0].clone(),
        metadata={"method": "crt"},
    )


def unit_rectifier(inputs):
    prior = torch.full((7,), 1 / 7, dtype=torch.float64).log()
    return replace(head_rectifier(inputs), normalise="unit", log_prior=prior)


def fitted(method):
    return lambda inputs: fit_rectifier(inputs, preset_settings("default", method=method)).rectifier


RECTIFIERS = {
    "marr": fitted("marr"),
    "crt": head_rectifier,
    "disalign": fitted("disalign"),
    "crt of unit rows": unit_rectifier,
}


@pytest.mark.parametrize("method", list(RECTIFIERS))
def test_safetensors_alone(method, tmp_path, monkeypatch):
    inputs = make_featured_inputs(num_views=1)
    monkeypatch.chdir(tmp_path)
    rectifier = RECTIFIERS[method](inputs)
    save_rectifier(rectifier, Path("rectifier.safetensors"))
    logits, features = inputs.logits[0], inputs.features[0]
    np.savez("new.npz", logits=logits.numpy(), features=features.numpy())
    found = {}
    exec(compile(READ, "rectifier-format.md", "exec"), found)
    expected = rectifier.apply(logits, features)
    np.testing.assert_allclose(found["rectified"], expected.numpy(), rtol=1e-12, atol=1e-12)
    assert found["predictions"].tolist() == expected.argmax(1).tolist()
    assert found["method"] == method.split()[0]
    assert all(tensor.dtype == np.float64 for tensor in found["tensors"].values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_a_kind_is_on_the_page(kind):
    for name in ("scale", "shift", *kind.part_names()):
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("method", list(RECTIFIERS))
def test_a_folded_head_or_none(method):
    """What the page says of folding: scale and shift go into weight and bias of a linear head."""
    inputs = make_featured_inputs(num_views=1)
    weight = torch.randn((7, 4), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features = inputs.features[0].double()
    inputs = replace(inputs, logits=(features @ weight.T)[None])
    rectifier = RECTIFIERS[method](inputs)
    own = weight if method == "marr" else getattr(rectifier, "weight", weight)
    bias = getattr(rectifier, "bias", torch.zeros(7, dtype=torch.float64))
    folded = features @ (rectifier.scale[:, None] * own).T + rectifier.scale * bias
    folded += rectifier.shift
    is_same = torch.allclose(folded, rectifier.apply(inputs.logits[0], features))
    assert is_same == (method not in ("disalign", "crt of unit rows"))


def test_the_page_is_of_this_version(tmp_path):
    assert PAGE.startswith(f"# The rectifier file, version {FORMAT_VERSION}\n")
    path = tmp_path / "r.safetensors"
    ones = torch.ones(3, dtype=torch.float64)
    save_rectifier(Rectifier(scale=ones, shift=0 * ones, metadata={"method": "lws"}), path)
    assert type(load_rectifier(path)) is Rectifier
