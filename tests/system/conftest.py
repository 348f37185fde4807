"""What every system test gets: instances that end with it, a seed, a time limit, and a look for what it left behind."""
import json
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

import harness
from cli_help import Running
from dns_help import Dns
from harness import Instance, processes
from http_help import uring_allowed
from store_help import StoreServer
from supervisor_help import FakeInstance

DEFAULT_LIMIT_S = 60
SETTLE_S = 3.0


def pytest_configure(config):
    config.addinivalue_line("markers", f"limit(seconds): time limit of a test, {DEFAULT_LIMIT_S} when not given")
    processes.become_reaper()
    if not harness.MILLRACE.exists():
        raise pytest.UsageError(f"{harness.MILLRACE} does not exist: run make first, or set MILLRACE_BUILD")


def pytest_runtest_logreport(report):
    """One JSON line per result for scripts/run-tests."""
    descriptor = os.environ.get("MILLRACE_RESULTS_FD")
    if descriptor is None or (report.when != "call" and report.outcome == "passed"):
        return
    note = report.when if report.outcome == "failed" and report.when != "call" else ""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        note = report.longrepr[2].removeprefix("Skipped: ")
    path, _, test = report.nodeid.partition("::")
    name = f"{Path(path).stem}: {test.removeprefix('test_').replace('_', ' ')}"
    result = {"outcome": report.outcome, "name": name, "seconds": round(report.duration, 2), "note": note}
    os.write(int(descriptor), (json.dumps(result) + "\n").encode())


def pytest_report_header():
    return f"MILLRACE_SEED={seed()} build={harness.BUILD}"


def seed():
    """Given by MILLRACE_SEED, or drawn once and printed."""
    if "MILLRACE_SEED" not in os.environ:
        os.environ["MILLRACE_SEED"] = str(random.randrange(1, 2**31))
    return os.environ["MILLRACE_SEED"]


@pytest.fixture
def rng(request):
    """Randomness that MILLRACE_SEED repeats, each test with its own."""
    print(f"MILLRACE_SEED={seed()}")
    return random.Random(f"{seed()}:{request.node.nodeid}")


@pytest.fixture(scope="session")
def shm_root():
    """Where the instances of this run live: below /dev/shm, so it is the real thing, but nobody else's."""
    root = Path(tempfile.mkdtemp(prefix="millrace-test.", dir="/dev/shm"))
    yield root
    left = sorted(str(p) for p in root.iterdir())
    shutil.rmtree(root)
    assert not left, f"left in shared memory: {left}"


@pytest.fixture
def instance(tmp_path, shm_root):
    """instance(config=..., sets=[...], sockets=[...]) makes and starts one; start=False only makes it."""
    made = []

    def make(start=True, **options):
        one = Instance(tmp_path, shm_root, **options)
        made.append(one)
        return one.start() if start else one

    yield make
    problems = []
    for one in made:
        if one.process is None:
            continue
        if one.process.poll() is None:
            try:
                status = one.stop()
                if status != 0:
                    problems.append(f"{one.name}: exit status {status} after SIGTERM")
            except Exception as error:  # pylint: disable=broad-except
                problems.append(f"{one.name}: {error}")
            problems += [f"{one.name}: left {sorted(folder.iterdir())}" for folder in (one.directory, one.secrets) if folder.exists()]
        if problems:
            print(one.log()[-6000:])
        one.discard()
    assert not problems, "; ".join(problems)


@pytest.fixture
def running(tmp_path, started):
    """running(one, "tap", "ip") starts a command that goes on; it ends with the test."""
    return lambda one, *arguments, **options: started(Running(one, tmp_path, *arguments, **options))


@pytest.fixture
def fake(tmp_path, shm_root):
    """fake(config=...) makes a supervisor with stages that are fakes, not started; what is left of it is removed at the end."""
    made = []

    def make(**options):
        made.append(FakeInstance(tmp_path, shm_root, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None:
            print(one.output()[-5000:])
        one.discard()


@pytest.fixture
def started():
    """started(thing) notes what has a process of its own, and gives it back; what still runs is killed at the end."""
    things = []

    def note(thing):
        things.append(thing)
        return thing

    yield note
    for one in things:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def dns():
    """A name server of tests/dns; it ends with the test."""
    with Dns() as server:
        yield server


@pytest.fixture
def store():
    """store("--s3", ...) starts a server of tests/store; it ends with the test."""
    servers = []

    def make(*arguments):
        servers.append(StoreServer(*arguments))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(params=["uring", "epoll"])
def backend(request):
    """Both ways in which ingest-http serves connections."""
    if request.param == "uring" and not uring_allowed():
        pytest.skip("io_uring is not allowed here")
    return request.param


@pytest.fixture(autouse=True)
def nothing_survives():
    """No process that the test started, however indirectly, may outlive it."""
    yield
    left = processes.survivors(SETTLE_S * harness.SLOW)
    assert not left, f"processes left behind: {left}"


@pytest.fixture(autouse=True)
def time_limit(request):
    marker = request.node.get_closest_marker("limit")
    limit_s = (marker.args[0] if marker else DEFAULT_LIMIT_S) * harness.SLOW

    def expired(_signal, _frame):
        raise TimeoutError(f"{request.node.name}: not done after {limit_s:.0f} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
