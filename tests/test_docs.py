"""What pages say is so: numbers are those of records, snippets run, paths exist."""

import importlib
import json
import re
import shutil
from pathlib import Path

import pytest
import shown
import told

from marr_pipeline import names

ROOT = told.ROOT
OWN_TESTS = ("cache-format", "rectifier-format", "extending", "deploy")
"""Pages whose code runs in tests of their own (`test_format_page.py`, `test_examples.py`, ...)."""


@pytest.fixture(scope="module")
def desk(digits_cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    shown.fill(folder, digits_cache)
    return folder


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("nothing_added")
@pytest.mark.parametrize("page", [page for page in told.PAGES if Path(page).stem not in OWN_TESTS])
def test_commands_and_snippets_of_a_page_run(page, desk, run, capsys, monkeypatch, tmp_path):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert shown.unfenced(text) == []
    blocks = list(shown.blocks(text))
    home = shutil.copytree(desk, tmp_path / "desk", symlinks=True) if blocks else tmp_path
    printed, scope = "", {}
    for language, body in blocks:
        monkeypatch.chdir(home)
        if language == "python":
            capsys.readouterr()
            exec(compile(body, page, "exec"), scope)
            printed += capsys.readouterr().out
        elif language == "text":
            assert shown.is_printed(body, printed), f"{body}\nexpected in\n{printed}"
        else:
            assert language == "sh", body
            for program, *words in shown.commands(body):
                if program == "cd":
                    monkeypatch.chdir(*words)
                    continue
                assert program == "pipeline", f"{program} neither runs here nor is marked by hand"
                done = run(*words)
                assert done.code == 0, (words, done.err)
                printed += done.err + done.out


@pytest.mark.parametrize(
    ("expected", "printed", "is_there"),
    [
        ("marr 51.6 50.5", "softmax 70.8 40.9\nmarr  51.6 50.5", True),
        ("marr 51.6 ... 1.329 8.1", "marr 51.6 50.5 53.6 1.329 8.1", True),
        ("marr 51.6 ... 1.329", "marr 51.6 50.5 53.6", False),
        ("marr 51.6", "marr 51.9+", True),
        ("marr 51.6", "marr 52.0", False),
        ("marr 51.6", "softmax 51.6", False),
    ],
)
def test_what_is_printed_is_compared(expected, printed, is_there):
    assert shown.is_printed(expected, printed) == is_there


PATHS = sorted(
    {
        name
        for page in ("README.md", "docs/architecture.md")
        for name in re.findall(r"[`(]([\w./-]+)[`)]", (ROOT / page).read_text(encoding="utf-8"))
        if re.fullmatch(r"(cache|plots|pipeline|benchmarks|docs|examples|tests)/[\w./-]*", name)
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
    commands = re.findall(r"^pipeline plot (\S+) (.*)$", page, re.MULTILINE)
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


@pytest.mark.parametrize("page", told.PAGES)
def test_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    for link in links:
        name, _, section = link.partition("#")
        if link.startswith("http"):
            continue
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        if section:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert section in {
                re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in titles
            }


def test_the_page_of_commands_has_every_command():
    from marr_pipeline.cli import cli

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `pipeline (\w+)` \|", page, re.MULTILINE)) == set(
        cli.list_commands(None)
    )


def test_the_readme_is_short_and_shows_the_main_job():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    for shown_there in ("pipeline extract ", "--optimizer lbfgs", "-curves.png", "-confusion.png"):
        assert shown_there in text


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
