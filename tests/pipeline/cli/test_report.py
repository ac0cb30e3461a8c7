"""`pipeline report`: what the page says, and that it works in a browser."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from caches import write_splits

from marr_pipeline.cache import SplitArrays
from marr_pipeline.workflows.report import write_report

NASTY = "</script><script>alert(1)</script> & <b>ibis</b>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


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


def test_the_page_says_what_happened_and_loads_nothing(page):
    html = page.path.read_text()
    assert html == page.html
    assert page._repr_html_().startswith("<iframe srcdoc=")
    assert "has 3 classes of 300 to 12 training images" in html
    assert "points against the softmax, 95 % of resamples between" in html
    assert "R07" in html
    assert "crt (needs features" in html
    assert not re.search(r'(?:src|href)="(?!#|data:)', html)
    assert "alert(1)" in html
    assert NASTY not in html
    assert html.count("<script") == 2
    assert len(re.findall(r"<figure>", html)) >= 3
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_the_command_writes_it_and_lists_what_it_found(
    digits_cache, digits_rectifier, run, tmp_path
):
    done = run(
        *("report", digits_cache, digits_rectifier, "--methods", "temperature"),
        *("--resamples", "100", "--json", "-o", tmp_path / "r.html"),
    )
    assert done.code == 0, done.err
    assert done.document["report"] == str(tmp_path / "r.html")
    codes = [finding["code"] for finding in done.document["findings"]]
    assert "R07" in codes
    assert 'class="main"><th scope="row" data-value="marr">' in (tmp_path / "r.html").read_text()
    assert (tmp_path / "r.html").stat().st_size < 1e6
    refused = run("report", digits_cache, "-o", tmp_path / "r.txt")
    assert refused.code == 2


ACTIONS = """
<script>
window.addEventListener("load", () => {
  const told = {};
  const texts = (id, at) => [...document.querySelectorAll(`#${id} tbody tr`)]
    .filter(row => !row.hidden).map(row => row.cells[at].textContent);
  const head = (id, at) => document.querySelectorAll(`#${id} thead button`)[at];
  const move = (id, value) => {
    const slider = document.getElementById(id);
    slider.value = value; slider.dispatchEvent(new Event("input"));
  };
  head("table-methods", 1).click(); told.down = texts("table-methods", 1);
  head("table-methods", 1).click(); told.up = texts("table-methods", 1);
  head("table-classes", 0).click(); told.names = texts("table-classes", 0);
  const search = document.getElementById("search");
  search.value = "FO"; search.dispatchEvent(new Event("input"));
  told.found = texts("table-classes", 0);
  told.status = document.getElementById("found").textContent;
  told.uniform = texts("table-priors", 1);
  move("prior", 0); told.trained = texts("table-priors", 1);
  told.prior = document.getElementById("prior-value").textContent;
  move("gamma", 0); move("ridge", 2); told.swept = texts("table-sweep", 0);
  told.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  head("table-methods", 2).focus(); told.focused = document.activeElement.textContent;
  const result = document.createElement("pre");
  result.id = "told"; result.textContent = JSON.stringify(told); document.body.append(result);
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium; `.ci/run` installs Debian's")
@pytest.mark.parametrize("width", [390, 1280])
def test_sorting_search_and_sliders_work_in_a_browser(page, width, tmp_path):
    tried = tmp_path / "tried.html"
    tried.write_text(page.html.replace("</body>", ACTIONS + "</body>"))
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"),
            *(f"--window-size={width},900", "--virtual-time-budget=4000", tried.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    told = json.loads(re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)[1])
    values = [float(text.split()[0]) for text in told["down"]]
    assert values == sorted(values, reverse=True)
    assert [float(text.split()[0]) for text in told["up"]] == values[::-1]
    assert told["names"][1:] == ['cat, "tabby"', "fox"]
    assert (told["found"], told["status"]) == (["fox"], "1 found")
    assert told["prior"] == "training's own"
    assert told["trained"] != told["uniform"]
    assert told["swept"] == ["0, 30"]
    assert told["focused"] == "many"
    assert told["wide"] <= 0


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
