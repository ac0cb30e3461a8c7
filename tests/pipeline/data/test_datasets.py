import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from marr_pipeline.data import load_dataset
from marr_pipeline.data.packaged import CIFAR_ORIGINALS
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.groups import shot_groups


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="data seed: at least 0 expected, got -1"):
        load_dataset("digits-lt", data_seed=-1)


@pytest.mark.parametrize("data_seed", [0, 1])
def test_digits_are_a_balanced_test_and_a_tail_with_every_group(data_seed):
    digits = load_dataset("digits-lt", data_seed=data_seed)
    assert sorted(digits.class_counts, reverse=True) == [143, 102, 73, 52, 37, 27, 19, 13, 9, 7]
    groups = {
        name: int(members.sum()) for name, members in shot_groups(digits.class_counts).items()
    }
    assert groups == {"many": 2, "medium": 4, "few": 4}
    assert torch.bincount(digits.test.labels).tolist() == [40] * 10
    assert not set(digits.source_rows()["train"]) & set(digits.source_rows()["test"])


def test_digits_rows_lead_back_to_the_source():
    digits, source = load_dataset("digits-lt", data_seed=5), load_digits()
    for split in digits.splits.values():
        rows = split.source_indices.numpy()
        assert np.array_equal(split.labels.numpy(), source.target[rows])
        pixels = split.images[:, 0].double().numpy() / 255 * 16
        np.testing.assert_allclose(pixels, source.images[rows], atol=0.5 * 16 / 255)
    assert int(digits.train.images.max()) == 255


def test_the_hold_out_comes_from_train_alone():
    whole, cut = load_dataset("digits-lt"), load_dataset("digits-lt", tune_fraction=0.2)
    before, after = whole.source_rows(), cut.source_rows()
    assert sorted([*after["train"], *after["tune"]]) == before["train"].tolist()
    assert np.array_equal(after["test"], before["test"])
    assert cut.class_counts.sum() == len(cut.train)


def test_stored_rows_are_taken_whatever_the_seed():
    drawn = load_dataset("digits-lt", data_seed=1, tune_fraction=0.1, imbalance_ratio=30)
    again = load_dataset("digits-lt", data_seed=2, stored_rows=drawn.source_rows())
    assert list(again.splits) == ["train", "tune", "test"]
    for name, split in drawn.splits.items():
        assert torch.equal(split.images, again.splits[name].images)


def test_stored_rows_of_a_larger_source_are_refused():
    with pytest.raises(DataError, match=r"split train: .* rows must lie in 0..1796, got 0..1797"):
        load_dataset("digits-lt", stored_rows={"train": np.array([0, 1797])})


def test_cifar_folders_give_a_steeper_tail(cifar10_folder):
    cifar = load_dataset("cifar10-lt", data_root=cifar10_folder)
    assert cifar.class_counts.tolist() == [100, 59, 35, 21, 12, 7, 4, 2, 1, 1]
    assert cifar.imbalance_ratio == 100
    assert cifar.class_names[:3] == ("airplane", "automobile", "bird")
    assert cifar.train.images.shape == (242, 3, 32, 32)
    assert torch.bincount(cifar.test.labels).tolist() == [5] * 10
    assert cifar.normalisation.mean == (0.4914, 0.4822, 0.4465)
    assert all(path.startswith("train/") for path in cifar.train.ids)


def test_cifar100_refuses_ten_folders(cifar10_folder):
    with pytest.raises(DataError, match="100 class folders expected for cifar100-lt, got 10"):
        load_dataset("cifar100-lt", data_root=cifar10_folder)


def test_cifar_keeps_its_size(tmp_path):
    with pytest.raises(ConfigError, match="32 pixels expected for cifar10-lt, got 64"):
        load_dataset("cifar10-lt", data_root=tmp_path, image_size=64)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("cifar10-lt", "cifar-10-batches-py"), ("cifar100-lt", "cifar-100-python")],
)
def test_a_failed_download_names_root_cause_and_both_layouts(name, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR_ORIGINALS[name], "url", (tmp_path / "absent.tar.gz").as_uri())
    with pytest.raises(DataError, match=f"{layout}/ expected, got neither whole; .* --download"):
        load_dataset(name, data_root=tmp_path / "root")
    assert not list(tmp_path.iterdir())  # nothing is fetched, or made, unless it is asked for
    with pytest.raises(DataError) as caught:
        load_dataset(name, data_root=tmp_path / "root", download=True)
    message = str(caught.value)
    assert all(part in message for part in (str(tmp_path / "root"), "train/<class>/*.png", layout))
    assert "absent.tar.gz" in message


def test_what_cannot_be_fetched_takes_no_download(tmp_path):
    with pytest.raises(ConfigError, match="--download: none expected for folder, got one"):
        load_dataset("folder", data_root=tmp_path, download=True)


class FakeOriginal:
    """torchvision's interface: 60 images a class of 3 classes to train, 5 to test."""

    base_folder = "fake"

    def __init__(self, root, *, train, download):
        per_class = 60 if train else 5
        self.targets = [0, 1, 2] * per_class
        self.classes = ["a", "b", "c"]
        self.data = np.zeros((len(self.targets), 32, 32, 3), dtype=np.uint8)
        self.data[:, 0, 0, 2] = self.targets
        print("Files already downloaded and verified")


def test_the_original_layout_is_read_and_keeps_stdout_clean(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(CIFAR_ORIGINALS, "cifar10-lt", FakeOriginal)
    cifar = load_dataset("cifar10-lt", data_root=tmp_path, imbalance_ratio=4)
    assert cifar.class_counts.tolist() == [60, 30, 15]
    assert torch.equal(cifar.train.images[:, 2, 0, 0].long(), cifar.train.labels)
    assert capsys.readouterr().out == ""
