"""A stand-in for systemd that runs the units of conf/systemd: their commands in their order, sockets by LISTEN_FDS, a NOTIFY_SOCKET,
restarts after RestartSec, stops in the reverse order; and for systemctl, a program that asks it.

    manager.start(); ...; manager.command("reload"); manager.stop()
"""
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

from harness import BUILD, MILLRACE, SLOW, wait_until
from serve_help import HOST

UNITS = BUILD.parent / "conf" / "systemd"
LIBEXEC = "/usr/libexec/millrace"


def read_unit(name):
    """{key: [words of all its lines]} of the unit and of what is dropped in for all millrace-*."""
    template, _, instance = name.partition("@")
    instance, _, kind = instance.rpartition(".")
    file = UNITS / (f"{template}@.{kind}" if "@" in name else name)
    files = [file] + sorted((UNITS / "millrace-.service.d").glob("*.conf")) * name.endswith(".service") + sorted((UNITS / (name + ".d")).glob("*.conf"))
    unit = {}
    for line in "".join(f.read_text() for f in files).splitlines():
        if re.match(r"\w+=", line):
            key, _, value = line.partition("=")
            unit.setdefault(key, []).extend(value.replace("%i", instance).split())
    return unit


# Hands its arguments to the manager, and ends as that says.
SYSTEMCTL = """#!{python} -SE
import socket, sys
with socket.socket(socket.AF_UNIX) as manager:
    manager.connect("{path}")
    manager.sendall(chr(0).join(sys.argv[1:]).encode() + b"\\n")
    sys.exit(int(manager.recv(8) or b"1"))
"""


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
        self.environment["MILLRACE_PACKETS"] = str(tmp_path / "packets")
        self.wrapper = {}  # by unit: the words before its command
        self.asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.asked.bind(str(tmp_path / "systemctl.socket"))
        self.asked.listen()
        self.asked.setblocking(False)
        self.systemctl = tmp_path / "systemctl"
        self.systemctl.write_text(SYSTEMCTL.format(python=sys.executable, path=str(tmp_path / "systemctl.socket")))
        self.systemctl.chmod(0o755)
        self.commands, self.enabled, self.stopped = [], set(names), set()
        self.reloading = None  # (process of ExecReload, who asked)

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
        words = [*self.wrapper.get(name, []), *words]
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

    # ---- systemctl ----

    def millrace(self, *arguments, timeout=60):
        """`millrace reload` and the like, with the stand-in for systemctl. This thread does meanwhile what systemd does."""
        environment = dict(self.one.environment(), MILLRACE_SYSTEMCTL=str(self.systemctl))
        command = subprocess.Popen([str(MILLRACE), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, env=environment)
        try:
            wait_until(lambda: self.turn() or command.poll() is not None, timeout, f"the end of millrace {arguments}", pause=0.002)
        finally:
            command.kill()
            out, err = command.communicate()
        return subprocess.CompletedProcess(command.args, command.returncode, out, err)

    def turn(self):
        self.step()
        self.trigger()
        if self.reloading and self.reloading[0].poll() is not None:
            self.answer(self.reloading[1], self.reloading[0].returncode)
            self.reloading = None
        try:
            connection, _ = self.asked.accept()
        except BlockingIOError:
            return
        with open(connection.detach(), "r+b", buffering=0) as asker:
            verb, *units = [word for word in asker.readline().decode().rstrip("\n").split("\0") if word != "--quiet"]
            self.commands.append((verb, *units))
            if verb == "reload":
                assert not self.reloading
                with open(self.one.log_file, "ab") as log:
                    process = subprocess.Popen(self.command(units[0], "ExecReload"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                               env=self.environment)
                self.reloading = (process, os.dup(asker.fileno()))
                return
            done = verb == "daemon-reload" or all([getattr(self, "do_" + verb.replace("-", "_"))(unit) for unit in units])
            self.answer(os.dup(asker.fileno()), 0 if done else 1)

    @staticmethod
    def answer(descriptor, status):
        os.write(descriptor, str(status).encode())
        os.close(descriptor)

    def do_enable(self, unit):
        self.enabled.add(unit)
        return True

    def do_disable(self, unit):
        self.enabled.discard(unit)
        self.stopped.discard(unit)
        self.units.pop(unit)
        self.order.remove(unit)
        return True

    def do_stop(self, unit):
        if unit.endswith(".socket"):
            self.sockets.pop(unit).close()
        elif unit in self.process:
            process = self.process.pop(unit)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: self.hear() or process.poll() is not None, 30, f"the end of {unit}")
            self.stopped.add(unit)
        return True

    def do_start(self, unit):
        """It comes after the segments' unit, and so after a reload of that one."""
        if self.reloading:
            wait_until(lambda: self.hear() or self.reloading[0].poll() is not None, 30, "the end of the reload")
        if unit.endswith(".socket"):
            return unit in self.sockets
        if unit not in self.units:
            self.units[unit] = read_unit(unit)
            self.order = self.sorted()
        if unit not in self.process:
            self.spawn(unit)
        self.stopped.discard(unit)
        process = self.process[unit]
        wait_until(lambda: self.ready(process.pid) or process.poll() is not None, 20, f"READY=1 of {unit}")
        return process.poll() is None

    def do_restart(self, unit):
        if unit != "millrace-segments.service":
            return self.do_stop(unit) and self.do_start(unit)
        # What requires it goes down and comes up with it, in the order of the units.
        statuses = self.stop()
        self.process.clear()
        self.order.clear()
        return set(statuses.values()) == {0} and self.start() is self

    def do_try_restart(self, unit):
        """And what is part of it, if it runs."""
        if unit not in self.process:
            return True
        parts = [name for name in self.process if unit in self.units[name].get("PartOf", [])]
        return all([self.do_stop(name) for name in [*parts, unit]] + [self.do_start(name) for name in [unit, *parts]])

    def do_try_reload_or_restart(self, unit):
        if unit in self.process:
            self.process[unit].send_signal(signal.SIGHUP)
        return True

    def trigger(self):
        """Something waits in a socket whose service is down: a start, which waits for a reload of the segments' unit."""
        for name in list(self.stopped):
            held = [self.sockets[s] for s in self.units[name].get("Sockets", []) if s in self.sockets]
            if held and not self.reloading and select.select(held, [], [], 0)[0]:
                self.do_start(name)

    def step(self):
        """Restart=always, RestartSec=50ms, and no limit. Called again and again: a process ends with the thread that started it."""
        self.hear()
        dead = [name for name, process in self.process.items() if process.poll() not in (None, 2, 3)]
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
        self.asked.close()
        if self.reloading:
            self.reloading[0].kill()
            self.reloading[0].wait()
        self.one.remove_memory()


NAMES = ["millrace-ingest-udp@0.service", "millrace-ingest-http@0.service", "millrace-enrich@0.service", "millrace-deliver@0.service",
         "millrace-tally.service", "millrace-sink@logs.service", "millrace-segments.service", "millrace-gate.service",
         "millrace-readers.target", "millrace-middle.target", "millrace-serve.service"]


def managed_instance(instance, tmp_path, udp=None, names=NAMES, **listener):
    """A manager whose sockets are bound; config says where."""
    if udp is None:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        udp.bind(("127.0.0.1", 0))
    http = socket.create_server(("127.0.0.1", 0), backlog=1000)
    config = {
        "data_dir": str(tmp_path / "data"), "drain_timeout": "20s",
        "ingest": {"udp": [{"listen": ["127.0.0.1:%d" % udp.getsockname()[1]], "format": "ipevent", **listener}],
                   "http": [{"listen": ["127.0.0.1:%d" % http.getsockname()[1]]}]},
        "topics": {t: {"size": "64MiB" if t == "metric" else "4MiB"} for t in ("ip", "metric", "log", "track.raw", "track")},
        "queues": {"postback": {"slots": 1024, "slot_size": 1024}},
        "tally": {"commit_interval": "100ms"},
        "sinks": [{"name": "logs", "kind": "objects", "topics": ["log"], "tails": "16MiB"}],
        "serve": {"listen": ["127.0.0.1:0"], "hosts": [HOST]},
    }
    one = instance(config=config, start=False)
    manager = Manager(one, tmp_path, names)
    manager.config = config
    manager.sockets = {"millrace-ingest-udp@0.socket": udp, "millrace-ingest-http@0.socket": http}
    yield manager
    print(one.log_file.read_text()[-4000:] if one.log_file.exists() else "")
    manager.discard()


def address(manager, kind):
    return manager.sockets[f"millrace-ingest-{kind}@0.socket"].getsockname()
