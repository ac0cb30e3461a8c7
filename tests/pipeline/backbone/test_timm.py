"""Networks of timm; by MARR_TIMM=all the smallest of every family, which takes minutes.

`timm_families.txt` is the survey of timm 1.0.31: family, its smallest network, how it ends.
"""

import os
import sys
from pathlib import Path

import pytest
import torch

from marr_pipeline.backbone import build_backbone
from marr_pipeline.errors import ConfigError


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"timm:resnet18: the package timm .*\[timm\]"):
        build_backbone("timm:resnet18", 3, in_channels=3, seed=0)


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "vit_tiny_patch16_384"])
def test_logits_are_timms_own(timm, name):
    size = timm.get_pretrained_cfg(name).input_size[-1] if name.startswith("vit") else 64
    model = build_backbone(f"timm:{name}", 7, in_channels=3, seed=0).eval()
    theirs = timm.create_model(name, num_classes=7).eval()
    (head,) = model.head_aliases
    state = {f"{head}.{kind}": getattr(model.head, kind) for kind in ("weight", "bias")}
    theirs.load_state_dict({**model.body.state_dict(), **state})
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, features = model(images)
        assert torch.equal(logits, theirs(images))
    torch.testing.assert_close(logits, features @ model.head.weight.T + model.head.bias)


def test_the_first_layer_fits_the_channels(timm):
    model = build_backbone("timm:resnet18", 7, in_channels=1, seed=0)
    assert model(torch.randn(2, 1, 32, 32))[0].shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnt18", "got resnt18; did you mean resnet18"),
        ("deit_tiny_distilled_patch16_224", r"ends in 2 heads \(head, head_dist\)"),
    ],
)
def test_networks_that_cannot_be_built(timm, name, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(f"timm:{name}", 3, in_channels=3, seed=0)


FAMILIES = {
    family: (name, ending)
    for family, name, ending in (
        line.split()
        for line in Path(__file__).with_name("timm_families.txt").read_text("utf-8").splitlines()
    )
}
SAMPLE = ("coat", "crossvit", "dla", "eva", "mambaout", "resnetv2", "vision_transformer")


def test_most_families_are_taken():
    assert sum(ending == "linear" for _, ending in FAMILIES.values()) >= 87
    assert set(SAMPLE) < set(FAMILIES)


def test_every_family_is_in_the_survey(timm):
    if timm.__version__ != "1.0.31":
        pytest.skip("the survey is of timm 1.0.31")
    assert set(timm.list_modules()) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES if os.environ.get("MARR_TIMM") == "all" else SAMPLE)
def test_a_family_gives_its_own_logits_or_is_refused(timm, family):
    name, ending = FAMILIES[family]
    if ending == "heads":
        with pytest.raises(ConfigError, match=rf"timm:{name}: .* ends in .*head.*; choose another"):
            build_backbone(f"timm:{name}", 11, in_channels=3, seed=0)
        return
    model = build_backbone(f"timm:{name}", 11, in_channels=3, seed=0).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = timm.create_model(name, num_classes=11).eval()
    images = torch.randn(1, *timm.get_pretrained_cfg(name).input_size)
    with torch.no_grad():
        logits, features = model(images)
        expected = theirs(images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    made = features @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(logits, made, rtol=1e-4, atol=1e-5)
