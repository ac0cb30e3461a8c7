"""The ways of a pass, compiled, Triton's and torch's, each against the formula in float64.

Without a GPU Triton's kernels are interpreted: the same programs, by NumPy.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.special import softmax as exact_softmax

from marr_pipeline.errors import ConfigError
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rows import blocks, kernel
from marr_pipeline.rectify.rows.blocks import CHUNK_LOGITS
from marr_pipeline.rectify.rows.kernel import LEVELS, VARIABLE, kernel_for
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.rows.source import PickedRows, StoredLogits

CPU = torch.device("cpu")
LIBRARY = kernel._library()
THERE = () if LIBRARY is None else LEVELS[: LIBRARY.level() + 1]
TRITON_KERNEL = "marr_pipeline.rectify.rows.triton_kernel"
INTERPRETED = {}
STORED = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(params=["torch", "triton", *LEVELS])
def way(request, monkeypatch):
    if request.param == "triton":
        interpreted = request.getfixturevalue("interpreted")
        monkeypatch.setattr(blocks, "kernel_for", lambda device: interpreted)
    elif request.param not in ("torch", *THERE):
        pytest.skip("not compiled, or not for this processor")
    else:
        monkeypatch.setenv(VARIABLE, request.param)
    return request.param


@pytest.fixture
def interpreted(monkeypatch):
    """Triton's way on a CPU, by its interpreter, which knows one thread."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for name in filter(is_triton, [*sys.modules]):
        monkeypatch.delitem(sys.modules, name)
    sys.modules.update(INTERPRETED)  # Triton decides when it is imported: once more, and kept apart
    triton_kernel, threads = importlib.import_module(TRITON_KERNEL), torch.get_num_threads()
    # Fewer and larger tiles: the interpreter's time is by their number.
    monkeypatch.setattr(triton_kernel, "ROWS", 32)
    monkeypatch.setattr(triton_kernel, "CLASSES", 512)
    torch.set_num_threads(1)
    yield triton_kernel.TritonKernel()
    torch.set_num_threads(threads)
    INTERPRETED.update({name: sys.modules.pop(name) for name in filter(is_triton, [*sys.modules])})


def is_triton(name):
    """Whether a module is to be imported anew; its compiled part cannot be."""
    is_python = name.partition(".")[0] == "triton" and not name.startswith("triton._C")
    return is_python or name == TRITON_KERNEL


class Case:
    """Rows, a point and a step, and what the formula says of them in float64."""

    def __init__(self, num_rows, num_classes, dtype=torch.float32, spread=3.0):
        generator = torch.Generator().manual_seed(num_classes)

        def draw(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.logits = (spread * draw(num_rows, num_classes)).to(dtype)
        self.labels = torch.randint(num_classes, (num_rows,), generator=generator)
        self.weights = draw(num_classes).exp()
        self.point = 1 + 0.3 * draw(num_classes), draw(num_classes)
        self.step = draw(num_classes), draw(num_classes)

    def loss(self, rows=None, **options):
        rows = StoredLogits(self.logits) if rows is None else rows
        return WeightedCrossEntropy(rows, self.labels, self.weights, reduction="plain", **options)

    def expected(self):
        """Loss, largest loss of a row that counts, gradient (2, K), product (2, K)."""
        x, labels = self.logits.double().cpu().numpy(), self.labels.numpy()
        scale, shift, scale_step, shift_step = (each.numpy() for each in (*self.point, *self.step))
        z, own = x * scale + shift, (np.arange(len(x)), labels)
        weight = self.weights.numpy()[labels]
        losses = (logsumexp(z, axis=1) - z[own])[weight > 0]
        probability = exact_softmax(z, axis=1)
        residual = probability * weight[:, None]
        residual[own] -= weight
        change = x * scale_step + shift_step
        change -= (probability * change).sum(1, keepdims=True)
        change *= probability * weight[:, None]
        gradient, product = (
            np.stack([(each * x).sum(0), each.sum(0)]) / len(x) for each in (residual, change)
        )
        return weight[weight > 0] @ losses / len(x), losses.max(), gradient, product


def assert_is_the_formula(case, *, precise, rtol):
    """To the rounding of the terms that are added."""
    loss, (value, largest, gradient, product) = case.loss(), case.expected()
    size = float(case.weights.max() * case.logits.double().abs().clamp(1, 1e4).max())
    found = loss.evaluate(*case.point, precise=precise)
    assert found.value == pytest.approx(value, rel=rtol)
    assert found.largest_row_loss == pytest.approx(largest, rel=rtol)
    np.testing.assert_allclose(found.gradient.numpy(), gradient, rtol=0, atol=rtol * size)
    if not precise:
        found = torch.stack(loss.hessian_product(*case.point, *case.step)).numpy()
        np.testing.assert_allclose(found, product, rtol=0, atol=10 * rtol * size)


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize(
    ("num_rows", "num_classes"),
    [(1, 1), (5, 2), (67, 7), (130, 16), (131, 17), (403, 100), (71, 1000), (9, 8142)],
)
def test_either_way_is_the_formula(way, num_rows, num_classes, precise):
    rtol = 1e-14 if precise else 1e-6
    assert_is_the_formula(Case(num_rows, num_classes), precise=precise, rtol=rtol)


@pytest.mark.parametrize("dtype", STORED, ids=str)
@pytest.mark.parametrize("precise", [False, True])
def test_rows_of_every_type_are_read_as_they_are(way, dtype, precise):
    case = Case(70, 21, dtype)
    special = torch.tensor([0.0, -0.0, 6e-8, -3e-5, 1.0, -60000.0, 2.0**-24])
    case.logits[::9, : len(special)] = special.to(dtype)
    assert_is_the_formula(case, precise=precise, rtol=1e-14 if precise else 1e-6)


@pytest.mark.parametrize("precise", [False, True])
def test_classes_left_out_and_hopeless_rows_stay_exact(way, precise):
    case = Case(61, 37, spread=300.0)
    case.labels[:] = torch.arange(61) % 4
    case.weights[3] = 0.0  # its rows do not count, though their loss is infinite
    case.point[1][3], case.point[1][30], case.point[1][36] = -torch.inf, -1e30, 1e4
    case.logits[5] = -1e30
    case.logits[5, 1] = 7.0
    case.labels[5] = 1
    assert_is_the_formula(case, precise=precise, rtol=1e-13 if precise else 1e-6)


@pytest.mark.parametrize("place", ["logit", "scale", "shift"])
def test_nan_is_not_passed_over(way, place):
    case = Case(9, 20)
    {"logit": case.logits[4], "scale": case.point[0], "shift": case.point[1]}[place][7] = torch.nan
    found = case.loss().evaluate(*case.point, precise=False)
    assert np.isnan(found.value)
    assert bool(found.gradient.isnan().any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("num_classes", [1, 2, 16, 37, 1000])
def test_softmax_of_rows(way, dtype, num_classes):
    compiled = kernel_for(CPU)
    if way in ("torch", "triton"):
        pytest.skip("torch's own")
    values = 20 * torch.randn(11, num_classes, generator=torch.Generator().manual_seed(0))
    values = values.to(dtype)
    values[3, 0] = -torch.inf if num_classes > 1 else 0.0
    out = torch.empty_like(values)
    compiled.softmax(values, out=out)
    expected = torch.softmax(values.double(), 1)
    rounding = 100 * torch.finfo(dtype).eps  # of differences up to 120
    torch.testing.assert_close(out.double(), expected, rtol=rounding, atol=1e-37)
    compiled.softmax(values, out=values)
    assert torch.equal(values, out)


@pytest.mark.parametrize(("dtype", "lowest"), [(torch.float32, -87.0), (torch.float64, -708.0)])
def test_exp_is_right_to_two_units_in_the_last_place(way, dtype, lowest):
    compiled = kernel_for(CPU)
    if way in ("torch", "triton"):
        pytest.skip("torch's own")
    below = torch.linspace(lowest, -40.0, 100_001).to(dtype)  # there 1 + e is 1
    values = torch.stack([torch.zeros_like(below), below], 1)
    compiled.softmax(values, out=values)
    exact = np.exp(below.numpy().astype(np.longdouble))
    error = np.abs(values[:, 1].numpy() / exact - 1).max()
    assert error < 2 * torch.finfo(dtype).eps


def test_neither_threads_nor_memory_nor_place_change_a_bit(way, monkeypatch):
    if way == "triton":
        pytest.skip("one thread; a test on a GPU looks at the bits")
    monkeypatch.setitem(CHUNK_LOGITS, "cpu", (2**12, 2**13))
    case = Case(1501, 43, torch.float16)
    everywhere = PickedRows(StoredLogits(case.logits), torch.arange(1501))
    losses = [case.loss(), case.loss(resources=Resources(memory=2**24)), case.loss(everywhere)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        losses.append(case.loss())
    finally:
        torch.set_num_threads(threads)
    assert len(losses[0]._chunks) > 3
    first, *others = (
        (loss.evaluate(*case.point, precise=False), loss.hessian_product(*case.point, *case.step))
        for loss in losses
    )
    for found, product in others:
        assert found.value == first[0].value
        assert torch.equal(found.gradient, first[0].gradient)
        assert torch.equal(torch.stack(product), torch.stack(first[1]))


@pytest.mark.parametrize("form", ["apart", "columns of more"])
def test_rows_need_not_lie_side_by_side(way, form):
    case = Case(90, 19)
    expected = case.loss().evaluate(*case.point, precise=False)
    if form == "apart":
        case.logits = case.logits.T.contiguous().T
    else:
        wide = torch.full((90, 23), torch.nan)
        wide[:, 2:21] = case.logits
        case.logits = wide[:, 2:21]
    found = case.loss().evaluate(*case.point, precise=False)
    torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-6, atol=1e-7)


def test_the_widest_set_there_is_is_taken(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    found = kernel_for(CPU)
    assert found == (kernel.Compiled(THERE[-1]) if THERE else None)
    assert kernel.kernel_name() == (f"compiled ({THERE[-1]})" if THERE else "torch")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", STORED, ids=str)
@pytest.mark.parametrize("num_classes", [2, 100, 1000, 8142])
def test_on_a_gpu_triton_and_torch_are_the_formula(dtype, num_classes, monkeypatch):
    case = Case(1_301, num_classes, dtype)
    case.logits = case.logits.cuda()
    for asked, name in ("", "triton"), ("torch", "torch"):
        monkeypatch.setenv(VARIABLE, asked)
        assert kernel.kernel_name(case.logits.device) == name
        for precise in False, True:
            assert_is_the_formula(case, precise=precise, rtol=1e-14 if precise else 1e-6)
            once, twice = (case.loss().evaluate(*case.point, precise=precise) for _ in range(2))
            assert torch.equal(once.gradient, twice.gradient)


@pytest.mark.parametrize(
    ("stored", "real", "is_product"), [("bf16", "fp32", True), ("fp16", "fp64", False)]
)
def test_triton_makes_programs_for_a_gpu(stored, real, is_product, monkeypatch, tmp_path):
    pytest.importorskip("triton")
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    triton_kernel = importlib.import_module(TRITON_KERNEL)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    tile = {"is_product": is_product, "rows": triton_kernel.ROWS, "classes": triton_kernel.CLASSES}
    of_both = {"logits": f"*{stored}", "vectors": f"*{real}", "of_rows": f"*{real}"}
    of_both |= dict.fromkeys(("stride", "num_rows", "num_classes"), "i32")
    of_both |= dict.fromkeys(tile, "constexpr")
    for kernel_of, own in (
        (triton_kernel._softmax_of_rows, {"labels": "*i64", "weights": "*fp64", "losses": "*fp64"}),
        (triton_kernel._sums_of_blocks, {"sums": f"*{real}", "block_rows": "i32"}),
    ):
        source = ASTSource(kernel_of, of_both | own, tile)
        assert compile(source, target=GPUTarget("cuda", 80, 32)).asm["cubin"]


def test_where_triton_fails_torch_serves_on_a_gpu(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    absent = torch.device("cuda", 77)
    kernel._on_gpu.cache_clear()
    assert kernel_for(absent) is None
    assert kernel.kernel_name(absent) == "torch"
    kernel._on_gpu.cache_clear()


def test_where_nothing_was_compiled_torch_serves(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(kernel, "_library", lambda: None)
    assert kernel_for(CPU) is None
    assert kernel.kernel_name() == "torch"
    assert_is_the_formula(Case(20, 30), precise=False, rtol=1e-6)
    monkeypatch.setenv(VARIABLE, "v4")
    with pytest.raises(ConfigError, match="MARR_KERNEL: one of torch expected here, got v4; unset"):
        kernel_for(CPU)


@pytest.mark.skipif(
    LIBRARY is None or not Path(kernel.__file__).with_name("kernel.c").exists(),
    reason="nothing was compiled, or its source is not beside it, as where it is installed",
)
def test_a_build_of_another_source_is_not_called(monkeypatch):
    """Its arguments may be others, and it would end the process."""
    monkeypatch.delenv(VARIABLE, raising=False)
    kernel._library.cache_clear()
    monkeypatch.setattr(kernel, "crc32", lambda content: 0)
    assert kernel.kernel_name() == "torch"
    kernel._library.cache_clear()
    monkeypatch.undo()
    assert kernel.kernel_name().startswith("compiled")
