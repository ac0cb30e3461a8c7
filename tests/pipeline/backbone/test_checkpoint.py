import dataclasses
import pickle

import numpy as np
import pytest
import torch

from marr_pipeline.backbone.checkpoints.checkpoint import (
    Checkpoint,
    Selected,
    TrainingRecord,
    check_same_dataset,
    load_checkpoint,
    record_differences,
    restore_backbone,
    write_checkpoint,
)
from marr_pipeline.data import load_dataset
from marr_pipeline.errors import DataError, PipelineError

RECIPE = {
    "name": "default",
    "iterations": 9,
    "steps_per_epoch": 3,
    "batch_size": 4,
    "weight_decay": 5e-4,
    "augmentation": "crop",
}
DATASET = {
    "name": "digits-lt",
    "data_seed": 0,
    "imbalance_ratio": 20.0,
    "tune_fraction": 0.0,
    "channels": 1,
    "image_size": [8, 8],
    "class_names": ["a", "b", "c"],
    "normalisation": {"mean": [0.3], "std": [0.4]},
}


@pytest.fixture
def checkpoint():
    return Checkpoint(
        model={"head.weight": torch.randn(3, 4)},
        optimizer={"state": {0: {"momentum_buffer": torch.randn(3, 4)}}, "param_groups": []},
        step=5,
        finished=False,
        selected=Selected(3, 0.25, {"head.weight": torch.randn(3, 4)}),
        record=TrainingRecord(
            {
                "seed": 1,
                "backbone": "resnet8",
                "precision": "float32",
                "dataset": DATASET,
                "recipe": {**RECIPE, "iterations": 9},
                "draws": "philox4x64-10",
            },
            {"train": np.arange(7), "test": np.arange(3)},
        ),
        provenance={"torch": "2"},
    )


def test_what_is_written_is_read(checkpoint, tmp_path):
    path = tmp_path / "a.pt"
    write_checkpoint(path, checkpoint)
    read = load_checkpoint(path)
    torch.testing.assert_close(read.model, checkpoint.model, rtol=0, atol=0)
    torch.testing.assert_close(read.optimizer["state"], checkpoint.optimizer["state"])
    torch.testing.assert_close(vars(read.selected), vars(checkpoint.selected), rtol=0, atol=0)
    assert (read.step, read.finished, read.provenance) == (5, False, {"torch": "2"})
    assert record_differences(read.record, checkpoint.record) == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_a_network_that_had_two_names_has_one(checkpoint, tmp_path):
    config = {**checkpoint.record.config, "backbone": "torchvision:resnet50"}
    record = TrainingRecord(config, checkpoint.record.rows)
    write_checkpoint(tmp_path / "a.pt", dataclasses.replace(checkpoint, record=record))
    assert load_checkpoint(tmp_path / "a.pt").record.config["backbone"] == "resnet50"


def test_a_failed_write_leaves_the_older_file_alone(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    write_checkpoint(path, checkpoint)

    def full_disk(content, file):
        file.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(PipelineError, match=r"a\.pt: a file in a writable folder .* No space left"):
        write_checkpoint(path, dataclasses.replace(checkpoint, step=6))
    assert load_checkpoint(path).step == 5
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_file_is_refused(checkpoint, tmp_path, share):
    path = tmp_path / "a.pt"
    write_checkpoint(path, checkpoint)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"a\.pt: .* cut short or of another kind \(.*; copy it"):
        load_checkpoint(path)


class Exploit:
    def __reduce__(self):
        return print, ("code in a checkpoint was run",)


@pytest.mark.parametrize("content", [{"format": Exploit()}, Exploit()])
def test_code_in_a_file_is_never_run(content, tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save(content, path)
    with pytest.raises(DataError, match=r"got pickled objects \(.*print\); save plain tensors"):
        load_checkpoint(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}}, "got one of another program; only those written by"),
        (torch.zeros(3), "got one of another program; only those written by"),
        ({"format": "marr-checkpoint", "model": {}}, "checkpoint version 1.0 expected, got None"),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_nothing_to_go_on_with(content, message, tmp_path):
    torch.save(content, tmp_path / "theirs.pt")
    with pytest.raises(DataError, match=rf"theirs\.pt: .*{message}"):
        load_checkpoint(tmp_path / "theirs.pt")


def test_a_plain_pickle_is_refused(tmp_path):
    path = tmp_path / "plain.pt"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="got pickled data of another kind"):
        load_checkpoint(path)


def test_a_newer_version_is_refused(checkpoint, tmp_path):
    path = tmp_path / "new.pt"
    write_checkpoint(path, checkpoint)
    torch.save({**torch.load(path, weights_only=True), "format_version": "2.0"}, path)
    with pytest.raises(DataError, match=r"version 1\.0 expected, got 2\.0"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("step", "5", "step as int expected, got str"),
        ("step", True, "step as int expected, got bool"),
        ("model", {"head.weight": [1.0]}, "model.head.weight as Tensor expected, got list"),
        ("selected", {"step": 1}, "selected as nothing expected, got dict"),
        ("rows", {"test": torch.arange(3)}, "rows.train expected, got none of that name"),
        ("rows", {"train": torch.ones(3)}, "rows of whole numbers expected, got train: float32"),
        ("rows", {"train": -torch.arange(3)}, "rows of whole numbers expected, got train: int64"),
        ("config", {"backbone": "resnet8"}, "config.dataset expected, got none of that name"),
        ("optimizer", {"state": {0: 3}}, "optimizer.state.0 as dict expected, got int"),
    ],
)
def test_a_part_of_another_kind_is_named(checkpoint, tmp_path, part, value, message):
    path = tmp_path / "a.pt"
    write_checkpoint(path, checkpoint)
    torch.save({**torch.load(path, weights_only=True), part: value}, path)
    with pytest.raises(DataError, match=f"^{path}: {message}.*; train again$"):
        load_checkpoint(path)


def test_every_difference_is_named(checkpoint):
    stored = checkpoint.record
    asked = TrainingRecord(
        {**stored.config, "draws": None, "seed": 2, "recipe": {**RECIPE, "name": "paper"}},
        {"train": np.arange(7)[::-1].copy(), "tune": np.arange(2)},
    )
    assert record_differences(stored, asked) == [
        "draws philox4x64-10, asked None",
        "recipe.name default, asked paper",
        "seed 1, asked 2",
        "split test of 3 images, asked absent",
        "the images of split train",
        "split tune absent, asked of 2 images",
    ]


def test_a_network_is_restored_with_its_weights(make_plan, train, tmp_path):
    trained = train(make_plan(iterations=2), tmp_path / "a.pt").model
    model = restore_backbone(load_checkpoint(tmp_path / "a.pt"), where="a.pt")
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(model.eval()(images)[0], trained.eval()(images)[0])


def test_tensors_of_another_backbone_are_refused(make_plan, train, tmp_path):
    train(make_plan(iterations=1), tmp_path / "a.pt")
    stored = load_checkpoint(tmp_path / "a.pt")
    stored.record.config["backbone"] = "resnet32"
    with pytest.raises(
        DataError, match=r"a\.pt: the tensors of a resnet32 expected, got 120 missing"
    ):
        restore_backbone(stored, where="a.pt")


def test_the_data_trained_on_is_told_from_another(make_plan, digits):
    record = make_plan().record()
    again = load_dataset("digits-lt", data_seed=0, stored_rows=record.rows)
    check_same_dataset(record, again, where="a.pt")
    other = load_dataset("digits-lt", data_seed=3)
    with pytest.raises(DataError, match=r"a\.pt: .*dataset\.data_seed 0, asked 3; .*split train"):
        check_same_dataset(record, other, where="a.pt")
