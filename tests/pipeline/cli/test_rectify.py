import subprocess
import sys

import numpy as np
import pytest
import torch

from marr_pipeline.cache import open_cache
from marr_pipeline.rectify.rectifier_file import load_rectifier

METRICS = {
    "overall",
    "many",
    "medium",
    "few",
    "macro_f1",
    "worst_class",
    "nll",
    "ece",
    "per_class",
}


@pytest.fixture
def separable_npz(tmp_path):
    labels = np.arange(5).repeat(4)
    path = tmp_path / "separable.npz"
    np.savez(path, logits=(3 * np.eye(5)[labels]).astype(np.float32), labels=labels)
    return path


def test_document_is_the_contract(run, digits_cache, tmp_path):
    output = tmp_path / "marr.safetensors"
    done = run("rectify", digits_cache, "--optimizer", "lbfgs", "-o", output, "--json")
    assert done.code == 0
    assert done.out.count("\n") == 1
    document = done.document
    assert list(document)[:2] == ["schema_version", "command"]
    assert set(document) == {
        *("schema_version", "command", "method", "optimizer", "preset", "gamma", "l2", "center"),
        *("reduction", "status", "loss", "grad_norm", "gap_bound", "passes", "seconds", "omega"),
        *("scale_l2", "tuning", "warnings", "metrics", "rectifier"),
    }
    assert document["schema_version"] == 1
    assert (document["status"], document["optimizer"]) == ("converged", "lbfgs")
    assert document["gap_bound"] <= 1e-6
    assert set(document["omega"]) == {"min", "max", "mean"}
    assert set(document["metrics"]) == {"before", "logit_adjustment", "after"}
    for metrics in document["metrics"].values():
        assert set(metrics) == METRICS
        assert len(metrics["per_class"]) == 10
    assert document["rectifier"] == str(output)
    own = load_rectifier(output)
    assert own.metadata["head_fingerprint"] == open_cache(digits_cache).head_fingerprint


def test_table_shows_softmax_and_logit_adjustment_beside_the_fit(run, digits_cache):
    done = run("rectify", digits_cache)
    names = [line[:16].strip() for line in done.out.splitlines()[1:]]
    assert names == ["softmax", "logit adjustment", "after marr"]
    assert "converged (lbfgs)" in done.err


@pytest.mark.parametrize("method", ["softmax", "logit-adjustment"])
def test_closed_forms_have_nothing_to_certify(run, digits_cache, method):
    document = run("rectify", digits_cache, "--method", method, "--json").document
    assert document["status"] == "closed_form"
    assert document["optimizer"] is None
    assert document["loss"] is document["grad_norm"] is document["gap_bound"] is None
    beside = {"softmax": "before", "logit-adjustment": "logit_adjustment"}[method]
    assert document["metrics"]["after"] == document["metrics"][beside]


def test_tau_norm_drops_the_bias_and_has_its_exponent(run, digits_cache, tmp_path):
    path = tmp_path / "tau.safetensors"
    done = run("rectify", digits_cache, "--method", "tau-norm", "--tau", 0.5, "-o", path)
    assert "tau-norm: tau 0.5" in done.err
    head = open_cache(digits_cache).head
    found, scale = load_rectifier(path), torch.from_numpy(head.weight_norm) ** -0.5
    torch.testing.assert_close(found.scale, scale)
    torch.testing.assert_close(found.shift, -scale * torch.from_numpy(head.bias).double())


@pytest.mark.parametrize(
    ("option", "method", "owners"),
    [
        (["--tau", 0.5], "marr", "logit-adjustment or tau-norm"),
        (["--keep-bias"], "logit-adjustment", "tau-norm"),
    ],
)
def test_a_setting_of_another_method_is_refused(run, digits_cache, option, method, owners):
    done = run("rectify", digits_cache, "--method", method, *option)
    assert done.code == 2
    assert f"{option[0]}: --method {owners} expected, got {method}" in done.err


def test_three_optimizers_agree(run, digits_cache):
    found = {
        optimizer: run(
            "rectify", digits_cache, "--preset", "paper", "--optimizer", optimizer, "--json"
        )
        for optimizer in ("lbfgs", "newton", "sgd")
    }
    assert [done.code for done in found.values()] == [0, 0, 0]
    losses = {name: done.document["loss"] for name, done in found.items()}
    assert losses["lbfgs"] == pytest.approx(losses["newton"], abs=2e-6)
    assert losses["newton"] <= losses["sgd"] + 1e-6 <= losses["newton"] + 5e-3
    assert found["sgd"].document["status"] == "schedule_end"
    assert found["newton"].document["passes"] < found["lbfgs"].document["passes"]


def test_official_preset_is_the_released_codes(run, digits_cache):
    document = run("rectify", digits_cache, "--preset", "official", "--json").document
    assert (document["optimizer"], document["reduction"]) == ("sgd", "weighted")


def test_logits_and_features_give_the_same_fit(run, digits_cache, tmp_path):
    files = {}
    for source in ("logits", "features"):
        files[source] = tmp_path / f"{source}.safetensors"
        options = ["--from", source, "--tolerance", "1e-12", "-o", files[source]]
        assert run("rectify", digits_cache, *options).code == 0
    logits = torch.from_numpy(open_cache(digits_cache).split("test").logits[0])
    one, other = (load_rectifier(path).apply(logits) for path in files.values())
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("views", "rows"), [("augmented", 2), ("clean", 1), ("all", 3)])
def test_fit_views_choose_the_rows(run, digits_cache, views, rows):
    done = run("rectify", digits_cache, "--fit-views", views)
    assert f"{rows} x 482 rows" in done.err


def test_unbounded_fit_is_written_and_says_so(run, separable_npz, tmp_path):
    cache, output = tmp_path / "own.h5", tmp_path / "marr.safetensors"
    assert run("import", "--train", separable_npz, "-o", cache).code == 0
    done = run("rectify", cache, "--l2", "0", "-o", output, "--json")
    assert done.code == 4
    assert done.document["status"] == "unbounded"
    assert done.document["gap_bound"] is None
    assert done.document["metrics"]["after"] is None
    assert "give --l2" in done.err
    assert bool(torch.isfinite(load_rectifier(output).scale).all())
    assert load_rectifier(output).metadata["status"] == "unbounded"


def test_a_step_limit_is_exit_4(run, digits_cache):
    done = run("rectify", digits_cache, "--preset", "paper", "--tolerance", "1e-300", "--json")
    assert done.code == 4
    assert done.document["status"] == "step_limit"
    assert "raise --tolerance or --l2" in done.err


def test_rectify_touches_no_image_and_no_network(digits_cache):
    """In a real process: torchvision is never loaded, and the checkpoint is never opened."""
    probe = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' "
        "else None)\n"
        "from marr_pipeline.cli import main\n"
        f"try: main(['rectify', {str(digits_cache)!r}, '--json'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert 'torchvision' not in sys.modules\n"
        "assert not [name for name in opened if name.endswith(('.pt', '.png'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
