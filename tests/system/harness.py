"""An instance of millrace under test: started, watched and ended by pid.

    with Instance(tmp_path, shm_root, config={...}) as millrace:
        send_paced(millrace.address(), datagrams, 20000)
        millrace.settle("ip", received=len(datagrams))
        millrace.report(sha)
"""
import contextlib
import itertools
import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import processes  # noqa: E402  (scripts/processes.py)

BUILD = Path(os.environ.get("MILLRACE_BUILD") or ROOT / "build").absolute()  # programs are started in folders of their own
MILLRACE = BUILD / "bin" / "millrace"
SLOW = float(os.environ.get("MILLRACE_SLOW") or 1)
LISTENER = re.compile(r"\budp (\[[0-9a-fA-F:.]+\]|[0-9.]+):(\d+) (\w+)")

_numbers = itertools.count(1)


def wait_until(predicate, timeout=10.0, what="the condition", pause=0.02):
    """Returns the first true value of predicate(); fails after timeout seconds (longer under sanitizers)."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout * SLOW:.0f} s")
        time.sleep(pause)


def cpu_seconds(pid):
    """Time on a CPU of all threads of a process, to the nanosecond where the kernel tells it."""
    total = 0
    for task in Path("/proc", str(pid), "task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def own_bytes(pid):
    """Memory of a process that is its own: resident, and not of a file or shared."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path("/proc", str(pid), "status").read_text())[1]) << 10


def rows(path, query, *arguments):
    """Of a database that a stage may be writing, as any reader sees it."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        return database.execute(query, arguments).fetchall()


def denied(call):
    """What a command is put behind that may not make a system call: deny_system_call.py has their names."""
    return [sys.executable, str(Path(__file__).parent / "deny_system_call.py"), call]


def namespace():
    """The command that gives a program mounts of its own: as root, or in a user namespace where those are allowed."""
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        probe = [*command, "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
        if subprocess.run(probe, capture_output=True, timeout=10).returncode == 0:
            return command
    return None


def has_users():
    """The stages' users exist on this machine, and root's instances would use them."""
    try:
        return os.geteuid() == 0 and bool(pwd.getpwnam("millrace"))
    except KeyError:
        return False


def default_config(tmp_path):
    """One ipevent listener on a free port, small streams, quick commits."""
    return {
        "data_dir": str(tmp_path / "data"),
        "drain_timeout": "20s",
        "ingest": {"udp": [{"listen": ["127.0.0.1:0"], "format": "ipevent", "processes": 1, "receive_buffer": "16MiB"}]},
        "topics": {"ip": {"size": "16MiB"}, "raw": {"size": "4MiB"}},
        "tally": {"commit_interval": "100ms"},
    }


def with_sockets(command, sockets):
    """The command with sockets as systemd hands them down: from descriptor 3 on, with LISTEN_PID the pid of the program."""
    if not sockets:
        return command
    numbers = [s.fileno() for s in sockets]
    high = " ".join(f"{90 + i}<&{n}" for i, n in enumerate(numbers))
    low = " ".join(f"{3 + i}<&{90 + i} {90 + i}<&-" for i in range(len(numbers)))
    script = f'exec {high}; exec {low}; exec env LISTEN_PID=$$ LISTEN_FDS={len(numbers)} "$0" "$@"'
    return ["/bin/bash", "-c", script] + command


def kill_pid(pid):
    """False: there was no such process any more."""
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def kill_supervisor(one, rng, stages, wait_s):
    """The supervisor dies, alone or with these stages at the same moment. The next one starts when the stages are gone,
    or at once, while they are still ending; it is not waited for."""
    one.process.send_signal(signal.SIGKILL)
    if rng.random() < 0.5:
        for pid in stages:
            kill_pid(pid)
    one.process.wait()
    if rng.random() < 0.5:
        wait_until(lambda: not set(stages) & set(processes.children()), wait_s, "the end of the stages")
    one.start(wait=False)


class Instance:
    """One instance: a name, a directory below shm_root, a configuration file, and the supervisor's process."""

    def __init__(self, tmp_path, shm_root, config=None, sets=(), sockets=(), wrapper=()):
        self.name = f"test-{os.getpid()}-{next(_numbers)}"
        self.tmp_path = tmp_path
        self.shm_root = shm_root
        self.directory = shm_root / self.name
        self.secrets = shm_root / f".{self.name}.secrets"  # shm/instance.h
        self.config_file = tmp_path / f"{self.name}.yaml"
        self.log_file = tmp_path / f"{self.name}.log"
        self.sets = list(sets)
        self.sockets = list(sockets)
        self.wrapper = list(wrapper)
        self.process = None
        self.write_config(config or default_config(tmp_path))

    # ---- starting and ending ----

    def write_config(self, config):
        """A dict (JSON is YAML) or the text of a file. A dict that names no sinks has none, so that nobody keeps what a test
        does not say somebody keeps; one without a section serve listens nowhere. Where millrace is installed its users cannot
        enter the tests' folders, so everything is one user's (users_help.py has users of its own)."""
        self.config = config
        base = {"sinks": [], "serve": {"listen": []}, **({"users": "off"} if has_users() else {})}
        text = config if isinstance(config, str) else json.dumps({**base, **config}, indent=1) + "\n"
        self.config_file.write_text(text)

    def environment(self):
        return dict(os.environ, MILLRACE_INSTANCE=self.name, MILLRACE_SHM=str(self.shm_root))

    def command(self):
        run = [str(MILLRACE), "run", "-c", str(self.config_file)]
        for value in self.sets:
            run += ["--set", value]
        return self.wrapper + with_sockets(run, self.sockets)

    def start(self, wait=True):
        """Starts the supervisor and waits until all its stages run."""
        assert self.process is None or self.process.poll() is not None
        self.log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(),
                pass_fds=[s.fileno() for s in self.sockets], start_new_session=True,
            )
        if wait:
            self.wait_running()
        return self

    def wait_running(self, timeout=20):
        def running():
            if self.process.poll() is not None:
                raise AssertionError(f"millrace run ended with {self.process.returncode}:\n{self.log()}")
            stat = self.try_stat()
            return stat and stat["stages"] and all(s["state"] == "running" for s in stat["stages"])

        try:
            wait_until(running, timeout, "all stages running")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-4000:]}") from None

    def kill(self, sig=signal.SIGKILL):
        """Sends the supervisor a signal; waits for its end when that is SIGKILL."""
        self.process.send_signal(sig)
        if sig == signal.SIGKILL:
            self.process.wait(timeout=10 * SLOW)

    def wait_end(self, timeout=30):
        return self.process.wait(timeout=timeout * SLOW)

    def stop(self, timeout=30):
        """SIGTERM; returns the exit status. Nothing may be left in shared memory then."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.wait_end(timeout)
        return status

    def discard(self):
        """After a failed test: everything that descends from it ends, its memory goes."""
        if self.process is not None and self.process.poll() is None:
            stages = processes.children(of=self.process.pid)
            self.process.kill()
            self.process.wait()
            for pid in stages:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.remove_memory()

    def remove_memory(self):
        for folder in (self.directory, self.secrets):
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, traceback):
        if kind is not None:
            self.discard()
            return
        status = self.stop()
        assert status == 0, f"exit status {status}:\n{self.log()[-4000:]}"
        for folder in (self.directory, self.secrets):
            assert not folder.exists(), f"left in shared memory: {sorted(folder.iterdir())}"

    # ---- looking ----

    def log(self):
        """What the supervisor and its stages printed since the last start."""
        if not self.log_file.exists():
            return ""
        with open(self.log_file, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def millrace(self, *arguments, timeout=30, **options):
        """Runs a command of the operator on this instance."""
        return subprocess.run(
            [str(MILLRACE), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env=self.environment(), timeout=timeout * SLOW, **options,
        )

    def addresses(self):
        """[(host, port, format)] of the listeners, in the order of their announcement."""
        return [(m[1].strip("[]"), int(m[2]), m[3]) for m in LISTENER.finditer(self.log())]

    def address(self, index=0):
        return wait_until(lambda: len(self.addresses()) > index and self.addresses()[index][:2], 10, "a listener's line")

    def try_stat(self):
        result = self.millrace("stat", "--json")
        return json.loads(result.stdout) if result.returncode == 0 else None

    def stat(self):
        result = self.millrace("stat", "--json")
        assert result.returncode == 0, f"stat: exit status {result.returncode}: {result.stderr}"
        return json.loads(result.stdout)

    def stage(self, role, stat=None):
        return next(s for s in (stat or self.stat())["stages"] if s["name"] == role)

    def pid_of(self, role):
        return self.stage(role)["pid"]

    def topic(self, name, stat=None):
        return next(t for t in (stat or self.stat())["topics"] if t["topic"] == name)

    def ledger(self, name, stat=None):
        return next(entry for entry in (stat or self.stat())["ledger"] if entry["topic"] == name)

    def group(self, topic, group, stat=None):
        """The group's counters, summed over the lanes."""
        total = {}
        for lane in self.topic(topic, stat)["lanes"]:
            for entry in lane["groups"]:
                if entry["group"] == group:
                    for key, value in entry.items():
                        if isinstance(value, int) and not isinstance(value, bool):
                            total[key] = total.get(key, 0) + value
        return total

    def settle(self, topic, received, timeout=20):
        """Waits until so many have been received and every required group has read all that was written."""
        last = {}

        def settled():
            stat = self.stat()
            last["stat"] = stat
            ledger = self.ledger(topic, stat)
            waiting = sum(
                group["waiting_records"]
                for lane in self.topic(topic, stat)["lanes"]
                for group in lane["groups"]
                if group["required"]
            )
            return stat if ledger["received"] >= received and ledger["balanced"] and waiting == 0 else None

        try:
            return wait_until(settled, timeout, f"{received} received and read")
        except AssertionError as error:
            shown = {k: last["stat"][k] for k in ("topics", "ledger")}
            raise AssertionError(f"{error}: {json.dumps(shown)}\n{self.log()[-3000:]}") from None

    def report(self, sha):
        result = self.millrace("report", sha)
        assert result.returncode == 0, f"report: exit status {result.returncode}: {result.stderr}"
        return json.loads(result.stdout)

    def counts(self):
        """{sha: count} of all applications, as any reader of the database sees them."""
        return dict(rows(self.tmp_path / "data" / "tally.db", "SELECT sha, count FROM report"))

    def lane_file(self, topic, lane=0):
        return self.directory / f"{topic}.lane.{lane}"
