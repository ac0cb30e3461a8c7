from collections.abc import Iterator

import pytest

from marr_pipeline.device import num_threads


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose time on a second thread, most of all on a busy machine."""
    with num_threads(1):
        yield
