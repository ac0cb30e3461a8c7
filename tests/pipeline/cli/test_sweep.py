"""`pipeline sweep` against one `pipeline rectify` a point, and the lists it takes."""

import csv

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline import names
from marr_pipeline.cli.options import ChoiceList, NumberList
from marr_pipeline.workflows.sweep import SETTINGS


def test_each_point_is_the_fit_of_rectify(run, digits_cache):
    done = run(
        *("sweep", digits_cache, "--gamma", "0,1.2", "--l2", "0.01,1", "--preset", "paper"),
        *("--center", "zero,tempered", "--json"),
    )
    assert done.code == 0
    points = done.document["points"]
    assert [(p["gamma"], p["l2"], p["center"]) for p in points] == [
        (gamma, l2, center)
        for gamma in (0.0, 1.2)
        for l2 in (0.01, 1.0)
        for center in ("zero", "tempered")
    ]
    for point in (points[0], points[-1]):
        options = [f"--{name}={point[name]}" for name in ("gamma", "l2", "center")]
        alone = run("rectify", digits_cache, "--preset", "paper", *options, "--json").document
        assert point["metrics"] == alone["metrics"]["after"]
        assert (point["loss"], point["status"]) == (alone["loss"], alone["status"])
    assert done.document["baselines"]["softmax"] == alone["metrics"]["before"]


def test_the_table_has_every_point_with_the_intervals_of_compare(run, digits_cache, tmp_path):
    output = tmp_path / "sweep.csv"
    swept = ("sweep", digits_cache, "--gamma", "0,1", "--center", "zero,tempered")
    done = run(*swept, "-o", output, "--json")
    assert done.code == 0
    assert f"wrote {output}" in done.err
    rows = list(csv.DictReader(output.read_text().splitlines()))
    points = done.document["points"]
    assert [row["name"] for row in rows[:2]] == ["softmax", "logit-adjustment"]
    for row, point in zip(rows[2:], points, strict=True):
        assert (row["method"], row["preset"], row["center"]) == ("marr", "default", point["center"])
        assert bool(row["scale_l2"]) == (point["center"] == "tempered")
        assert float(row["gamma"]) == point["gamma"]
        assert row["l2"] == rows[2]["l2"]  # what the rows ask for
        for metric in ("overall", "few", "macro_f1", "nll", "ece"):
            assert float(row[metric]) == pytest.approx(point["metrics"][metric], abs=1e-15)
    compared = tmp_path / "compare.csv"
    assert run("compare", digits_cache, "--methods", "marr", "-o", compared).code == 0
    expected = list(csv.DictReader(compared.read_text().splitlines()))[-1]
    default = rows[-1]
    own = {name for name, value in default.items() if value != expected.get(name)}
    assert own - set(SETTINGS) <= {
        "name",
        "views",
        "vs_softmax_p_holm",
        "vs_logit_adjustment_p_holm",
    }
    assert {name for name in expected if name not in default} == {"seconds"}
    before = output.read_bytes()
    assert run(*swept, "-o", output).code == 0
    assert output.read_bytes() == before


def test_points_that_differ_without_effect_are_fitted_once(run, digits_cache):
    done = run("sweep", digits_cache, "--center", "zero,tempered", "--scale-l2", "0.1,1", "--json")
    points = done.document["points"]
    assert [(p["center"], p["scale_l2"]) for p in points] == [
        ("zero", None),
        ("tempered", 0.1),
        ("tempered", 1.0),
    ]


def test_part_of_a_view_is_refused(run, digits_cache):
    refused = run("sweep", digits_cache, "--views", "1.7")
    assert refused.code == 2
    assert "whole numbers such as 1,2,4 expected, got '1.7'" in refused.err


def test_features_alone_are_swept_as_rectify_fits_them(run, digits_cache, tmp_path):
    cache = tmp_path / "features.h5"
    checkpoint = digits_cache.with_suffix(".pt")
    options = ["--checkpoint", checkpoint, "--views", 1, "--store", "features", "-o", cache]
    assert run("extract", "--dataset", "digits-lt", *options).code == 0
    (point,) = run("sweep", cache, "--gamma", "1", "--json").document["points"]
    alone = run("rectify", cache, "--gamma", "1", "--json").document
    assert (point["loss"], point["metrics"]) == (alone["loss"], alone["metrics"]["after"])
    refused = run("sweep", cache, "--gamma", "1", "--from", "logits")
    assert refused.code == 3
    assert "holds features alone; use --from features" in refused.error


@given(first=st.integers(-5, 5), count=st.integers(0, 20), step=st.sampled_from([0.1, 0.25, 2.0]))
def test_a_range_has_both_its_ends(first, count, step):
    last = round(first + count * step, 9)
    found = NumberList().convert(f"{first}:{last}:{step}", None, None)
    assert len(found) == count + 1
    assert found[0] == first
    assert found[-1] == pytest.approx(last, abs=1e-9)


def test_names_keep_their_order():
    assert ChoiceList(names.CENTERS).convert("tempered,zero", None, None) == ("tempered", "zero")
    with pytest.raises(click.BadParameter, match="expected, got 'x'"):
        ChoiceList(names.CENTERS).convert("x", None, None)
