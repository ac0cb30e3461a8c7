"""`digits-lt`: scikit-learn's 8 x 8 grey digits, cut to a long tail. Needs no file and no network.

1,797 images, 174 to 183 a class. 40 a class are drawn first as a balanced test split, which
leaves 134 to 143 a class; at a ratio of 20, the protocol's, the training counts are then 143, 102,
73, 52, 37, 27, 19, 13, 9, 7: two many-shot, four medium-shot and four few-shot classes. A larger
test split or a steeper ratio would leave fewer than two classes above 100 images.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits

from marr_pipeline.data.longtail import select_rows
from marr_pipeline.data.source import ArraySource, DatasetSource, SourceRequest

TEST_IMAGES_PER_CLASS = 40
LARGEST_PIXEL = 16  # scikit-learn counts set bits in 4 x 4 blocks: 0..16


def digits_source(request: SourceRequest) -> DatasetSource:
    """The digits with a balanced test split drawn from the data seed; pixels scaled to 0..255.

    Root and image size have no meaning here: the images are embedded and stay 8 x 8.
    """
    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    scaled = np.rint(bunch.images * (255.0 / LARGEST_PIXEL)).astype(np.uint8)
    images = torch.from_numpy(scaled)[:, None]
    test_rows = select_rows(labels, np.full(10, TEST_IMAGES_PER_CLASS), request.data_seed)
    train_rows = np.setdiff1d(np.arange(len(labels)), test_rows)
    request.progress(len(labels), len(labels), "digits read")

    return DatasetSource(
        name="digits-lt",
        class_names=tuple(str(digit) for digit in range(10)),
        splits={
            "train": ArraySource(labels=labels, images=images, candidates=train_rows),
            "test": ArraySource(labels=labels, images=images, candidates=test_rows),
        },
    )
