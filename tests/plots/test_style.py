import subprocess
import sys

import matplotlib as mpl
import pytest

from marr_pipeline.plots.style import look, new_figure, shorten, text_width

DRAW = """
import sys
import numpy as np
from pathlib import Path
from marr_pipeline.plots.confusion import confusion_figure, confusion_table
from marr_pipeline.plots.save import save_figure
counts = np.array([3, 1])
groups = {"all": np.ones(2, bool)}
arguments = {"class_counts": counts, "groups": groups}
matrices = {"softmax": np.eye(2, dtype=int)}
figure = confusion_figure(matrices, **arguments)
save_figure(figure, Path(sys.argv[1]) / "a.png", confusion_table(matrices, **arguments))
sys.exit("matplotlib.pyplot" in sys.modules)
"""


def test_no_figure_ever_loads_pyplot(tmp_path):
    assert subprocess.run([sys.executable, "-c", DRAW, str(tmp_path)], check=False).returncode == 0
    assert (tmp_path / "a.png").is_file()


def test_importing_the_package_loads_neither_matplotlib_nor_numpy():
    probe = "import sys, plots; sys.exit(bool({'matplotlib', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_the_look_ignores_the_users_settings_and_leaves_them_alone():
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "red"}):
        with look():
            assert mpl.rcParams["font.size"] < 10
            assert mpl.rcParams["axes.facecolor"] == "white"
        assert mpl.rcParams["font.size"] == 30.0
        assert mpl.rcParams["axes.facecolor"] == "red"


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [("marr", 4, "marr"), ("logit-adjustment", 9, "logi…ment"), ("abcdef", 4, "ab…f")],
)
def test_long_names_lose_their_middle(text, length, expected):
    assert shorten(text, length=length) == expected


def test_text_width_is_what_the_renderer_draws():
    with look():
        figure = new_figure(3.0, 1.0, layout="constrained")
        text = figure.text(0.1, 0.5, "medium $5", fontsize=7.0)
        drawn = text.get_window_extent().width * 72 / figure.dpi
        assert text_width("medium $5", size=7.0) == pytest.approx(drawn, abs=1.0)
        assert text_width(" ", size=7.0) == 0.0


def test_a_dollar_sign_is_text_and_not_mathematics():
    with look():
        assert text_width("$a$", size=7.0) > text_width("a", size=7.0) + 7.0
