"""The words under a demonstration's figures are true of gains, losses and ties alike."""

from types import SimpleNamespace

import pytest

from marr_pipeline.cache import open_cache, verify_cache
from marr_pipeline.workflows.demo import sentences, write_embedded_cache
from marr_pipeline.workflows.rectify import rectify_cache


def words(after, *, groups=("many", "few"), margin=0.1, p_before=0.0, p_adjusted=1.0):
    before = {"many": 0.9, "few": 0.2, "overall": 0.6, "nll": 1.0}
    adjusted = {"many": 0.8, "few": 0.5, "overall": 0.7, "nll": 0.8}
    numbers = {"before": before, "adjusted": adjusted, "after": before | after}
    return list(
        sentences(
            "marr",
            {name: SimpleNamespace(**one) for name, one in numbers.items()},
            groups=groups,
            correlations={"before": 0.8, "adjusted": -0.2, "after": margin},
            p_before=p_before,
            p_adjusted=p_adjusted,
        )
    )


def test_a_gain_is_told_with_its_price():
    accuracy, adjustment, likelihood, margins = words(
        {"many": 0.85, "few": 0.45, "overall": 0.68, "nll": 0.7}
    )
    assert accuracy == (
        "With marr the accuracy of many-shot classes falls from 90.0 % to 85.0 % and that of "
        "few-shot classes rises from 20.0 % to 45.0 %; over all test rows it rises from 60.0 % "
        "to 68.0 %."
    )
    assert "70.0 % (many-shot 80.0 %, few-shot 50.0 %)" in adjustment
    assert adjustment.endswith("marr to 68.0 %, a difference that may be chance (p = 1.00).")
    assert "falls from 1.000 to 0.700; by logit adjustment it is 0.800" in likelihood
    assert margins.endswith(
        "from +0.80 to +0.10 (-0.20 by logit adjustment): margins depend less on how common a "
        "class is."
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        pytest.param({"after": {"overall": 0.5}}, "rows it falls from 60.0 % to 50.0 %", id="loss"),
        pytest.param({"after": {"few": 0.2001}}, "few-shot classes stays at 20.0 %", id="tie"),
        pytest.param({"after": {"nll": 1.5}}, "rises from 1.000 to 1.500", id="likelihood"),
        pytest.param({"margin": 0.8}, "depend no less on how common a class is.", id="margins"),
        pytest.param({"margin": -0.9}, "no less", id="as-steep"),
        pytest.param({"margin": -0.3}, "and now the rare ones have the larger.", id="turned"),
        pytest.param({"p_adjusted": 0.3}, "marr to 60.0 %, a difference that may", id="by-chance"),
        pytest.param(
            {"after": {"overall": 0.7}}, "few-shot 50.0 %), marr to 70.0 %.", id="as-good"
        ),
    ],
)
def test_losses_and_ties_are_told_as_such(changed, told):
    assert told in " ".join(words(**{"after": {}, **changed}))


def test_what_does_not_exist_is_left_out():
    accuracy, *_, last = words({}, groups=("many",), margin=float("nan"))
    assert "that of" not in accuracy
    assert "likelihood" in last


def test_the_embedded_cache_is_whole_and_fits(tmp_path):
    path = tmp_path / "embedded.h5"
    write_embedded_cache(path)
    assert path.stat().st_size < 2_000_000
    assert verify_cache(path) == []
    cached = open_cache(path)
    assert cached.class_counts.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert all(split.features is None for split in cached.splits.values())
    found = rectify_cache(cached).metrics
    assert found["after"].overall > found["before"].overall + 0.1
