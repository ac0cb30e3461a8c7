import pytest

from marr_pipeline.workflows.duration import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (40 * 60, "40 min"),
        (119.4 * 60, "119 min"),
        (119.6 * 60, "2 h 0 min"),
        (35_030, "9 h 44 min"),
        (4_000_000, "1,111 h 7 min"),
    ],
)
def test_seconds_as_people_say_them(seconds, text):
    assert duration(seconds) == text
