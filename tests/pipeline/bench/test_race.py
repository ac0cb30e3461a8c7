from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from pipeline.bench.contest import marr_contest, temperature_contest, vector_scaling_contest
from pipeline.bench.race import RaceStatus, race
from pipeline.bench.settings import BenchSettings
from pipeline.bench.solvers import RIVALS


@pytest.fixture
def contest(bench_inputs):
    return marr_contest(bench_inputs, BenchSettings())


@pytest.fixture
def best(contest):
    fit = contest.fit("newton", tolerance=1e-12)
    return contest.theta(fit.rectifier.scale, fit.rectifier.shift)


def run(contest, solver, *, objective=None, problem=None, target=None, limit_seconds=60.0):
    problem = problem or contest.problem()
    return race(
        solver,
        objective or contest.autograd(contest.inputs.rows()[0]),
        problem,
        contest.start(problem),
        target=contest.optimum().target if target is None else target,
        limit_seconds=limit_seconds,
    )


@pytest.mark.parametrize("reduction", ["plain", "weighted"])
@pytest.mark.parametrize("make", [marr_contest, vector_scaling_contest, temperature_contest])
def test_autograd_minimises_the_same_objective(bench_inputs, make, reduction):
    contest = make(bench_inputs, BenchSettings(reduction=reduction, center="identity"))
    problem = contest.problem()
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(problem.family.num_parameters, generator=generator, dtype=torch.float64)
    value, gradient = contest.autograd(contest.inputs.rows()[0].double()).value_and_gradient(theta)
    ours = problem.evaluate(theta, precise=True)
    assert value == pytest.approx(ours.value, rel=1e-12)
    assert_close(gradient, ours.gradient, rtol=1e-10, atol=1e-12)


def test_a_rival_arrives_at_its_first_point_within_the_gap(contest, best):
    def third_time_right(objective, start):
        for theta in (start, start + 0.1, best, start):
            objective.value_and_gradient(theta)
        return start

    result = run(contest, third_time_right)
    assert (result.status, result.passes) == (RaceStatus.REACHED, 3)
    assert torch.equal(result.theta, best)


def test_a_rival_that_ends_early_is_told_so(contest):
    def gives_up(objective, start):
        objective.value_and_gradient(start)
        return start + 1.0

    result = run(contest, gives_up)
    assert (result.status, result.passes) == (RaceStatus.STOPPED, 1)
    assert torch.equal(result.theta, contest.start(contest.problem()) + 1.0)


def test_a_rivals_own_word_does_not_decide(contest):
    class Boaster:
        def value_and_gradient(self, theta):
            return -1.0, torch.zeros_like(theta)

    def believes(objective, start):
        objective.value_and_gradient(start)
        return start

    assert run(contest, believes, objective=Boaster()).status is RaceStatus.STOPPED


def test_looking_costs_a_rival_nothing(contest, best, clock):
    problem = contest.problem()
    evaluate = problem.evaluate

    def slow(theta, *, precise):
        clock.wait(100.0)
        return evaluate(theta, precise=precise)

    problem.evaluate = slow

    def looked_at_twice(objective, start):
        for shift in (1e-2, 0.0):
            clock.wait(1.0)
            objective.value_and_gradient(best + shift)
        return start

    class Hopeful:
        def value_and_gradient(self, theta):
            return -1.0, torch.zeros_like(theta)

    target = contest.optimum().target
    result = run(contest, looked_at_twice, objective=Hopeful(), problem=problem, target=target)
    assert (result.status, result.passes, result.seconds) == (RaceStatus.REACHED, 2, 2.0)


def test_a_rival_is_given_up(contest, clock):
    def slow(objective, start):
        while True:
            clock.wait(1.0)
            objective.value_and_gradient(start)

    result = run(contest, slow, limit_seconds=2.5)
    assert (result.status, result.seconds) == (RaceStatus.TIME_LIMIT, 3.0)


@pytest.mark.parametrize("name", ["torch-lbfgs", "scipy-lbfgs"])
def test_rivals_arrive(contest, name):
    result = run(contest, RIVALS[name])
    assert result.status is RaceStatus.REACHED
    value = contest.problem().evaluate(result.theta, precise=True).value
    assert value <= contest.optimum().target


def test_the_optimum_is_the_least_loss(contest):
    loose, tight = contest.optimum(), replace(contest, gap=1e-10).optimum()
    assert loose.gap_bound <= 1e-8
    assert tight.gap_bound <= 1e-12
    assert tight.loss - 1e-12 <= loose.loss <= tight.loss + 1e-8
    assert loose.target == loose.loss + 1e-6
