import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.backbone.extract import (
    Block,
    extract_split,
    head_arrays,
    plan_blocks,
    transform_record,
)
from marr_pipeline.data import AUGMENTATIONS
from marr_pipeline.data.normalise import normalise
from marr_pipeline.data.resident import NUM_DRAWS, augment_batch
from marr_pipeline.data.views import RandomView
from marr_pipeline.errors import ConfigError

VIEWS = ("clean", "augmented", "augmented")


@pytest.fixture(scope="module")
def trained(make_plan, train, tmp_path_factory):
    return train(make_plan(iterations=30), tmp_path_factory.mktemp("extract") / "a.pt").model


@pytest.fixture
def extract(trained, digits):
    def run(**options):
        settings = {
            "views": VIEWS,
            "augmentation": "crop",
            "normalisation": digits.normalisation,
            "seed": 4,
            "device": torch.device("cpu"),
            "batch_size": 100,
        }
        return extract_split(trained, digits.test, **{**settings, **options})

    return run


def test_blocks_cover_every_row_of_every_view_in_order(extract, digits):
    made = list(extract())
    assert [block for block, _, _ in made] == [
        Block(view, start, start + 100)
        for view in range(3)
        for start in range(0, len(digits.test), 100)
    ]
    assert all(len(logits) == len(features) == 100 for _, logits, features in made)
    assert all(logits.dtype == features.dtype == np.float32 for _, logits, features in made)


def test_logits_are_the_head_on_the_features_in_float32(extract, trained):
    weight, bias = head_arrays(trained)
    assert weight.shape == (10, 64)
    for _, logits, features in extract():
        again = features.astype(np.float64) @ weight.T.astype(np.float64) + bias
        np.testing.assert_allclose(logits, again, rtol=1e-5, atol=1e-5)


def test_every_row_can_be_made_again_alone(extract, trained, digits):
    logits = np.stack(
        [
            np.concatenate([z for block, z, _ in extract() if block.view == view])
            for view in range(3)
        ]
    )
    trained.eval()
    for view, row in [(0, 0), (1, 17), (2, 399)]:
        image = digits.test.images[row : row + 1]
        if view:
            drawn = RandomView(purpose="cache", seed=4, number=view)
            draws = drawn.draw(digits.test.source_indices[row : row + 1], NUM_DRAWS)
            image = augment_batch(image, draws, AUGMENTATIONS["crop"])
        with torch.no_grad():
            alone, _ = trained(normalise(image, digits.normalisation))
        np.testing.assert_allclose(logits[view, row], alone[0].numpy(), rtol=1e-4, atol=1e-4)
    assert not np.allclose(logits[1], logits[2], atol=0.1)


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param([Block(2, 300, 400)], id="the last alone"),
        pytest.param([Block(1, 200, 300), Block(0, 0, 100)], id="in another order"),
        pytest.param([], id="none"),
    ],
)
@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_a_block_made_alone_has_the_same_bits(extract, blocks, batch_norm):
    whole = {block: arrays for block, *arrays in extract(batch_norm=batch_norm)}
    made = list(extract(batch_norm=batch_norm, blocks=blocks))
    assert [block for block, _, _ in made] == blocks
    for block, *arrays in made:
        assert all(map(np.array_equal, whole[block], arrays))


@given(num_rows=st.integers(1, 50), num_views=st.integers(1, 4), batch_size=st.integers(1, 60))
def test_blocks_are_batches_and_leave_nothing_out(num_rows, num_views, batch_size):
    blocks = plan_blocks(num_rows, num_views=num_views, batch_size=batch_size)
    rows = [(block.view, row) for block in blocks for row in range(block.start, block.stop)]
    assert rows == [(view, row) for view in range(num_views) for row in range(num_rows)]
    assert all(block.stop - block.start == batch_size or block.stop == num_rows for block in blocks)


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_the_model_is_left_as_it_was(extract, trained, batch_norm, monkeypatch):
    trained.train()
    trained.layer1.eval()
    monkeypatch.setattr(trained.layer2[0].bn1, "track_running_stats", False)
    modes = [module.training for module in trained.modules()]
    buffers = {name: value.clone() for name, value in trained.named_buffers()}
    blocks = extract(batch_norm=batch_norm)
    next(blocks)
    assert trained.bn1.training == (batch_norm == "train")
    assert not trained.head.training
    blocks.close()
    assert [module.training for module in trained.modules()] == modes
    assert trained.bn1.track_running_stats
    assert not trained.layer2[0].bn1.track_running_stats
    for name, value in trained.named_buffers():
        assert torch.equal(value, buffers[name]), name


def test_batch_statistics_are_not_used_unless_asked_for(extract, trained):
    blocks = extract()
    next(blocks)
    trained.bn1.train()
    with pytest.raises(AssertionError, match="modes changed on the way"):
        list(blocks)


def test_the_statistics_of_a_block_are_those_of_the_released_code(extract, trained, digits):
    reference = copy.deepcopy(trained).train()
    for block, logits, _ in extract(views=("clean",), batch_norm="train"):
        images = digits.test.images[block.start : block.stop]
        with torch.no_grad():
            expected, _ = reference(normalise(images, digits.normalisation))
        np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-4)
    _, evaluated, _ = next(extract(views=("clean",)))
    _, again, _ = next(extract(views=("clean",), batch_norm="train"))
    assert not np.allclose(evaluated, again, atol=0.1)


def test_inference_mode_does_not_leak_to_the_consumer(extract):
    for _ in extract():
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"views": ("clean", "blurred")}, "got clean, blurred"), ({"batch_size": 0}, "and 0")],
)
def test_impossible_settings_are_refused_at_once(extract, options, message):
    with pytest.raises(ConfigError, match=message):
        extract(**options)


def test_the_record_is_json_and_keeps_what_matters(digits):
    options = {"augmentation": "crop", "normalisation": digits.normalisation, "seed": 4}
    record = transform_record(views=VIEWS, **options)
    assert json.loads(json.dumps(record)) == record
    assert (record["augmentation"], record["draws"]) == ("crop", "philox4x64-10")
    clean = transform_record(views=("clean",), **options)
    assert clean == transform_record(views=("clean",), **{**options, "seed": 5})
    assert record != transform_record(views=VIEWS, **options, batch_norm="train")
