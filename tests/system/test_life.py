"""Whether what is attached to an instance knows what became of it: another page, a drain, its folder gone."""
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

import load
from harness import BUILD, SLOW, Instance, default_config, processes, wait_until
from http_help import EXAMPLE, Client, http_address, http_config

SUPERVISOR_LOST = 4


def full_config(tmp_path):
    """UDP and HTTP."""
    udp, http = default_config(tmp_path), http_config(tmp_path, "epoll")
    return {**udp, **http, "ingest": {**http["ingest"], **udp["ingest"]}, "topics": {**http["topics"], **udp["topics"]}}


def ask_ready(address, done, found):
    """Asks again and again, every time on a connection of its own; found gets every answer that is not ready."""
    while not done.is_set():
        with Client(address) as client:
            reply = client.ask("GET", "/readyz")
            found.append((reply.status, reply.body))
        time.sleep(0.01)


def test_a_stage_that_a_reload_leaves_alone_stays_ready(instance, tmp_path):
    config = full_config(tmp_path)
    one = instance(config=config)
    pid = one.pid_of("ingest-http.0")
    done, found = threading.Event(), []
    asker = threading.Thread(target=ask_ready, args=(http_address(one), done, found))
    asker.start()
    try:
        for changes, processes in enumerate((2, 1, 3), start=2):
            config["ingest"]["udp"][0]["processes"] = processes
            one.write_config(config)
            one.kill(signal.SIGHUP)
            wait_until(lambda n=changes: one.log().count("all stages run") == n, 15, f"{processes} processes")
        asked = len(found)
        wait_until(lambda: len(found) > asked + 50, what="answers after the last change")
    finally:
        done.set()
        asker.join()
    assert one.pid_of("ingest-http.0") == pid
    assert {status for status, _ in found} == {200}, [answer for answer in found if answer[0] != 200][:3]


# ---- the folder is gone ----


def send(one, rng, n):
    """n datagrams of one application. Returns its SHA."""
    sha = load.random_sha(rng)
    load.send_paced(one.address(), [load.ipevent(sha, rng.randrange(1 << 24, 1 << 28)) for _ in range(n)], 20000)
    return sha


def test_a_folder_that_is_removed_ends_the_instance_and_what_was_taken_is_counted(instance, tmp_path, rng):
    config = full_config(tmp_path)
    config["tally"] = {"commit_interval": "1h"}  # nothing is counted before the end
    one = instance(config=config)
    sha = send(one, rng, 5000)
    wait_until(lambda: one.ledger("ip")["received"] == 5000, what="all are in memory")
    shutil.rmtree(one.directory)
    assert one.wait_end() == SUPERVISOR_LOST
    log = one.log()
    assert "the instance's folder was removed or changed while it ran" in log and str(one.directory) in log
    assert "RemoveIPC" in log
    assert one.counts() == {sha: 5000}
    assert not one.directory.exists()
    one.start()
    assert one.stop() == 0


@pytest.mark.parametrize("missing", ["instance", "lock", "ip.group.3", "metric.lane.0"])
def test_a_file_that_is_removed_ends_the_instance(instance, tmp_path, missing):
    one = instance(config=full_config(tmp_path))
    (one.directory / missing).unlink()
    assert one.wait_end() == SUPERVISOR_LOST
    assert f"missing={missing}" in one.log()
    shutil.rmtree(one.directory)


def test_nothing_is_answered_2xx_when_the_folder_has_been_gone_for_a_second(instance, tmp_path, backend):
    one = instance(config=http_config(tmp_path, backend))
    address = http_address(one)
    shutil.rmtree(one.directory)
    gone = time.monotonic()
    taken = gone
    while one.process.poll() is None:
        asked = time.monotonic()
        try:
            with Client(address) as client:
                if client.ask("POST", "/event", EXAMPLE).status < 300:
                    taken = asked
        except (OSError, AssertionError):
            pass  # it ends: refused, or reset
    assert one.wait_end() == SUPERVISOR_LOST
    assert taken - gone < 1.2 * SLOW


def test_an_instance_that_is_told_to_end_after_its_folder_went_removes_nothing_of_another(instance, tmp_path):
    one = instance()
    shutil.rmtree(one.directory)
    one.directory.mkdir()
    (one.directory / "instance").write_text("of another")
    one.kill(signal.SIGTERM)
    assert one.wait_end() == SUPERVISOR_LOST
    assert (one.directory / "instance").read_text() == "of another"
    shutil.rmtree(one.directory)


def test_no_second_supervisor_runs_beside_one_whose_folder_was_removed(instance, tmp_path, shm_root):
    one = instance()
    os.kill(one.process.pid, signal.SIGSTOP)
    shutil.rmtree(one.directory)
    other = Instance(tmp_path, shm_root)
    other.name, other.directory = one.name, one.directory
    refused = subprocess.run(other.command(), env=other.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=20 * SLOW, check=False)
    os.kill(one.process.pid, signal.SIGCONT)
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert str(one.process.pid) in refused.stderr and "removed while it ran" in refused.stderr
    assert one.wait_end() == SUPERVISOR_LOST
    assert not one.directory.exists()
    with other:
        pass


# ---- outside writers ----


class Writer:
    """A program that writes to a topic through libmillrace."""

    def __init__(self, one, topic):
        self.process = subprocess.Popen([str(BUILD / "tests" / "outside_writer"), one.name, topic], env=one.environment(),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        said = self.process.stdout.readline().strip()
        assert said == "ready", said

    def write(self, text):
        """Appends and commits one record; 0 when it is taken."""
        self.process.stdin.write(text + "\n")
        return int(self.process.stdout.readline())

    def end(self):
        """Gives the lane back."""
        with self.process:
            self.process.stdin.close()
        assert self.process.returncode == 0


def outside_config(tmp_path, **more):
    return {**default_config(tmp_path), "topics": {"ip": {"size": "1MiB"}, "raw": {"size": "1MiB", "outside_lanes": 1}}, **more}


def test_a_drain_waits_for_an_outside_writer_and_takes_what_it_committed(instance, tmp_path):
    one = instance(config=outside_config(tmp_path, outside_timeout="20s"))
    out = tmp_path / "out"
    consumer = subprocess.Popen([str(BUILD / "bin" / "millrace"), "consume", "raw", "--group", "g", "--ack", "line", "--", "sh", "-c",
                                 f"while read -r line; do if [ -n \"$line\" ]; then echo x >> {out}; else echo; fi; done"],
                                env=one.environment(), stdin=subprocess.DEVNULL)
    wait_until(lambda: one.group("raw", "g"), what="the group")
    writer, taken, result = Writer(one, "raw"), 0, 0
    one.kill(signal.SIGTERM)
    while result == 0:
        result = writer.write("a record")
        taken += result == 0
        time.sleep(0.001)
    assert result == -errno.EPIPE
    time.sleep(0.3)
    assert one.process.poll() is None  # it waits for the lane
    writer.end()
    assert one.wait_end() == 0
    assert consumer.wait(20 * SLOW) == 0
    assert (out.read_text().count("x") if taken else 0) == taken


def test_a_writer_that_appends_nothing_is_not_waited_for_and_learns_of_the_end(instance, tmp_path):
    one = instance(config=outside_config(tmp_path, outside_timeout="300ms"))
    writer = Writer(one, "raw")
    assert writer.write("a record") == 0
    assert one.stop() == 0
    assert "outside programs have not given back the lanes" in one.log()
    assert writer.write("a record") == -errno.EPIPE
    writer.end()


def test_a_writer_is_told_of_a_new_configuration(instance, tmp_path):
    config = outside_config(tmp_path)
    one = instance(config=config)
    writer = Writer(one, "raw")
    config["ingest"]["udp"][0]["processes"] = 2
    one.write_config(config)
    one.kill(signal.SIGHUP)
    wait_until(lambda: one.log().count("all stages run") == 2, 15, "two processes")
    assert writer.write("a record") == -errno.ESTALE
    writer.end()
    writer = Writer(one, "raw")
    assert writer.write("a record") == 0
    writer.end()


# ---- the owner of the folders ----


def run_in(root, tmp_path, shm_root):
    """Runs a supervisor whose instances lie in root. Returns how it ended."""
    one = Instance(tmp_path, shm_root)
    return subprocess.run(one.command(), env={**one.environment(), "MILLRACE_SHM": str(root)}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=20 * SLOW, check=False), one.name


@pytest.fixture
def root(shm_root):
    folder = shm_root / "root"
    folder.mkdir(mode=0o755)
    yield folder
    if folder.is_symlink():
        folder.unlink()
    else:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    for left in shm_root.glob("real*"):
        shutil.rmtree(left)


def test_a_root_that_others_may_write_is_refused(root, tmp_path, shm_root):
    root.chmod(0o777)
    result, _ = run_in(root, tmp_path, shm_root)
    assert result.returncode == 1 and f"{root} (mode 0777) may be written by others" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_a_root_of_another_user_is_refused(root, tmp_path, shm_root, mode):
    os.chown(root, 65534, 65534)
    root.chmod(mode)
    result, name = run_in(root, tmp_path, shm_root)
    assert result.returncode == 1 and f"{root} belongs to user 65534" in result.stderr
    assert list((root / name).iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_an_instance_of_another_user_is_refused(root, tmp_path, shm_root):
    one = Instance(tmp_path, shm_root)
    one.name = "taken"
    (root / one.name).mkdir(mode=0o700)
    os.chown(root / one.name, 65534, 65534)
    result = subprocess.run(one.command(), env={**one.environment(), "MILLRACE_SHM": str(root)}, stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=20 * SLOW, check=False)
    assert result.returncode == 1 and "belongs to another user" in result.stderr
    assert list((root / one.name).iterdir()) == []


@pytest.mark.parametrize("link", ["root", "instance", "lock", ".config.yaml", ".drops"])
def test_no_link_is_followed(root, tmp_path, shm_root, link):
    one = Instance(tmp_path, shm_root)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    if link == "root":
        real = shm_root / "real"
        root.rename(real)
        root.symlink_to(real)
    elif link == "instance":
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (root / one.name).symlink_to(elsewhere)
    else:
        (root / one.name).mkdir(mode=0o700)
        (root / one.name / link).symlink_to(victim)
    process = subprocess.Popen(one.command(), env={**one.environment(), "MILLRACE_SHM": str(root)}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if link.startswith("."):  # left by some other life: it goes
        for line in process.stdout:
            if line == "ready\n":
                break
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20 * SLOW)
    assert process.returncode == (0 if link.startswith(".") else 1), output
    assert victim.read_text() == "precious"
    if link == "instance":
        assert list(elsewhere.iterdir()) == []


# ---- wishes ----


def test_a_wish_by_signal_ends_no_process_at_whatever_moment_it_comes(instance, tmp_path):
    one = instance(config=full_config(tmp_path))
    for _ in range(5):
        killed = one.pid_of("tally.0")
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + 20 * SLOW
        while one.pid_of("tally.0") in (0, killed) or one.stage("tally.0")["state"] != "running":
            assert time.monotonic() < deadline, one.log()
            for pid in [one.process.pid, *processes.children(of=one.process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR1)
    assert f"signal={int(signal.SIGUSR1)}" not in one.log(), one.log()
    assert one.stage("tally.0")["restarts"] == 5, one.log()
