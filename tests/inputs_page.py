"""docs/inputs.md, whose rows are tests: each is read as it says, or refused in those words."""

import re
from pathlib import Path

from marr_pipeline.cache import open_cache

PAGE = Path(__file__).parents[1] / "docs" / "inputs.md"


def rows_of(section):
    """What is handed in, the outcome, and what is said, of each row of a section's tables."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {section}")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:2] == "| "]
    return [[*row, ""][:3] for row in rows[1:]]


def key_of(handed_in, cases):
    """The case whose key a row begins with; of several, the longest."""
    return max((key for key in cases if handed_in.startswith(key)), key=len)


def import_as_said(run, options, outcome, said):
    """The cache that `pipeline import` makes; None where it is refused as the page has it."""
    done = run("import", *options.split(), "-o", "own.h5", "--overwrite")
    for words in re.findall(r"`([^`]+)`", said):
        assert words in done.err
    if outcome != "read":
        assert (done.code, done.out) == (int(outcome[-2]), "")
        assert done.error.count("\n") == 0
        assert not Path("own.h5").exists()
        return None
    assert done.code == 0, done.err
    return open_cache(Path("own.h5"))
