"""What is shown off a terminal: a line from time to time, with the rate and what is left, or nothing."""

import math

import pytest

from tgdp_jax.app import cli, console
from tgdp_jax.app.console import Display


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "perf_counter", lambda: now[0])
    return now


def test_progress_off_a_terminal_is_a_line_every_half_minute(clock, capsys):
    with Display() as display:
        progress = display("source", False)
        for step in range(10, 1001, 10):  # ten steps a second, after ten seconds of compiling
            clock[0] = 110.0 + step / 10
            progress(step, 1000, 0.25, 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "source: 200 of 1000, 10 steps/s  loss 0.2500  held-out 0.5000, 0:01:20 left",
        "source: 500 of 1000, 10 steps/s  loss 0.2500  held-out 0.5000, 0:00:50 left",
        "source: 800 of 1000, 10 steps/s  loss 0.2500  held-out 0.5000, 0:00:20 left",
        "source: 1000 of 1000, 10 steps/s  loss 0.2500  held-out 0.5000",
    ]


def test_one_long_launch_has_no_rate_yet(clock, capsys):
    with Display() as display:
        progress = display("sampling", False)
        clock[0] += 40.0
        progress(64, 128, math.nan, 1.6)
    assert capsys.readouterr().err.splitlines() == ["sampling: 64 of 128, 2 samples/s"]


def test_quiet_keeps_warnings_alone(clock, capsys):
    with Display(quiet=True) as display:
        display.say("a note")
        display("features", True)
        progress = display("source", False)
        clock[0] += 100.0
        progress(10, 10, 0.25, 0.5)
        display.warn("look here")
    assert capsys.readouterr().err.splitlines() == ["warning: look here"]


@pytest.mark.parametrize("words", [["--num-processes", "0"], ["--coordinator", "garbage"]])
def test_wrong_processes_are_said_at_once(words, capsys):
    rest = {"--num-processes": "2", "--coordinator": "127.0.0.1:1234", "--process-id": "0"}
    rest[words[0]] = words[1]
    with pytest.raises(SystemExit) as caught:
        cli.main(["devices", *(word for pair in rest.items() for word in pair)])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tgdp: {words[0].removeprefix('--')} is ") and "give" in line
