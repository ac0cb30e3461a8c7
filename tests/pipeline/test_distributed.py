"""Two real processes against one, and what a process makes of its place."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import make_inputs
from warm import run_ranks

from marr_pipeline.distributed import ALONE, Ranks, joined_ranks, ranks_from_environment
from marr_pipeline.errors import ConfigError
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.rows.blocks import CHUNK_LOGITS
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.settings import RectifySettings

QUANTITIES = """
import sys
import numpy as np
import torch
from marr_pipeline.distributed import joined_ranks
from marr_pipeline.rectify.head import HeadCrossEntropy
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.tuning import TuningOptions, tune


def tuned_scores(logits, labels, resources):
    counts = torch.bincount(labels)
    inputs = FitInputs(
        logits=logits[None],
        labels=labels,
        weight_norm=torch.ones(len(counts), dtype=torch.float64),
        class_counts=counts,
        prior_counts=counts,
    )
    options = TuningOptions(fixed=frozenset({"l2", "center"}), num_folds=2)
    tuning = tune(
        inputs,
        inputs,
        RectifySettings(),
        source="cross-validation",
        options=options,
        resources=resources,
    )
    return [*(scored.score for scored in tuning.grid), tuning.standard_error]


def quantities(num_rows, num_classes, resources):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(num_rows, num_classes, generator=generator)
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    logits[torch.arange(num_rows), labels] += 8.0
    weights = torch.linspace(0.0, 2.0, num_classes)
    loss = WeightedCrossEntropy(logits, labels, weights, reduction="weighted", resources=resources)
    scale = 0.5 + torch.rand(num_classes, generator=generator, dtype=torch.float64)
    shift = torch.randn(num_classes, generator=generator, dtype=torch.float64)
    found = loss.evaluate(scale, shift, precise=False)
    features, head = logits[:, :3].contiguous(), scale[:, None] * torch.ones(4).double()
    of_head = HeadCrossEntropy(
        features, labels, weights, reduction="weighted", resources=resources
    )
    return {
        "head": of_head.evaluate(head, precise=False).gradient.numpy(),
        "head_product": of_head.hessian(head)(head * shift[:, None]).numpy(),
        "tuned": tuned_scores(logits[:300], labels[:300], resources),
        "loss": found.value,
        "largest": found.largest_row_loss,
        "gradient": found.gradient.flatten().numpy(),
        "hessian": torch.stack(loss.hessian(scale, shift)).numpy(),
        "product": torch.cat(loss.hessian_product(scale, shift, shift, scale)).numpy(),
        "separated": loss.is_separated(scale, shift),
        "far": loss.is_separated(scale, 100 * shift),
    }


if __name__ == "__main__":
    num_rows, num_classes = int(sys.argv[2]), int(sys.argv[3])
    with joined_ranks(torch.device("cpu")) as ranks:
        found = quantities(num_rows, num_classes, Resources(ranks=ranks))
    np.savez(sys.argv[1] + str(ranks.rank), size=ranks.size, **found)
"""


@pytest.mark.parametrize(
    "num_rows",
    [
        pytest.param(5 * CHUNK_LOGITS["cpu"][0] // 20, id="several chunks"),
        pytest.param(300, id="a chunk for one of the two"),
    ],
)
def test_two_processes_find_what_one_finds(warm, tmp_path, num_rows):
    script, num_classes = tmp_path / "quantities.py", 20
    script.write_text(QUANTITIES, encoding="utf-8")
    run_ranks(warm, [tmp_path / "rank", num_rows, num_classes], size=2, script=script)
    ranks = [dict(np.load(tmp_path / f"rank{rank}.npz")) for rank in range(2)]
    assert ranks[0].pop("size") == ranks[1].pop("size") == 2
    scope = {"__name__": "quantities"}
    exec(compile(QUANTITIES, "quantities", "exec"), scope)
    alone = scope["quantities"](num_rows, num_classes, Resources())
    assert set(alone) == set(ranks[0])
    for name, expected in alone.items():
        np.testing.assert_array_equal(ranks[0][name], ranks[1][name])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ranks[0][name], expected, rtol=0, atol=1e-10 * scale)


@given(num_items=st.integers(0, 40), size=st.integers(1, 9))
def test_shares_are_even_and_leave_nothing_out(num_items, size):
    items = list(range(num_items))
    shares = [Ranks(rank=rank, size=size).share(items) for rank in range(size)]
    assert [item for share in shares for item in share] == items
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_alone_a_sum_is_itself():
    values = torch.randn(3, dtype=torch.float64)
    assert torch.equal(ALONE.gather(values), values[None])
    ALONE.meet()


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined_ranks(torch.device("cpu")) as ranks:
        assert ranks == ALONE
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("rank", "size", "message"),
    [
        ("2", "2", r"RANK: a number in 0..1 for WORLD_SIZE 2 expected, got 2"),
        ("first", "2", "RANK: a whole number expected, got 'first'"),
        ("0", "two", "WORLD_SIZE: a whole number expected, got 'two'"),
    ],
)
def test_a_place_that_cannot_be_is_refused(monkeypatch, rank, size, message):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(ConfigError, match=message):
        ranks_from_environment()


def test_sgd_in_several_processes_is_refused():
    resources = Resources(ranks=Ranks(rank=0, size=2))
    with pytest.raises(ConfigError, match="lbfgs or newton expected in 2 processes, got sgd"):
        fit_rectifier(make_inputs(), RectifySettings(optimizer="sgd"), resources=resources)
