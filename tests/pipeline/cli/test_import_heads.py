"""`import --head` takes the head out of a whole network, however it is packed."""

import numpy as np
import pytest
import torch
from torch import nn

from marr_pipeline.cache import open_cache

NUM_CLASSES, WIDTH = 4, 6


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, NUM_CLASSES))


def packed(form, network):
    state = network.state_dict()
    other = {name: value + 1 for name, value in state.items()}
    if form == "normalised":
        nn.utils.parametrizations.weight_norm(network[2])
        return {"state_dict": network.state_dict()}
    return {
        "bare": state,
        "container and prefix": {"model": {f"module.net.{k}": v for k, v in state.items()}},
        "averaged": {"state_dict": other, "state_dict_ema": state},
        "of ours": {"format": "marr-checkpoint", "model": state, "averaged": other},
    }[form]


def imported(run, tmp_path, content, network, *options):
    torch.save(content, tmp_path / "theirs.pth")
    features = torch.randn(40, WIDTH)
    with torch.no_grad():
        logits = (features @ network[2].weight.T + network[2].bias).numpy()
    labels = np.arange(40) % NUM_CLASSES
    np.savez(tmp_path / "a.npz", logits=logits, labels=labels, features=features.numpy())
    given = ["--train", tmp_path / "a.npz", "--head", tmp_path / "theirs.pth"]
    return run("import", *given, *options, "-o", tmp_path / "a.h5")


@pytest.mark.parametrize(
    "form", ["bare", "container and prefix", "normalised", "averaged", "of ours"]
)
def test_the_head_is_found(run, tmp_path, network, form):
    done = imported(run, tmp_path, packed(form, network), network)
    assert done.code == 0, done.err
    weight = network[2].weight.detach().numpy()
    np.testing.assert_allclose(open_cache(tmp_path / "a.h5").head.weight, weight, rtol=1e-6)
    said = "state_dict_ema.2.weight is taken and state_dict.2.weight left; --weights chooses"
    assert (said in done.err) == (form == "averaged")


def test_the_other_head_is_not_these_logits(run, tmp_path, network):
    content = packed("averaged", network)
    done = imported(run, tmp_path, content, network, "--weights", "state_dict")
    assert done.code == 3
    assert "logits = features @ weight.T + bias expected" in done.error


def test_two_heads_are_named(run, tmp_path, network):
    content = {**network.state_dict(), "aux.weight": torch.ones(NUM_CLASSES, WIDTH)}
    done = imported(run, tmp_path, content, network)
    assert done.code == 3
    assert "expected, got 2.weight, aux.weight; rename the head's" in done.error
