import json

import numpy as np
import pytest
import torch

from pipeline.backbone.extract import extract_split, head_arrays, transform_record
from pipeline.data import AUGMENTATIONS
from pipeline.data.augment import augment_batch, draw_augmentation, view_generator
from pipeline.data.normalise import normalise
from pipeline.errors import ConfigError

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
    blocks = list(extract())
    assert [(block.view, block.start) for block in blocks] == [
        (view, start) for view in range(3) for start in range(0, len(digits.test), 100)
    ]
    assert all(len(block.logits) == len(block.features) == 100 for block in blocks)
    assert all(block.logits.dtype == block.features.dtype == np.float32 for block in blocks)


def test_logits_are_the_head_on_the_features_in_float32(extract, trained):
    weight, bias = head_arrays(trained)
    assert weight.shape == (10, 64)
    for block in extract():
        again = block.features.astype(np.float64) @ weight.T.astype(np.float64) + bias
        np.testing.assert_allclose(block.logits, again, rtol=1e-5, atol=1e-5)


def test_every_row_can_be_made_again_alone(extract, trained, digits):
    logits = np.stack(
        [np.concatenate([b.logits for b in extract() if b.view == view]) for view in range(3)]
    )
    trained.eval()
    for view, row in [(0, 0), (1, 17), (2, 399)]:
        image = digits.test.images[row : row + 1]
        if view:
            draws = draw_augmentation(row + 1, generator=view_generator(4, view))[row:]
            image = augment_batch(image, draws, AUGMENTATIONS["crop"])
        with torch.no_grad():
            alone, _ = trained(normalise(image, digits.normalisation))
        np.testing.assert_allclose(logits[view, row], alone[0].numpy(), rtol=1e-4, atol=1e-4)
    assert not np.allclose(logits[1], logits[2], atol=0.1)


def test_a_later_start_gives_the_same_bits(extract):
    whole = list(extract())
    resumed = list(extract(start=(1, 200)))
    assert [(b.view, b.start) for b in resumed][:2] == [(1, 200), (1, 300)]
    assert len(resumed) == len(whole) - 6
    for before, after in zip(whole[6:], resumed, strict=True):
        assert np.array_equal(before.logits, after.logits)
        assert np.array_equal(before.features, after.features)


def test_a_start_behind_the_last_row_gives_nothing(extract, digits):
    assert list(extract(start=(2, len(digits.test)))) == []
    assert list(extract(start=(3, 0))) == []


def test_the_model_is_left_as_it_was(extract, trained):
    trained.train()
    trained.layer1.eval()
    modes = [module.training for module in trained.modules()]
    buffers = {name: value.clone() for name, value in trained.named_buffers()}
    blocks = extract()
    next(blocks)
    assert not any(module.training for module in trained.modules())
    blocks.close()
    assert [module.training for module in trained.modules()] == modes
    for name, value in trained.named_buffers():
        assert torch.equal(value, buffers[name]), name


def test_batch_statistics_are_never_used(extract, trained):
    blocks = extract()
    next(blocks)
    trained.bn1.train()
    with pytest.raises(AssertionError, match="batch statistics"):
        list(blocks)


def test_inference_mode_does_not_leak_to_the_consumer(extract):
    for _ in extract():
        assert not torch.is_inference_mode_enabled()


def test_progress_counts_the_rows_of_all_views(extract, digits):
    calls = []
    list(extract(start=(1, 0), progress=lambda *call: calls.append(call)))
    total = 3 * len(digits.test)
    assert calls[0] == (len(digits.test) + 100, total, "rows")
    assert calls[-1] == (total, total, "rows")


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
    assert record["augmentation"] == "crop"
    clean = transform_record(views=("clean",), **options)
    assert clean == transform_record(views=("clean",), **{**options, "seed": 5})
