import subprocess
import sys

import torch

from marr_pipeline.cache import open_cache
from marr_pipeline.rectify.rectifier_file import load_rectifier

METRICS = {
    "overall",
    "balanced",
    "many",
    "medium",
    "few",
    "macro_f1",
    "worst_class",
    "nll",
    "ece",
    "per_class",
}


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
        *("scale_l2", "memorised", "rows", "tuning", "warnings", "checks", "metrics", "rectifier"),
        *("target_prior", "prior"),
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


def test_logits_and_features_give_the_same_fit(run, digits_cache, tmp_path):
    files = {}
    for source in ("logits", "features"):
        files[source] = tmp_path / f"{source}.safetensors"
        options = ["--from", source, "--tolerance", "1e-12", "-o", files[source]]
        assert run("rectify", digits_cache, *options).code == 0
    logits = torch.from_numpy(open_cache(digits_cache).split("test").logits[0])
    one, other = (load_rectifier(path).apply(logits) for path in files.values())
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


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
