"""`pipeline reproduce`: runs that are made, gone on with and reused; tables beside the paper's."""

import io
import json
import re
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from trainings import step_of

from marr_pipeline import names
from marr_pipeline.cache import open_cache
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.protocols import protocol_of
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.report.tables import Estimate, csv_table
from marr_pipeline.workflows.compare import compare
from marr_pipeline.workflows.extract import extract
from marr_pipeline.workflows.paper.findings import findings_of, sentence
from marr_pipeline.workflows.paper.images import find_images
from marr_pipeline.workflows.paper.make import make
from marr_pipeline.workflows.paper.plan import Planned, needed
from marr_pipeline.workflows.paper.published import (
    CIFAR10_100,
    CIFAR10_200,
    FIGURES,
    FORMULAS,
    PARAMETERS,
    ROWS,
    TABLES,
)
from marr_pipeline.workflows.paper.runs import Run, Schedule, command_of, read_record
from marr_pipeline.workflows.paper.survey import Survey
from marr_pipeline.workflows.paper.tables import accuracy_table, num_parameters, table7
from marr_pipeline.workflows.reproduce import reproduce
from marr_pipeline.workflows.request import NOBODY, Listener

QUICK = ["--scale", "1e-9", "--batch-size", 16, "--views", 0]
SCHEDULE = Schedule(scale=1e-9, batch_size=16, views=0)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """An archive in CIFAR-10's layout, of ten classes that are ten colours."""
    root = tmp_path_factory.mktemp("datasets")
    with zipfile.ZipFile(root / "cifar10.zip", "w") as archive:
        for label in range(10):
            encoded = io.BytesIO()
            Image.new("RGB", (32, 32), (25 * label, 255 - 25 * label, 90)).save(encoded, "PNG")
            for split, count in (("train", 200), ("test", 3)):
                for number in range(count):
                    name = f"cifar10/{split}/class{label}/{number:03}.png"
                    archive.writestr(name, encoded.getvalue())
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("paper")


@pytest.fixture(scope="module")
def folder_of_figure6(data_root, folder):
    """The folder, once Figure 6 has been made in it."""
    reproduce("figure6", folder, data_root=data_root, schedule=SCHEDULE)
    return folder


def test_a_figure_is_made_once_from_an_archive(run, data_root, folder, tmp_path):
    command = ["reproduce", "figure6", "--data-root", data_root, *QUICK, "-o", folder, "--json"]
    planned = run(*command[:-1], "--dry-run")
    assert planned.code == 0, planned.err
    assert "seed0: missing, about" in planned.err
    assert "before and after, cifar10-lt-200 (REHEARSAL: " in planned.err
    assert not [*folder.iterdir()]
    first = run(*command)
    assert first.code == 0, first.err
    (one,) = first.document["runs"]
    assert one["state"] == "done"
    assert one["warnings"] == json.loads(next(folder.glob("*.seed0.json")).read_text())["warnings"]
    assert one["command"].startswith("pipeline extract --dataset cifar10")
    assert first.document["schedule"]["is_rehearsal"]
    assert first.document["complete"]
    assert 0 <= first.document["ours"]["marr:paper"]["overall"] <= 1
    written = {folder / f"figure6.{ending}" for ending in ("png", "csv", "json")}
    assert {str(path) for path in written} == set(first.document["files"])
    assert all(path.stat().st_size for path in written)
    cache = folder / "cifar10-lt-200.softmax.seed0.h5"
    before = cache.stat().st_mtime_ns
    again = run(*command)
    assert again.code == 0
    assert "seed0: done" in again.err
    assert cache.stat().st_mtime_ns == before

    moved = tmp_path / "moved"
    moved.symlink_to(data_root)
    again = run(*command[:3], moved, *command[4:-1], "--device", "cpu", "--dry-run")
    assert again.code == 0, again.err
    assert "seed0: done" in again.err

    other = run(*command[:3], data_root, "--views", 1, *command[-3:])
    assert other.code == 3
    assert "choose another folder" in other.error


def test_a_record_is_of_its_run_or_refused(data_root, folder_of_figure6, tmp_path):
    """And a figure wants its cache, a table the record alone."""
    record = json.loads((folder_of_figure6 / "cifar10-lt-200.softmax.seed0.json").read_text())
    path = tmp_path / "cifar10-lt-200.softmax.seed0.json"

    def planned(experiment, **changes):
        path.write_text(json.dumps({**record, **changes}))
        asked = {"data_root": data_root, "schedule": SCHEDULE, "budget": 0.0, "is_dry": True}
        return reproduce(experiment, tmp_path, **asked)

    assert [each.state for each in planned("figure6").runs] == ["missing"]
    run = Run(images=CIFAR10_200)
    (keys,) = (set(each.keys) for each in needed("table2") if each.run == run)
    others = dict.fromkeys(keys - {"marr:paper"}, record["methods"]["softmax"])
    found = planned("table2", methods=others, failed={"marr:paper": "of no use"})
    assert "- failed: cifar10-lt-200.softmax.seed0, marr:paper: of no use" in found.text()
    assert not found.document()["complete"]
    for changes, told in (
        ({"rows_of": "cifar10-lt-50"}, "on the rows of cifar10-lt-50; choose another folder"),
        ({"command": "pipeline 'x"}, "a record of a run expected"),
        ({"command": 7}, "a record of a run expected"),
        ({"methods": {"marr": 7}}, "a record of a run expected"),
    ):
        with pytest.raises(DataError, match=told):
            planned("table2", **changes)
    with pytest.raises(ConfigError, match="which shows one network"):
        reproduce("figure6", tmp_path, data_root=data_root, schedule=SCHEDULE, seeds=2)


def test_rows_are_not_cut_before_what_they_are_cut_by(data_root, folder, tmp_path):
    """Without the cache of the rarer images a run waits for theirs, and the budget holds."""
    run = Run(images=CIFAR10_100, rows_of=CIFAR10_200)
    images = find_images("cifar10-lt", data_root, folder / "images")
    stem = replace(run, rows_of=None).stem
    make(replace(run, rows_of=None), (), SCHEDULE, images, folder, NOBODY)
    shutil.copy(folder / f"{stem}.h5", tmp_path)
    survey = Survey(
        SCHEDULE,
        data_root=data_root,
        folder=tmp_path,
        device=torch.device("cpu"),
        listing=None,
        listener=NOBODY,
    )
    cut, own = Planned(run=run, keys=()), Planned(run=replace(run, rows_of=None), keys=())
    survey.look(cut)
    survey.look(own)
    assert (cut.state, own.state) == ("missing", "to be scored")


@pytest.mark.parametrize(
    ("experiment", "suffixes"),
    [("figure6", (".png", ".csv", ".json")), ("table1", (".md", ".csv", ".json"))],
)
def test_notes_under_the_name_of_any_output_are_told_before_a_run(
    run, data_root, tmp_path, experiment, suffixes
):
    command = ["reproduce", experiment, "--data-root", data_root, *QUICK, "-o", tmp_path]
    for suffix in suffixes:
        notes = tmp_path / f"{experiment}{suffix}"
        notes.write_text("notes")
        done = run(*command)
        assert (done.code, notes.read_text()) == (1, "notes")
        assert "got another file" in done.err
        assert not [*tmp_path.glob("*.h5")]
        notes.unlink()


def test_when_the_budget_ends_the_same_command_goes_on(run, data_root, tmp_path):
    command = ["reproduce", "figure6", "--data-root", data_root, "--batch-size", 8]
    steps = []
    for _ in range(2):
        stopped = run(*command, "--budget", "4s", "-o", tmp_path)
        assert stopped.code == 1, stopped.err
        assert "cifar10-lt-200.softmax.seed0: begun, the budget ended" in stopped.error
        steps.append(step_of(tmp_path / "cifar10-lt-200.softmax.seed0.pt"))
    assert 0 < steps[0] < steps[1]
    planned = run(*command, "--dry-run", "-o", tmp_path)
    assert f"seed0: begun, step {steps[1]:,} of 13,000, about" in planned.err
    other = run(*command, "--scale", "0.5", "-o", tmp_path)
    assert other.code == 3
    assert re.search(r"recipe.iterations 13000, asked 6500; .*choose another folder", other.error)


def test_a_table_says_what_cannot_run(run, tmp_path):
    table = run("reproduce", "table5", "-o", tmp_path, "--json")
    assert (table.code, table.out) == (2, "")
    assert "inaturalist2018.softmax.seed0 and 6 more: no --data-root" in table.error
    written = (tmp_path / "table5.md").read_text()
    assert "70.4" in written
    assert "ours, the paper's, and the difference in points" in written
    record = json.loads((tmp_path / "table5.json").read_text())
    assert record["complete"] is False
    assert "inaturalist2018.hybrid-sc-psc.seed0" in [each["run"] for each in record["runs"]]
    assert record["rows"]["Softmax"] == {
        "paper_inaturalist2018_overall": {"value": 0.65, "std": None, "n": None}
    }
    dry = run("reproduce", "table5", "-o", tmp_path / "none", "--dry-run")
    assert dry.code == 0
    assert not dry.out
    assert not (tmp_path / "none").exists()
    wrong = run("reproduce", "table5", "-o", tmp_path, "--budget", "soon")
    assert wrong.code == 2
    assert "8m" in wrong.error


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("cifar100.zip", b"", "named cifar10 expected"), ("cifar10.zip", b"PK", "a whole zip")],
)
def test_images_that_are_not_there_are_named(
    run, folder_of_figure6, tmp_path, name, content, reason
):
    (tmp_path / name).write_bytes(content)
    paper = tmp_path / "paper"
    paper.mkdir()
    for suffix in ("png", "csv"):  # of a figure that was made once
        shutil.copy(folder_of_figure6 / f"figure6.{suffix}", paper)
    figure = run("reproduce", "figure6", "-o", paper, "--data-root", tmp_path)
    assert (figure.code, figure.out) == (3, "")
    assert "figure6: runs expected, got none; cifar10-lt-200.softmax.seed0: no i" in figure.error
    assert reason in figure.error
    assert {path.name for path in paper.iterdir()} == {"figure6.json"}


def test_a_network_on_the_rows_of_rarer_images(data_root, folder):
    images = find_images("cifar10-lt", data_root, folder / "images")
    run = Run(images=CIFAR10_100, rows_of=CIFAR10_200)
    record = make(run, ("marr:paper",), SCHEDULE, images, folder, NOBODY)
    assert {"softmax", "logit-adjustment", "marr:paper"} <= set(record["methods"])
    cut = open_cache(folder / f"{run.scored_stem}.h5")
    rarer = open_cache(folder / "cifar10-lt-200.softmax.seed0.h5")
    own = open_cache(folder / "cifar10-lt-100.softmax.seed0.h5")
    np.testing.assert_array_equal(cut.class_counts, rarer.class_counts)
    np.testing.assert_array_equal(cut.split("train").labels, rarer.split("train").labels)
    np.testing.assert_array_equal(cut.head.prior_counts, own.class_counts)
    np.testing.assert_array_equal(cut.head.weight, own.head.weight)


def test_rows_are_cut_anew_from_a_network_that_was_made_anew(data_root, folder, tmp_path):
    run = Run(images=CIFAR10_100, rows_of=CIFAR10_200)
    images = find_images("cifar10-lt", data_root, folder / "images")
    cut, own = (tmp_path / f"{stem}.h5" for stem in (run.scored_stem, run.stem))
    make(run, (), SCHEDULE, images, tmp_path, NOBODY)
    before = open_cache(cut)
    assert read_record(run, (), SCHEDULE, images, tmp_path)
    for path in (own, own.with_suffix(".pt")):
        path.unlink()
    extract(replace(run.request(SCHEDULE, images), seed=1), output=tmp_path / "other.h5", views=0)
    (tmp_path / "other.h5").rename(own)  # of the same run by its name
    assert read_record(run, (), SCHEDULE, images, tmp_path) is None
    make(run, (), SCHEDULE, images, tmp_path, NOBODY)
    assert open_cache(cut).parts["cut from"] == open_cache(own).fingerprint
    assert open_cache(cut).fingerprint != before.fingerprint


def test_caches_that_are_there_are_scored_whatever_the_budget(
    data_root, folder_of_figure6, tmp_path
):
    """The copied cache alone is enough, and one of another schedule is refused before any run."""
    cached = "cifar10-lt-200.softmax.seed0.h5"
    shutil.copy(folder_of_figure6 / cached, tmp_path)
    said = []
    found = reproduce(
        "table2",
        tmp_path,
        data_root=data_root,
        schedule=SCHEDULE,
        seeds=2,
        budget=0.0,
        listener=Listener(say=said.append),
    )
    assert "cifar10-lt-200.softmax.seed0: to be scored" in said
    cell = found.table.rows["MARR (marr:paper)"]["cifar10_lt_200_overall"]
    assert (cell.n, cell.std) == (1, None)
    assert "(n=1)" in found.text()
    assert max(map(len, found.text().splitlines()[3:20])) <= 80
    assert not found.document()["complete"]
    assert not (tmp_path / cached).with_suffix(".pt").exists()
    for suffix in (".json", ".pt"):
        (tmp_path / cached).with_suffix(suffix).unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"views 0, asked 1; choose another folder"):
        reproduce("table2", tmp_path, data_root=data_root, schedule=replace(SCHEDULE, views=1))


def test_findings_stand_as_the_paper_has_them(tmp_path):
    """Figure 4's CSV has a curve, and references without a gamma."""
    table = tmp_path / "figure4.csv"
    table.write_text("series,gamma,overall\nmarr,0,0.4\nmarr,0.8,0.46\nmarr,1,0.45\nsoftmax,,0.9\n")
    found = findings_of(FIGURES["figure4"], {"methods": {}}, table)
    assert sentence(found) == (
        "gamma 0: overall 40.0; best on test at gamma 0.8: overall 46.0; softmax: overall 90.0"
    )
    methods = {"softmax": {"logit_correlation": 0.5, "margin_correlation": float("nan")}}
    found = findings_of(FIGURES["figure1"], {"methods": methods}, table)
    assert sentence(found) == "softmax: logit correlation +0.50"
    methods = {key: {"overall": 0.5} for key in ("softmax", "logit-adjustment", "marr:paper")}
    assert [*findings_of(FIGURES["figure6"], {"methods": methods}, table)] == [*methods]
    assert [*findings_of(FIGURES["figure1"], {"methods": methods}, table)] == ["softmax"]


def test_names_and_commands():
    assert ("table1", *TABLES, "table6", "table7", *FIGURES) == names.EXPERIMENTS
    asked = Run(images=CIFAR10_100, method="class-balanced", options=("form=focal",), seed=1)
    request = asked.request(Schedule(scale=0.1, device="cpu"), data_root="my data")
    assert command_of(request, views=4, output="c.h5") == (
        "pipeline extract --dataset cifar10-lt --data-root 'my data' --imbalance-ratio 100 "
        "--seed 1 --method class-balanced --method-option form=focal --iterations 1300 "
        "--device cpu --views 4 -o c.h5"
    )
    assert not Schedule().text
    assert SCHEDULE.text.endswith("16 images a step, views: 0")
    epochs = Schedule().iterations(TABLES["table3"].images[0])
    assert epochs == round(90 * 115_846 / 256)


@pytest.mark.parametrize("name", ["table3", "table4"])
def test_the_groups_that_the_paper_prints_give_its_overall(name):
    """Its tests are balanced, so overall accuracy is the groups' mean by their classes."""
    table = TABLES[name]
    sizes = np.array(protocol_of(table.images[0].dataset).figures[None].groups)
    for row, (*groups, overall) in table.printed.items():
        expected = sizes @ groups / sizes.sum()
        known = {"table3": 0.11, "table4": 1.7}[name] if row == "OLTR" else 0.1
        assert abs(expected - overall) <= known, row


def test_an_accuracy_table_sets_means_of_seeds_against_the_paper():
    records = [{"methods": {"marr": {"overall": value}}} for value in (0.80, 0.82)]
    rows = {name: ROWS[name] for name in ("Softmax", "MARR")}
    table = accuracy_table(TABLES["table2"], rows, {(CIFAR10_100, ROWS["MARR"]): records})
    key = "cifar10_lt_100_overall"
    cells = table.rows["MARR (marr)"]
    assert cells[key].value == pytest.approx(0.81)
    assert cells[key].std == pytest.approx(0.01 * 2**0.5)
    assert cells[f"paper_{key}"].value == 0.853
    assert cells[f"difference_{key}"].value == pytest.approx(-0.043)
    assert key not in table.rows["Softmax"]
    assert key not in table.rows["MARR (marr:paper)"]
    assert "MARR (marr),0.81" in csv_table(table)
    assert table7({}).rows["network of cifar100-lt-50"] == {"paper": Estimate(value=0.545)}


def test_the_formulas_are_what_the_methods_do(rng):
    num_classes, num_samples = 5, 400
    weight = torch.from_numpy(rng.normal(size=(num_classes, 3)))
    bias = torch.from_numpy(rng.normal(size=num_classes))
    labels = torch.from_numpy(rng.integers(0, num_classes, num_samples))
    logits = torch.from_numpy(rng.normal(size=(num_samples, 3))) @ weight.T + bias
    logits[torch.arange(num_samples), labels] += 1.0
    counts = torch.bincount(labels, minlength=num_classes)
    inputs = FitInputs(
        logits=logits[None],
        labels=labels,
        weight_norm=weight.norm(dim=1),
        class_counts=counts,
        prior_counts=counts,
        bias=bias,
        weight=weight,
    )
    known = {
        "eta": logits.numpy(),
        "b": bias.numpy(),
        "w": weight.norm(dim=1).numpy(),
        "pi": (counts / counts.sum()).numpy(),
        "tau": 1.0,
        "log": np.log,
    }
    for key, (formula, _) in FORMULAS.items():
        if key in ("crt", "disalign"):  # of features
            continue
        method, _, preset = key.partition(":")
        settings = preset_settings(preset or "default", method=method, tolerance=1e-9)
        rectifier = fit_rectifier(inputs, settings).rectifier
        own = {name: values.numpy() for name, values in rectifier.own.items()}
        value = eval(formula, {"s": rectifier.scale.numpy(), **known, **own})
        np.testing.assert_allclose(rectifier.apply(logits).numpy(), value, atol=1e-6, err_msg=key)


def test_the_parameters_are_what_the_fits_have(digits_cache):
    cached = open_cache(digits_cache)
    done = compare(digits_cache, methods=list(PARAMETERS))
    for key in PARAMETERS:
        counted = num_parameters(key, cached.num_features, cached.num_classes)
        fitted = done.reports[key].record()["parameters"]
        assert fitted == counted + (key == "disalign"), key  # whose c the paper leaves out


def test_another_archive_of_the_same_name_is_unpacked_anew(tmp_path):
    (tmp_path / "data").mkdir()
    for content in (b"first", b"second"):
        with zipfile.ZipFile(tmp_path / "data" / "cifar10.zip", "w") as archive:
            archive.writestr("cifar10/train/a/0.png", content)
        found = find_images("cifar10-lt", tmp_path / "data", tmp_path / "images")
        assert (found / "train/a/0.png").read_bytes() == content
