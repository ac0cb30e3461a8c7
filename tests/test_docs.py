"""What docs/python.md shows runs as it stands there."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "python.md"


@pytest.mark.filterwarnings("default")
def test_snippets_of_the_python_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) >= 6
    exec(compile("\n".join(snippets), str(PAGE), "exec"), {})
    assert (tmp_path / "digits.safetensors").exists()
