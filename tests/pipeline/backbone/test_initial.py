"""Weights to start from: torchvision's from a local file, and a checkpoint's."""

import dataclasses
import re
from urllib.error import URLError

import pytest
import torch
from torchvision import models

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint, record_differences
from marr_pipeline.backbone.checkpoints.foreign import pretrained_weights, weights_of_checkpoint
from marr_pipeline.backbone.networks.libraries import torchvision_weights
from marr_pipeline.errors import ConfigError, DataError, PipelineError

SMALL = "shufflenet_v2_x0_5"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Put a state dict where torchvision keeps the downloaded weights of a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def put(name, state):
        url = models.get_model_weights(name)["IMAGENET1K_V1"].url
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, folder / url.rpartition("/")[2])

    return put


def test_pretrained_weights_are_all_but_the_head(published, capsys):
    theirs = models.get_model(SMALL, num_classes=1000)
    published(SMALL, theirs.state_dict())
    initial = pretrained_weights(f"torchvision:{SMALL}", num_classes=7, in_channels=3)
    model = build_backbone(f"torchvision:{SMALL}", 7, in_channels=3, seed=0)
    fresh = model.head.weight.clone()
    initial.matched.load_into(model)
    assert torch.equal(model.head.weight, fresh)
    for name, value in model.body.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name
    assert initial.record["weights"] == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"
    assert re.fullmatch("[0-9a-f]{64}", initial.record["sha256"])
    assert capsys.readouterr().out == ""


def test_a_head_of_a_thousand_classes_is_fresh_as_well(published):
    published(SMALL, models.get_model(SMALL).state_dict())
    initial = pretrained_weights(f"torchvision:{SMALL}", num_classes=1000, in_channels=3)
    assert not initial.matched.has_head


def test_densenets_old_names_are_understood(published):
    state = models.densenet121().state_dict()
    older = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): value
        for name, value in state.items()
    }
    assert older.keys() != state.keys()
    published("densenet121", older)
    tensors, _ = torchvision_weights("densenet121")
    assert tensors.keys() == state.keys()


def test_without_a_network_the_address_is_named(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(
        PipelineError, match=r"shufflenet.*: the weights .*no route .*https://.*put it"
    ):
        torchvision_weights(SMALL)


def test_a_pickled_object_in_place_of_weights_is_not_run(published):
    published(SMALL, {"fc.weight": Exploit()})
    with pytest.raises(PipelineError, match="IMAGENET1K_V1 expected, got: pickled objects; down"):
        torchvision_weights(SMALL)


class Exploit:
    def __reduce__(self):
        return print, ("code in a checkpoint was run",)


@pytest.mark.parametrize("name", ["resnet32", "resnet10", "timm:resnet18", "resnet18"])
def test_networks_without_published_weights(name):
    message = f"--pretrained: a network of torchvision expected, got {name}; give"
    with pytest.raises(ConfigError, match=message):
        pretrained_weights(name, num_classes=7, in_channels=3)


@pytest.fixture
def theirs(tmp_path):
    """A checkpoint of another program: resnet8, ten classes."""
    state = build_backbone("resnet8", 10, in_channels=1, seed=5).state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"


def start_from(path, *, new_head=False):
    return weights_of_checkpoint(path, "resnet8", num_classes=10, in_channels=1, new_head=new_head)


@pytest.mark.parametrize("new_head", [False, True])
def test_a_training_starts_from_a_checkpoint(make_plan, theirs, new_head):
    plan = dataclasses.replace(make_plan(), initial=start_from(theirs, new_head=new_head))
    fresh, model = make_plan().initial_model(), plan.initial_model()
    expected = build_backbone("resnet8", 10, in_channels=1, seed=5)
    assert torch.equal(model.conv1.weight, expected.conv1.weight)
    head = fresh if new_head else expected
    assert torch.equal(model.head.weight, head.head.weight)


def test_the_start_is_part_of_the_record(make_plan, train, theirs, tmp_path):
    plan = dataclasses.replace(make_plan(iterations=1), initial=start_from(theirs))
    train(plan, tmp_path / "a.pt")
    stored = load_checkpoint(tmp_path / "a.pt").record
    assert record_differences(stored, plan.record()) == []
    assert record_differences(stored, make_plan(iterations=1).record())[0].startswith("initial ")
    with pytest.raises(DataError, match="a checkpoint of this very run expected, got one with ini"):
        train(make_plan(iterations=1), tmp_path / "a.pt")


def test_a_checkpoint_of_ours_is_a_start_as_well(make_plan, train, tmp_path):
    trained = train(make_plan(iterations=1), tmp_path / "a.pt").model
    plan = dataclasses.replace(make_plan(), initial=start_from(tmp_path / "a.pt"))
    assert torch.equal(plan.initial_model().head.weight, trained.head.weight)


def test_a_plan_without_a_start_has_the_record_it_always_had(make_plan):
    assert "initial" not in make_plan().record().config
