"""`pipeline sweep` against one `pipeline rectify` a point, and the lists it takes."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline import names
from marr_pipeline.cli.options import ChoiceList, NumberList


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


def test_points_that_differ_without_effect_are_fitted_once(run, digits_cache):
    done = run("sweep", digits_cache, "--center", "zero,tempered", "--scale-l2", "0.1,1", "--json")
    points = done.document["points"]
    assert [(p["center"], p["scale_l2"]) for p in points] == [
        ("zero", None),
        ("tempered", 0.1),
        ("tempered", 1.0),
    ]


def test_views_are_the_first_ones(run, digits_cache):
    done = run("sweep", digits_cache, "--views", "1,2", "--json")
    assert [point["views"] for point in done.document["points"]] == [1, 2]
    refused = run("sweep", digits_cache, "--views", "9")
    assert refused.code == 3
    assert "views: 1 to" in refused.err


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


def test_the_table_names_what_varies(run, digits_cache):
    done = run("sweep", digits_cache, "--gamma", "0:1:0.5")
    names_shown = [line.rsplit("  ", 1)[0].split("  ")[0] for line in done.out.splitlines()[1:]]
    assert names_shown == ["softmax", "logit-adjustment", "gamma 0", "gamma 0.5", "gamma 1"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--gamma", "0:1:0", "numbers such as 0,1,1.2 or 0:1.6:0.2 expected, got '0:1:0'"),
        ("--l2", "one", "expected, got 'one'"),
        ("--center", "zero,mean", "names out of zero, identity, logit-adjustment, tempered"),
        ("--l2", "-1", "l2: a number >= 0 expected, got -1"),
    ],
)
def test_bad_lists_are_usage_errors(run, digits_cache, option, value, message):
    done = run("sweep", digits_cache, option, value)
    assert done.code == 2
    assert message in done.err


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
