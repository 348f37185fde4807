"""Benchmarks that measure what passes between processors: they print what a line's round trip took in the same run. What any of them leaves
behind when nobody reads what it prints, or when it is ended: nothing."""
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from cli_help import millrace
from harness import MILLRACE, SLOW, processes, wait_until

SHORT = ("--turns", "2", "--duration", "0.02")
MEMBERS = ("ns", "best_ns", "cycles", "best_cycles")
TWO = os.sysconf("SC_NPROCESSORS_ONLN") > 1


@pytest.mark.parametrize("part", ["stream", "queue"])
def test_figures_stand_beside_the_round_trip_of_a_line(part):
    result = millrace("bench", part, *SHORT, "--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    trip = {name: said["line_round_trip_" + name] for name in MEMBERS}
    if TWO:
        assert 1 < trip["best_ns"] <= trip["ns"] and trip["best_cycles"] > 1 and trip["cycles"] > 1
    else:
        assert set(trip.values()) == {None}


def test_the_round_trip_is_a_line_of_the_text():
    result = millrace("bench", "queue", *SHORT)
    assert result.returncode == 0, result.stderr
    figures = r"\d+ ns +\(best \d+; \d+ cycles, best \d+\)" if TWO else "not measured.*"
    assert re.search(rf"^  a line, there and back +{figures}$", result.stdout, re.M), result.stdout


# ---- what they leave ----


def folder_of(pid):
    """The folder that a benchmark has made and mapped something of, or is in the middle of using."""
    try:
        text = Path(f"/proc/{pid}/maps").read_text() + " ".join(os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    found = re.search(r"/\S*/millrace-bench-\w{6}", text)
    return found and Path(found[0])


@pytest.mark.parametrize("how", ["closed early", "SIGINT", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("part", ["stream", "tally"])
def test_nothing_is_left_of_one_that_ends_early(part, how, tmp_path):
    """Its folder goes, and its children end with it."""
    more = ("--turns", "5", "--duration", "0.05") if part == "stream" else ("--seconds", "1", "--turns", "1", "--events", "20000", "--rows", "1000")
    reading, writing = os.pipe()
    with subprocess.Popen([str(MILLRACE), "bench", part, *more], stdin=subprocess.DEVNULL, stdout=writing, start_new_session=True,
                          env=dict(os.environ, TMPDIR=str(tmp_path))) as process:
        os.close(writing)
        folder = wait_until(lambda: folder_of(process.pid), 20, "its folder", pause=0.002)
        if how == "closed early":
            os.close(reading)
            assert process.wait(60 * SLOW) == -signal.SIGPIPE
        else:
            process.send_signal(getattr(signal, how))
            assert process.wait(60 * SLOW) == -getattr(signal, how)
            os.close(reading)
    wait_until(lambda: not folder.exists(), 10, "its folder to be removed")
    wait_until(lambda: not processes.of_session(process.pid), 10, "its children to end")
