"""`pipeline export`: checkpoints, heads and graphs that predict elsewhere as the rectifier does."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import shown
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchvision import models

from marr_pipeline import export, import_logits, open_cache, rectify_cache
from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.errors import PipelineError
from marr_pipeline.rectify import fold
from marr_pipeline.rectify.rectifier_file import load_rectifier
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.workflows.models import graph

PAGE = (Path(__file__).parents[3] / "docs" / "deploy.md").read_text(encoding="utf-8")


def expected(cached, rectifier, split="test"):
    """The logits (N, K) that the rectifier makes of a split."""
    rows = cached.split(split)
    logits = None if rows.logits is None else torch.from_numpy(rows.logits[0])
    return load_rectifier(rectifier).apply(logits, torch.from_numpy(rows.features[0]))


@pytest.fixture(scope="module")
def theirs(digits_cache, tmp_path_factory):
    """The trained digits network as another program keeps it, in either container."""
    state = load_checkpoint(digits_cache.with_suffix(".pt")).model
    folder = tmp_path_factory.mktemp("theirs")
    named = {name.replace("head.", "linear."): value.contiguous() for name, value in state.items()}
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    whole = {
        "epoch": 60,
        "state_dict": type(model.state_dict())((f"module.{key}", v) for key, v in named.items()),
        "optimizer": optimizer.state_dict(),
        "args": Namespace(output=Path("/runs/1"), lr=0.1),
    }
    whole["state_dict"]._metadata = {"": {"version": 2}}
    torch.save(whole, folder / "theirs.pt")
    save_file(named, folder / "theirs.safetensors", {"format": "pt", "licence": "mine"})
    return folder


def test_our_own_checkpoint_stays_one(run, digits_cache, digits_rectifier, tmp_path):
    ours = digits_cache.with_suffix(".pt")
    asked = ["--rectifier", digits_rectifier, "--cache", digits_cache, "--checkpoint", ours]
    done = run("export", *asked, "-o", tmp_path / "folded.pt", "--json")
    assert done.code == 0, done.err
    assert all(each["relative"] < 1e-6 for each in done.document["compared"])
    assert "left out: all that a training goes on from" in done.err
    before, after = load_checkpoint(ours), load_checkpoint(tmp_path / "folded.pt")
    changed = [name for name in before.model if not before.model[name].equal(after.model[name])]
    assert changed == ["head.weight", "head.bias"]
    assert (after.optimizer, after.finished) == ({}, True)

    again = ["--dataset", "digits-lt", "--checkpoint", tmp_path / "folded.pt", "--views", 0]
    done = run("extract", *again, "-o", tmp_path / "again.h5")
    assert done.code == 0, done.err
    assert "its head was rectified by marr" in done.err
    cached = open_cache(tmp_path / "again.h5")
    rectified = expected(open_cache(digits_cache), digits_rectifier)
    np.testing.assert_allclose(cached.split("test").logits[0], rectified, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(cached.head.prior_counts, cached.class_counts.mean())
    scored = run("evaluate", tmp_path / "again.h5", "--json").document["methods"]
    assert scored["softmax"]["per_class"] == scored["logit-adjustment"]["per_class"]


def test_another_programs_checkpoint_keeps_its_form(
    digits_cache, digits_rectifier, theirs, tmp_path
):
    output = tmp_path / "folded.pt"
    how = {"cache": digits_cache, "checkpoint": theirs / "theirs.pt"}
    done = export(digits_rectifier, **how, output=output)
    assert "left out: optimizer (optimiser state)" in done.notes
    with torch.serialization.safe_globals([Namespace, type(Path())]):
        before, after = torch.load(theirs / "theirs.pt"), torch.load(output)
    assert list(after) == ["epoch", "state_dict", "args"]
    assert (after["epoch"], after["args"]) == (before["epoch"], before["args"])
    old, new = before["state_dict"], after["state_dict"]
    assert list(old) == list(new)
    assert new._metadata == {"": {"version": 2}}
    changed = [name for name in old if not old[name].equal(new[name])]
    assert changed == ["module.linear.weight", "module.linear.bias"]
    features = torch.from_numpy(open_cache(digits_cache).split("test").features[0])
    made = features @ new["module.linear.weight"].T + new["module.linear.bias"]
    torch.testing.assert_close(
        made.double(), expected(open_cache(digits_cache), digits_rectifier), rtol=1e-4, atol=1e-4
    )


def test_a_safetensors_file_stays_one(run, digits_cache, digits_rectifier, theirs, tmp_path):
    asked = ["--rectifier", digits_rectifier, "--cache", digits_cache]
    asked += ["--checkpoint", theirs / "theirs.safetensors"]
    done = run("export", *asked, "--target-prior", "train", "-o", tmp_path / "a.safetensors")
    assert done.code == 0, done.err
    assert "probabilities: for the class shares of training" in done.err
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata()["licence"] == "mine"
    state = load_file(tmp_path / "a.safetensors")
    features = torch.from_numpy(open_cache(digits_cache).split("test").features[0])
    moved = run(
        "apply", digits_cache, digits_rectifier, "--target-prior", "train", "-o", tmp_path / "a.npz"
    )
    assert moved.code == 0, moved.err
    made = (features @ state["linear.weight"].T + state["linear.bias"]).softmax(1)
    with np.load(tmp_path / "a.npz") as known:
        np.testing.assert_allclose(made, known["probabilities"], rtol=1e-3, atol=1e-5)
    refused = run("export", *asked, "-o", tmp_path / "b.pt")
    assert refused.code == 2
    assert "a name ending in .safetensors expected" in refused.error


def test_a_head_without_a_bias_in_half_precision(run, digits_rectifier, tmp_path):
    model = build_backbone("resnet8", 10, in_channels=1, seed=3)
    state = {name: value.half() for name, value in model.state_dict().items()}
    del state["head.bias"]
    torch.save(state, tmp_path / "half.pt")
    asked = ["--dataset", "digits-lt", "--checkpoint", tmp_path / "half.pt", "--views", 0]
    assert run("extract", *asked, "-o", tmp_path / "a.h5").code == 0
    rectify_cache(tmp_path / "a.h5", output=tmp_path / "a.safetensors")
    done = export(
        tmp_path / "a.safetensors",
        cache=tmp_path / "a.h5",
        checkpoint=tmp_path / "half.pt",
        output=tmp_path / "b.pt",
    )
    assert "head.bias is new, the head had none: build the network with a bias" in done.notes
    assert any("the head is float32 now" in note for note in done.notes)
    after = torch.load(tmp_path / "b.pt")
    names = list(after)
    assert names.index("head.bias") == names.index("head.weight") + 1
    assert after["head.weight"].dtype == torch.float32
    assert {value.dtype for name, value in after.items() if "conv" in name} == {torch.float16}


def test_a_new_head_takes_the_place_of_one_of_other_classes(run, tmp_path):
    """Features of a network that was trained on seven classes, and a head on them for ten."""
    torch.save(
        build_backbone("resnet8", 7, in_channels=1, seed=3).state_dict(), tmp_path / "seven.pt"
    )
    asked = ["--dataset", "digits-lt", "--checkpoint", tmp_path / "seven.pt", "--views", 0]
    assert run("extract", *asked, "--store", "features", "-o", tmp_path / "a.h5").code == 0
    settings = RectifySettings(method="ncm", normalise="none")
    rectify_cache(tmp_path / "a.h5", settings, output=tmp_path / "a.safetensors")
    how = {"cache": tmp_path / "a.h5", "checkpoint": tmp_path / "seven.pt"}
    done = export(tmp_path / "a.safetensors", **how, output=tmp_path / "ten.pt")
    assert len(done.compared) == 2
    assert torch.load(tmp_path / "ten.pt")["head.weight"].shape == (10, 64)


def test_an_imported_caches_head_is_found_by_its_numbers(run, digits_cache, theirs, tmp_path):
    cached = open_cache(digits_cache)
    options = []
    for name in ("train", "test"):
        rows = cached.split(name)
        arrays = {"logits": rows.logits[0], "features": rows.features[0], "labels": rows.labels}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        options += [f"--{name}", tmp_path / f"{name}.npz"]
    head = ["--head", theirs / "theirs.pt"]
    assert run("import", *options, *head, "-o", tmp_path / "a.h5").code == 0
    rectify_cache(tmp_path / "a.h5", output=tmp_path / "a.safetensors")
    how = {"cache": tmp_path / "a.h5", "checkpoint": theirs / "theirs.pt"}
    done = export(tmp_path / "a.safetensors", **how, output=tmp_path / "b.pt")
    assert "head: state_dict.linear.weight and state_dict.linear.bias" in done.notes


def test_a_tied_head_is_refused(run, digits_cache, digits_rectifier, tmp_path):
    """Loading the other name would put the old weight in the place of the new one."""
    state = load_checkpoint(digits_cache.with_suffix(".pt")).model
    torch.save({**state, "tied.weight": state["head.weight"]}, tmp_path / "tied.pt")
    asked = ["--rectifier", digits_rectifier, "--cache", digits_cache]
    done = run("export", *asked, "--checkpoint", tmp_path / "tied.pt", "-o", tmp_path / "a.pt")
    assert done.code == 3
    assert "a head of its own expected, got tied.weight as the same tensor" in done.error
    assert not (tmp_path / "a.pt").exists()


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.onnx", "a.pt2"])
def test_a_disk_that_takes_no_more_is_said(
    run, digits_cache, digits_rectifier, theirs, name, tmp_path
):
    resource = pytest.importorskip("resource")
    option = {".onnx": "--onnx", ".pt2": "--torch-export"}.get(Path(name).suffix, "-o")
    if option == "--onnx":
        pytest.importorskip("onnxruntime")
    given = theirs / ("theirs.safetensors" if name == "a.safetensors" else "theirs.pt")
    asked = ["--rectifier", digits_rectifier, "--cache", digits_cache, "--checkpoint", given]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        done = run("export", *asked, option, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.code == 1
    assert f"{tmp_path / name}: a file in a writable folder with space left" in done.error
    assert "File too large" in done.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["disalign", "unit"])
def test_what_does_not_fold_goes_into_the_graph(run, digits_cache, kind, tmp_path):
    settings = RectifySettings(method="disalign", l2=0.01)
    if kind == "unit":
        settings = RectifySettings(method="ncm", normalise="unit")
    rectify_cache(digits_cache, settings, output=tmp_path / "r.safetensors")
    asked = ["--rectifier", tmp_path / "r.safetensors", "--cache", digits_cache]
    refused = run("export", *asked, "-o", tmp_path / "head.safetensors")
    assert refused.code == 3
    assert "give --onnx or --torch-export, whose graph has that step" in refused.error
    assert ("or fit the head with --normalise standard" in refused.error) == (kind == "unit")
    assert run("export", *asked, "--torch-export", tmp_path / "head.pt2").code == 0
    features = torch.from_numpy(open_cache(digits_cache).split("test").features[0])
    made = torch.export.load(tmp_path / "head.pt2").module()(features)
    rectified = expected(open_cache(digits_cache), tmp_path / "r.safetensors")
    torch.testing.assert_close(made.double(), rectified, rtol=1e-4, atol=1e-4)


def test_a_model_that_predicts_otherwise_is_not_written(
    monkeypatch, digits_cache, digits_rectifier, tmp_path
):
    true = fold.folded
    monkeypatch.setattr(
        "marr_pipeline.workflows.models.rectified.folded",
        lambda *given: [each * 1.0001 for each in true(*given)],
    )
    how = {"cache": digits_cache, "checkpoint": digits_cache.with_suffix(".pt")}
    with pytest.raises(
        PipelineError, match=r"to within 1e-05 of the largest expected, got 1.0e-04"
    ):
        export(digits_rectifier, **how, output=tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


def test_what_belongs_to_another_network_is_refused(run, digits_cache, digits_rectifier, tmp_path):
    state = build_backbone("resnet8", 10, in_channels=1, seed=3).state_dict()
    torch.save(state, tmp_path / "other.pt")
    output = tmp_path / "a.pt"
    asked = ["export", "--rectifier", digits_rectifier, "-o", output]
    other = run(*asked, "--cache", digits_cache, "--checkpoint", tmp_path / "other.pt")
    assert other.code == 3
    assert "the weights that" in other.error
    model = ["--dataset", "digits-lt", "--checkpoint", tmp_path / "other.pt", "--views", 0]
    assert run("extract", *model, "-o", tmp_path / "other.h5").code == 0
    head = run(*asked, "--cache", tmp_path / "other.h5", "--checkpoint", tmp_path / "other.pt")
    assert head.code == 3
    assert "a rectifier of this cache's head" in head.error
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "-o, --onnx or --torch-export expected"),
        (["-o", "a.safetensors"], "--cache: the cache that"),
        (["-o", "a.pt", "--checkpoint", "CHECKPOINT"], "--cache: the cache that"),
        (["--onnx", "a.pb"], "a name ending in .onnx expected"),
        (["--cache", "CACHE", "-o", "a.pt"], "a name ending in .safetensors expected"),
        (["--cache", "CACHE", "--onnx", "a.onnx"], "pip install 'marr-pipeline[onnx]'"),
        (
            ["--cache", "CACHE", "--checkpoint", "CHECKPOINT", "-o", "CHECKPOINT"],
            "a file of its own for each output expected",
        ),
        (
            ["--cache", "CACHE", "--checkpoint", "CHECKPOINT", "-o", "CACHE"],
            "a file of its own for each output expected",
        ),
        (["--cache", "CACHE", "-o", "RECTIFIER"], "a file of its own for each output expected"),
    ],
)
def test_usage(run, monkeypatch, digits_cache, digits_rectifier, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(graph, "ONNX_PACKAGES", ("onnx", "no_such_runtime"))
    places = {"CACHE": digits_cache, "CHECKPOINT": digits_cache.with_suffix(".pt")}
    places["RECTIFIER"] = digits_rectifier
    asked = [places.get(each, each) for each in options]
    done = run("export", "--rectifier", digits_rectifier, *asked)
    assert done.code == 2
    assert message in done.error
    assert list(tmp_path.iterdir()) == []


def paint(root, *, side):
    """Ten classes of pictures, each of its own colours; rarer from one to the next."""
    rng = np.random.default_rng(0)
    for label in range(10):
        colour = rng.integers(0, 256, (1, 1, 3))
        for split, count in (("train", 6 - label // 2), ("test", 2)):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = colour + rng.normal(0, 40, (side, side, 3))
                picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                picture.save(folder / f"{number}.png")


@pytest.mark.filterwarnings("default")
def test_the_page(run, monkeypatch, tmp_path):
    """Its commands; and PyTorch, torch.export, ONNX Runtime and scikit-learn predict as we do."""
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    paint(Path("photos"), side=48)
    torch.manual_seed(0)
    network = models.resnet18(num_classes=10)
    with torch.no_grad():  # its normalisations see images
        network(torch.randn(16, 3, 64, 64))
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, "resnet18.pt")
    blocks = list(shown.blocks(PAGE))
    commands = [words for name, body in blocks if name == "sh" for words in shown.commands(body)]
    (_, *extraction), *commands = commands
    small = [*extraction, "--workers", "0", "--views", "0"]
    for words in (small, *(words for _, *words in commands)):
        done = run(*words)
        assert done.code == 0, done.err
    cached = open_cache("photos.h5")
    rows, names = cached.split("test"), np.array(cached.class_names)
    rectified = expected(cached, "marr.safetensors")
    predictions = rectified.argmax(1)
    assert len(set(predictions.tolist())) > 1
    found = {"paths": [Path("photos") / each for each in rows.ids], "features": rows.features[0]}
    by_torch, by_program, by_onnx, by_sklearn = (body for name, body in blocks if name == "python")
    assert "marr_pipeline" not in by_torch + by_program + by_onnx + by_sklearn
    exec(by_torch, found)
    assert found["predictions"].tolist() == predictions.tolist()
    exec(by_program, found)
    probabilities = rectified.softmax(1).float()
    torch.testing.assert_close(found["probabilities"], probabilities, rtol=1e-4, atol=1e-6)
    exec(by_onnx, found)
    assert found["predictions"] == names[predictions].tolist()
    np.testing.assert_allclose(found["logits"], rectified, rtol=1e-3, atol=1e-5)
    exec(by_sklearn, found)
    head = expected(cached, "head-fit.safetensors")
    assert found["predictions"].tolist() == names[head.argmax(1)].tolist()
    np.testing.assert_allclose(found["probabilities"], head.softmax(1), rtol=1e-3, atol=1e-6)
    np.savez("nameless.npz", features=found["features"], labels=rows.labels)
    import_logits({"train": "nameless.npz"}, "nameless.h5")
    ncm = RectifySettings(method="ncm", normalise="standard")
    rectify_cache("nameless.h5", ncm, output="nameless.safetensors")
    export("nameless.safetensors", output="head.safetensors")
    exec(by_sklearn, found)
    assert found["predictions"].tolist() == found["probabilities"].argmax(1).tolist()


def test_a_transformer_of_timm_is_reloaded_by_timm(run, tmp_path):
    timm = pytest.importorskip("timm")
    paint(tmp_path / "photos", side=32)
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=10).eval()
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    asked = ["--dataset", "folder", "--data-root", tmp_path / "photos", "--views", 0]
    asked += ["--backbone", "timm:test_vit", "--checkpoint", tmp_path / "net.safetensors"]
    assert run("extract", *asked, "--workers", 0, "-o", tmp_path / "a.h5").code == 0
    cached = open_cache(tmp_path / "a.h5")
    rectify_cache(cached, output=tmp_path / "r.safetensors")
    how = {"cache": cached, "checkpoint": tmp_path / "net.safetensors"}
    export(tmp_path / "r.safetensors", **how, output=tmp_path / "new.safetensors")
    network.load_state_dict(load_file(tmp_path / "new.safetensors"))
    with torch.no_grad():
        logits = network.head(torch.from_numpy(cached.split("test").features[0]))
    rectified = expected(cached, tmp_path / "r.safetensors")
    torch.testing.assert_close(logits.double(), rectified, rtol=1e-4, atol=1e-4)
