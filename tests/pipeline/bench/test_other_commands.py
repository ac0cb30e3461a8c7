"""`pipeline bench` beside `fit`: what each prints, and what it refuses."""

import pytest

MACHINE = {"device", "threads", "cpu_count", "torch", "load_average"}


def document_of(run, what, *options):
    done = run("bench", what, *options, "--json")
    assert done.code == 0, done.err
    assert done.out.count("\n") == 1
    document = done.document
    assert list(document)[:3] == ["schema_version", "command", "what"]
    assert (document["command"], document["what"]) == ("bench", what)
    assert set(document["machine"]) >= MACHINE
    return document


def check_extraction(document, num_images):
    extraction = document["extraction"]
    for name in ("bare", "ours"):
        assert (extraction[name]["amount"], extraction[name]["unit"]) == (num_images, "images")
    ratio = extraction["bare"]["seconds"] / extraction["ours"]["seconds"]
    assert extraction["ours_to_bare"]["best"] == pytest.approx(ratio)


SMALL_IMAGES = ("--samples", 150, "--classes", 3, "--image-size", 8, "--backbone", "resnet8")


@pytest.mark.parametrize("views", [0, 2])
def test_extract_on_synthetic_images(run, tmp_path, views):
    options = ("--views", views, "--repeat", 1, "--folder", tmp_path)
    document = document_of(run, "extract", *SMALL_IMAGES, *options)
    problem = document["problem"]
    assert (problem["dataset"], problem["images"]) == ("synthetic", {"train": 150})
    assert (problem["backbone"], problem["views"]) == ("resnet8", {"train": 1 + views})
    check_extraction(document, 150 * (1 + views))
    assert document["reading"]["mapped"]["amount"] == 150 * (1 + views) * 3 * 4
    assert list(tmp_path.iterdir()) == []


def test_extract_on_a_checkpoints_own_images(run, digits_cache):
    checkpoint = digits_cache.with_suffix(".pt")
    document = document_of(run, "extract", "--checkpoint", checkpoint, "--repeat", 1)
    assert document["problem"]["dataset"] == "digits-lt"
    assert document["problem"]["views"] == {"train": 2, "test": 1}
    images = document["problem"]["images"]
    check_extraction(document, 2 * images["train"] + images["test"])


def test_extract_with_a_network_of_a_library(run):
    options = ("--backbone", "torchvision:squeezenet1_1")
    done = run("bench", "extract", *SMALL_IMAGES, *options, "--repeat", 1)
    assert done.code == 2  # it ends in a convolution, which only building it tells
    assert "ends in" in done.error
    options = ("--backbone", "torchvision:shufflenet_v2_x0_5")
    document = document_of(run, "extract", *SMALL_IMAGES, *options, "--repeat", 1)
    assert document["problem"]["backbone"] == "torchvision:shufflenet_v2_x0_5"


def test_extract_on_a_dataset_without_training(run):
    document = document_of(run, "extract", "--dataset", "digits-lt", "--repeat", 1)
    assert (document["problem"]["backbone"], document["problem"]["classes"]) == ("resnet8", 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dataset", "digits-lt", "--samples", 9), "--samples: synthetic images expected"),
        (("--imbalance-ratio", 9), "--imbalance-ratio: a --dataset beside it expected"),
        (("--samples", 2, "--classes", 3), "at least 2 classes, an image of each"),
        (("--repeat", 0, *SMALL_IMAGES), "--repeat: at least 1 expected, got 0"),
        (("--backbone", "resnet9"), "torchvision:NAME or timm:NAME, expected, got resnet9"),
        (
            (*SMALL_IMAGES, "--backbone", "torchvision:vit_b_16"),
            "vit_b_16: images that the network takes expected, got",
        ),
    ],
)
def test_extract_refuses_what_contradicts_itself(run, options, message):
    done = run("bench", "extract", *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.error


def test_extract_refuses_an_option_that_its_checkpoint_contradicts(run, digits_cache):
    checkpoint = digits_cache.with_suffix(".pt")
    done = run("bench", "extract", "--checkpoint", checkpoint, "--backbone", "resnet32")
    assert done.code == 3
    assert "--backbone: resnet8 expected" in done.error


SMALL_FILE = ("--samples", 400, "--classes", 6, "--repeat", 1, "--batches", 2, "--batch-rows", 16)


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("float16", 2)])
def test_cache_goes_through_every_stage(run, tmp_path, dtype, width):
    options = ("--dtype", dtype, "--folder", tmp_path, "--memory", "64M")
    document = document_of(run, "cache", *SMALL_FILE, *options)
    num_bytes = 400 * 6 * width
    problem = document["problem"]
    assert (problem["source"], problem["bytes"]) == ("synthetic", num_bytes)
    assert str(tmp_path) not in str(document)
    stages = document["stages"]
    assert list(stages) == ["write", "verify", "fit"]
    assert stages["write"]["bytes"] == stages["fit"]["bytes"] == num_bytes
    assert stages["verify"]["bytes"] > num_bytes
    for stage in stages.values():
        assert stage["bytes_per_second"] == pytest.approx(stage["bytes"] / stage["seconds"])
    peaks = [stage["memory"]["anonymous_peak"] for stage in stages.values()]
    assert document["peak_memory"] == max(peaks)
    assert document["fit"]["status"] == "converged"
    assert document["fit"]["gap_bound"] <= document["problem"]["wanted_gap"]
    assert document["reading"]["fromfile"]["amount"] == num_bytes
    assert document["reading"]["batches"]["amount"] == 2 * 16
    assert list(tmp_path.iterdir()) == []


def test_cache_fits_as_bench_fit_does(run):
    """The file is another road to the same rows."""
    stored = document_of(run, "cache", *SMALL_FILE)
    in_memory = document_of(run, "fit", *SMALL_FILE[:6], "--only", "lbfgs")
    assert stored["fit"]["loss"] == pytest.approx(in_memory["fits"][0]["loss"], rel=1e-12)


def test_cache_refuses_too_little_memory(run):
    done = run("bench", "cache", *SMALL_FILE, "--memory", 1)
    assert done.code == 2
    assert "raise --memory" in done.error


def test_scaling_covers_both_series(run):
    options = ("--samples", 60, "--classes", 4, "--points", 2, "--repeat", 1)
    document = document_of(run, "scaling", *options)
    assert (document["problem"]["samples"], document["problem"]["span"]) == (60, 10.0)
    sizes = {
        name: [(point["samples"], point["classes"]) for point in series["points"]]
        for name, series in document["series"].items()
    }
    assert sizes == {"samples": [(60, 4), (600, 4)], "classes": [(60, 4), (60, 40)]}


def test_precision_of_a_cache_is_judged_on_its_test_split(run, digits_cache):
    document = document_of(run, "precision", digits_cache, "--repeat", 1)
    assert document["problem"]["source"] == "cache"
    assert document["differences"]["evaluation_rows"] == 400
    assert document["differences"]["probabilities"]["largest"] < 0.01
    done = run("bench", "precision", digits_cache, "--samples", 9)
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize(
    ("what", "options", "lines"),
    [
        (
            "extract",
            (*SMALL_IMAGES, "--repeat", 1),
            ("bare eval loop", "extraction / bare", "h5py"),
        ),
        ("cache", SMALL_FILE, ("write", "verify", "fit", "mapped / fromfile")),
        (
            "scaling",
            ("--samples", 60, "--classes", 4, "--points", 2, "--repeat", 1),
            ("exponent", "to linear", "600", "40"),
        ),
        (
            "precision",
            ("--samples", 60, "--classes", 4, "--repeat", 1),
            ("float32", "float16", "omega", "beta", "probability"),
        ),
    ],
)
def test_tables_name_what_was_measured(run, what, options, lines):
    done = run("bench", what, *options)
    assert done.code == 0
    for line in lines:
        assert line in done.out
    assert "threads of" in done.err
