"""Reads what millrace writes for Prometheus; finds Prometheus and promtool."""
import os
import re
import shutil
from pathlib import Path

import pytest

from harness import ROOT

# Where scripts/fetch-prometheus puts them.
UNPACKED = Path(os.environ.get("MILLRACE_PROMETHEUS") or ROOT / "data" / "tests" / "prometheus")

SAMPLE = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(?:\{(.*)\})? ([0-9.]+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def need(program):
    path = shutil.which(program) or shutil.which(program, path=UNPACKED)
    if path is None:
        pytest.skip(f"{program} is not installed, nor in {UNPACKED}: scripts/fetch-prometheus fetches it")
    return path


def samples(text):
    """{(name, frozenset of (label, value)): number} of a text in either format."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        key = (match[1], frozenset(LABEL.findall(match[2] or "")))
        assert key not in found, line
        found[key] = float(match[3])
    return found


def value(found, name, **labels):
    return found[name, frozenset(labels.items())]
