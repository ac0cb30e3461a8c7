import pytest

from marr_pipeline import progress
from marr_pipeline.progress import ProgressLine, duration


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def feed(line, clock, calls):
    for now, done, total in calls:
        clock.now = now
        line(done, total, "")


def test_short_work_shows_nothing(clock, capsys):
    feed(ProgressLine("reading"), clock, [(100.0, 1, 3), (100.4, 2, 3), (100.9, 3, 3)])
    assert capsys.readouterr().err == ""


def test_a_log_gets_a_line_at_each_tenth_and_one_at_the_end(clock, capsys):
    line = ProgressLine("training")
    feed(line, clock, [(100.0 + 0.1 * step, step, 1000) for step in range(1, 1001)])
    lines = capsys.readouterr().err.splitlines()
    assert [text.split()[1] for text in lines] == [
        *(f"{step}/1,000" for step in range(100, 1000, 100)),
        "1,000/1,000",
    ]
    assert lines[0] == "training: 100/1,000  10/s  90 s left"
    assert lines[-1].endswith("99.9 s")


def test_slow_work_is_never_silent_for_long(clock, capsys):
    feed(ProgressLine("fitting"), clock, [(100.0, 1, 1000), (131.0, 2, 1000), (162.0, 3, 1000)])
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_resumed_run_shows_its_own_speed(clock, capsys):
    feed(ProgressLine("training"), clock, [(100.0, 500, 1000), (110.0, 600, 1000)])
    assert "600/1,000  10/s  40 s left" in capsys.readouterr().err


def test_the_next_piece_of_work_starts_its_own_count(clock, capsys):
    calls = [(100.0, 1, 10), (150.0, 10, 10), (151.0, 1, 10), (153.0, 3, 10)]
    feed(ProgressLine("reading"), clock, calls)
    assert capsys.readouterr().err.splitlines()[-1].startswith("reading: 3/10  1/s")


def test_without_a_total_there_is_time_and_a_reading_but_no_rate(clock, capsys):
    line = ProgressLine("fitting", unit=" passes")
    for now, done, total in [(100.0, 1, 0), (131.0, 2, 0), (135.0, 3, 0), (140.0, 3, 3)]:
        clock.now = now
        line(done, total, f"loss {done}")
    first, last = capsys.readouterr().err.splitlines()
    assert first == "fitting: 2 passes  31.0 s  loss 2"
    assert last.startswith("fitting: 3/3 passes")
    assert last.endswith("40.0 s  loss 3")


def test_a_slow_rate_is_not_rounded_to_nothing(clock, capsys):
    calls = [(100.0, 0, 5), (110.0, 1, 5), (460.0, 2, 5)]
    feed(ProgressLine("comparing", unit=" methods"), clock, calls)
    assert capsys.readouterr().err.splitlines() == [
        "comparing: 1/5 methods  0.1/s  40 s left",
        "comparing: 2/5 methods  0.0056/s  9 min left",
    ]


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
        (47.4 * 3_600, "47 h 24 min"),
        (52 * 3_600, "2 d 4 h"),
        (4_000_000, "46 d 7 h"),
    ],
)
def test_seconds_as_people_say_them(seconds, text):
    assert duration(seconds) == text
