"""A supervisor with stages that misbehave on demand (tests/tool/fake_stage.c), looked at through its segments.

    with FakeInstance(tmp_path, shm_root) as fake:
        fake.mode("tally.0", "crash")
        fake.control("tally.0").restarts
"""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections import namedtuple
from pathlib import Path

from harness import BUILD, SLOW, processes, wait_until, with_sockets

SUPERVISOR = BUILD / "libexec" / "millrace" / "supervisor"
FAKE_STAGE = BUILD / "tests" / "fake_stage"
HEADER_BYTES = 4096
LISTENER = re.compile(r"^udp (\S+):(\d+) (\w+) -> (.+)$", re.MULTILINE)
HTTP_LISTENER = re.compile(r"^http (\S+) -> (.+)$", re.MULTILINE)
STATES = ["none", "starting", "running", "draining", "ended", "failed"]

Control = namedtuple("Control", "restarts throttled last_exit state pid heartbeat_ns")
_numbers = iter(range(1, 1 << 30))


class FakeInstance:
    """An instance with fake stages; config is a dict, YAML being a superset of JSON."""

    def __init__(self, tmp_path, shm_root, config=None, name=None, pass_sockets=()):
        self.name = name or f"fake-{os.getpid()}-{next(_numbers)}"
        self.tmp_path = tmp_path
        self.shm_root = shm_root
        self.directory = shm_root / self.name
        self.config_file = tmp_path / f"{self.name}.yaml"
        self.output_file = tmp_path / f"{self.name}.out"
        self.libexec = tmp_path / f"libexec-{self.name}"
        self.libexec.mkdir(exist_ok=True)
        for program in ("ingest-udp", "ingest-http", "enrich", "tally"):
            link = self.libexec / program
            if not link.exists():
                link.symlink_to(FAKE_STAGE)
        self.pass_sockets = list(pass_sockets)
        self.process = None
        self.output_start = 0
        self.write_config(config or listeners(["127.0.0.1:0"]))

    # ---- starting and ending ----

    def write_config(self, config):
        base = {"data_dir": str(self.tmp_path / "data"), "topics": {"ip": {"size": "1MiB"}}, "sinks": [], "serve": {"listen": []}, "deliver": {"processes": 0}, "drain_timeout": "20s",
                "restart_backoff": "50ms", "restart_backoff_max": "200ms"}
        self.config_file.write_text(json.dumps({**base, **config}))

    def command(self, *more):
        return [str(SUPERVISOR), "-c", str(self.config_file), "--instance", self.name, *more]

    def environment(self):
        return dict(os.environ, MILLRACE_SHM=str(self.shm_root), MILLRACE_LIBEXEC=str(self.libexec))

    def start(self, *more, wait=True):
        self.output_start = self.output_file.stat().st_size if self.output_file.exists() else 0
        command = with_sockets(self.command(*more), self.pass_sockets)
        with open(self.output_file, "ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.environment(),
                pass_fds=[s.fileno() for s in self.pass_sockets], start_new_session=True,
            )
        if wait:
            self.wait_for("\nready\n")
        return self

    def run_refused(self, *more):
        """Runs a supervisor that must refuse to start. Returns what it printed."""
        run = subprocess.run(self.command(*more), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             env=self.environment(), timeout=20 * SLOW, check=False)
        assert run.returncode == 1, f"exit status {run.returncode}: {run.stdout}{run.stderr}"
        return run.stderr

    def stop(self, timeout=30):
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end(timeout)

    def wait_end(self, timeout=30):
        return self.process.wait(timeout=timeout * SLOW)

    def kill_supervisor(self):
        self.process.kill()
        self.process.wait()

    def discard(self):
        if self.process is not None and self.process.poll() is None:
            stages = processes.children(of=self.process.pid)
            self.process.kill()
            self.process.wait()
            for pid in stages:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, traceback):
        if kind is not None:
            print(self.output()[-6000:])
            self.discard()
        elif self.process.poll() is None:
            status = self.stop()
            assert status == 0, f"exit status {status}:\n{self.output()[-4000:]}"
            assert not self.directory.exists()

    # ---- what the stages do wrong ----

    def mode(self, role, mode=None):
        file = self.libexec / f"{role}.mode"
        if mode is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(mode)

    # ---- looking ----

    def output(self):
        """Both outputs since the last start."""
        with open(self.output_file, "rb") as output:
            output.seek(self.output_start)
            return output.read().decode(errors="replace")

    def wait_for(self, text, timeout=20):
        def there():
            if text in self.output():
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output()}"
            return False

        try:
            wait_until(there, timeout, repr(text))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()[-4000:]}") from None

    def addresses(self):
        return [(host.strip("[]"), int(port)) for host, port, _, _ in LISTENER.findall(self.output())]

    def http_addresses(self):
        """(host, port) or the path of a Unix socket, of each listener in the order of the announcements."""
        texts = [text for text, _ in HTTP_LISTENER.findall(self.output())]
        return [text.removeprefix("unix:") if text.startswith("unix:") else (text.rpartition(":")[0].strip("[]"), int(text.rpartition(":")[2]))
                for text in texts]

    def control(self, role):
        body = (self.directory / f"{role}.stage").read_bytes()[HEADER_BYTES:HEADER_BYTES + 128]
        restarts, throttled, last_exit = struct.unpack_from("<QQq", body, 0)
        state, pid, _, heartbeat_ns = struct.unpack_from("<IIQQ", body, 64)
        return Control(restarts, throttled, last_exit, STATES[state], pid, heartbeat_ns)

    def pid(self, role):
        return self.control(role).pid

    def wait_running(self, role, not_pid=None, timeout=10):
        """The new control block, once the role runs (in another process than not_pid)."""
        def there():
            control = self.control(role)
            return control if control.state == "running" and control.pid != not_pid else None

        return wait_until(there, timeout, f"{role} running")

    def queue(self, name="postback"):
        """How many slots of the queue are in each phase."""
        body = (self.directory / f"{name}.queue").read_bytes()[HEADER_BYTES:]
        slots = struct.unpack_from("<Q", body)[0]
        phases = [word & 3 for word in struct.unpack_from(f"<{slots}Q", body, 256)]
        return {phase: phases.count(number) for number, phase in enumerate(("free", "filling", "ready", "taken"))}

    def written(self, topic="ip", lane=0):
        body = (self.directory / f"{topic}.lane.{lane}").read_bytes()[HEADER_BYTES:HEADER_BYTES + 128]
        return struct.unpack_from("<Q", body, 72)[0]

    def read(self, topic="ip", group="tally", lane=0):
        for k in range(16):
            body = (self.directory / f"{topic}.group.{k}").read_bytes()[HEADER_BYTES:]
            if body[16:48].rstrip(b"\0").decode() == group:
                return struct.unpack_from("<Q", body, 64 + 64 * lane + 8)[0]
        raise AssertionError(f"{topic} has no group {group}")


def listeners(*addresses, **more):
    """A configuration with one entry for each list of addresses."""
    return {"ingest": {"udp": [{"listen": a, "format": "ipevent", "buffers": 16, **more} for a in addresses]}}


def http_listeners(*addresses, slots=64, slot_size=256, **more):
    """A configuration with one ingest.http entry for each list of addresses, everything small."""
    small = {topic: {"size": "64KiB"} for topic in ("ip", "metric", "log", "track.raw")}
    return {"ingest": {"http": [{"listen": a, **more} for a in addresses]}, "topics": small,
            "queues": {"postback": {"slots": slots, "slot_size": slot_size}}}


def connect(address):
    """A connected stream socket; address as http_addresses() has it."""
    client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    client.settimeout(20 * SLOW)
    client.connect(address)
    return client


def ask(address, text=b"hello"):
    """What a fake stage answers on a connection of its own."""
    with connect(address) as client:
        client.sendall(text)
        return client.recv(100)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def send(address, n, payload=b"x" * 40):
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(n):
            sender.sendto(payload, address)


def switches(pid):
    """How often the process has gone to sleep of its own will."""
    text = Path("/proc", str(pid), "status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1])


def alive(pid):
    try:
        return Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def pause(seconds):
    time.sleep(seconds * SLOW)
