"""What a fit would go through without an error, and be wrong: said on import and before a fit."""

import numpy as np
import pytest
from caches import write_splits

from marr_pipeline.cache import Head, SplitArrays, open_cache
from marr_pipeline.workflows.checks import last_look
from marr_pipeline.workflows.import_logits import import_logits
from marr_pipeline.workflows.rectify import rectify_cache

RNG = np.random.default_rng(0)
COUNTS = np.round(100 * 0.05 ** (np.arange(20) / 19)).astype(int)
LABELS = RNG.permutation(np.repeat(np.arange(20), COUNTS))
LOGITS = RNG.standard_normal((len(LABELS), 20)) + 4 * np.eye(20)[LABELS]
AS_TEXT = np.argsort([str(index) for index in range(20)])


def warnings_of(tmp_path, logits, labels=LABELS):
    np.savez(tmp_path / "t.npz", logits=logits, labels=labels)
    imported = import_logits({"train": tmp_path / "t.npz"}, tmp_path / "t.h5", overwrite=True)
    found = [warning for warning in imported.warnings if warning.startswith("R")]
    assert set(found) <= set(map(str, rectify_cache(tmp_path / "t.h5").checks))
    return found


def test_a_sound_long_tail_is_left_alone(tmp_path):
    assert warnings_of(tmp_path, LOGITS) == []
    weak = RNG.standard_normal(LOGITS.shape) + np.eye(20)[LABELS] - 2 * np.arange(20) / 19
    assert warnings_of(tmp_path, weak) == []


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        pytest.param(
            LOGITS[:, AS_TEXT], LABELS, "recognised as another class", id="sorted as text"
        ),
        pytest.param(LOGITS, (LABELS + 1) % 20, "recognised as another", id="counted from 1"),
        pytest.param(LOGITS, RNG.permutation(LABELS), "chance for 20 classes", id="shuffled rows"),
        pytest.param(RNG.standard_normal(LOGITS.shape), LABELS, "chance for 20", id="untrained"),
        pytest.param(LOGITS + 99 * np.eye(20)[0], LABELS, "chance for 20", id="one class always"),
        pytest.param(
            np.where(LABELS[:, None] == 7, 0.0, LOGITS), LABELS, "same number", id="zeros"
        ),
        pytest.param(
            np.where(LABELS[:, None] == 0, LOGITS[3], LOGITS), LABELS, "identical", id="copies"
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path, logits, labels, words):
    assert any(words in warning for warning in warnings_of(tmp_path, logits, labels))


def test_two_classes_that_are_exchanged_are_named(tmp_path):
    order = np.arange(20)
    order[[3, 5]] = 5, 3
    (warning,) = warnings_of(tmp_path, LOGITS[:, order])
    assert "2 classes are recognised as another class (3 as 5, 5 as 3)" in warning


@pytest.mark.parametrize(("order", "count"), [(np.arange(20), 0), (AS_TEXT, 1)])
def test_features_alone_are_looked_at_through_their_head(tmp_path, order, count):
    rows = SplitArrays(logits=LOGITS[None], labels=LABELS, features=LOGITS[None][:, :, order])
    head = Head.from_linear(np.eye(20), np.ones(20))
    write_splits(tmp_path / "t.h5", {"train": rows}, head=head)
    cached = open_cache(tmp_path / "t.h5")
    assert last_look(cached) == ()
    object.__setattr__(cached.splits["train"], "logits", None)
    assert len(last_look(cached)) == count
