import contextlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.rectify.fit import fit_rectifier, method_keys, preset_settings
from marr_pipeline.rectify.fold import fold_
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.rectify.rectifier_file import load_rectifier, save_rectifier
from marr_pipeline.rectify.settings import RectifySettings


def test_round_trip_keeps_every_number_and_setting(inputs, tmp_path):
    fit = fit_rectifier(inputs, RectifySettings(), metadata={"head_fingerprint": "abc"})
    path = tmp_path / "marr.safetensors"
    save_rectifier(fit.rectifier, path)
    again = load_rectifier(path)
    assert torch.equal(again.scale, fit.rectifier.scale)
    assert torch.equal(again.own["beta"], fit.rectifier.own["beta"])
    assert set(again.own) == {"omega", "beta", "weight_norm"}
    assert again.metadata["status"] == "converged"
    assert again.metadata["gap_bound"] == fit.gap_bound
    assert again.metadata["head_fingerprint"] == "abc"
    assert again.method == "marr"
    assert list(tmp_path.iterdir()) == [path]


def test_a_head_keeps_its_prior_and_its_normalisation(tmp_path):
    path, ones = tmp_path / "head.safetensors", torch.ones(3, dtype=torch.float64)
    head = HeadRectifier(
        scale=ones,
        shift=0 * ones,
        weight=torch.eye(3, 2, dtype=torch.float64),
        bias=ones.clone(),
        normalise="unit",
        log_prior=(ones / 3).log(),
        metadata={"method": "crt"},
    )
    save_rectifier(head, path)
    again = load_rectifier(path)
    assert again.normalise == "unit"
    assert torch.equal(again.log_prior, head.log_prior)
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    found = again.apply(None, rows)
    expected = torch.tensor([[1.6, 1.8, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    with pytest.raises(DataError, match="features of length 1"):
        fold_(torch.nn.Linear(2, 3), again)
    with pytest.raises(DataError, match="logits: those of every sample expected"):
        Rectifier(scale=ones, shift=ones).apply(None)


def test_a_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "marr.safetensors"
    scale, shift = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    save_rectifier(Rectifier(scale=scale, shift=shift, metadata={"method": "marr"}), path)
    before = path.read_bytes()
    unserialisable = Rectifier(scale=scale, shift=shift, metadata={"method": object()})
    with pytest.raises(TypeError):
        save_rectifier(unserialisable, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_rectifier_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"no safetensors")
    with pytest.raises(DataError, match="a rectifier written by `pipeline rectify -o` expected"):
        load_rectifier(path)
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(DataError, match="got a safetensors file with weight"):
        load_rectifier(path)
    newer = {"format": "marr-rectifier", "format_version": "2.0"}
    save_file({"scale": torch.ones(2), "shift": torch.ones(2)}, path, newer)
    with pytest.raises(DataError, match=r"format version 1.2 expected, got 2.0"):
        load_rectifier(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("l2", -1.0, "l2: a number from 0 to 1e.12 expected, got -1.0"),
        ("tolerance", 0.0, "tolerance: a number > 0 expected"),
        ("gamma", float("nan"), "gamma: a finite number expected, got nan"),
        ("method", "magic", "method: one of softmax, .* expected, got magic"),
        ("center", "middle", "center: one of zero, .* expected, got middle"),
    ],
)
def test_settings_check_themselves(field, value, message):
    with pytest.raises(ConfigError, match=message):
        RectifySettings(**{field: value})


@pytest.mark.parametrize("method", ["temperature", "vector-scaling"])
def test_a_calibration_is_its_authors_and_its_tempered_form_a_preset(method):
    own = preset_settings("default", method=method)
    assert (own.gamma, own.l2, own.reduction, own.fit_split) == (0.0, 0.0, "plain", None)
    tempered = preset_settings("tempered", method=method)
    assert replace(tempered, method="marr", preset="default") == preset_settings("default")
    assert {method, f"{method}:tempered"} <= set(method_keys())


def save_damaged(path, *, header=None, **tensors):
    """A rectifier file of two classes in which some of the header or the tensors are others."""
    vector = torch.ones(2, dtype=torch.float64)
    whole = {"scale": vector, "shift": vector.clone(), **tensors}
    known = {"format": "marr-rectifier", "format_version": "1.0", "method": '"lws"'}
    known |= header or {}
    save_file(
        {name: tensor for name, tensor in whole.items() if tensor is not None},
        path,
        {name: value for name, value in known.items() if value is not None},
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"header": {"format_version": None}}, "format version 1.2 expected, got none"),
        ({"header": {"method": None}}, "header: method expected, got none of that name"),
        ({"header": {"method": "3"}}, "header: method as str expected, got int"),
        ({"header": {"features": '{"columns": [1]}'}}, r"features.columns\[0\] as str expected"),
        ({"header": {"class_names": '["a"]'}}, "class_names of 2 classes, as its scale has, expec"),
        ({"header": {"gamma": "[" * 10**5}}, "JSON expected under gamma in the header"),
        ({"header": {"gamma": "{"}}, "JSON expected under gamma in the header, got '{'"),
        ({"shift": None}, "tensors scale, shift expected, got none named shift"),
        ({"shift": torch.ones(3).double()}, r"shift of shape \(2\) expected, got \(3,\)"),
        ({"scale": torch.ones(2, 2).double()}, r"scale of shape \(K\) expected, got \(2, 2\)"),
        ({"scale": torch.ones(0).double()}, r"scale of shape \(.*\) expected, got \(0,\)"),
        ({"scale": torch.ones(2)}, "float64 expected, got others in scale"),
        ({"scale": torch.tensor([1.0, torch.nan]).double()}, "finite numbers expected"),
        (
            {"weight": torch.ones(3, 4).double(), "bias": torch.ones(2).double()},
            r"weight of shape \(2, D\) expected, got \(3, 4\)",
        ),
        (
            {
                "confidence_weight": torch.ones(4).double(),
                "confidence_bias": torch.ones(2).double(),
            },
            r"confidence_bias of shape \(1\) expected, got \(2,\)",
        ),
    ],
)
def test_a_malformed_file_is_refused_where_it_is_read(damage, message, tmp_path):
    path = tmp_path / "marr.safetensors"
    save_damaged(path)
    assert load_rectifier(path).method == "lws"
    save_damaged(path, **damage)
    with pytest.raises(DataError, match=message):
        load_rectifier(path)


def test_a_file_is_compared_with_its_digest(tmp_path):
    path = tmp_path / "a.safetensors"
    ones = torch.ones(2, dtype=torch.float64)
    save_rectifier(Rectifier(scale=ones, shift=2 * ones, metadata={"method": "lws"}), path)
    whole = path.read_bytes()
    assert load_rectifier(path).metadata == {"method": "lws"}
    key = range(whole.index(b"sha256"), whole.index(b"sha256") + 6)  # without it, one of before
    for at in set(range(8, len(whole), 7)) - set(key):
        path.write_bytes(bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]))
        with pytest.raises(DataError):
            load_rectifier(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"the bytes that were written expected .*take sha256 out"):
        load_rectifier(path)


@given(cut=st.integers(0, 400), flipped=st.none() | st.integers(0, 399))
def test_no_damage_ends_in_anything_but_a_refusal(cut, flipped, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "marr.safetensors"
    save_damaged(path)
    content = bytearray(path.read_bytes())
    if flipped is not None:
        content[flipped % len(content)] ^= 0x15
    path.write_bytes(content[: max(len(content) - cut, 0)])
    with contextlib.suppress(DataError):
        load_rectifier(path)
