"""`millrace restart` and `millrace upgrade`: other programs go on, the port stays open, nothing that was acknowledged is lost.

Under load, in the short form; `make crash-upgrade` is the long one: RESTARTS, CRASHES and UPGRADES give its numbers.
"""
import os
import re
import signal
import subprocess
import time

import pytest

from harness import MILLRACE, SLOW, default_config, kill_pid, processes, wait_until
from http_help import Knocker, http_address, http_config
from stored_help import StoredLoad, check_nothing_lost
from supervisor_help import alive, ask, connect, http_listeners
from test_crash import Held, Sender, check_account as check_datagrams
from test_http_crash import stages_of

RESTARTS = int(os.environ.get("MILLRACE_RESTARTS", "10"))
CRASHES = int(os.environ.get("MILLRACE_CRASHES", "10"))
UPGRADES = int(os.environ.get("MILLRACE_UPGRADES", "1"))
LIMIT = 120 + 10 * RESTARTS + 5 * CRASHES + 60 * UPGRADES
RENEWED = re.compile(r"^(\S+): process (\d+) -> (\d+), (\d+) ms$", re.MULTILINE)


def command(one, *arguments, timeout=60):
    environment = dict(os.environ, MILLRACE_INSTANCE=one.name, MILLRACE_SHM=str(one.shm_root))
    return subprocess.run([str(MILLRACE), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment,
                          timeout=timeout * SLOW, check=False)


def renew(one, *arguments):
    """What the command says of each role: {role: (old pid, new pid, ms)}."""
    result = command(one, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return {role: (int(old), int(new), int(ms)) for role, old, new, ms in RENEWED.findall(result.stdout)}


# ---- under load ----


def restart_some(one, rng, roles, n):
    took = []
    for _ in range(n):
        role = rng.choice(roles)
        renewed = renew(one, "restart", role)
        assert list(renewed) == [role] and renewed[role][0] != renewed[role][1], renewed
        took.append(renewed[role][2])
    return took


def upgrade_some(one, roles, n):
    for _ in range(n):
        pid = one.process.pid
        renewed = renew(one, "upgrade")
        assert set(renewed) == set(roles) and all(old != new for old, new, _ in renewed.values()), renewed
        assert one.process.poll() is None and one.process.pid == pid
        assert set(processes.children(of=pid)) == {new for _, new, _ in renewed.values()}


def crash_within(rng, one, n, seconds):
    """n kills of stages, all within so many seconds."""
    killed, began = 0, time.monotonic()
    while killed < n:
        time.sleep(max(0.0, began + (killed + 1) * seconds / n - time.monotonic()) * rng.random())
        victims = sorted(processes.children(of=one.process.pid))
        killed += bool(victims) and kill_pid(rng.choice(victims))
    return time.monotonic() - began


@pytest.mark.limit(LIMIT)
def test_http_has_no_error_while_stages_restart_and_everything_is_upgraded(instance, tmp_path, rng):
    config = http_config(tmp_path, topics={"metric": {"size": "256MiB"}})
    millrace = instance(config=config)
    roles = [stage["name"] for stage in millrace.stat()["stages"]]
    with StoredLoad(millrace, http_address(millrace), tmp_path, "-c", 8, "-p", 1, "--rate", 5000) as load, Knocker(http_address(millrace)) as knocker:
        took = restart_some(millrace, rng, roles, RESTARTS)
        upgrade_some(millrace, roles, UPGRADES)
    account = load.account
    print(f"{load.taken} acknowledged, {account['unanswered']} unanswered, {account['connections']}; a restart took {sorted(took)} ms")
    assert account["unanswered"] == account["connections"]["broken"] == 0, account
    assert (knocker.refused, knocker.broken) == (0, 0) and knocker.taken > 0
    assert len(load.stored) == load.taken > 0
    check_nothing_lost(millrace, "metric", len(load.stored))
    assert millrace.stop() == 0


@pytest.mark.limit(LIMIT)
def test_crashes_within_two_seconds_close_no_port_and_lose_no_acknowledged_event(instance, tmp_path, rng):
    millrace = instance(config=http_config(tmp_path, topics={"metric": {"size": "256MiB"}}))
    with StoredLoad(millrace, http_address(millrace), tmp_path, "-c", 8, "-p", 1, "--rate", 5000) as load, Knocker(http_address(millrace)) as knocker:
        wait_until(lambda: stages_of(millrace), 10, "the stage")
        seconds = crash_within(rng, millrace, CRASHES, 2 * SLOW)
        millrace.wait_running(60)
    print(f"{CRASHES} kills in {seconds:.2f} s; {load.account['unanswered']} unanswered")
    assert knocker.refused == 0 and knocker.taken > 0 and load.taken > 0
    check_nothing_lost(millrace, "metric", len(load.stored))


@pytest.mark.limit(LIMIT)
def test_udp_loses_no_datagram_while_stages_restart_and_everything_is_upgraded(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["ingest"]["udp"][0].update(receive_buffer="64MiB")
    config["topics"]["ip"]["size"] = "64MiB"
    millrace = instance(config=config)
    roles = [stage["name"] for stage in millrace.stat()["stages"]]
    sender = Sender(millrace.address(), 16 << 20, rng.random())
    sender.start()
    try:
        restart_some(millrace, rng, roles, RESTARTS)
        upgrade_some(millrace, roles, UPGRADES)
        millrace.wait_running(60)
    finally:
        sender.end()
    assert sender.problem is None
    stat = check_datagrams(millrace, NoDrops, sender.expected)
    print(f"{sender.expected.sent} datagrams; restarts {sum(stage['restarts'] for stage in stat['stages'])}")
    assert sum(stage["restarts"] for stage in stat["stages"]) == RESTARTS + len(roles) * UPGRADES
    assert millrace.stop() == 0


class NoDrops:
    """The supervisor has the socket; what the kernel dropped stands in the ledger, which must say 0."""

    @staticmethod
    def kernel_drops():
        return 0


# ---- what is said, what is refused ----


@pytest.fixture
def one(fake):
    with fake(config=http_listeners("127.0.0.1:0")) as running:
        yield running


def lives(one):
    return {role: one.control(role).restarts for role in ("ingest-http.0", "enrich.0", "tally.0")}


def test_a_restart_is_of_one_role_and_the_command_waits_for_it(one):
    pid = one.pid("tally.0")
    assert renew(one, "restart", "tally.0")["tally.0"][:2] == (pid, one.pid("tally.0"))
    assert one.control("tally.0").state == "running" and not alive(pid)
    assert lives(one) == {"ingest-http.0": 0, "enrich.0": 0, "tally.0": 1}


def test_readers_are_upgraded_before_writers(one):
    assert list(renew(one, "upgrade")) == ["tally.0", "enrich.0", "ingest-http.0"]


def test_a_name_that_no_role_has_is_refused_with_those_there_are(one):
    result = command(one, "restart", "taly")
    assert result.returncode == 1 and 'no role "taly"' in result.stderr and "tally.0" in result.stderr
    assert command(one, "restart").returncode == 2


def test_nothing_is_ended_when_a_program_cannot_start(one):
    (one.libexec / "tally.findings").write_text("refused tally.window: no such thing\n")
    for arguments in (["restart", "tally"], ["upgrade"]):
        result = command(one, *arguments)
        assert result.returncode == 1 and "nothing was ended" in result.stderr, result
        assert "tally: cannot start: tally.window: no such thing" in result.stdout
    assert set(lives(one).values()) == {0}
    renew(one, "restart", "enrich")


def test_a_program_that_dies_at_its_start_is_reported_and_the_others_stay(one):
    one.mode("tally.0", "crash")
    result = command(one, "upgrade")
    assert result.returncode == 1 and "tally.0 does not come up again" in result.stderr, result
    assert lives(one)["enrich.0"] == 0
    one.mode("tally.0")
    one.wait_running("tally.0")
    assert len(renew(one, "upgrade")) == 3


def test_a_stage_that_does_not_end_is_killed_after_drain_timeout(fake):
    config = {**http_listeners("127.0.0.1:0"), "drain_timeout": "1s"}
    with fake(config=config) as one:
        one.mode("tally.0", "deaf")
        time.sleep(0.3)
        result = command(one, "restart", "tally.0")
        assert result.returncode == 0 and "killed after drain_timeout" in result.stdout, result
        one.mode("tally.0")


def test_another_layout_is_refused_by_restart_and_made_anew_by_upgrade_with_the_port_open(one):
    address, before = one.http_addresses()[0], one.process.pid
    (one.libexec / "tally.findings").write_text("layout the segments have another one\n")
    result = command(one, "restart", "tally")
    assert result.returncode == 1 and "another layout" in result.stderr and set(lives(one).values()) == {0}
    inode = (one.directory / "instance").stat().st_ino
    assert ask(address) == b"taken"
    one.output_start = one.output_file.stat().st_size
    with Knocker(address) as knocker:
        result = command(one, "upgrade")
    assert result.returncode == 0 and "all stages drain" in result.stdout, result
    assert f"supervisor: process {before} goes on" in result.stdout
    assert knocker.refused == 0 and knocker.taken > 0
    assert (one.directory / "instance").stat().st_ino != inode and one.process.poll() is None
    assert one.http_addresses()[0] == address and ask(address) == b"taken"
    assert set(lives(one).values()) == {0}


def test_the_next_program_has_the_lock_takes_signals_and_reads_the_configuration_again(one):
    address = one.http_addresses()[0]
    renew(one, "upgrade")
    assert "is running already" in one.run_refused()
    pid = one.pid("tally.0")
    os.kill(pid, signal.SIGKILL)
    one.wait_running("tally.0", not_pid=pid)
    one.write_config(http_listeners(f"127.0.0.1:{address[1]}", processes=2))
    one.process.send_signal(signal.SIGHUP)
    one.wait_running("ingest-http.0")
    wait_until(lambda: (one.directory / "ingest-http.1.stage").exists() and one.control("ingest-http.1").state == "running", 20,
               "the second process")
    assert len(renew(one, "restart", "ingest-http")) == 2
    assert len(renew(one, "upgrade")) == 4


def test_a_reload_by_command_says_what_becomes_of_which_role(one):
    address = one.http_addresses()[0]
    result = command(one, "reload")
    assert result.returncode == 0 and "no stage starts again" in result.stdout, result
    one.write_config({**http_listeners(f"127.0.0.1:{address[1]}", processes=2), "tally": {"commit_interval": "50ms"}})
    result = command(one, "reload")
    assert result.returncode == 0 and "tally.0: starts again" in result.stdout and "ingest-http.1: is new" in result.stdout, result
    assert one.control("ingest-http.1").state == one.control("tally.0").state == "running"


def test_a_reload_by_command_that_is_refused_says_why_and_changes_nothing(one):
    pids = {role: one.pid(role) for role in lives(one)}
    one.write_config({**http_listeners("127.0.0.1:0"), "tally": {"commit_interval": "never"}})
    result = command(one, "reload")
    assert result.returncode == 1 and "tally.commit_interval" in result.stdout and "everything goes on as before" in result.stderr, result
    one.write_config(http_listeners("127.0.0.1:0"))
    (one.libexec / "tally.findings").write_text("refused tally.window: no such thing\n")
    assert command(one, "reload").returncode == 0, "its section goes on as it is"
    assert {role: one.pid(role) for role in lives(one)} == pids


def test_a_supervisor_that_is_asked_to_end_meanwhile_ends_and_says_so(fake):
    one = fake(config=http_listeners("127.0.0.1:0"))
    one.start()
    one.mode("tally.0", "deaf")
    time.sleep(0.3)
    environment = dict(os.environ, MILLRACE_INSTANCE=one.name, MILLRACE_SHM=str(one.shm_root))
    asking = subprocess.Popen([str(MILLRACE), "restart", "tally.0"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    one.wait_for("a command asks")
    time.sleep(0.3)
    one.process.send_signal(signal.SIGTERM)
    one.wait_for("draining")
    pid = one.pid("tally.0")
    kill_pid(pid)
    one.mode("tally.0")
    assert one.wait_end() == 0
    assert "has been asked to end" in asking.communicate(timeout=20 * SLOW)[1]
    assert asking.returncode == 1


def test_without_a_supervisor_or_instance_the_command_says_what_to_do(fake):
    one = fake()
    assert "is not running" in command(one, "upgrade").stderr
    one.start()
    one.kill_supervisor()
    result = command(one, "restart", "tally")
    assert result.returncode == 1 and "no supervisor runs" in result.stderr
    one.start()
    assert one.stop() == 0


def test_a_request_whose_asker_has_gone_is_not_done(one):
    (one.directory / "request").write_text("1-1 restart tally.0\n")
    one.process.send_signal(signal.SIGUSR2)
    time.sleep(0.3)
    assert lives(one)["tally.0"] == 0
    with connect(one.http_addresses()[0]) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"taken"
