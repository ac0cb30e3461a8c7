import numpy as np
import pytest
from problems import make_inputs

from marr_pipeline import names
from marr_pipeline.cache import open_cache
from marr_pipeline.errors import LeakError
from marr_pipeline.rectify.rectifier_file import load_rectifier
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.tuning import TuningOptions, choice, tune
from marr_pipeline.workflows.cached import fit_inputs, split_inputs, with_fit_split
from marr_pipeline.workflows.import_logits import import_logits
from marr_pipeline.workflows.rectify import rectify_cache, resolve_settings

GAMMA_ALONE = ("--tune", "auto", "--l2", "0.01", "--center", "zero")
RECORD = {
    *("source", "score", "folds", "unscored_classes", "points", "grid"),
    *("start", "best", "standard_error", "chosen"),
}


def drawn(seed, *, views=1):
    """Logits and labels of 8 classes, the last of which has one sample."""
    inputs = make_inputs(num_classes=8, num_samples=240, num_views=views, ratio=100.0, seed=seed)
    return inputs.logits.numpy(), inputs.labels.numpy()


def memorised(noise):
    """Logits and labels of 8 classes, every row of which is right by far."""
    labels = np.arange(8).repeat(6)
    return noise * np.random.default_rng(0).normal(size=(48, 8)) + 9 * np.eye(8)[labels], labels


@pytest.fixture
def make_cache(tmp_path):
    """A cache of logits and labels of each split."""

    def make(**splits):
        files = {split: tmp_path / f"{split}.npz" for split in splits}
        for split, (logits, labels) in splits.items():
            np.savez(files[split], logits=logits.astype(np.float32), labels=labels)
        return import_logits(files, tmp_path / f"{'-'.join(splits)}.h5").path

    return make


@pytest.fixture
def plain_cache(make_cache):
    return make_cache(train=drawn(0), test=drawn(1))


@pytest.fixture
def held_out_cache(make_cache):
    return make_cache(train=drawn(0), tune=drawn(2), test=drawn(1))


def test_without_a_tune_split_the_fitted_rows_are_cross_validated(run, plain_cache):
    done = run("rectify", plain_cache, *GAMMA_ALONE, "--json")
    assert done.code == 0
    tuning = done.document["tuning"]
    assert set(tuning) == RECORD
    assert (tuning["source"], tuning["folds"], tuning["score"]) == ("cross-validation", 5, "nll")
    assert tuning["unscored_classes"] == 1
    assert [point["gamma"] for point in tuning["grid"]] == [0.0, 0.4, 0.8, 1.0, 1.2, 1.6]
    assert {(point["l2"], point["center"]) for point in tuning["grid"]} == {(0.01, "zero")}
    assert done.document["gamma"] == tuning["chosen"]["gamma"]
    assert tuning["best"]["score"] == min(point["score"] for point in tuning["grid"])
    assert "R11: Tuned by cross-validation over rows that the network was trained on" in done.err
    assert "1 of 8 classes have fewer than two samples" in done.err
    assert sum("tun" in warning for warning in done.document["warnings"]) == 1
    told = run("rectify", plain_cache, *GAMMA_ALONE).err.splitlines()
    said = [line for line in told if line.startswith("tuned on")]
    assert len(said) == 1
    assert "5-fold cross-validation over train, 6 points by balanced nll" in said[0]


def test_memorised_rows_are_named_as_such(run, plain_cache, make_cache):
    cache = make_cache(train=memorised(noise=1))
    said = "R02: The network is right on 100.0 % of the rows that are fitted"
    assert said in run("rectify", cache, *GAMMA_ALONE).err
    assert "R02" not in run("rectify", cache, *GAMMA_ALONE, "--mute", "R02,R11").err
    assert "R02" not in run("rectify", plain_cache, *GAMMA_ALONE).err


def test_the_whole_grid_is_tried_and_the_chosen_point_is_fitted(run, held_out_cache, monkeypatch):
    monkeypatch.setattr(choice, "GAMMAS", (0.0, 1.0, 1.6))
    monkeypatch.setattr(choice, "L2S", (1e-2, 1e-1))
    document = run("rectify", held_out_cache, "--tune", "auto", "--json").document
    assert len(document["tuning"]["grid"]) == 3 * 3 * len(names.AFFINE_CENTERS)
    chosen = dict(document["tuning"]["chosen"])
    score = chosen.pop("score")
    assert chosen == {key: document[key] for key in ("gamma", "l2", "center")}
    fixed = [item for key, value in chosen.items() for item in (f"--{key}", value)]
    by_hand = run("rectify", held_out_cache, *fixed, "--json").document
    assert by_hand["metrics"] == document["metrics"]
    assert by_hand["loss"] == document["loss"]
    assert np.isfinite(score)


def test_what_is_given_in_a_configuration_file_is_kept_too(run, plain_cache, tmp_path):
    config = tmp_path / "tune.toml"
    config.write_text('tune = "auto"\ngamma = 0.3\n[rectify]\nl2 = 0.02\n', encoding="utf-8")
    document = run("rectify", plain_cache, "--config", config, "--json").document
    grid = document["tuning"]["grid"]
    assert {(point["gamma"], point["l2"]) for point in grid} == {(0.3, 0.02)}
    assert {point["center"] for point in grid} == set(names.AFFINE_CENTERS)


def test_the_rectifier_remembers_its_tuning(run, held_out_cache, tmp_path):
    output = tmp_path / "marr.safetensors"
    document = run("rectify", held_out_cache, *GAMMA_ALONE, "-o", output, "--json").document
    metadata = load_rectifier(output).metadata
    expected = {key: value for key, value in document["tuning"].items() if key != "grid"}
    assert metadata["tuning"] == expected
    assert metadata["gamma"] == document["gamma"]
    run("rectify", held_out_cache, "-o", output)
    assert load_rectifier(output).metadata["tuning"] is None


@pytest.mark.parametrize("has_clean", [True, False])
def test_augmented_views_are_fitted_and_the_clean_one_is_scored(
    run, digits_cache, make_cache, has_clean
):
    """Without a clean view all of them are scored."""
    cache = digits_cache if has_clean else make_cache(train=drawn(0, views=2))
    document = run("rectify", cache, *GAMMA_ALONE, "--json").document
    settings = resolve_settings(cache, "default", {"l2": 0.01, "center": "zero"})
    settings = with_fit_split(open_cache(cache), settings)
    fitted, _ = fit_inputs(open_cache(cache), settings)
    views = "clean" if has_clean else "all"
    scored, _ = split_inputs(open_cache(cache), split="train", views=views)
    assert (fitted.num_views, scored.num_views) == ((2, 1) if has_clean else (2, 2))
    options = TuningOptions(fixed=frozenset({"l2", "center"}))
    expected = tune(fitted, scored, settings, source="cross-validation", options=options)
    assert document["tuning"]["best"]["score"] == pytest.approx(expected.best.score, rel=1e-12)


def test_sgd_makes_the_final_fit_alone(run, held_out_cache):
    """The grid is L-BFGS's whatever the optimizer, so that sgd chooses what lbfgs does."""
    done = {
        optimizer: run("rectify", held_out_cache, *GAMMA_ALONE, "--optimizer", optimizer, "--json")
        for optimizer in ("sgd", "lbfgs")
    }
    assert [run.code for run in done.values()] == [0, 0]
    assert done["sgd"].document["status"] == "schedule_end"
    assert done["sgd"].document["tuning"] == done["lbfgs"].document["tuning"]


def test_tuning_on_the_test_split_is_refused(run, plain_cache):
    done = run("rectify", plain_cache, "--tune", "auto", "--fit-split", "test", "--json")
    assert (done.code, done.out) == (5, "")
    with pytest.raises(LeakError, match="what is fitted on the test samples cannot be scored"):
        rectify_cache(plain_cache, RectifySettings(fit_split="test"))


def test_one_image_a_class_is_refused_and_names_the_way_out(run, make_cache):
    done = run("rectify", make_cache(train=(3 * np.eye(4), np.arange(4))), "--tune", "auto")
    assert done.code == 3
    assert "give the cache a tune split" in done.error


def test_metrics_of_the_split_that_chose_are_marked(run, held_out_cache):
    done = run("rectify", held_out_cache, *GAMMA_ALONE, "--eval-split", "tune")
    assert "which chose the settings: they flatter" in done.err


@pytest.mark.parametrize("method", ["temperature", "vector-scaling"])
@pytest.mark.parametrize(
    ("splits", "split"), [("plain_cache", "train"), ("held_out_cache", "tune")]
)
def test_a_calibration_is_fitted_on_the_tune_split_and_the_row_says_so(
    run, request, tmp_path, method, splits, split
):
    cache, path = request.getfixturevalue(splits), tmp_path / "fitted.safetensors"
    assert run("rectify", cache, "--method", method, "-o", path).code == 0
    fitted = load_rectifier(path)
    assert fitted.metadata["fit_split"] == split
    compared = run("compare", cache, "--methods", f"{method},{method}:tempered", "--json")
    rows = compared.document["methods"]
    assert rows[method]["fit_split"] == split
    assert rows[f"{method}:tempered"]["fit_split"] == split
    assert rows["softmax"]["fit_split"] is None


def test_an_unbounded_calibration_is_a_marked_row(run, make_cache):
    cache = make_cache(train=memorised(noise=0), test=memorised(noise=0))
    done = run("compare", cache, "--methods", "temperature,vector-scaling,marr", "--json")
    assert done.code == 0
    rows = done.document["methods"]
    assert [rows[key]["status"] for key in ("temperature", "vector-scaling")] == ["unbounded"] * 2
    assert rows["marr"]["status"] == "converged"


@pytest.mark.parametrize(
    "options", ["--method temperature", "--method bcts", "--method marr --fit-split tune"]
)
def test_a_tune_split_that_is_the_test_split_is_never_fitted(run, make_cache, options):
    same = make_cache(train=drawn(0), tune=drawn(1), test=drawn(1))
    done = run("rectify", same, *options.split())
    assert done.code == 5
    assert "the same ones in both; what is fitted on it" in done.error
    assert run("rectify", same, *options.split()[:2], "--fit-split", "train").code == 0


def test_the_way_out_that_is_named_works(run, tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.savez(tmp_path / "t.npz", features=rows, labels=np.arange(40) % 4)
    files = dict.fromkeys(("train", "tune", "test"), tmp_path / "t.npz")
    cache = import_logits(files, tmp_path / "t.h5").path
    done = run("rectify", cache, "--method", "ncm")
    assert done.code == 5
    assert done.error.endswith("give --logit-scale, or write the cache without that tune")
    assert run("rectify", cache, "--method", "ncm", "--logit-scale", "1").code == 0
    done = run("rectify", cache, "--method", "head", "--optimizer", "sgd")
    assert done.code == 2
    assert "lbfgs or newton expected to tune a whole head" in done.error


def test_a_tune_split_that_lacks_a_class_is_no_place_for_its_shift(run, make_cache):
    logits, labels = drawn(1)
    part = labels < labels.max()
    tune = (logits[:, part], labels[part])
    cache = make_cache(train=drawn(0), tune=tune, test=drawn(2))
    lines = run("rectify", cache).err
    assert "train" in lines
    assert "rows seen (assumed)" in lines
    assert "plain mean, tune\n" in run("rectify", cache, "--method", "temperature").err
