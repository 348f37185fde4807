"""The units of systemd (conf/systemd), by a stand-in for it (units_help.py). What systemd-analyze says of the files themselves, where it is installed.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness import BUILD, MILLRACE, SLOW, kill_pid, processes, wait_until
from http_help import EXAMPLE, LOG_EXAMPLE, Knocker, ask
from load import Expected, ipevent, random_sha, udp_socket
from prometheus_help import samples, value
from serve_help import serve_address
from stored_help import StoredLoad
from units_help import LIBEXEC, NAMES, UNITS, address, managed_instance, read_unit

CRASHES = 30
NETWORK_MOST, NO_NETWORK_MOST = 1.5, 0.6


@pytest.fixture
def managed(instance, tmp_path):
    yield from managed_instance(instance, tmp_path)


def test_readers_start_first_and_stop_last(managed):
    order = managed.sorted()
    at = {name: order.index(name) for name in order}
    assert order[0] == "millrace-segments.service" and order[-1] == "millrace-gate.service"
    readers, middle, intake = (NAMES[4], NAMES[5]), (NAMES[2], NAMES[3]), (NAMES[0], NAMES[1])
    assert max(at[n] for n in readers) < min(at[n] for n in middle) <= max(at[n] for n in middle) < min(at[n] for n in intake)


@pytest.mark.limit(120)
def test_the_units_run_count_and_drain_in_order(managed, tmp_path, rng):
    managed.start()
    one = managed.one
    sender, expected = udp_socket(address(managed, "udp")), Expected()
    sha = random_sha(rng)
    for i in range(1000):
        sender.send(ipevent(sha, i))
        expected.valid(sha, i)
        time.sleep(0.0005)
    assert ask(address(managed, "http"), "POST", "/event", EXAMPLE).status == 200
    assert ask(address(managed, "http"), "POST", "/log", LOG_EXAMPLE).status == 200
    one.settle("ip", 1000)
    pids = {name: p.pid for name, p in managed.process.items()}
    wait_until(lambda: all(managed.ready(pid, "WATCHDOG=1") for pid in pids.values()), 10, "a beat of each")
    refused = subprocess.run([str(MILLRACE), "run", "-c", str(one.config_file)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             env=one.environment(), timeout=30 * SLOW, check=False)
    assert refused.returncode == 1 and "service manager runs the instance" in refused.stderr
    statuses = managed.stop()
    assert set(statuses.values()) == {0}, statuses
    assert all(managed.ready(pid, "STOPPING=1") for pid in pids.values())
    assert not one.directory.exists()
    assert one.counts() == expected.count
    assert [p for p in (tmp_path / "data" / "objects").rglob("*") if p.is_file()], "the log event is in an object"


def test_nobody_misses_a_supervisor(managed):
    managed.start()
    one = managed.one
    assert re.match(r"instance \S+, generation [0-9a-f]{16}, run by a service manager ", one.millrace("stat").stdout)
    supervisor = one.stat()["supervisor"]
    assert (supervisor["pid"], supervisor["alive"], supervisor["managed"]) == (0, False, True)
    top = one.millrace("top", "--once").stdout
    assert re.search(r"^ *supervisor +managed\b", top, re.MULTILINE) and "no supervisor runs it" not in top, top
    readers = serve_address(one)
    assert wait_until(lambda: ask(readers, "GET", "/readyz").status == 200, 20, "readiness")
    assert value(samples(ask(readers, "GET", "/metrics").body.decode()), "millrace_supervisor_up") == 1
    assert set(managed.stop().values()) == {0}


def test_what_a_service_manager_runs_is_not_cleaned_away(managed):
    """All of its stages have ended in order, and nothing waits: it will start them again."""
    managed.start()
    for name in reversed(managed.order):
        if managed.is_service(name):
            managed.process[name].send_signal(signal.SIGTERM)
            wait_until(lambda n=name: managed.hear() or managed.process[n].poll() is not None, 30, f"the end of {name}")
    done = managed.one.millrace("clean")
    assert done.returncode == 1 and "run by a service manager" in done.stderr and managed.one.directory.exists(), done
    done = managed.one.millrace("clean", "--force")
    assert done.returncode == 0 and not managed.one.directory.exists(), done


@pytest.mark.limit(180)
def test_crashes_close_no_port_and_the_next_lives_repair_what_they_left(managed, tmp_path, rng):
    managed.start()
    one = managed.one
    listening = address(managed, "http")
    with StoredLoad(one, listening, tmp_path, "-c", 8, "-p", 4, "--rate", 10000) as load, Knocker(listening) as knocker:
        wait_until(lambda: load.file.exists() and load.file.stat().st_size, 20, "answers")
        began, killed = time.monotonic(), 0
        while killed < CRASHES:
            time.sleep(2 * SLOW / CRASHES * 0.5 * rng.random())
            managed.step()
            killed += kill_pid(rng.choice([p.pid for p in managed.process.values() if p.poll() is None] or [0]) or 1 << 22)
        seconds = time.monotonic() - began
        wait_until(lambda: managed.step() or all(managed.ready(p.pid) for p in managed.process.values()), 30, "all stages")
        before = load.file.stat().st_size
        wait_until(lambda: load.file.stat().st_size > before, 20, "answers after the crashes")
    print(f"{killed} kills in {seconds:.2f} s, {managed.restarts} restarts, {load.taken} acknowledged, {load.account['unanswered']} unanswered")
    assert knocker.refused == 0 and knocker.taken > 0 and managed.restarts >= CRASHES / 3
    statuses = managed.stop()
    assert set(statuses.values()) == {0}, statuses
    assert not one.directory.exists()


def test_a_socket_that_the_configuration_does_not_name_is_refused(managed):
    other = socket.create_server(("127.0.0.1", 0))
    managed.sockets["millrace-ingest-http@0.socket"].close()
    managed.sockets["millrace-ingest-http@0.socket"] = other
    managed.run_once("millrace-segments.service", "ExecStart")
    managed.spawn("millrace-ingest-http@0.service")
    assert managed.process["millrace-ingest-http@0.service"].wait(timeout=20 * SLOW) == 1
    assert "the service manager passed no socket for 127.0.0.1:" in managed.one.log_file.read_text()
    assert managed.run_once("millrace-segments.service", "ExecStop") == 0


def test_a_sink_that_is_not_configured_is_named(managed):
    managed.run_once("millrace-segments.service", "ExecStart")
    managed.units["millrace-sink@logs.service"]["ExecStart"][-1] = "nobody"
    assert managed.run_once("millrace-sink@logs.service", "ExecStart") == 1
    assert 'no sink "nobody"' in managed.one.log_file.read_text()
    assert managed.run_once("millrace-segments.service", "ExecStop") == 0


def test_lines_for_the_journal_begin_with_their_priority(managed, tmp_path):
    file = tmp_path / "journal"
    with open(file, "wb") as stream:
        status = os.fstat(stream.fileno())
        environment = dict(managed.environment, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}")
        subprocess.run(managed.command("millrace-segments.service"), stdin=subprocess.DEVNULL, stderr=stream, env=environment,
                       timeout=30 * SLOW, check=True)
    assert re.search(r"^<6>info supervisor\[\d+\] the segments are there ", file.read_text(), re.MULTILINE), file.read_text()
    assert managed.run_once("millrace-segments.service", "ExecStop") == 0


# ---- the files themselves ----


@pytest.fixture
def units(tmp_path):
    """The files as make install puts them, with the programs of this build; skips where there is no systemd-analyze."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    for file in folder.glob("*.service"):
        file.write_text(file.read_text().replace(LIBEXEC, str(BUILD / "libexec" / "millrace")))
    return folder


def analyze(*arguments, **environment):
    return subprocess.run(["systemd-analyze", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60 * SLOW,
                          env=dict(os.environ, SYSTEMD_LOG_LEVEL="warning", **environment), check=False)


def instances(folder):
    """The files, templates by an instance of theirs."""
    for file in sorted(folder.iterdir()):
        if file.suffix in (".service", ".socket", ".target"):
            yield file.with_name(file.name.replace("@.", "@0."))


def test_the_files_are_what_systemd_expects(units):
    result = analyze("verify", "--man=no", *instances(units))
    assert (result.returncode, result.stderr.strip()) == (0, ""), result.stderr


def test_enabled_units_wait_in_no_circle(units):
    """As `systemctl enable` leaves them: systemd would delete the job of one of a circle, and its unit would not start."""
    wants = units / "millrace.target.wants"
    wants.mkdir()
    for file in list(instances(units)):
        if file.name != "millrace.target":
            (wants / file.name).symlink_to(units / file.name.replace("@0.", "@."))
    result = analyze("verify", "--man=no", units / "millrace.target", SYSTEMD_UNIT_PATH=f"{units}:")
    assert (result.returncode, result.stderr.strip()) == (0, ""), result.stderr


def test_no_service_has_more_rights_than_it_needs(units):
    ratings = {}
    for file in instances(units):
        if file.suffix == ".service":
            template = units / file.name.replace("@0.", "@.")
            result = analyze("security", "--offline=true", "--no-pager", template)
            found = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
            assert found, result.stdout + result.stderr
            ratings[template.name] = float(found[1])
            most = NO_NETWORK_MOST if "PrivateNetwork" in read_unit(file.name) else NETWORK_MOST
            assert ratings[template.name] <= most, (template.name, result.stdout)
    print(ratings)
    assert len(ratings) == 10
