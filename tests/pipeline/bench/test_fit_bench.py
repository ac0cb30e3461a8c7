import json
import math
import sys
from dataclasses import replace

import pytest
import torch
from reference import reference_objective, reference_optimum

from pipeline.bench import heat as heat_module
from pipeline.bench import peers as peers_module
from pipeline.bench.fit import run_fit_bench
from pipeline.bench.quiet import quiet
from pipeline.bench.settings import PARTS, BenchSettings
from pipeline.errors import ConfigError
from pipeline.rectify.weighting import class_weights

PASSES = ("read", "exp", "fast", "precise", "hessian_product", "autograd")


@pytest.fixture(scope="module")
def settings():
    return BenchSettings(parts=PARTS, repeat=1)


@pytest.fixture(scope="module")
def bench(bench_inputs, settings):
    return run_fit_bench(bench_inputs, settings)


def reference_parts(contest):
    """Arguments of the references for a contest, in NumPy."""
    inputs, settings = contest.inputs, contest.settings
    logits, labels = inputs.rows()
    classes = inputs.num_classes
    assert settings.center in ("zero", "identity")
    scale = 1.0 if settings.center == "identity" else 0.0
    return {
        "logits": logits.double().numpy(),
        "labels": labels.numpy(),
        "class_weights": class_weights(inputs.class_counts, settings.gamma).numpy(),
        "weight_norm": inputs.weight_norm.numpy(),
        "l2": settings.l2,
        "center": (torch.full((classes,), scale).double().numpy(), torch.zeros(classes).numpy()),
        "reduction": settings.reduction,
    }


def test_every_loss_is_that_of_its_parameters(bench):
    checked = 0
    for heat in bench.heats:
        parts = reference_parts(heat.contest)
        for fit in heat.fits:
            if fit.theta is None:
                continue
            omega, beta = fit.theta, torch.zeros(7, dtype=torch.float64)
            if len(fit.theta) == 14:
                omega, beta = fit.theta.split(7)
            loss, _, _ = reference_objective(
                **parts, omega=omega.expand(7).numpy(), beta=beta.numpy()
            )
            assert fit.loss == pytest.approx(loss, rel=1e-6, abs=1e-9), (fit.objective, fit.fit)
            checked += 1
    assert checked >= 9


def test_the_target_is_the_gap_above_the_optimum(bench, settings):
    for heat in bench.heats:
        assert heat.optimum.target == heat.optimum.loss + settings.gap
        if heat.contest.settings.l2 > 0:
            _, _, least = reference_optimum(**reference_parts(heat.contest))
            assert heat.optimum.loss == pytest.approx(least, abs=0.1 * settings.gap)


def test_seconds_are_those_to_the_target(bench):
    for heat in bench.heats:
        for fit in heat.fits:
            if fit.status in ("not_installed", "skipped"):
                assert fit.why
                assert fit.seconds is fit.run_seconds is fit.loss is None
                continue
            assert fit.run_seconds > 0
            assert fit.gap == pytest.approx(fit.loss - heat.optimum.loss)
            assert (fit.seconds is not None) == (fit.loss <= heat.optimum.target)
            if fit.seconds is not None:
                assert 0 < fit.seconds <= fit.median_seconds
                assert fit.times_ours > 0


def test_ours_and_torchs_arrive(bench):
    found = {(fit.objective, fit.fit): fit for fit in bench.fits}
    for name in ("lbfgs", "newton"):
        fit = found["marr", name]
        assert (fit.status, fit.seconds is None) == ("converged", False)
        assert fit.gap_bound <= 1e-6
        assert fit.passes >= 1
    assert found["marr", "lbfgs"].times_ours == 1.0
    assert found["marr", "torch-lbfgs"].status == "reached"
    assert found["marr", "sgd"].status == "schedule_end"


def test_passes_and_their_ratios_are_positive(bench):
    assert tuple(bench.passes.timings) == PASSES
    for timing in bench.passes.timings.values():
        assert 0 < timing.seconds <= timing.median_seconds
        assert timing.repeats == 1
    for name, ratio in bench.passes.ratios.items():
        upper, lower = name.split("_to_")
        timings = bench.passes.timings
        assert ratio == timings[upper].seconds / timings[lower].seconds > 0


def test_document_is_complete_json(bench):
    document = bench.document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == {"machine", "passes", "objectives", "fits", "memory"}
    assert set(document["passes"]) == {*PASSES, "ratios"}
    assert list(document["objectives"])[:1] == ["marr"]
    assert {fit["objective"] for fit in document["fits"]} >= {"marr", "vector-scaling"}
    for fit in document["fits"]:
        assert set(fit) == {
            *("objective", "fit", "status", "why", "arithmetic", "seconds", "median_seconds"),
            *("run_seconds", "repeats", "passes", "loss", "gap", "gap_bound", "times_ours"),
        }
    assert document["machine"]["threads"] == torch.get_num_threads()


def test_missing_libraries_are_no_error(bench_inputs, settings, monkeypatch):
    for name in ("probmetrics", "probmetrics.calibrators", "netcal", "netcal.scaling", "torchmin"):
        monkeypatch.setitem(sys.modules, name, None)
    parts = ("lbfgs", "torchmin", "probmetrics", "netcal")
    bench = run_fit_bench(bench_inputs, replace(settings, parts=parts))
    found = {(fit.objective, fit.fit): fit for fit in bench.fits}
    for key in (("marr", "torchmin"), ("svs", "probmetrics"), ("temperature", "netcal")):
        assert found[key].status == "not_installed"
        assert found[key].seconds is None
        assert "import of" in found[key].why
    assert found["vector-scaling", "lbfgs"].status == "converged"


@pytest.mark.parametrize(
    ("peer", "module", "objective"),
    [
        ("probmetrics", "probmetrics.calibrators", "svs"),
        ("netcal", "netcal.scaling", "temperature"),
    ],
)
def test_peers_minimise_what_we_say_they_do(bench_inputs, settings, capfd, peer, module, objective):
    with quiet():
        pytest.importorskip(module)
    bench = run_fit_bench(bench_inputs, replace(settings, parts=("lbfgs", peer)))
    found = {(fit.objective, fit.fit): fit for fit in bench.fits}
    assert -1e-6 < found[objective, peer].gap < 1e-4
    assert found[objective, peer].run_seconds > 0
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("MAX_CLASSES", 5, "not run beyond 5 classes"), ("MAX_LOGITS", 99, "or 99 logits")],
)
def test_peers_are_spared_what_they_cannot_do(
    bench_inputs, settings, monkeypatch, name, value, message
):
    monkeypatch.setattr(peers_module, name, value)
    bench = run_fit_bench(bench_inputs, replace(settings, parts=("lbfgs", "probmetrics", "netcal")))
    assert [(fit.fit, fit.status) for fit in bench.fits] == [
        ("lbfgs", "converged"),
        ("probmetrics", "skipped"),
        ("netcal", "skipped"),
    ]
    assert message in bench.fits[1].why


@pytest.mark.parametrize(("asked", "status"), [(False, "skipped"), (True, "converged")])
def test_newton_with_a_dear_hessian_runs_if_asked(
    bench_inputs, settings, monkeypatch, asked, status
):
    monkeypatch.setattr(heat_module, "FULL_UP_TO", 6)
    bench = run_fit_bench(bench_inputs, replace(settings, parts=("newton",), newton_asked=asked))
    assert [fit.status for fit in bench.fits] == [status]
    assert bench.passes is None


def test_certified_fits_alone_need_no_optimum(bench_inputs, settings):
    bench = run_fit_bench(bench_inputs, replace(settings, parts=("lbfgs",)))
    (fit,) = bench.fits
    assert fit.gap is None
    assert fit.gap_bound <= settings.gap
    assert fit.seconds > 0
    assert bench.heats[0].optimum is None


def test_a_rival_that_float32_stops_short_goes_on_in_float64(bench_inputs, settings):
    near = replace(settings, parts=("torch-lbfgs",), gap=1e-12)
    bench = run_fit_bench(bench_inputs, near)
    assert [(fit.arithmetic, fit.status) for fit in bench.fits] == [
        ("float32", "stopped"),
        ("float64", "reached"),
    ]
    assert bench.fits[0].seconds is None
    assert math.isfinite(bench.fits[0].run_seconds)


def test_what_does_not_fit_into_memory_is_left_out(bench_inputs, settings, monkeypatch):
    for module in ("heat", "passes"):
        name = f"pipeline.bench.{module}.fits_in_memory"
        monkeypatch.setattr(name, lambda num_bytes, device: False)
    bench = run_fit_bench(bench_inputs, replace(settings, parts=("passes", "lbfgs", "torch-lbfgs")))
    assert bench.passes.timings["exp"] is bench.passes.timings["autograd"] is None
    assert bench.passes.ratios["fast_to_exp"] is None
    assert bench.passes.ratios["fast_to_read"] > 0
    assert [fit.status for fit in bench.fits] == ["converged", "skipped"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l2": 0.0}, "--l2: a number > 0 expected, got 0.0; without a ridge no optimum"),
        ({"gap": 0.0}, "--gap: a number > 0 expected, got 0.0"),
        ({"repeat": 0}, "--repeat: at least 1 expected, got 0"),
        ({"parts": ("gpu",)}, "--only: one of passes, lbfgs"),
        ({"gamma": math.inf}, "--gamma: a finite exponent expected, got inf"),
        ({"center": "one"}, "--center: one of zero"),
    ],
)
def test_settings_check_themselves(changes, message):
    with pytest.raises(ConfigError, match=message):
        BenchSettings(**changes)
