"""Results show themselves in a notebook, with names escaped."""

import pytest

from marr_pipeline import MarginRectifier, RectifySettings, evaluate, open_cache, rectify_cache
from marr_pipeline.notebook import html_table
from marr_pipeline.workflows.compare import compare
from marr_pipeline.workflows.sweep import sweep


def test_every_text_is_escaped():
    html = html_table([("<b>", 1)], headings=("", "<i>"), caption="a & b\n<u>")
    assert "&lt;b&gt;" in html
    assert "&lt;i&gt;" in html
    assert "a &amp; b<br>&lt;u&gt;" in html


def estimator_result(path):
    rows = open_cache(path).split("train")
    fitted = MarginRectifier().fit(rows.logits[0], rows.labels)
    return fitted.result_


RESULTS = {
    "cache": (open_cache, "rows, views"),
    "rectify": (rectify_cache, "logit adjustment"),
    "evaluate": (evaluate, "logit-adjustment"),
    "compare": (lambda path: compare([path], methods=["marr"], resamples=100), "vs softmax"),
    "sweep": (lambda path: sweep(path, RectifySettings(), {"gamma": [0.8]}), "gamma 0.8"),
    "estimator": (estimator_result, "converged"),
}


def test_a_result_is_a_line_elsewhere(digits_cache):
    found = rectify_cache(digits_cache)
    for one in (found, found.fit, found.fit.rectifier, evaluate(digits_cache)):
        line = repr(one)
        assert line.startswith(f"{type(one).__name__}(")
        assert len(line) < 500
        assert "tensor(" not in line
    assert "status='converged'" in repr(found.fit)


def test_one_path_is_taken_where_several_may_be(digits_cache, digits_rectifier):
    found = compare(digits_cache, methods="bias", rectifiers=digits_rectifier, resamples=100)
    assert [*found.reports][-2:] == ["bias", digits_rectifier.stem]
    assert digits_rectifier.stem in evaluate(digits_cache, digits_rectifier).rectifiers


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows_itself(name, digits_cache):
    make, told = RESULTS[name]
    html = make(digits_cache)._repr_html_()
    assert html.startswith("<table>")
    assert html.endswith("</table>")
    assert told in html
