"""The units of systemd (conf/systemd), by a stand-in for it: their commands in their order, sockets by LISTEN_FDS, a NOTIFY_SOCKET,
restarts after RestartSec, stops in the reverse order. What systemd-analyze says of the files themselves, where it is installed.
"""
import json
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
from serve_help import HOST, serve_address
from stored_help import StoredLoad

UNITS = BUILD.parent / "conf" / "systemd"
LIBEXEC = "/usr/libexec/millrace"
CRASHES = 30
NETWORK_MOST, NO_NETWORK_MOST = 1.5, 0.6


def read_unit(name):
    """{key: [words of all its lines]} of the unit and of what is dropped in for all millrace-*."""
    template, _, instance = name.partition("@")
    instance, _, kind = instance.rpartition(".")
    file = UNITS / (f"{template}@.{kind}" if "@" in name else name)
    files = [file] + sorted((UNITS / "millrace-.service.d").glob("*.conf")) * name.endswith(".service")
    unit = {}
    for line in "".join(f.read_text() for f in files).splitlines():
        if re.match(r"\w+=", line):
            key, _, value = line.partition("=")
            unit.setdefault(key, []).extend(value.replace("%i", instance).split())
    return unit


class Manager:
    """Does what systemd does with these units; they must be listed in no particular order."""

    def __init__(self, one, tmp_path, names):
        self.one = one
        self.units = {name: read_unit(name) for name in names}
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify_path = str(tmp_path / "notify")
        self.notify.bind(self.notify_path)
        self.notify.settimeout(0.1)
        self.sockets, self.process, self.said, self.order = {}, {}, [], []
        self.restarts = 0
        self.environment = dict(one.environment(), NOTIFY_SOCKET=self.notify_path, WATCHDOG_USEC="600000")

    # ---- order ----

    def sorted(self):
        """By After= and Before=, as systemd starts them."""
        after = {name: set(unit.get("After", [])) for name, unit in self.units.items()}
        for name, unit in self.units.items():
            for other in unit.get("Before", []):
                after.setdefault(other, set()).add(name)
        done = []
        while len(done) < len(self.units):
            ready = [n for n in sorted(self.units) if n not in done and not (after[n] & set(self.units)) - set(done)]
            assert ready, "the units wait for each other"
            done.append(ready[-1])  # not in the order of their names
        return done

    # ---- processes ----

    def command(self, name, key="ExecStart"):
        words = [w.replace(LIBEXEC, str(BUILD / "libexec" / "millrace")) for w in self.units[name][key]]
        return [str(self.one.config_file) if w.startswith("/etc/") else self.one.name if w == "default" else w for w in words]

    def run_once(self, name, key):
        with open(self.one.log_file, "ab") as log:
            return subprocess.run(self.command(name, key), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
                                  timeout=60 * SLOW, check=False).returncode

    def spawn(self, name):
        held = [self.sockets[s] for s in self.units[name].get("Sockets", [])]
        numbers = " ".join(f"{3 + i}<&{s.fileno()}" for i, s in enumerate(held))
        script = (f"exec {numbers};" if held else "") + 'exec env LISTEN_PID=$$ WATCHDOG_PID=$$ "$0" "$@"'
        environment = dict(self.environment, LISTEN_FDS=str(len(held)))
        with open(self.one.log_file, "ab") as log:
            self.process[name] = subprocess.Popen(["/bin/bash", "-c", script, *self.command(name)], stdin=subprocess.DEVNULL, stdout=log,
                                                  stderr=log, env=environment, pass_fds=[s.fileno() for s in held])

    def is_service(self, name):
        return name.endswith(".service") and self.units[name]["Type"] == ["notify"]

    def ready(self, pid, what="READY=1"):
        self.hear()
        return any(p == pid and what in text for p, text in self.said)

    def hear(self):
        while True:
            try:
                data, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(12))
            except (BlockingIOError, TimeoutError):
                return
            pid = next(int.from_bytes(bytes_[:4], "little") for _, kind, bytes_ in ancillary if kind == socket.SCM_CREDENTIALS)
            self.said.append((pid, data.decode()))

    def start(self):
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.notify.setblocking(False)
        for name in self.sorted():
            self.order.append(name)
            if name.endswith(".target"):
                continue
            if self.is_service(name):
                self.spawn(name)
                wait_until(lambda n=name: self.ready(self.process[n].pid), 20, f"READY=1 of {name}: {self.one.log_file.read_text()[-2000:]}")
            else:
                assert self.run_once(name, "ExecStart") == 0, self.one.log_file.read_text()[-2000:]
        return self

    def step(self):
        """Restart=always, RestartSec=50ms, and no limit. Called again and again: a process ends with the thread that started it."""
        self.hear()
        dead = [name for name, process in self.process.items() if process.poll() is not None]
        if dead:
            time.sleep(0.05)
        for name in dead:
            self.restarts += 1
            self.spawn(name)

    def stop(self):
        """In the reverse order. Returns the exit statuses of the services."""
        statuses = {}
        for name in reversed(self.order):
            if self.is_service(name):
                self.process[name].send_signal(signal.SIGTERM)
                # It hears meanwhile, as systemd does: the queue of the socket holds only some messages.
                wait_until(lambda n=name: self.hear() or self.process[n].poll() is not None, 30, f"the end of {name}")
                statuses[name] = self.process[name].returncode
            elif "ExecStop" in self.units[name]:
                statuses[name] = self.run_once(name, "ExecStop")
        return statuses

    def discard(self):
        for process in self.process.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        for held in self.sockets.values():
            held.close()
        self.notify.close()
        shutil.rmtree(self.one.directory, ignore_errors=True)


NAMES = ["millrace-ingest-udp@0.service", "millrace-ingest-http@0.service", "millrace-enrich@0.service", "millrace-deliver@0.service",
         "millrace-tally.service", "millrace-sink@logs.service", "millrace-segments.service", "millrace-gate.service",
         "millrace-readers.target", "millrace-middle.target", "millrace-serve.service"]


@pytest.fixture
def managed(instance, tmp_path):
    """A manager whose sockets are bound; config says where."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    udp.bind(("127.0.0.1", 0))
    http = socket.create_server(("127.0.0.1", 0), backlog=1000)
    config = {
        "data_dir": str(tmp_path / "data"), "drain_timeout": "20s",
        "ingest": {"udp": [{"listen": ["127.0.0.1:%d" % udp.getsockname()[1]], "format": "ipevent"}],
                   "http": [{"listen": ["127.0.0.1:%d" % http.getsockname()[1]]}]},
        "topics": {t: {"size": "64MiB" if t == "metric" else "4MiB"} for t in ("ip", "metric", "log", "track.raw", "track")},
        "queues": {"postback": {"slots": 1024, "slot_size": 1024}},
        "tally": {"commit_interval": "100ms"},
        "sinks": [{"name": "logs", "kind": "objects", "topics": ["log"], "tails": "16MiB"}],
        "serve": {"listen": ["127.0.0.1:0"], "hosts": [HOST]},
    }
    one = instance(config=config, start=False)
    manager = Manager(one, tmp_path, NAMES)
    manager.sockets = {"millrace-ingest-udp@0.socket": udp, "millrace-ingest-http@0.socket": http}
    yield manager
    print(one.log_file.read_text()[-4000:] if one.log_file.exists() else "")
    manager.discard()


def address(manager, kind):
    return manager.sockets[f"millrace-ingest-{kind}@0.socket"].getsockname()


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
    assert len(ratings) == 9
