import sys

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
