"""The files of examples/ run as docs/extending.md shows them."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from marr_pipeline import open_cache
from marr_pipeline.losses import LOSSES

pytestmark = pytest.mark.usefixtures("nothing_added")
EXAMPLES = Path(__file__).parent.parent / "examples"


def test_methods_of_a_file_stand_in_the_table(run, digits_cache):
    file = EXAMPLES / "method.py"
    quick = ("--methods", "marr", "--resamples", 100, "--json")
    found = run("compare", digits_cache, "--plugin", file, *quick).document["methods"]
    assert list(found)[3:] == ["even-shares", "neighbours"]
    for key in ("even-shares", "neighbours"):
        assert found[key]["balanced"] > found["softmax"]["balanced"]
        low, high = found[key]["interval"]
        assert low < found[key]["overall"] < high
        assert found[key]["vs_softmax"]["p_holm"] <= 1


TRAINING = ("--dataset", "digits-lt", "--iterations", 6, "--batch-size", 64, "--views", 0)


def test_a_loss_of_a_file_trains_and_its_checkpoint_asks_for_it(run, tmp_path):
    file, cache = EXAMPLES / "loss.py", tmp_path / "digits.h5"
    own = ("--plugin", file, "--method", "balanced-poly", "--method-option", "epsilon=0")
    done = run("extract", *TRAINING, *own, "-o", cache)
    assert done.code == 0, done.err
    assert "warning: balanced-poly says no prior" in done.err
    assert "heuristic" not in done.err
    same = run("extract", *TRAINING, "--method", "balanced-softmax", "-o", tmp_path / "other.h5")
    assert same.code == 0, same.err
    logits = [open_cache(path).split("test").logits for path in (cache, tmp_path / "other.h5")]
    np.testing.assert_allclose(*logits, atol=2e-3)  # with epsilon 0 that is what it is

    LOSSES.pop("balanced-poly")
    checkpoint = cache.with_suffix(".pt")
    again = ("extract", "--dataset", "digits-lt", "--checkpoint", checkpoint, "--views", 0)
    refused = run(*again, "-o", tmp_path / "again.h5")
    assert refused.code == 2
    assert "got balanced-poly; choose one, or give the --plugin" in refused.error
    assert run(*again, "--plugin", file, "-o", tmp_path / "again.h5").code == 0

    changed = tmp_path / "loss.py"
    changed.write_text(file.read_text() + "# another\n")
    other = run("train", *TRAINING[:-2], "--plugin", changed, *own[2:], "-o", checkpoint)
    assert other.code == 3
    assert "a checkpoint of this very run expected, got one with method.code" in other.error


def test_terms_of_a_file_say_sampler_and_prior():
    from marr_pipeline.systems import training_method
    from marr_pipeline.workflows.train import add_losses

    add_losses([EXAMPLES / "loss.py"])
    method = training_method("square-root")
    assert method.streams == ("square-root",)
    assert method.prior_counts(np.array([9, 4])).tolist() == [3, 2]
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 0, 0, 1])
    loss = method.loss((logits,), labels, class_counts=torch.ones(2), progress=0.0)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        ("logits @ labels", "{file}:2: RuntimeError: "),
        ("logits.sum(1)", "a tensor of shape () expected from it, got (60,)"),
    ],
)
def test_what_is_wrong_with_a_loss_is_one_line(run, tmp_path, gives, said):
    file = tmp_path / "loss.py"
    file.write_text(f"def loss(logits, labels):\n    return {gives}\nLOSSES = {{'mine': loss}}\n")
    own = ("--plugin", file, "--method", "mine")
    done = run("train", *TRAINING[:-2], *own, "-o", tmp_path / "net.pt")
    assert done.code == 1
    assert f"loss mine: {said.format(file=file)}" in done.error


def test_images_of_ones_own_and_a_figure_of_them(tmp_path, monkeypatch, capsys):
    runpy.run_path(str(EXAMPLES / "dataset.py"))["main"](tmp_path)
    assert "after marr" in capsys.readouterr().out
    cache = tmp_path / "cache.h5"
    picture = tmp_path / "predicted.png"
    monkeypatch.setattr(sys, "argv", ["figure.py", str(picture), str(cache)])
    runpy.run_path(str(EXAMPLES / "figure.py"), run_name="__main__")
    assert picture.stat().st_size > 5_000
    table = np.genfromtxt(picture.with_suffix(".csv"), delimiter=",", names=True)
    np.testing.assert_allclose(table["softmax"].sum(), 1)
    assert table["training_images"].tolist() == open_cache(cache).class_counts.tolist()


def test_the_snippet_of_the_page_is_a_plugin(run, digits_cache, tmp_path):
    page = (EXAMPLES.parent / "docs" / "extending.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "mine.py"
    file.write_text(snippet)
    quick = ("--methods", "softmax", "--resamples", 100, "--json")
    found = run("compare", digits_cache, "--plugin", file, *quick).document["methods"]
    assert found["shifted"]["overall"] == found["logit-adjustment"]["overall"]
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(
        re.findall(r"examples/(\w+\.py)", page)
    )
