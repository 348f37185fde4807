"""What the tests against real peers get: all fixtures of the system tests, and the peers, each started once a run."""
import importlib.util
import sys
from pathlib import Path

import pytest

SYSTEM = Path(__file__).resolve().parent.parent / "system"
sys.path[:0] = [str(SYSTEM), str(Path(__file__).resolve().parent)]
_spec = importlib.util.spec_from_file_location("system_conftest", SYSTEM / "conftest.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
globals().update({name: value for name, value in vars(_module).items() if not name.startswith("__")})

import harness  # noqa: E402
from peers_help import RUNNING, Azurite, Kafka, Moto, missing  # noqa: E402


def peer(kind, tmp_path_factory, *needs):
    """Starts one, or skips."""
    for name in needs:
        if missing(name):
            pytest.skip(missing(name))
    with kind(tmp_path_factory.mktemp(kind.__name__.lower())) as one:
        yield one


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    yield from peer(Moto, tmp_path_factory, "python")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    yield from peer(Azurite, tmp_path_factory, "python", "azurite")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    yield from peer(Kafka, tmp_path_factory, "python", "kafka")


@pytest.fixture
def azure_library():
    """Skips where Azure's library is not there."""
    if missing("python"):
        pytest.skip(missing("python"))


@pytest.fixture(autouse=True)
def nothing_survives():
    """As in the system tests; but the peers go on until the end of the run."""
    yield
    left = harness.processes.survivors(_module.SETTLE_S * harness.SLOW, besides=RUNNING)
    assert not left, f"processes left behind: {left}"
