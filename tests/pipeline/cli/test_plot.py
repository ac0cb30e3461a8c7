"""`pipeline plot`: what a figure is told of a cache and of rectifier files, against its parts."""

import csv
import re
import struct
from contextlib import suppress

import numpy as np
import pytest
from safetensors.numpy import load_file

from marr_pipeline import names
from marr_pipeline.cache import open_cache
from marr_pipeline.rectify.rectifier_file import load_rectifier


def read(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_gamma_draws_what_sweep_writes(run, digits_cache, digits_rectifier, tmp_path):
    table, drawn = tmp_path / "table.csv", tmp_path / "gamma.png"
    assert run("sweep", digits_cache, "--gamma", "0:1.6:0.2", "-o", table).code == 0
    swept = read(table)[2:]
    found = {}
    for name, chosen in (
        ("now", []),
        ("table", ["--sweep", table]),
        ("fit", [digits_rectifier]),
    ):
        assert run("plot", "gamma", digits_cache, *chosen, "-o", drawn).code == 0
        found[name] = (drawn.read_bytes(), drawn.with_suffix(".csv").read_text())
    assert found["now"] == found["table"] == found["fit"]
    shown = read(drawn.with_suffix(".csv"))
    for point, row in zip(shown[:-2], swept, strict=True):
        assert point["series"] == "marr (default)"
        for key in ("gamma", "overall", "overall_low", "overall_high", "many", "nll"):
            assert point[key] == row[key]
    assert [row["gamma"] for row in shown if row["chosen"] == "1"] == ["1.0"]


def test_gamma_refuses_what_it_cannot_draw(run, digits_cache, digits_rectifier, tmp_path):
    output, table = tmp_path / "gamma.png", tmp_path / "table.csv"
    drawn = ("plot", "gamma", digits_cache, "-o", output)
    table.write_text("name,overall\nmarr,0.5\n")
    done = run(*drawn, "--sweep", table)
    assert done.code == 3
    assert "a table of `pipeline sweep -o` expected, got one without method, preset" in done.error
    assert run("sweep", digits_cache, "--l2", "1", "-o", table, "--overwrite").code == 0
    done = run(*drawn, "--sweep", table)
    assert (done.code, "at least two values of gamma" in done.error) == (3, True)
    options = ("--gamma", "1,1.2", "--eval-split", "train")
    assert run("sweep", digits_cache, *options, "-o", table).code == 0
    done = run(*drawn, "--sweep", table)
    assert (done.code, "split test, expected, whose softmax has" in done.error) == (3, True)
    done = run("plot", "curves", *drawn[2:], "--sweep", table)
    assert (done.code, "--sweep: the figure gamma expected, got curves" in done.error) == (2, True)
    flat = tmp_path / "tau.safetensors"
    assert run("rectify", digits_cache, "--method", "tau-norm", "-o", flat).code == 0
    done = run(*drawn, flat)
    assert (done.code, "fitted with class weights expected, got tau-norm" in done.error) == (
        2,
        True,
    )
    assert not output.exists()


def test_priors_at_uniform_are_the_metrics_of_evaluate(
    run, digits_cache, digits_rectifier, tmp_path
):
    """The test split of digits-lt has every class alike."""
    output = tmp_path / "priors.svg"
    drawn = ("plot", "priors", digits_cache, digits_rectifier, "-o", output)
    assert run(*drawn).code == 0
    (uniform,) = [row for row in read(output.with_suffix(".csv")) if float(row["exponent"]) == 0]
    methods = run("evaluate", digits_cache, digits_rectifier, "--json").document["methods"]
    shown = {"softmax": "softmax", "logit-adjustment": "logit-adjustment", "marr": "marr (default)"}
    for key, name in shown.items():
        assert float(uniform[f"{name}.accuracy"]) == pytest.approx(methods[key]["overall"])
        assert float(uniform[f"{name}.nll"]) == pytest.approx(methods[key]["nll"])
    before = output.read_bytes()
    assert run(*drawn).code == 0
    assert output.read_bytes() == before


@pytest.fixture
def two_files(digits_rectifier, tmp_path):
    """The same rectifier under two names."""
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for file in files:
        file.write_bytes(digits_rectifier.read_bytes())
    return files


@pytest.mark.parametrize(("figure", "quantity"), [("classwise", "f1"), ("curves", "accuracy")])
def test_a_figure_names_methods_and_presets_and_the_files_of_those_alike(
    figure, quantity, run, digits_cache, two_files, tmp_path
):
    both = {"one: marr (default)", "two: marr (default)"}
    for chosen, expected in ((two_files[:1], {"marr (default)"}), (two_files, both)):
        done = run("plot", figure, digits_cache, *chosen, "-o", tmp_path / "figure.png")
        assert done.code == 0
        head = (tmp_path / "figure.csv").read_text().splitlines()[0]
        assert set(re.findall(rf"([^,]+)\.{quantity}", head)) == {"softmax", *expected}


def test_width_dots_and_title_are_the_figures(run, digits_cache, tmp_path):
    path = tmp_path / "figure.png"
    options = ["--width", "column", "--dpi", "100", "-o", path]
    sizes = []
    for title in ("", "A title"):
        assert run("plot", "classwise", digits_cache, *options, "--title", title).code == 0
        sizes.append(struct.unpack(">II", path.read_bytes()[16:24]))
    (width, height), (titled_width, titled_height) = sizes
    assert width == titled_width == 350
    assert height < titled_height < height + 40
    done = run("plot", "curves", digits_cache, *options)
    assert (done.code, done.out) == (2, "")
    assert "curves: a figure of both columns' width expected, got column" in done.err


def read_table(path):
    """Columns of a figure's CSV by name, as numbers where they are."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    columns = dict(zip(head, np.array(rows).T, strict=True))
    for name, cells in columns.items():
        with suppress(ValueError):
            columns[name] = np.where(cells == "", "nan", cells).astype(float)
    return columns


@pytest.fixture
def draw(run, digits_cache, tmp_path):
    """Draw a figure of the digits; its table."""

    def draw_figure(figure, *arguments):
        done = run("plot", figure, digits_cache, *arguments, "-o", tmp_path / "drawn.svg")
        assert done.code == 0, done.err
        return read_table(tmp_path / "drawn.csv")

    return draw_figure


@pytest.fixture
def fitted(run, digits_cache, tmp_path):
    """Fit a method on the digits; its file."""

    def fit(method):
        path = tmp_path / f"{method}.safetensors"
        assert run("rectify", digits_cache, "--method", method, "-o", path).code == 0
        return path

    return fit


def test_reliability_bins_the_samples_of_each_group(draw, run, digits_cache, digits_rectifier):
    table = draw("reliability", digits_rectifier)
    cached = open_cache(digits_cache)
    rows = cached.split("test")
    scaled = np.exp(rows.logits[0] - rows.logits[0].max(axis=1, keepdims=True).astype(float))
    probability = scaled / scaled.sum(axis=1, keepdims=True)
    confidence, is_right = probability.max(axis=1), probability.argmax(axis=1) == rows.labels
    counts = cached.class_counts[rows.labels]
    groups = {"overall": counts > 0, "many": counts > 100, "few": counts < 20}
    for part, members in groups.items():
        own = (table["series"] == "softmax") & (table["part"] == part)
        assert own.sum() == 15
        for i in range(15):
            inside = members & (np.ceil(confidence * 15) == i + 1)
            row = np.flatnonzero(own)[i]
            assert table["samples"][row] == inside.sum()
            if inside.any():
                assert table["confidence"][row] == pytest.approx(confidence[inside].mean())
                assert table["accuracy"][row] == pytest.approx(is_right[inside].mean())
    methods = run("evaluate", digits_cache, digits_rectifier, "--json").document["methods"]
    for series, key in (("softmax", "softmax"), ("marr (default)", "marr")):
        own = (table["series"] == series) & (table["part"] == "overall")
        np.testing.assert_allclose(table["ece"][own], methods[key]["ece"])


def test_parameters_are_those_of_the_files(draw, fitted, digits_cache, digits_rectifier):
    cached = open_cache(digits_cache)
    order = np.argsort(-cached.class_counts, kind="stable")
    log_prior = np.log(cached.class_counts / cached.class_counts.sum())
    adjusted = (log_prior.mean() - log_prior)[order]
    marr = load_file(digits_rectifier)
    table = draw("parameters", digits_rectifier)
    for name in ("omega", "beta"):
        np.testing.assert_allclose(table[f"marr (default).{name}"], marr[name][order])
    norm = cached.head.weight_norm[order]
    np.testing.assert_allclose(table["logit adjustment.beta"] * norm, adjusted, atol=1e-12)
    assert set(table["logit adjustment.omega"]) == {1}
    # With a method that has no margins, all are scales and shifts, the latter of mean 0.
    table = draw("parameters", digits_rectifier, fitted("lws"))
    shift = marr["beta"] * cached.head.weight_norm
    np.testing.assert_allclose(table["marr (default).scale"], marr["omega"][order])
    np.testing.assert_allclose(table["marr (default).shift"], (shift - shift.mean())[order])
    np.testing.assert_allclose(table["logit adjustment.shift"], adjusted, atol=1e-12)
    assert set(table["lws (default).shift"]) == {0}


@pytest.mark.parametrize("method", ["temperature", "crt"])
def test_parameters_refuses_what_has_none_of_each_class(
    method, run, fitted, digits_cache, tmp_path
):
    expected = f"parameters: rectifiers with a scale or shift of each class expected, got {method}"
    done = run("plot", "parameters", digits_cache, fitted(method), "-o", tmp_path / "a.png")
    assert done.code == 2
    assert done.error == f"error: {expected} (default); leave it out"
    done = run("plot", "parameters", digits_cache, "-o", tmp_path / "a.png")
    assert done.error.endswith("at least one rectifier expected, got none; give its file")
    assert not list(tmp_path.glob("a.*"))


def test_forest_has_the_differences_of_compare(draw, run, digits_cache, digits_rectifier):
    balanced = draw("forest", digits_rectifier)["metric"]
    assert set(balanced) == {"overall and balanced accuracy", "few-shot accuracy"}
    split = ("--split", "train")
    table = draw("forest", digits_rectifier, *split)
    assert list(dict.fromkeys(table["metric"])) == [
        "overall accuracy",
        "balanced accuracy",
        "few-shot accuracy",
    ]
    for metric, options in (
        ("overall accuracy", ()),
        ("balanced accuracy", ("--class-distribution", "uniform")),
    ):
        done = run("compare", digits_cache, "--methods", "marr", *split, *options, "--json")
        methods = done.document["methods"]
        for method, reference in (
            ("logit-adjustment", "softmax"),
            ("marr", "softmax"),
            ("marr", "logit-adjustment"),
        ):
            found = methods[method][f"vs_{reference.replace('-', '_')}"]
            name = "marr (default)" if method == "marr" else method
            keys = {"metric": metric, "method": name, "reference": reference}
            row = np.logical_and.reduce([table[key] == value for key, value in keys.items()])
            for column, value in (
                ("difference", found["difference"]),
                ("low", found["interval"][0]),
                ("high", found["interval"][1]),
                ("p", found["p_holm"]),
                ("marked", float(found["p_holm"] < 0.05)),
            ):
                np.testing.assert_allclose(table[column][row], [value], atol=1e-12)
    done = run("evaluate", digits_cache, digits_rectifier, *split, "--json")
    few = {key: found["few"] for key, found in done.document["methods"].items()}
    rows = (table["metric"] == "few-shot accuracy") & (table["reference"] == "softmax")
    expected = [few[key] - few["softmax"] for key in ("logit-adjustment", "marr")]
    np.testing.assert_allclose(table["difference"][rows], expected)


@pytest.mark.parametrize("figure", names.FIGURES)
def test_a_figure_is_the_same_in_every_run(figure, run, digits_cache, digits_rectifier, tmp_path):
    written = []
    for name in "ab":
        options = ["-o", tmp_path / f"{name}.pdf", "--title", "Digits"]
        if figure not in ("curves", "confusion"):
            options += ["--width", "column"]
        assert run("plot", figure, digits_cache, digits_rectifier, *options).code == 0
        written.append([(tmp_path / f"{name}.{end}").read_bytes() for end in ("pdf", "csv")])
    assert written[0] == written[1]


def test_geometry_shows_the_cached_head_and_what_the_rectifier_makes_of_it(
    run, digits_cache, digits_rectifier, tmp_path
):
    output = tmp_path / "geometry.png"
    drawn = ("plot", "geometry", digits_cache, digits_rectifier, "-o", output)
    assert run(*drawn, "--width", "column").code == 0
    rows = read(output.with_suffix(".csv"))
    cached, rectifier = open_cache(digits_cache), load_rectifier(digits_rectifier)
    order = np.argsort(-cached.class_counts, kind="stable")
    pair, split = [order[0], order[-1]], cached.split("test")
    planes = [row for row in rows if row["kind"] == "hyperplane"]
    assert [row["class_id"] for row in planes] == 2 * [str(each) for each in pair]
    norm = cached.head.weight_norm[pair]
    before = split.logits[0][:, pair].astype(float)
    after = before * rectifier.scale.numpy()[pair] + rectifier.centred().shift.numpy()[pair]
    for logits, shown in ((before, planes[:2]), (after, planes[2:])):
        for j, row in enumerate(shown):
            own = logits[split.labels == pair[j]]
            assert float(row["mean_margin"]) == pytest.approx(own[:, j].mean() / norm[j], rel=1e-4)
            assert float(row["own_side"]) == pytest.approx(np.mean(own.argmax(1) == j))
    assert sum(row["kind"] == "sample" for row in rows) == np.isin(split.labels, pair).sum()
    assert run(*drawn, "--classes", "3,1").code == 0
    rows = read(output.with_suffix(".csv"))
    assert [row["class_id"] for row in rows if row["kind"] == "hyperplane"][:2] == ["3", "1"]


def test_geometry_refuses_what_has_no_plane(run, digits_cache, tmp_path):
    output, cache = tmp_path / "geometry.png", tmp_path / "logits.h5"
    for classes in ("1", "1,1", "1,99", "a,b"):
        done = run("plot", "geometry", digits_cache, "--classes", classes, "-o", output)
        assert (done.code, "--classes: two classes with samples" in done.error) == (2, True)
    done = run("plot", "classwise", digits_cache, "--classes", "1,2", "-o", output)
    assert (done.code, "--classes: the figure geometry expected" in done.error) == (2, True)
    checkpoint = digits_cache.with_suffix(".pt")
    options = ("--checkpoint", checkpoint, "--views", 1, "--store", "logits", "-o", cache)
    assert run("extract", "--dataset", "digits-lt", *options).code == 0
    done = run("plot", "geometry", cache, "-o", output)
    assert (done.code, "got a cache without features; put both into it" in done.error) == (3, True)
    head = tmp_path / "crt.safetensors"
    assert run("rectify", digits_cache, "--method", "crt", "-o", head).code == 0
    done = run("plot", "geometry", digits_cache, head, "-o", output)
    assert (done.code, "crt (default), whose hyperplanes leave the plane" in done.error) == (
        3,
        True,
    )
    assert not output.exists()


def test_names_are_written_or_left_out_as_asked_and_refused_without_classes(
    run, digits_cache, tmp_path
):
    said = {}
    for option in ("--names", "--no-names"):
        picture = tmp_path / f"{option[2:]}.svg"
        assert run("plot", "classwise", digits_cache, option, "-o", picture).code == 0
        said[option] = picture.read_text()
    assert said["--names"] != said["--no-names"]
    assert "class rank" in said["--no-names"]
    assert "class rank" not in said["--names"]
    for option in said:
        done = run("plot", "gamma", digits_cache, option, "-o", tmp_path / "a.png")
        assert done.code == 2
        assert done.error == (
            f"error: {option}: the figure curves or confusion or classwise or parameters expected, "
            "got gamma; leave it out"
        )
