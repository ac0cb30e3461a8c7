import pytest
import torch

from pipeline.bench.extraction import eval_loop, measure_extraction
from pipeline.bench.rates import Rate, RateRatio, Work, measure_rates

CPU = torch.device("cpu")


def work_of(clock, amount, seconds, unit="rows"):
    durations = iter(seconds)
    return Work(amount=amount, unit=unit, run=lambda watch: clock.wait(next(durations)))


def test_a_rate_is_its_amount_over_its_seconds(clock):
    rates = measure_rates({"a": work_of(clock, 600, [9, 2, 4, 3])}, repeat=3, device=CPU)
    assert rates["a"].document() == {
        "amount": 600,
        "unit": "rows",
        "seconds": 2,
        "median_seconds": 3,
        "repeats": 3,
        "per_second": 300,
    }


def test_a_ratio_compares_what_is_done_in_a_second(clock):
    works = {"a": work_of(clock, 600, [9, 2, 4]), "b": work_of(clock, 1000, [9, 5, 11])}
    rates = measure_rates(works, repeat=2, device=CPU)
    ratio = RateRatio.of(rates["a"], rates["b"])
    assert ratio.document() == {"best": 300 / 200, "median": 200 / 125}


def test_rates_of_different_things_have_no_ratio():
    rate = {"amount": 1, "seconds": 1.0, "median_seconds": 1.0, "repeats": 1}
    with pytest.raises(AssertionError):
        RateRatio.of(Rate(unit="rows", **rate), Rate(unit="bytes", **rate))


def test_extraction_is_compared_with_the_bare_loop(clock):
    bench = measure_extraction(
        bare=lambda: clock.wait(2.0),
        ours=lambda: clock.wait(2.5),
        num_images=100,
        repeat=2,
        device=CPU,
    )
    document = bench.document()
    assert (document["bare"]["per_second"], document["ours"]["per_second"]) == (50.0, 40.0)
    assert document["ours_to_bare"] == {"best": 0.8, "median": 0.8}


def test_the_eval_loop_runs_every_batch_without_gradients():
    seen = []
    network = torch.nn.Linear(2, 3)

    def watched(batch):
        seen.append((len(batch), torch.is_inference_mode_enabled()))
        assert not network(batch).requires_grad

    eval_loop(watched, [torch.ones(4, 2), torch.ones(1, 2)])
    assert seen == [(4, True), (1, True)]
