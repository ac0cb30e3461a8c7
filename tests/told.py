"""What pages tell of measurements, held against the records in `results/`.

A paragraph, list or table with measured numbers (decimals, and numbers with a unit) stands under
one HTML comment that says where they are from:

    <!-- numbers
    86.6 = 100 * [heads-cifar10-r100/methods/head/overall]
    17, 2.5 = by hand 2026-11-28
    -->

Square brackets are a path into `results/NAME.json`, or into the tables of NAME.md (first cell of
the row / heading / which number of the cell); `*` stands for all there are, the rest is arithmetic.
A number is right if the expression rounds to it. A table has a pattern of its rows:

    row = 100 * [NAME/methods/ROW/overall] ; [NAME/methods/ROW/nll] | [OTHER/methods/ROW/nll]
    row softmax = 100 * [NAME/softmax] ; [NAME/softmax nll] | -
    ROW plain probe = probe

`|` stands between cells, `;` between the numbers of a cell, `-` for a cell that is not compared.
ROW is the row's first cell, unless a line says otherwise; a row may have a pattern of its own.

In place of an expression `by hand DATE` marks what was measured without a record, `set` what is no
measurement. For a whole block there is `<!-- numbers: set -->`, `<!-- numbers: by hand DATE, how
-->` and `<!-- numbers: test_name -->`, a test that compares them.
"""

import json
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = tuple(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
)

COMMENT = re.compile(r"<!-- numbers:?\s*(.*?)-->\n?", re.DOTALL)
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?"
UNIT = (
    r"%|per cent\b|points?\b|(?:processor )?(?:milli)?seconds?\b|minutes?\b|min\b|[mµ]?s\b|"
    r"[kKMG]i?B\b|times\b|(?:images|rows)(?:/s\b| a second\b)"
)
IN_CHAIN = r"(?: to | and | or |, and |, | in place of | against )"
WITH_UNIT = re.compile(rf"(?<![\w.])(?:{NUMBER}{IN_CHAIN})*{NUMBER}\s(?:{UNIT})")
DECIMAL = re.compile(r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+(?:e[+-]?\d+)?|e[+-]\d+)(?![\w.]*\w)")
NAMED = re.compile(
    r"(?:torch|Python|timm|version|versions|format|tau|gamma|l2|scale_l2|beta|W|a gap of) "
    rf"(?:of )?{NUMBER}(?:, {NUMBER})*|95 %"
)
"""Versions, settings and the level of intervals: decimals that nobody measured."""

DATE = re.compile(r"by hand \d{4}-\d{2}-\d{2}\b")
FUNCTIONS = {each.__name__: each for each in (abs, len, max, min, round, sum)}


def problems(text, *, tests=()):
    """What is wrong with a page's measured numbers, a sentence each.

    Args:
        text: the page, Markdown.
        tests: names of tests that a comment may refer to.
    """
    found = []
    for block in _blocks(text):
        comments = COMMENT.findall(block)
        said = COMMENT.sub("", block)
        start = " ".join(said.split())[:60]
        if not comments:
            loose = sorted(_measured(said))
            found += [f"{start!r}: no record named for {', '.join(loose)}"] if loose else []
            continue
        (comment,) = comments
        found += [f"{start!r}: {wrong}" for wrong in _wrong(comment.strip(), said, tests)]
    return found


def _wrong(comment, said, tests):
    """What is wrong in a block under its comment."""
    if "=" not in comment:
        if comment != "set" and comment not in tests and not DATE.match(comment):
            yield f"{comment!r} is neither set, by hand YYYY-MM-DD nor a test"
        return
    lines = [line.partition(" = ")[::2] for line in comment.splitlines()]
    covered = set()
    for left, right in lines:
        if left.partition(" ")[0] not in ("row", "ROW"):
            yield from _wrong_numbers(re.split(r", (?=[+-]?\d)", left), right, said, covered)
    patterns = {left[4:]: right for left, right in lines if left.partition(" ")[0] == "row"}
    if patterns:
        keys = {left[4:]: right for left, right in lines if left.startswith("ROW ")}
        yield from _wrong_rows(said, patterns, keys, covered)
    loose = [token for token in sorted(_measured(said)) if _value(token) not in covered]
    if loose:
        yield f"no record named for {', '.join(loose)}"


def _wrong_numbers(literals, source, said, covered):
    """What is wrong with single numbers of one source; they are added to those covered."""
    there = {_value(token.lstrip("+-")) for token in _numbers(said)}
    for literal in literals:
        covered.add(_value(literal.lstrip("+-")))
        if _value(literal.lstrip("+-")) not in there:
            yield f"{literal} is not there"
        elif source != "set" and not DATE.match(source):
            yield from _differs(literal, source)


def _wrong_rows(said, patterns, keys, covered):
    """What is wrong with the rows of a table; their numbers are added to those covered."""
    lines = [line.strip("|").split("|") for line in said.splitlines() if line.startswith("|")]
    rows = {
        cells[0].strip(" *").replace("`", "").replace("*", ""): cells[1:] for cells in lines[2:]
    }
    yield from (f"no row {key!r}" for key in [*keys, *patterns] if key and key not in rows)
    for first, cells in rows.items():
        if keys.get(first) == "set":
            continue
        pattern = patterns.get(first, patterns.get("", ""))
        expected = pattern.replace("ROW", keys.get(first, first)).split(" | ")
        if len(cells) != len(expected):
            yield f"row {first!r}: {len(expected)} cells expected, got {len(cells)}"
            continue
        for cell, expressions in zip(cells, expected, strict=True):
            literals, wanted = _numbers(cell), expressions.split(" ; ")
            if expressions.strip() == "-":
                continue
            if len(literals) != len(wanted):
                yield f"row {first!r}: {len(wanted)} numbers expected in {cell.strip()!r}"
                continue
            covered |= {_value(literal.lstrip("+-")) for literal in literals}
            for literal, expression in zip(literals, wanted, strict=True):
                yield from (f"row {first!r}: {each}" for each in _differs(literal, expression))


def _differs(literal, expression):
    """Nothing if the expression's value rounds to the literal."""
    try:
        value = float(evaluate(expression))
    except (KeyError, IndexError, TypeError, ValueError, FileNotFoundError) as error:
        yield f"{literal} = {expression}: {type(error).__name__} {error}"
        return
    digits = literal.replace(",", "")
    mantissa, _, exponent = digits.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    if not abs(value - float(digits)) <= 0.5 * unit * (1 + 1e-9) + 1e-12:
        yield f"{literal} is {value:.6g} by {expression}"


def evaluate(expression):
    """The value of an expression over records."""
    code = re.sub(r"\[([^\[\]]+/[^\[\]]+)\]", lambda found: f"look({found[1]!r})", expression)
    return eval(code, {"__builtins__": {}}, {**FUNCTIONS, "look": _look})


def _look(path):
    """The value at a path, or a list of all where it has a `*`."""
    name, *keys = re.split(r"(?<! )/(?! )", path)
    values = [_record(name)]
    for key in keys:
        if key == "*":
            values = [each for value in values for each in _children(value)]
        else:
            values = [value[int(key) if isinstance(value, list) else key] for value in values]
    if "*" in keys:
        return values
    (value,) = values
    return value[0] if isinstance(value, list) else value  # of a cell the first number


def _children(value):
    return value.values() if isinstance(value, dict) else value


@cache
def _record(name):
    path = ROOT / "results" / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    rows = {}
    for block in path.with_suffix(".md").read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if not lines:
            continue
        table = [[cell.strip(" *") for cell in line.strip("| ").split(" | ")] for line in lines]
        heading = [line.strip() for line in lines[0].strip("|").split("|")]
        for line in table[2:]:
            numbers = {
                key: [*map(_value, _numbers(cell))] for key, cell in zip(heading, line, strict=True)
            }
            rows.setdefault(line[0], {}).update(numbers)
    return rows


def _blocks(text):
    """Paragraphs, lists and tables, each with the comment over it; no code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!-- (?!numbers).*?-->", "", text, flags=re.DOTALL)
    blocks = re.split(r"\n\s*\n", text)
    return [block for block in blocks if block.strip() and not block.startswith(("    ", "#"))]


def _plain(said):
    """Text without code, link targets, versions and settings."""
    said = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "`", said))
    return NAMED.sub("", " ".join(said.split()))


def _measured(said):
    """The numbers of a text that only a measurement can give."""
    plain = _plain(said)
    chains = " ".join(found[0] for found in WITH_UNIT.finditer(plain))
    return {*re.findall(NUMBER, chains), *DECIMAL.findall(plain)}


def _numbers(said):
    return re.findall(rf"(?:(?<![\w.)\]])[+-])?(?<![\w.]){NUMBER}", said.replace("+-", ""))


def _value(literal):
    return float(literal.replace(",", ""))
