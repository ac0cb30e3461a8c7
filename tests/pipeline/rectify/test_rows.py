import ctypes
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from problems import make_inputs, make_point, rows_of

from marr_pipeline.errors import ConfigError
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rows import source
from marr_pipeline.rectify.rows.blocks import CHUNK_LOGITS, Blocks
from marr_pipeline.rectify.rows.resources import Resources, Workers
from marr_pipeline.rectify.rows.source import (
    HELD_ROWS,
    FeatureLogits,
    FeatureRows,
    PickedRows,
    StoredLogits,
    ask_for_pages,
)
from marr_pipeline.rectify.settings import PRESETS

LEAST_CHUNK = CHUNK_LOGITS["cpu"][0]


def make_features(*, num_rows=900, num_classes=40, num_features=12, views=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return FeatureLogits(
        features=torch.randn(views, num_rows // views, num_features, generator=generator),
        weight=torch.randn(num_classes, num_features, generator=generator),
        bias=torch.randn(num_classes, generator=generator),
    )


def make_labels(rows, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(rows.num_classes, (rows.num_rows,), generator=generator)


def make_loss(rows, labels, **options):
    weights = torch.linspace(0.5, 2.0, labels.max() + 1)
    return WeightedCrossEntropy(rows, labels, weights, reduction="weighted", **options)


def assert_same_bits(one, other, point, *, precise=False):
    ours, theirs = (loss.evaluate(*point, precise=precise) for loss in (one, other))
    assert ours.value == theirs.value
    assert ours.largest_row_loss == theirs.largest_row_loss
    assert torch.equal(ours.gradient, theirs.gradient)


def on_disk(logits, path):
    """The same logits in a private mapping of a file, as a cache gives them."""
    path.write_bytes(logits.numpy().tobytes())
    with path.open("rb") as file:
        mapping = mmap.mmap(
            file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    array = np.ndarray(tuple(logits.shape), logits.numpy().dtype, buffer=mapping)
    return torch.from_numpy(array)


def test_a_block_in_the_asked_form_is_the_stored_memory_itself():
    logits = torch.randn(10, 3)
    block = StoredLogits(logits).block(slice(2, 6), into=torch.empty(4, 3))
    assert block.data_ptr() == logits[2:].data_ptr()
    assert StoredLogits(logits).block(slice(2, 6)).data_ptr() == logits[2:].data_ptr()


@pytest.mark.parametrize(
    "into",
    [torch.empty(4, 3, dtype=torch.float64), torch.empty(3, 4).T],
    ids=["another dtype", "another layout"],
)
def test_a_block_in_another_form_is_written_where_it_was_asked_for(into):
    logits = torch.randn(10, 3)
    block = StoredLogits(logits).block(slice(2, 6), into=into)
    assert block.data_ptr() == into.data_ptr()
    assert torch.equal(block, logits[2:6].to(into.dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["plain", "unit", "standard"])
def test_features_held_are_those_made_anew(dtype, form):
    generator = torch.Generator().manual_seed(0)
    features = (3 + 2 * torch.randn(HELD_ROWS + 9, 5, generator=generator)).to(dtype)
    features[4] = 0
    mean, deviation = features.double().mean(0), features.double().std(0)
    of_standard = {"mean": mean, "inverse_deviation": 1 / deviation}
    rows = FeatureRows(features, unit=form == "unit", **(of_standard if form == "standard" else {}))
    expected = features.double()
    if form == "standard":
        expected = (expected - mean) / deviation
    if form == "unit":
        expected = expected / expected.norm(dim=1, keepdim=True).clamp(min=1e-30)
    atol = 1e-14 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(rows.block(slice(None), torch.float64), expected, rtol=0, atol=atol)
    held = rows.held(most_bytes=features.numel() * 8)
    picked = torch.tensor([4, 0, HELD_ROWS])
    for asked in (slice(3, HELD_ROWS + 2), picked):
        for wanted in (torch.float32, torch.float64, None):
            assert torch.equal(held.block(asked, wanted), rows.block(asked, wanted))
    assert torch.equal(rows.take(picked).block(slice(None)), rows.block(picked))
    is_as_stored = form == "plain" and dtype != torch.float16
    assert (held is rows) == is_as_stored
    assert rows.held(most_bytes=100) is rows


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_features_make_the_logits_of_their_head(bias, dtype):
    rows = make_features(views=3)
    rows = FeatureLogits(
        features=rows.features.to(dtype), weight=rows.weight, bias=rows.bias if bias else None
    )
    expected = rows.features.flatten(0, 1).double() @ rows.weight.double().T
    expected = expected + rows.bias.double() if bias else expected
    assert rows.shape == (3, 300, 40)
    found = rows.block(slice(100, 700))
    torch.testing.assert_close(found.double(), expected[100:700], rtol=1e-4, atol=1e-4)
    picked = rows.take(torch.tensor([899, 0, 450])).double()
    torch.testing.assert_close(picked, expected[[899, 0, 450]], rtol=1e-4, atol=1e-4)


def test_a_block_of_features_has_the_same_bits_whatever_it_is_written_into():
    rows, block = make_features(), slice(300, 556)
    forms = [
        None,
        torch.empty(256, 40),
        torch.empty(256, 40, dtype=torch.float64),
        torch.empty(40, 256).T,
    ]
    first, *others = (rows.block(block, into=into).double() for into in forms)
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("num_classes", [5, 40])
def test_streamed_is_in_memory_bit_for_bit(tmp_path, num_classes, dtype, precise):
    generator = torch.Generator().manual_seed(0)
    shape = (3 * LEAST_CHUNK // num_classes, num_classes)
    logits = torch.randn(shape, generator=generator).to(dtype)
    labels = make_labels(StoredLogits(logits))
    bound = Resources(memory=Blocks(StoredLogits(logits)).thread_bytes())
    streamed = make_loss(on_disk(logits, tmp_path / "rows"), labels, resources=bound)
    assert len(streamed._chunks) > 1
    assert_same_bits(streamed, make_loss(logits, labels), make_point(num_classes), precise=precise)


def test_a_thinned_loss_under_a_bound_is_that_without_one():
    inputs = make_inputs(num_samples=2000)
    point = make_point(7)
    bounded = make_loss(*rows_of(inputs), resources=Resources(memory=2**30)).thin(5)
    assert isinstance(bounded.rows, PickedRows)
    assert bounded.num_rows == 7 * 5
    assert_same_bits(bounded, make_loss(*rows_of(inputs)).thin(5), point)


@pytest.mark.parametrize("source", ["logits", "features"])
def test_too_little_memory_is_refused_with_what_would_do(source):
    rows = make_features(num_rows=20_000, num_classes=100)
    labels = make_labels(rows)
    rows = rows if source == "features" else StoredLogits(rows.block(slice(0, 20_000)))
    needed = Blocks(rows).thread_bytes()
    make_loss(rows, labels, resources=Resources(memory=needed))
    with pytest.raises(ConfigError, match=r"at least \d+M expected.*got 1M; raise memory"):
        make_loss(rows, labels, resources=Resources(memory=2**20))


def test_memory_allows_as_many_threads_as_it_can_hold():
    assert Resources().num_threads(8, thread_bytes=100) == 8
    assert Resources(memory=399).num_threads(8, thread_bytes=100) == 3


def test_a_bound_on_memory_is_a_positive_number():
    with pytest.raises(ConfigError, match="at least 1 byte expected, got 0"):
        Resources(memory=0)


@pytest.mark.parametrize("num_rows", [1, 1000, 60_000])
@pytest.mark.parametrize("num_classes", [1, 7, 1000, 300_000])
def test_blocks_cover_every_row_once(num_rows, num_classes):
    logits = torch.zeros(1, 1).expand(num_rows, num_classes)
    blocks = Blocks(StoredLogits(logits))
    slices = [block for chunk in blocks.chunks for block in blocks.slices(chunk)]
    limits = [limit for block in slices for limit in (block.start, block.stop)]
    assert limits[0] == 0
    assert limits[-1] == num_rows
    assert limits[1:-1:2] == limits[2::2]
    assert all(block.start < block.stop for block in slices)


def test_every_chunk_is_asked_for_before_its_use(tmp_path, monkeypatch):
    logits = torch.randn(5 * LEAST_CHUNK // 40, 40)
    mapped = on_disk(logits, tmp_path / "rows")
    loss = make_loss(mapped, make_labels(StoredLogits(logits)))
    asked = []
    monkeypatch.setattr(
        source, "ask_for_pages", lambda stored, rows: asked.append(stored[rows].data_ptr())
    )
    loss.evaluate(*make_point(40), precise=False)
    expected = [mapped[chunk].data_ptr() for chunk in loss._chunks]
    assert len(expected) > torch.get_num_threads()
    assert sorted(asked) == expected


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="this system takes no such advice")
def test_asked_pages_come_from_the_file(tmp_path, monkeypatch):
    """Dropped from the page cache, they are there again soon after the question."""
    logits = torch.randn(2**16, 4)  # 1 MiB
    mapped = on_disk(logits, tmp_path / "rows")
    with (tmp_path / "rows").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident_pages(mapped) > 0:
        pytest.skip("this file system keeps its pages")
    monkeypatch.setattr(source, "READ_AHEAD_FROM", 0)
    ask_for_pages(mapped, slice(None))
    num_pages = mapped.nbytes // mmap.PAGESIZE
    for _ in range(1000):
        if resident_pages(mapped) == num_pages:
            break
        os.sched_yield()
    assert resident_pages(mapped) == num_pages


def resident_pages(tensor):
    num_pages = tensor.nbytes // mmap.PAGESIZE
    found = (ctypes.c_ubyte * num_pages)()
    libc = ctypes.CDLL(None, use_errno=True)
    address, length = ctypes.c_void_p(tensor.data_ptr()), ctypes.c_size_t(tensor.nbytes)
    assert libc.mincore(address, length, found) == 0
    return sum(page & 1 for page in found)


def test_workers_keep_the_order_and_run_few_items_ahead():
    done = []

    def work(item):
        done.append(item)
        return item

    results = Workers(2).map(work, range(100))
    assert [next(results), next(results)] == [0, 1]
    assert max(done) <= 2 + 2 * 2
    assert list(results) == list(range(2, 100))


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_error_in_a_worker_is_the_callers(num_threads):
    def work(item):
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        list(Workers(num_threads).map(work, range(10)))


def test_fits_in_two_threads_at_once_leave_every_count_as_it_was():
    """Torch has one count a thread, and a thread that is new to torch takes the last one set."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        inputs = [make_inputs(seed=seed) for seed in range(4)]
        alone = [fit_rectifier(each, PRESETS["paper"]).rectifier for each in inputs]
        start = Barrier(4)

        def fit(each):
            start.wait()
            fits = [fit_rectifier(each, PRESETS["paper"]).rectifier for _ in range(3)]
            return fits[-1], torch.get_num_threads()

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(fit, inputs))
            counts = list(pool.map(lambda _: torch.get_num_threads(), range(4)))
        with ThreadPoolExecutor(1) as fresh:
            counts.append(fresh.submit(torch.get_num_threads).result())
        assert [torch.get_num_threads(), *counts, *(count for _, count in found)] == [3] * 10
        for (rectifier, _), expected in zip(found, alone, strict=True):
            assert torch.equal(rectifier.scale, expected.scale)
    finally:
        torch.set_num_threads(before)
