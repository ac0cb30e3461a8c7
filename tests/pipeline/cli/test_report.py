"""`pipeline report`: what the page says, and that it works in a browser."""

import re
import shlex
from html import unescape

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from caches import write_splits
from safetensors.numpy import load

from marr_pipeline.cache import SplitArrays
from marr_pipeline.workflows.report import write_report

NASTY = "</script><script>alert(1)</script> & <b>ibis</b>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page about three classes, one of which has a hostile name."""
    folder = tmp_path_factory.mktemp("report")
    generator = np.random.default_rng(0)
    counts = np.array([300, 60, 12])
    names = [NASTY, 'cat, "tabby"', "fox"]
    arrays = {}
    for split, sizes in (("train", counts), ("test", [80, 80, 80])):
        labels = np.repeat(np.arange(3), sizes)
        logits = generator.normal(size=(len(labels), 3)) + 2 * np.eye(3)[labels] + np.log(counts)
        arrays[split] = SplitArrays(
            views=("clean",), logits=logits[None].astype(np.float32), labels=labels
        )
    write_splits(folder / "c.h5", arrays, class_counts=counts, class_names=names)
    return write_report(folder / "c.h5", output=folder / "r.html", resamples=200)


@pytest.fixture
def few_figures(monkeypatch):
    """One of the figures, of which each takes a second, for what is said beside them."""
    monkeypatch.setattr("marr_pipeline.workflows.report.FIGURES", ("curves",))


def test_the_page_says_what_happened_and_loads_nothing(page):
    html = page.path.read_text()
    assert html == page.html
    assert page._repr_html_().startswith("<iframe srcdoc=")
    assert "has 3 classes of 300 to 12 training images" in html
    assert "points against the softmax, 95 % of resamples between" in html
    assert '<a href="#about-R07">R07</a>' in html
    (about,) = re.findall(r'<div id="about-R07".*?</div>', html, re.DOTALL)
    assert "Fewer than 100 rows are scored in a group" in about
    assert "crt (needs features" in html
    assert not re.search(r'(?:src|href)="(?!#|data:)', html)
    assert "alert(1)" in html
    assert NASTY not in html
    assert html.count("<script") == 2
    assert len(re.findall(r"<figure>", html)) >= 3
    assert page.path.stat().st_size < 1e6
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_the_command_writes_it_and_lists_what_it_found(
    few_figures, digits_cache, digits_rectifier, run, tmp_path
):
    done = run(
        *("report", digits_cache, digits_rectifier, "--methods", "temperature"),
        *("--resamples", "100", "--json", "-o", tmp_path / "r.html"),
    )
    assert done.code == 0, done.err
    assert done.document["report"] == str(tmp_path / "r.html")
    codes = [finding["code"] for finding in done.document["checks"]]
    assert "R07" in codes
    assert re.search(r"few-shot classes rise from [\d.]+ % to [\d.]+ %\. ", done.err)
    assert 'class="main"><th scope="row" data-value="marr">' in (tmp_path / "r.html").read_text()
    refused = run("report", digits_cache, "-o", tmp_path / "r.txt")
    assert refused.code == 2


def test_an_unknown_method_is_answered_with_those_that_exist(digits_cache, run, tmp_path):
    refused = run("report", digits_cache, "--methods", "foo", "-o", tmp_path / "r.html")
    assert refused.code == 2
    assert "got foo; choose one" in refused.err
    assert "tau-norm" in refused.err
    assert not (tmp_path / "r.html").exists()


def test_the_page_says_how_to_make_it_again(few_figures, digits_cache, run, tmp_path):
    fitted = tmp_path / "my fit.safetensors"
    options = ("--method", "lws", "--gamma", "0.4", "--tolerance", "1e-5")
    assert run("rectify", digits_cache, *options, "-o", fitted).code == 0
    done = run(
        *("report", digits_cache, fitted, "--methods", "lws:default,tau-norm"),
        *("--resamples", "150", "-o", tmp_path / "r.html"),
    )
    assert done.code == 0, done.err
    html = unescape((tmp_path / "r.html").read_text())
    lines = html.rsplit("<pre>", 1)[1].split("</pre>")[0].splitlines()
    again = [shlex.split(line)[1:] for line in lines]
    page = ["--split", "test", "--resamples", "150", "--methods", "lws,tau-norm"]
    assert again[1] == ["report", *map(str, (digits_cache, fitted)), *page, "-o", again[1][-1]]
    assert again[2] == ["compare", str(digits_cache), *page]
    first = fitted.read_bytes()
    fitted.unlink()
    assert run(*again[0]).code == 0
    tensors = [load(content) for content in (first, fitted.read_bytes())]
    for name, tensor in tensors[0].items():
        np.testing.assert_array_equal(tensor, tensors[1][name])
    main = html.split('<tr class="main">')[1].split("</tr>")[0]
    assert re.search(r'data-value="10"', main)  # of numbers fitted, which the file does not say


def test_a_page_of_training_rows_says_so(few_figures, digits_cache, run, tmp_path):
    done = run(
        *("report", digits_cache, "--split", "train", "--methods", "marr:default"),
        *("--resamples", "100", "--json", "-o", tmp_path / "r.html"),
    )
    assert done.code == 0, done.err
    html = (tmp_path / "r.html").read_text()
    assert "of the train rows of" in html
    assert "The network was trained on these rows" in html
    assert "No method saw" not in html
    assert "R14" not in [finding["code"] for finding in done.document["checks"]]


def column(name, at):
    return (
        f"[...document.querySelectorAll('#table-{name} tbody tr')].filter(row => !row.hidden)"
        f".map(row => row.cells[{at}].textContent)"
    )


SEEN = (
    "(style => style.outlineStyle + style.outlineWidth)(getComputedStyle(document.activeElement))"
)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium; `.ci/run` installs Debian's")
@pytest.mark.parametrize("width", [390, 1280])
def test_all_of_it_works_by_keyboard_alone(page, width, tmp_path):
    with Browser(page.path.as_uri(), width=width, profile=tmp_path / "profile") as browser:
        value, press = browser.value, browser.press
        browser.tab_to("it.hash === '#classes'")
        press("Enter")
        assert value("location.hash") == "#classes"
        browser.tab_to("it.id === 'search'")  # the next stop after the jump
        assert value("document.getElementById('classes').getBoundingClientRect().top") < 900
        assert value(SEEN) == "solid3px"
        for letter in "fo":
            press(letter)
        assert value(column("classes", 0)) == ["fox"]
        assert value("document.getElementById('found').textContent") == "1 found"

        value("document.activeElement.blur(); scrollTo(0, 0); getSelection().removeAllRanges()")
        browser.tab_to("it.closest('#table-methods th') && it.textContent === 'overall'")
        assert value(SEEN) == "solid3px"
        sort = "document.activeElement.closest('th').ariaSort"
        press("Enter")
        assert value(sort) == "descending"
        overall = [float(text.split()[0]) for text in value(column("methods", 1))]
        assert overall == sorted(overall, reverse=True)
        press(" ")
        assert value(sort) == "ascending"
        assert [float(text.split()[0]) for text in value(column("methods", 1))] == overall[::-1]
        assert value("document.querySelectorAll('#table-methods [aria-sort]').length") == 1

        order = "[...document.querySelectorAll('#table-classes tbody tr')].map(it => it.cells"
        value("document.getElementById('search').value = ''")
        value("document.getElementById('search').dispatchEvent(new Event('input'))")
        value("document.querySelectorAll('#table-classes th button')[3].click()")
        assert value(f"{order}[3].textContent)") == ["many", "medium", "few"]
        value("document.querySelectorAll('#table-classes tbody tr')[0].cells[8].textContent = '3d'")
        value("document.querySelectorAll('#table-classes tbody tr')[1].cells[8].textContent = 'a'")
        value("document.querySelectorAll('#table-classes tbody tr')[2].cells[8].textContent = 'Z'")
        value("document.querySelectorAll('#table-classes th button')[8].click()")
        assert value(f"{order}[8].textContent)") == ["3d", "a", "Z"]  # by letters, as names are

        browser.tab_to("it.id === 'prior'")
        uniform = value(column("priors", 1))
        press("ArrowLeft", times=10)
        assert value("document.activeElement.ariaValueText") == "training's own"
        assert value("document.getElementById('prior-value').textContent") == "training's own"
        assert value(column("priors", 1)) != uniform
        browser.tab_to("it.id === 'gamma'")
        press("Home")
        browser.tab_to("it.id === 'ridge'")
        press("End")
        assert value(column("sweep", 0)) == ["0, 30"]
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert value(wide) <= 0
        assert value("document.querySelectorAll('b, script').length") == value(
            "document.querySelectorAll('dd > b, .finding b').length + 2"
        )  # none of a class name's own
        assert not browser.errors


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium; `.ci/run` installs Debian's")
def test_it_prints_without_what_paper_cannot_do(page, tmp_path):
    with Browser(page.path.as_uri(), width=1280, profile=tmp_path / "profile") as browser:
        browser.call("Emulation.setEmulatedMedia", media="print")
        hidden = "[...document.querySelectorAll('nav, input')].every(it => !it.offsetParent)"
        assert browser.value(hidden)
        assert browser.call("Page.printToPDF")["data"].startswith("JVBERi")  # %PDF


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_what_is_behind_it(page):
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", page.html))
    for text in ("ink", "soft", "warn", "mark"):
        for ground in ("#ffffff", colours["tint"], "#f4f6f9"):
            high, low = sorted((luminance(colours[text]), luminance(ground)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)
