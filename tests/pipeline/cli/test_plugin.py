"""Methods of a user's own: files, functions, and packages that are installed beside this one."""

import numpy as np
import pytest

from marr_pipeline import add_method, compare, open_cache, rectify_cache
from marr_pipeline.errors import PluginError
from marr_pipeline.rectify.fit import method_keys
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.settings import RectifySettings

QUICK = ("--methods", "softmax", "--resamples", 100)
SHIFTS = """
import numpy as np

def prior(counts):
    return np.log(counts / counts.sum())

print("read")

def shifts(logits, labels, *, prior_counts):
    print("fitted")  # which leaves the one document on stdout alone
    return {"shift": -prior(prior_counts), "log_prior": np.zeros(len(prior_counts))}

def anything(logits, labels, *, prior_counts):
    function = lambda logits: logits - prior(prior_counts)
    return {"function": function, "log_prior": np.zeros(len(prior_counts))}

def head(logits, labels, *, features, weight, bias):
    return {"weight": weight, "bias": bias, "log_prior": prior(np.bincount(labels))}

METHODS = {"shifts": shifts, "anything": anything, "own-head": head}
"""


pytestmark = pytest.mark.usefixtures("nothing_added")


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SHIFTS)
    return path


@pytest.mark.parametrize("options", [(), ("--target-prior", "train")])
def test_what_is_logit_adjustment_in_other_words_has_its_row(run, digits_cache, plugin, options):
    done = run("compare", digits_cache, "--plugin", plugin, *QUICK, *options, "--json")
    assert done.code == 0, done.err
    found = done.document["methods"]
    assert list(found) == ["softmax", "logit-adjustment", "shifts", "anything", "own-head"]
    for key in ("shifts", "anything"):
        assert numbers(found[key]) == pytest.approx(numbers(found["logit-adjustment"]), abs=1e-5)
        assert (found[key]["status"], found[key]["fit_split"]) == ("own", "train")
    assert found["own-head"]["nll"] == pytest.approx(found["softmax"]["nll"], abs=1e-3)
    assert found["anything"]["margin_correlation"] is None  # its classes have no planes


def numbers(row):
    gain = row["vs_softmax"]
    return [
        *(row["overall"], row["nll"], row["ece"], row["logit_correlation"], *row["interval"]),
        *(gain["difference"], gain["p"], *gain["interval"]),
    ]


def test_a_fit_gets_copies_of_its_own_rows_and_no_label_of_others(digits_cache):
    cache, seen, asked = open_cache(digits_cache), {}, []
    train = cache.split("train")

    def spy_on(logits, labels, *, features, class_counts, weight_norm, bias=None, unheard_of=1):
        seen.update(logits=logits.copy(), labels=labels, features=features.copy())
        logits[:], features[:] = 0, 0  # its own to change

        def function(*rows):
            asked.append([each.shape for each in rows])
            return rows[0]

        assert class_counts.tolist() == cache.class_counts.tolist()
        assert bias.shape == weight_norm.shape
        return function

    rows = compare([cache], methods=["marr", spy_on], resamples=100).document()["methods"]
    assert list(rows)[-1] == "spy-on"
    augmented = train.logits[1:]
    np.testing.assert_array_equal(seen["logits"], augmented.reshape(-1, 10))
    np.testing.assert_array_equal(
        seen["features"], train.features[1:].reshape(len(seen["labels"]), -1)
    )
    np.testing.assert_array_equal(seen["labels"], np.tile(train.labels, len(augmented)))
    assert {len(shapes) for shapes in asked} == {2}
    assert rows["spy-on"]["overall"] == rows["softmax"]["overall"]


def test_scales_and_heads_go_into_a_file_and_functions_do_not(run, digits_cache, plugin):
    path = plugin.with_name("shifts.safetensors")
    options = ("--plugin", plugin, "--method")
    done = run("rectify", digits_cache, *options, "shifts", "-o", path, "--json")
    assert done.code == 0, done.err
    adjusted = done.document["metrics"]["logit_adjustment"]
    assert done.document["metrics"]["after"] == adjusted
    assert done.document["status"] == "own"
    METHODS.pop("shifts")
    found = run("evaluate", digits_cache, path, "--json").document["methods"]["shifts"]
    assert found["overall"] == adjusted["overall"]
    assert run("plot", "curves", digits_cache, path, "-o", path.with_suffix(".png")).code == 0
    refused = run("rectify", digits_cache, *options, "anything", "-o", path)
    assert refused.code == 2
    assert "anything, which gives a function that no file can hold" in refused.error
    assert run("rectify", digits_cache, *options, "anything").code == 0
    wrong = run("rectify", digits_cache, *options, "shifts", "--gamma", 1)
    assert wrong.code == 2
    assert "--gamma: a method that is fitted expected, got shifts" in wrong.error


def test_rows_without_features_are_refused_to_what_needs_them_and_probed_for_others(
    run, plugin, tmp_path, rng
):
    labels = np.repeat(np.arange(3), (60, 30, 10))
    rows = (rng.normal(size=(100, 3)) + np.eye(3)[labels]).astype(np.float32)
    for kind in ("logits", "features"):
        np.savez(tmp_path / f"{kind}.npz", **{kind: rows}, labels=labels)
        files = ("--train", tmp_path / f"{kind}.npz", "--test", tmp_path / f"{kind}.npz")
        assert run("import", *files, "-o", tmp_path / f"{kind}.h5").code == 0
    refused = run("compare", tmp_path / "logits.h5", "--plugin", plugin, *QUICK)
    assert refused.code == 3
    assert "features and the head's weight expected for own-head" in refused.error
    done = run("compare", tmp_path / "features.h5", "--plugin", plugin, *QUICK, "--json")
    found = done.document["methods"]  # of the logits and the weight of the plain probe
    assert found["anything"]["nll"] == pytest.approx(found["logit-adjustment"]["nll"], abs=1e-5)
    assert found["own-head"]["overall"] > 0.5


FIT = "def fit(logits, labels, *, {asks}):\n    return {gives}\nMETHODS = {{'mine': fit}}\n"
HERE = "method mine: {path}:2: "


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import sys\nsys.exit(0)", 1, "mine.py:2: SystemExit: 0"),
        ("x = 1", 2, '{path}: METHODS = {{"NAME": function}} expected at its top level, got none'),
        ("METHODS = ['a']", 2, "got ['a']; add it"),
        ("METHODS = {'mine': 3}", 2, "method mine: a function expected, got 3"),
        ("METHODS = {'marr': print}", 2, "a name of its own expected, got marr"),
        ("METHODS = {'a,b': print}", 2, "a name such as my-method expected, got 'a,b'"),
        ("METHODS = {'mine': lambda logits: 1}", 2, "fit(logits, labels, *, ...) expected"),
        (FIT.format(asks="images", gives=1), 2, "beside logits and labels, got images"),
        ("import math\n1 / 0", 1, "{path}:2: ZeroDivisionError: division by zero"),
        ("def (", 1, "{path}:1: SyntaxError: "),
        (FIT.format(asks="seed", gives="labels[None, 'a']"), 1, HERE + "IndexError: "),
        (FIT.format(asks="seed", gives="lambda z: z.nope"), 1, HERE + "AttributeError: "),
        (FIT.format(asks="seed", gives="[1, 2]"), 1, "method mine: a function, or a dict of scale"),
        (FIT.format(asks="seed", gives="{'scale': 1, 'bias': 2}"), 1, "got a dict of scale, bias"),
        (
            FIT.format(asks="seed", gives="{'scale': [1, 2]}"),
            1,
            "scale: shape (10,) expected, got (2,)",
        ),
        (FIT.format(asks="seed", gives="{'shift': float('nan')}"), 1, "finite numbers expected"),
        (FIT.format(asks="seed", gives="lambda z: z[0]"), 1, "what its function gives: shape"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_one_line(run, digits_cache, tmp_path, text, code, said):
    path = tmp_path / "mine.py"
    path.write_text(text)
    done = run("compare", digits_cache, "--plugin", path, *QUICK)
    assert (done.code, done.out) == (code, "")
    assert said.format(path=path) in done.error


def test_a_package_that_is_installed_brings_methods(run, digits_cache, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "acme.py").write_text(SHIFTS)
    metadata = tmp_path / "acme_rectifiers-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-rectifiers\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text("[marr_pipeline.methods]\nacme = acme:shifts\n")
    named = run("compare", digits_cache, "--methods", "acme", "--resamples", 100, "--json").document
    adjusted = named["methods"]["logit-adjustment"]
    assert named["methods"]["acme"]["overall"] == adjusted["overall"]
    METHODS.pop("acme")
    assert RectifySettings(method="acme").method == "acme"
    fitted = run("rectify", digits_cache, "--method", "acme", "--json")
    assert fitted.document["metrics"]["after"]["overall"] == adjusted["overall"]
    METHODS.pop("acme")
    assert method_keys()[-1] == "acme"
    (metadata / "entry_points.txt").write_text("[marr_pipeline.methods]\nacme = acme:nothing\n")
    METHODS.pop("acme")
    broken = run("compare", digits_cache, "--methods", "acme")
    assert broken.code == 1
    assert "method acme (acme:nothing): " in broken.error


def test_functions_in_python(digits_cache):
    def half(logits, labels):
        return {"scale": 0.5}

    add_method("half", half)
    fit = rectify_cache(digits_cache, RectifySettings(method="half")).fit
    assert fit.rectifier.scale.tolist() == [0.5] * 10
    add_method("half", lambda logits, labels: 1 / 0)
    with pytest.raises(PluginError, match=r"test_plugin.py:\d+: ZeroDivisionError"):
        rectify_cache(digits_cache, RectifySettings(method="half"))
