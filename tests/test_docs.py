"""What pages say is so: numbers are those of records, snippets run, paths exist."""

import importlib
import json
import re
from pathlib import Path

import pytest
import told

from marr_pipeline import names

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "python.md"


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("nothing_added")
def test_snippets_of_the_python_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) >= 6
    exec(compile("\n".join(snippets), str(PAGE), "exec"), {})
    assert (tmp_path / "digits.safetensors").exists()


PATHS = sorted(
    {
        name
        for page in ("README.md", "docs/architecture.md")
        for name in re.findall(r"[`(]([\w./-]+)[`)]", (ROOT / page).read_text(encoding="utf-8"))
        if re.fullmatch(r"(cache|plots|pipeline|benchmarks|docs|tests)/[\w./-]*", name)
    }
)


@pytest.mark.parametrize("path", PATHS)
def test_paths_that_a_reader_is_sent_to_exist(path):
    assert (ROOT / path).exists()


def test_the_page_of_phase_one_has_every_method_and_its_options():
    from marr_pipeline.systems import training_method

    page = (ROOT / "docs" / "phase-one.md").read_text()
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert tuple(rows) == (*names.TRAINING_METHODS[:12], "causal-norm", "bbn", "hybrid-sc", "oltr")
    for name, row in rows.items():
        told = row + (rows["ldam"] if name == "ldam-drw" else "")
        told += rows["balanced-softmax"] if name == "lade" else ""
        for option in training_method(name).options:
            assert f"`{option}`" in told, (name, option)


def test_the_page_of_figures_draws_each_with_options_that_exist():
    from marr_pipeline.cli.plot import cli_command

    page = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    pipeline plot (\S+) (.*)$", page, re.MULTILINE)
    assert sorted(figure for figure, _ in commands) == sorted(names.FIGURES)
    options = {option for parameter in cli_command.params for option in parameter.opts}
    for figure, words in commands:
        assert set(re.findall(r"(?<= )--?[a-z]+", words)) <= options, figure
    pictures = re.findall(r"]\((figures/\S+\.png)\)", page)
    assert {f"figures/{words.split()[-1]}" for _, words in commands} >= set(pictures)
    assert all((ROOT / "docs" / picture).exists() for picture in pictures)
    in_folder = (ROOT / "docs" / "figures").glob("*.png")
    assert sum(picture.stat().st_size for picture in in_folder) < 1e6


@pytest.mark.parametrize("page", told.PAGES)
def test_measured_numbers_are_those_of_their_records(page):
    assert told.problems((ROOT / page).read_text(encoding="utf-8"), tests=globals()) == []


RECORD = "[heads-cifar10-r100/methods/head/overall]"
TABLE = f"""<!-- numbers
row = 100 * {RECORD}
ROW the head = head
-->
| | accuracy |
|---|---|
| the head | {{}} |"""


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        ("It has 86.6 % there.", "no record named for 86.6"),
        ("A loss of 0.413.", "no record named for 0.413"),
        ("From 3 to 4 points.", "no record named for 3, 4"),
        (f"<!-- numbers\n86.6 = 100 * {RECORD}\n-->\nIt has 86.6 %.", None),
        (f"<!-- numbers\n86.7 = 100 * {RECORD}\n-->\nIt has 86.7 %.", "86.7 is 86.6"),
        (f"<!-- numbers\n86.6 = 100 * {RECORD}\n-->\nIt has it.", "86.6 is not there"),
        (f"<!-- numbers\n86.6 = 100 * {RECORD}\n-->\nNot 86.6 % but 0.5 %.", "named for 0.5"),
        ("<!-- numbers\n86.6 = [heads-cifar10-r100/no]\n-->\nIt has 86.6 %.", "KeyError"),
        ("<!-- numbers: by hand -->\nIt took 3 s.", "neither set, by hand YYYY"),
        ("<!-- numbers: by hand 2026-11-28, one thread -->\nIt took 3 s.", None),
        ("<!-- numbers: test_of_nothing -->\nIt took 3 s.", "nor a test"),
        (TABLE.format("86.6"), None),
        (TABLE.format("86.5"), "row 'the head': 86.5 is 86.6"),
        (TABLE.format("-"), "1 numbers expected"),
        ("Intervals of 95 % with torch 2.14 at gamma 1.2.", None),
        ("    a line of code: 86.6 %", None),
    ],
)
def test_a_number_that_no_record_has_is_found(page, wrong):
    found = told.problems(page)
    assert len(found) == (wrong is not None)
    assert wrong is None or wrong in found[0]


def test_the_table_of_strengths_is_that_of_its_record(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    table = importlib.import_module("strengths").table
    problems = json.loads((ROOT / "results" / "strengths.json").read_text())["problems"]
    assert table(problems) in (ROOT / "docs" / "phase-two.md").read_text(encoding="utf-8")


def test_the_walks_name_their_files():
    assert len(PATHS) > 50


def test_every_check_has_its_section_and_an_example_in_its_own_words():

    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (R\d+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert tuple(code for code, _ in sections) == names.CHECKS
    source = "".join(path.read_text("utf-8") for path in sorted((ROOT / "pipeline").rglob("*.py")))
    assert set(re.findall(r'^ +"(R\d\d)",$', source, re.MULTILINE)) == set(names.CHECKS)
    for code, text in sections:
        (example,) = re.findall(rf"^    ({code}: .*)$", text, re.MULTILINE)
        words = re.findall(r"[a-z]{3,}(?: [a-z]{2,})+", example)
        assert any(phrase in source for phrase in words), example
