"""Everything at once, for a given time: load on every route and into every sink, and a hand that breaks things at random.

    senders   datagrams, POST /event, /log, /batch, /ingest, GET /t/...: each event has a number; the sender knows which were
              acknowledged, which were refused (503), and which nobody can say (the connection died before the answer)
    chaos     kill -9 of a stage, a store that is away, another country database or a broken one, other options and SIGHUP, a full disk;
              all of it drawn from one seed
    rest      nothing is sent: every reader reaches the end, and what each process holds is noted

What must be true at the end is in test_soak.py.
"""
import collections
import contextlib
import ctypes
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

from deliver_help import deliver_config
from harness import SLOW, default_config, kill_pid, own_bytes, wait_until
from http_help import Client, http_address
from load import CORRUPTIONS, Expected, ipevent, random_sha, udp_socket
from objects_help import KEY, log_line
from test_enrich import spoil

PATIENCE_S = 60
CLONE_NEWNS = 0x20000
DISK_BYTES = 192 << 20
ENRICHERS = 2  # at the beginning and in the end: the lane of one that goes stays for its sums
OUTAGES = ({"action": "internal", "probability": 0.5}, {"action": "slow_down", "probability": 0.7, "retry_after": 1}, {"action": "lose", "probability": 0.3},
           {"action": "drop", "probability": 0.3}, {"action": "cut", "probability": 0.3})


def soak_config(tmp_path, disk, server, database):
    """Every kind of listener, stage and sink that needs no service from elsewhere."""
    config = deliver_config(tmp_path, circuit={"failures": 0}, retry={"schedule": ["200ms"] * 64, "jitter": "0.2"}, drain_timeout="20s")
    config["ingest"]["udp"] = default_config(tmp_path)["ingest"]["udp"]
    config["data_dir"] = str(disk / "data")
    config["tally"] = {"commit_interval": "100ms"}
    config["enrich"] = {"processes": ENRICHERS, "pod": "10.0.0.7", "country_database": str(database)}
    config["deliver"]["processes"] = 1
    config["deliver"]["per_host"] = {"connections": 16}  # all postbacks have one host: so many are kept in the end
    config["topics"] = {name: {"size": "32MiB"} for name in ("ip", "metric", "log", "track.raw", "track", "delivery")}
    quick = {"retry": "10ms", "retry_max": "200ms", "min_free": 0}
    small = {"kind": "objects", "tails": "16MiB", "longest_line": "64KiB", "part_size": "64KiB", "member": "16KiB"}
    s3 = {"bucket": "bucket", "endpoint": server.urls["s3"], "region": server.about["region"], "credentials": "config",
          "access_key": server.keys["access_key"], "secret_key": server.keys["secret_key"], "stall_timeout": "2s"}
    config["sinks"] = [
        {**small, "name": "logs", "topics": ["log"], "key": KEY, "finish": {"after": "3s"}, "store": {**quick, "directory": str(disk / "objects")}},
        {**small, "name": "metrics", "topics": ["metric"], "key": "metric/{date}/{hour}", "finish": {"after": "3s"}, "part_size": "5MiB", "member": "256KiB",
         "tails": "64MiB", "store": {"retry": "10ms", "retry_max": "200ms", "s3": s3}},
        {"name": "tracks", "kind": "file", "topics": ["track"], "path": str(disk / "tracks"), "write_interval": "20ms"},
    ]
    return config


@contextlib.contextmanager
def small_disk(path, size):
    """A file system of its own at the path, for this process and its children alone: it goes with them. As root; for others it is an ordinary
    folder. Yields whether it is small."""
    path.mkdir()
    if os.geteuid() != 0:
        yield False
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/mnt", "rb") as home:
        if libc.unshare(CLONE_NEWNS) != 0:
            yield False
            return
        try:
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)], check=True)
            yield True
        finally:
            subprocess.run(["umount", "-l", str(path)], check=False)
            libc.setns(home.fileno(), CLONE_NEWNS)


# What a reload changes, each to one of these values.
OPTIONS = (
    (("tally", "commit_interval"), ("100ms", "150ms", "200ms")),
    (("deliver", "in_flight"), (256, 128, 64)),
    (("enrich", "processes"), (1, 2)),
    (("enrich", "pod"), ("10.0.0.7", "10.0.0.8")),
    (("sinks", 2, "write_interval"), ("20ms", "50ms")),
    (("ingest", "http", 0, "batch_errors"), (100, 50)),
)


class Numbers:
    """The fate of numbered events of one route."""

    def __init__(self):
        self.next = 0
        self.acknowledged, self.unknown = set(), set()
        self.refused = 0

    def take(self, n):
        self.next += n
        return range(self.next - n, self.next)

    def check(self, found, what):
        """Each that was acknowledged is there, once; beyond those there is only what nobody answered."""
        twice = [number for number, times in collections.Counter(found).items() if times > 1]
        assert not twice, f"{what}: {len(twice)} are there twice, such as {twice[:5]}"
        missing = sorted(self.acknowledged - set(found))
        assert not missing, f"{what}: {len(missing)} of {len(self.acknowledged)} acknowledged are missing, such as {missing[:5]}"
        strange = sorted(set(found) - self.acknowledged - self.unknown)
        assert not strange, f"{what}: {len(strange)} are there that were refused, such as {strange[:5]}"


class Resting(threading.Thread):
    """Does its work (work()) again and again while it may, and rests otherwise, until it is told to end."""

    def __init__(self):
        super().__init__(daemon=True)
        self.may, self.ended, self.idle = threading.Event(), threading.Event(), threading.Event()
        self.failure = None
        self.start()

    def run(self):
        try:
            while not self.ended.is_set():
                self.idle.set()
                if self.may.wait(0.05):
                    self.idle.clear()
                    self.work()
        except Exception as failure:  # shown by check
            self.failure = failure
        self.idle.set()

    def check(self):
        assert self.failure is None, self.failure


class Sender(Resting):
    """Asks on a connection that it makes anew when it ends, at about so many requests a second."""

    def __init__(self, address, make, rate, each=1):
        self.address, self.make, self.each = address, make, each
        self.pause_s = SLOW / rate
        self.numbers = Numbers()
        super().__init__()

    def work(self):
        try:
            with Client(self.address) as client:
                while self.may.is_set() and not self.ended.is_set():
                    self.one(client)
                    time.sleep(self.pause_s)
        except (OSError, EOFError):
            time.sleep(0.02)

    def one(self, client):
        numbers = self.numbers.take(self.each)
        method, target, body = self.make(numbers)
        self.numbers.unknown.update(numbers)
        reply = client.ask(method, target, body)
        assert reply.status in (200, 202, 503), reply
        self.numbers.unknown.difference_update(numbers)
        if reply.status == 503:
            self.numbers.refused += 1
            time.sleep(0.05)
        else:
            self.numbers.acknowledged.update(numbers)


class Datagrams(Resting):
    """A few at a time; the listener's socket outlives every stage, so each of them counts."""

    def __init__(self, address, rng, rate):
        self.socket, self.rng, self.pause_s = udp_socket(address), rng, 50 * SLOW / rate
        self.expected = Expected()
        self.shas = [random_sha(rng) for _ in range(20)]
        super().__init__()

    def work(self):
        for datagram in self.some():
            self.socket.send(datagram)
        time.sleep(self.pause_s)

    def some(self):
        """Of the same applications and addresses all the time: tally has a place in memory for each."""
        made = []
        for _ in range(50):
            if self.rng.random() < 0.1:
                reason = self.rng.choice(sorted(CORRUPTIONS))
                made.append(CORRUPTIONS[reason](self.rng))
                self.expected.corrupt(reason)
                continue
            sha, ip = self.rng.choice(self.shas), self.rng.randrange(1 << 8)
            made.append(ipevent(sha, ip))
            self.expected.valid(sha, ip)
        return made


class Load:
    """All senders. They go and rest together."""

    def __init__(self, one, catch, rng):
        address = http_address(one)
        url = f"http://127.0.0.1:{catch.port}/p?n={{n}}"
        self.udp = Datagrams(one.address(), random.Random(rng.random()), 1000)
        self.event = Sender(address, lambda n: ("POST", "/event", {"username": f"u{n[0] % 7}", "count": n[0], "metric": f"m{n[0] % 5}"}), 100)
        self.log = Sender(address, lambda n: ("POST", "/log", log_line(n[0], text="x" * (1 + n[0] % 500))), 100)
        self.track = Sender(address, lambda n: ("GET", f"/t/call?n={n[0]}", None), 100)
        self.batch = Sender(address, lambda n: ("POST", "/batch", [{"type": "batch", "params": {"n": i}} for i in n]), 10, each=10)
        self.ingest = Sender(address, lambda n: ("POST", "/ingest", {"endpoint": {"method": "GET", "url": url}, "data": [{"n": i} for i in n]}), 20, each=3)
        self.all = [self.udp, self.event, self.log, self.track, self.batch, self.ingest]

    def go(self):
        for sender in self.all:
            sender.may.set()

    def rest(self):
        for sender in self.all:
            sender.may.clear()
        for sender in self.all:
            assert sender.idle.wait(PATIENCE_S * SLOW), "a sender does not come to rest"
            sender.check()

    def end(self):
        for sender in self.all:
            sender.ended.set()
        for sender in self.all:
            sender.join(PATIENCE_S * SLOW)
        self.udp.socket.close()

    def sent(self):
        """{route: (acknowledged, unknown, refused requests)}"""
        routes = {"event": self.event, "log": self.log, "track": self.track, "batch": self.batch, "ingest": self.ingest}
        return {name: (len(s.numbers.acknowledged), len(s.numbers.unknown), s.numbers.refused) for name, s in routes.items()}


class Chaos:
    """Breaks one thing after the other; what it did is counted."""

    def __init__(self, one, config, server, databases, database, disk, rng):
        self.one, self.config, self.server, self.rng = one, config, server, rng
        self.databases, self.database = databases, database
        self.done = collections.Counter()
        self.disk = disk  # None: it cannot be filled

    def one_thing(self):
        act = self.rng.choices((self.kill, self.outage, self.swap, self.reload, self.fill), (10, 3, 3, 2, 1))[0]
        act()
        time.sleep(self.rng.uniform(0.05, 0.6) * SLOW)

    def kill(self):
        """Of any stage; sometimes of two at the same moment."""
        stat = self.one.try_stat()
        running = [s for s in (stat or {"stages": []})["stages"] if s["state"] == "running" and s["pid"]]
        for stage in self.rng.sample(running, min(len(running), self.rng.choice((1, 1, 1, 2)))):
            if kill_pid(stage["pid"]):
                self.done["kill " + stage["name"].split(".")[0]] += 1

    def kill_perhaps(self):
        for _ in range(self.rng.choice((0, 1, 1, 2))):
            self.kill()
            time.sleep(self.rng.uniform(0.05, 0.5) * SLOW)

    def outage(self):
        """The store refuses connections, or fails in one of its ways; stages die meanwhile."""
        control = self.server.control
        if self.rng.random() < 0.4:
            control.refuse("s3")
        else:
            fault = dict(self.rng.choice(OUTAGES))
            control.fault(fault.pop("action"), service="s3", count=0, seed=self.rng.randrange(1 << 30), **fault)
        time.sleep(self.rng.uniform(0.3, 2) * SLOW)
        self.kill_perhaps()
        control.refuse("s3", False)
        control.clear()
        self.done["outage"] += 1

    def put_database(self, data):
        side = self.database.with_suffix(".new")
        side.write_bytes(data)
        side.rename(self.database)

    def swap(self):
        data = self.rng.choice(self.databases)
        broken = self.rng.random() < 0.5
        self.put_database(spoil(data, self.rng) if broken else data)
        self.done["broken database" if broken else "database"] += 1

    def reload(self):
        path, values = self.rng.choice(OPTIONS)
        self.take(path, self.rng.choice(values))
        self.done["reload"] += 1

    def take(self, path, value):
        """The option has this value from now on."""
        at = self.config
        for name in path[:-1]:
            at = at[name] if isinstance(at, list) else at.setdefault(name, {})
        at[path[-1]] = value
        self.one.write_config(self.config)
        before = self.reloads()
        self.one.kill(signal.SIGHUP)
        wait_until(lambda: self.reloads() > before, PATIENCE_S, "the reload")

    def mend(self):
        """As many enrichers as at the beginning. With a broken database that reload would be refused."""
        self.put_database(self.databases[0])
        self.take(("enrich", "processes"), ENRICHERS)

    def reloads(self):
        return len(re.findall(r"all stages run|some stages do not run|no stage changes|configuration rejected|cannot be put in force", self.one.log()))

    def fill(self):
        """The disk has no room left, for a while."""
        if self.disk is None:
            return
        ballast = self.disk / "ballast"
        try:
            with open(ballast, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 20))
        except OSError:
            pass
        time.sleep(self.rng.uniform(0.3, 2) * SLOW)
        self.kill_perhaps()
        ballast.unlink()
        self.done["full disk"] += 1


# ---- what processes hold ----


def descriptors(pid):
    """(sockets, others) that a process has open; of one that cannot be traced only root sees them, and nobody else (0, 0)."""
    kinds = []
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        assert os.geteuid() != 0
        return 0, 0
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            kinds.append(os.readlink(entry).startswith("socket:"))
    return sum(kinds), len(kinds) - sum(kinds)


def holds(one):
    """{role: (bytes of its own, sockets, other descriptors)}, the supervisor included."""
    pids = {stage["name"]: stage["pid"] for stage in one.stat()["stages"]}
    pids["supervisor"] = one.process.pid
    return {role: (own_bytes(pid), *descriptors(pid)) for role, pid in pids.items()}


def at_rest(one):
    """Every required reader has read all, and the ledger adds up."""
    stat = one.try_stat()
    if not stat or any(stage["state"] != "running" for stage in stat["stages"]):
        return None
    waiting = sum(group["waiting_records"] for topic in stat["topics"] for lane in topic["lanes"] for group in lane["groups"] if group["required"])
    queue = next(q for q in stat["queues"] if q["queue"] == "postback")
    busy = queue["filling"] + queue["ready"] + queue["taken"]
    return stat if waiting == 0 and busy == 0 and all(entry["balanced"] for entry in stat["ledger"]) else None


def come_to_rest(one):
    try:
        return wait_until(lambda: at_rest(one), 2 * PATIENCE_S, "rest", pause=0.2)
    except AssertionError as error:
        stat = one.try_stat() or {}
        shown = {key: stat.get(key) for key in ("queues", "ledger")}
        states = {s["name"]: (s["state"], s["note"]) for s in stat.get("stages", [])}
        groups = {(t["topic"], g["group"]): g["waiting_records"] for t in stat.get("topics", []) for lane in t["lanes"] for g in lane["groups"]
                  if g["required"] and g["waiting_records"]}
        raise AssertionError(f"{error}: {json.dumps(shown)} {states} {groups}\n{one.log()[-4000:]}") from None
