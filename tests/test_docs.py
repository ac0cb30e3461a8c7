"""What docs/python.md shows runs as it stands there; what docs/architecture.md names exists."""

import json
import re
from pathlib import Path

import pytest

from marr_pipeline import names

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "python.md"


@pytest.mark.filterwarnings("default")
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


def test_the_page_of_sets_has_the_numbers_of_its_records():
    rows = dict(re.findall(r"^\| (.*?) \| (\d.* / .* / .*) \|$", _table_of_sets(), re.MULTILINE))
    keys = {"`softmax`": "softmax, W 0", "**`prevalence`**": "prevalence, W 0"}
    keys |= {
        f"`{score}`, W {w}": f"{score}, W {w}" for score in names.SET_SCORES for w in (0.5, 0.9)
    }
    keys |= {"one threshold a class (W 1)": "softmax, W 1"}
    assert set(rows) == set(keys)
    for said, key in keys.items():
        expected = []
        for name, group in (("cifar10", "medium"), ("cifar100", "few")):
            record = json.loads((ROOT / "results" / f"sets-{name}-r100.json").read_text())
            found = record["sets"]["long tail"][key]
            shares = [f"{100 * found[each]:.1f}" for each in ("coverage", "macro", group)]
            expected.append(" / ".join([*shares, f"{found['mean_size']:.2f}"]))
        assert rows[said] == " | ".join(expected)


def _table_of_sets():
    """The rows of the long tail."""
    page = (ROOT / "docs" / "sets.md").read_text(encoding="utf-8")
    return page.partition("| *long tail*")[2].partition("| *balanced*")[0]


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
