"""Batch normalisation shared by processes, here threads, against torch's own in one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from marr_pipeline.backbone.training.synchronised_norm import check_norms, synchronised_norms
from marr_pipeline.distributed import Ranks
from marr_pipeline.errors import ConfigError

CPU = torch.device("cpu")


@dataclass
class Table:
    """Where the threads lay down what they gather."""

    barrier: threading.Barrier
    values: dict = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ThreadRanks(Ranks):
    """Ranks that are threads of this process."""

    table: Table

    def gather(self, values):
        self.table.values[self.rank] = values
        self.table.barrier.wait(timeout=20)
        every = torch.stack([self.table.values[rank] for rank in range(self.size)])
        self.table.barrier.wait(timeout=20)
        return every


def together(shares, work):
    """What `work(ranks, share)` gives in one thread a share."""
    table = Table(threading.Barrier(len(shares)))
    with ThreadPoolExecutor(len(shares)) as pool:
        started = [
            pool.submit(work, ThreadRanks(rank=rank, size=len(shares), table=table), share)
            for rank, share in enumerate(shares)
        ]
        return [each.result() for each in started]


def make_network(kind, channels, *, affine=True, momentum=0.1):
    generator = torch.Generator().manual_seed(1)
    norm = kind(channels, affine=affine, momentum=momentum)
    if affine:
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        nn.init.uniform_(norm.bias, -1, 1, generator=generator)
    return nn.Sequential(norm).double()


def run(network, x):
    """Output, gradient of the input and of the parameters, and the state after two batches."""
    x = x.detach().requires_grad_()
    network(x.detach() * 2 + 1)
    y = network(x)
    (y.sin() * torch.linspace(0, 1, y[0].numel()).reshape(y[0].shape)).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    return y.detach(), x.grad, gradients, dict(network.state_dict())


@settings(deadline=None, max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    affine=st.booleans(),
    momentum=st.sampled_from([0.1, None]),
    offset=st.sampled_from([0.0, 1e3]),
)
def test_shares_are_normalised_as_the_whole(sizes, affine, momentum, offset):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(sum(sizes), 3, 4, 2, generator=generator, dtype=torch.float64) + offset
    whole = make_network(nn.BatchNorm2d, 3, affine=affine, momentum=momentum)
    y, dx, gradients, state = run(whole, x)

    def work(ranks, share):
        own = make_network(nn.BatchNorm2d, 3, affine=affine, momentum=momentum)
        with synchronised_norms(own, ranks, CPU):
            return run(own, share)

    ours = together(x.split(sizes), work)
    tolerance = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(torch.cat([each[0] for each in ours]), y, **tolerance)
    torch.testing.assert_close(torch.cat([each[1] for each in ours]), dx, **tolerance)
    for number, gradient in enumerate(gradients):
        added = sum(each[2][number] for each in ours)
        torch.testing.assert_close(added, gradient, **tolerance)
    for each in ours:
        assert list(each[3]) == list(state)
        torch.testing.assert_close(each[3], state, **tolerance)
        torch.testing.assert_close(each[3], ours[0][3], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm1d, (6, 3)), (nn.BatchNorm3d, (6, 3, 2, 2, 2))]
)
def test_other_numbers_of_dimensions(kind, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, dx, _, _ = run(make_network(kind, 3), x)

    def work(ranks, share):
        own = make_network(kind, 3)
        with synchronised_norms(own, ranks, CPU):
            return run(own, share)

    ours = together(x.split([2, 4]), work)
    torch.testing.assert_close(torch.cat([each[0] for each in ours]), y)
    torch.testing.assert_close(torch.cat([each[1] for each in ours]), dx)


def test_half_precision_is_summed_in_single():
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(64, 3, 8, 8, generator=generator) + 30).bfloat16()
    expected = make_network(nn.BatchNorm2d, 3).float()(x)

    def work(ranks, share):
        own = make_network(nn.BatchNorm2d, 3).float()
        with synchronised_norms(own, ranks, CPU):
            y = own(share.requires_grad_())
            y.sum().backward()
            assert share.grad.dtype == torch.bfloat16
            return y

    y = torch.cat(together([x[:20], x[20:]], work))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=2**-7, atol=2**-7)


def test_afterwards_the_network_is_its_own_again():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4))).eval()
    norm, names = network[1][0], list(network.state_dict())
    with synchronised_norms(network, Ranks(rank=0, size=2), CPU):
        synced = network[1][0]
        assert synced is not norm
        assert synced.weight is norm.weight
        assert synced.running_mean is norm.running_mean
        assert not synced.training
        assert list(network.state_dict()) == names
        network(torch.randn(2, 3, 1, 1))  # with running statistics no process is asked
        network.train()
    assert network[1][0] is norm
    assert norm.training


def test_one_value_a_channel_has_no_variance():
    def work(ranks, share):
        own = make_network(nn.BatchNorm1d, 3)
        with synchronised_norms(own, ranks, CPU):
            own(share)

    with pytest.raises(ConfigError, match=r"at least 2 values a channel expected .* got 1; give"):
        together([torch.zeros(1, 3).double(), torch.zeros(0, 3).double()], work)


class OwnNorm(nn.BatchNorm2d):
    """What some libraries have, with an activation inside."""


def test_a_layer_of_another_kind_is_refused():
    check_norms(nn.Sequential(nn.BatchNorm2d(3), nn.LayerNorm(3)))
    with pytest.raises(ConfigError, match=r"got a layer OwnNorm, .* give --no-sync-bn"):
        check_norms(nn.Sequential(OwnNorm(3)))
