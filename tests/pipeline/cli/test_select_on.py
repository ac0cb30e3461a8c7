import pytest

OPTIONS = ("--dataset", "digits-lt", "--iterations", "18", "--batch-size", "64")


@pytest.fixture
def checkpoint(run, tmp_path):
    path = tmp_path / "a.pt"
    arguments = ("--tune-fraction", "0.2", "--select-on", "tune", "-o", path, "--json")
    done = run("train", *OPTIONS, *arguments)
    assert done.code == 0, done.err
    selected = done.document["selected"]
    assert selected["step"] in (7, 14, 18)
    assert 0 < selected["balanced_accuracy"] <= 1
    assert f"kept: the weights of step {selected['step']}, balanced accuracy" in done.err
    return path


def test_the_kept_weights_are_extracted(run, checkpoint):
    cache = checkpoint.with_suffix(".h5")
    arguments = ("--dataset", "digits-lt", "--checkpoint", checkpoint, "--views", "0", "-o", cache)
    done = run("extract", *arguments, "--select-on", "last")
    assert done.code == 3
    assert "--select-on: tune expected, with which" in done.error
    done = run("extract", *arguments)
    assert done.code == 0, done.err
    config = run("inspect", cache, "--json").document["documents"]["config"]
    assert config["select_on"] == "tune"
