"""millrace demo: an instance of its own under a mixed load, and nothing left of it."""
import json
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from cli_help import millrace
from harness import MILLRACE, kill_pid, processes, wait_until

TOLD = re.compile(
    r"millrace demo: instance (?P<instance>demo-\d+), data and logs in (?P<folder>.+)\n  page +http://127\.0\.0\.1:(?P<page>\d+)/\n"
    r"(?:.*\n)*  takes +http://127\.0\.0\.1:(?P<http>\d+), udp 127\.0\.0\.1:(?P<udp>\d+); postbacks go to http://127\.0\.0\.1:(?P<catch>\d+)\n.*\n")


class Demo:
    def __init__(self, tmp_path, shm_root, *arguments):
        folder = tmp_path / "it's a #folder: of \"tests\""
        folder.mkdir()
        self.out, self.shm = folder / "out", shm_root
        self.environment = dict(os.environ, MILLRACE_SHM=str(shm_root), TMPDIR=str(folder), MILLRACE_INSTANCE="another", PORT="1", ADDR="0.0.0.0")
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen([str(MILLRACE), "demo", "--rate", "300", *arguments], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.STDOUT, env=self.environment, start_new_session=True)

    def wait_told(self):
        def told():
            assert self.process.poll() is None, self.out.read_text()
            return TOLD.match(self.out.read_text())

        self.told = wait_until(told, 60, "where everything is").groupdict()
        return self

    def stat(self):
        return json.loads(millrace("stat", "--json", "--instance", self.told["instance"], env=self.environment).stdout)

    def end(self, sig=signal.SIGINT):
        if self.process.poll() is None and sig is not None:
            self.process.send_signal(sig)
        status = self.process.wait(timeout=60)
        return status, self.out.read_text()

    def left(self):
        return [str(p) for p in Path(self.shm).iterdir()] + [str(p) for p in self.out.parent.iterdir() if "millrace-demo" in p.name]


@pytest.fixture
def demo(tmp_path, shm_root):
    made = []

    def start(*arguments):
        made.append(Demo(tmp_path, shm_root, *arguments))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.end(signal.SIGTERM)
        assert one.left() == [], one.out.read_text()


def written(stat):
    return {entry["topic"]: entry["written"] for entry in stat["ledger"]}


def test_every_route_has_events_and_ctrl_c_leaves_nothing(demo):
    one = demo().wait_told()

    def alive():
        stat = one.stat()
        counts = written(stat)
        return all(counts[topic] > 0 for topic in ("ip", "metric", "log", "track.raw", "track", "delivery")) and stat

    stat = wait_until(alive, 60, "events on every route")
    assert all(stage["state"] == "running" for stage in stat["stages"])
    for entry in stat["ledger"]:
        assert entry["dropped"] == entry["refused"] == 0, entry
    with urllib.request.urlopen(f"http://127.0.0.1:{one.told['page']}/healthz", timeout=20) as reply:
        assert reply.status == 200

    def answers():
        counts = json.loads(millrace("report", "deliveries", "--instance", one.told["instance"], env=one.environment).stdout or "{}")
        return {"delivered", "again"} <= set(counts.get("all", {}).get("outcomes", {}))

    wait_until(answers, 60, "mixed answers", pause=0.5)
    status, said = one.end()
    assert status == 0 and "the instance are gone" in said, said


def listening(pid):
    """Addresses on which the process listens or is bound, as /proc/net has them. Of one that cannot be traced only root sees them."""
    inodes = set()
    try:
        fds = list(Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        assert os.geteuid() != 0
        return []
    for fd in fds:
        try:
            inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink(fd)))
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                found.append((table, fields[1].split(":")[0]))
    return found


def test_it_opens_nothing_outside_of_loopback(demo):
    one = demo().wait_told()
    wait_until(lambda: written(one.stat())["delivery"] > 0, 60, "postbacks")
    pids = list(processes.children(of=one.process.pid))
    assert len(pids) > 8
    found = [address for pid in pids if Path(f"/proc/{pid}/fd").exists() for address in listening(pid)]
    assert len(found) > 5
    assert all(len(address) == 8 and address.endswith("7F") for _, address in found), found  # 127.0.0.0/8, low byte first
    assert one.end(signal.SIGTERM)[0] == 0


def test_it_ends_by_itself_after_its_duration(demo):
    status, said = demo("--duration", "1").end(None)
    assert status == 0 and TOLD.match(said) and "ends in 1 s" in said and "are gone" in said, said


def test_the_end_of_a_part_ends_all_and_is_told(demo):
    one = demo().wait_told()
    supervisor = one.stat()["supervisor"]["pid"]
    kill_pid(supervisor)
    status, said = one.end(None)
    assert status == 1 and "its part run has ended (signal 9)" in said, said


def test_a_signal_while_it_starts_leaves_nothing(demo):
    one = demo()
    wait_until(lambda: any("millrace-demo" in p.name for p in one.out.parent.iterdir()), 20, "its folder")
    assert one.end()[0] == 0


def test_the_parts_of_a_demo_that_was_killed_end(demo, tmp_path, shm_root):
    one = demo().wait_told()
    parts = set(processes.children(of=one.process.pid))
    one.process.kill()
    one.process.wait()
    wait_until(lambda: not any(pid in parts and state != "Z" for pid, state, *_ in processes.seen()), 40, "the end of all parts", pause=0.1)
    assert list(Path(shm_root).iterdir()) == []
    subprocess.run(["rm", "-r", one.told["folder"]], check=True)
