"""The files of examples/ run as docs/extending.md shows them."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("nothing_added")
EXAMPLES = Path(__file__).parent.parent / "examples"


def test_methods_of_a_file_stand_in_the_table(run, digits_cache):
    file = EXAMPLES / "method.py"
    quick = ("--methods", "marr", "--resamples", 100, "--json")
    found = run("compare", digits_cache, "--plugin", file, *quick).document["methods"]
    assert list(found)[3:] == ["even-shares", "neighbours"]
    for key in ("even-shares", "neighbours"):
        assert found[key]["balanced"] > found["softmax"]["balanced"]
        low, high = found[key]["interval"]
        assert low < found[key]["overall"] < high
        assert found[key]["vs_softmax"]["p_holm"] <= 1
