"""Benchmarks that measure what passes between processors: they print what a line's round trip took in the same run."""
import json
import os
import re

import pytest

from cli_help import millrace

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
