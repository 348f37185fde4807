"""The supervisor: starts, adopts, restarts, drains, reloads, refuses. Its stages are fake ones that misbehave on demand."""
import json
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import load
from harness import MILLRACE, SLOW, default_config, wait_until
from supervisor_help import alive, free_port, listeners, pause, send, switches


# ---- starting ----


def test_start_tells_what_listens_where_and_how_to_stop(fake, tmp_path):
    config = {"ingest": {"udp": [{"listen": "127.0.0.1:0", "format": "ipevent"},
                                 {"listen": "[::1]:0", "format": "json", "processes": 2}]}}
    with fake(config=config) as one:
        output = one.output()
        assert f"udp 127.0.0.1:{one.addresses()[0][1]} ipevent -> ip\n" in output
        assert f"udp [::1]:{one.addresses()[1][1]} json -> metric, track.raw, 2 processes\n" in output
        assert all(port != 0 for _, port in one.addresses())
        assert "topic ip: 1 lane of 1 MiB" in output
        assert f"data in {tmp_path}/data" in output
        assert f"kill {one.process.pid}" in output
        assert (one.directory.stat().st_mode & 0o777) == 0o700
        assert (one.directory / "config.yaml").exists()
    assert not one.directory.exists()


def test_readers_start_before_writers(fake):
    with fake() as one:
        output = one.output()
        assert output.index("role=tally.0") < output.index("role=ingest-udp.0")


def test_a_relative_data_dir_is_written_down_as_an_absolute_one(fake, tmp_path, monkeypatch):
    one = fake()
    one.write_config({**listeners("127.0.0.1:0"), "data_dir": "here/there"})
    monkeypatch.chdir(tmp_path)
    with one:
        assert f"{tmp_path}/here/there" in (one.directory / "config.yaml").read_text()
        assert (tmp_path / "here" / "there").is_dir()


def test_a_second_supervisor_of_the_instance_refuses_and_names_the_first(fake):
    with fake() as one:
        message = one.run_refused()
        assert f"process {one.process.pid}" in message
        assert "--instance" in message
        assert one.control("tally.0").state == "running"


def test_a_wrong_configuration_is_refused_with_every_error(fake):
    one = fake(config={"ingest": {"udp": [{"listen": "nowhere", "format": "ipevnt"}]}, "tope": 1})
    message = one.run_refused()
    assert "nowhere" in message and "ipevnt" in message and "tope" in message
    assert not one.directory.exists()


def test_a_port_in_use_is_named_and_nothing_is_left(fake):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        one = fake(config=listeners(["127.0.0.1:0"], [f"127.0.0.1:{port}"], processes=2))
        message = one.run_refused()
        assert f"127.0.0.1:{port}" in message and "ingest.udp[1].listen" in message
        assert "Address already in use" in message
        assert not one.directory.exists()


def test_too_little_shared_memory_is_refused_with_the_numbers(fake):
    one = fake()
    message = one.run_refused("--set", "topics.ip.size=64GiB", "--set", "ingest.udp[0].processes=32")
    assert "64GiB" not in message and "bytes" in message and "free" in message and "topics.*.size" in message
    assert not one.directory.exists()


def test_a_missing_program_is_named(fake):
    one = fake()
    (one.libexec / "tally").unlink()
    assert f"{one.libexec}/tally" in one.run_refused()
    assert not one.directory.exists()


def test_segments_of_another_build_are_refused_and_kept(fake):
    one = fake()
    one.start()
    one.kill_supervisor()
    with open(one.directory / "instance", "r+b") as page:
        page.seek(8)
        page.write(struct.pack("<Q", 4711))
    message = one.run_refused()
    assert "another build" in message and str(one.directory) in message
    assert (one.directory / "ip.lane.0").exists()


def test_usage_errors_have_their_own_status(fake):
    one = fake()
    one.start("--no-such-option", wait=False)
    assert one.wait_end() == 2
    assert "usage:" in one.output()


def test_passed_sockets_are_used(fake):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as passed:
        passed.bind(("127.0.0.1", 0))
        port = passed.getsockname()[1]
        passed.set_inheritable(True)
        send(("127.0.0.1", port), 3)
        one = fake(config=listeners([f"127.0.0.1:{port}"]), pass_sockets=[passed])
        with one:
            assert one.addresses() == [("127.0.0.1", port)]
            wait_until(lambda: one.read() == 3, what="what came before the start")


# ---- keeping stages alive ----


def test_a_killed_stage_is_started_again_and_its_socket_stays(fake):
    with fake() as one:
        address = one.addresses()[0]
        sent = 0
        for kills in range(1, 4):
            before = one.wait_running("ingest-udp.0").pid
            os.kill(before, signal.SIGKILL)
            send(address, 50)
            sent += 50
            after = one.wait_running("ingest-udp.0", not_pid=before)
            assert after.restarts == kills and after.last_exit == signal.SIGKILL
        # one may have been taken out of the socket and not been written when the stage was killed: fake stages have no redo note
        wait_until(lambda: one.read() >= sent - 3, what="datagrams sent while the stage was dead")
        assert one.control("tally.0").restarts == 0


def test_a_crash_loop_is_throttled_said_once_and_healed(fake):
    one = fake()
    one.mode("tally.0", "crash")
    one.start(wait=False)
    wait_until(lambda: (one.directory / "tally.0.stage").exists(), what="segments")
    wait_until(lambda: one.control("tally.0").throttled == 1, what="throttled")
    before = one.control("tally.0").restarts
    time.sleep(1)
    # at most one life every 200 ms, restart_backoff_max
    assert one.control("tally.0").restarts - before <= 7
    assert one.output().count("start: throttled") == 1
    assert os.waitstatus_to_exitcode(one.control("tally.0").last_exit) == 1
    one.mode("tally.0")
    one.wait_running("tally.0")
    wait_until(lambda: one.control("tally.0").throttled == 0, what="no longer throttled")
    assert one.stop() == 0


def test_the_others_start_although_one_does_not(fake):
    one = fake()
    one.mode("tally.0", "crash")
    one.start(wait=False)
    wait_until(lambda: (one.directory / "ingest-udp.0.stage").exists(), what="segments")
    one.wait_running("ingest-udp.0", timeout=25)
    one.wait_for("not all stages run yet")
    assert one.stop() == 0


def test_a_stage_without_heartbeat_is_killed_and_started_again(fake):
    one = fake()
    one.write_config({**listeners("127.0.0.1:0"), "stage_timeout": "1s"})
    with one:
        before = one.pid("tally.0")
        one.mode("tally.0", "freeze")
        wait_until(lambda: not alive(before), 10, "the frozen stage's end")
        one.mode("tally.0")
        assert one.wait_running("tally.0", not_pid=before).last_exit == signal.SIGKILL
        assert "no heartbeat" in one.output()


def test_an_idle_supervisor_sleeps(fake):
    with fake() as one:
        pause(0.3)
        before = switches(one.process.pid)
        time.sleep(3)
        assert switches(one.process.pid) - before <= 5


# ---- the supervisor's own death ----


def test_stages_end_when_the_supervisor_is_killed_and_the_next_goes_on(fake):
    one = fake()
    one.start()
    address = one.addresses()[0]
    send(address, 100)
    wait_until(lambda: one.read() == 100, what="100 records read")
    one.mode("tally.0", "idle")
    pause(0.1)
    send(address, 30)
    wait_until(lambda: one.written() == 130, what="130 records written")
    stages = [one.pid("tally.0"), one.pid("ingest-udp.0")]
    one.kill_supervisor()
    wait_until(lambda: not any(map(alive, stages)), what="the end of the orphans")
    assert one.read() == 100
    one.mode("tally.0")
    one.start()
    assert "going on where the last run ended" in one.output()
    wait_until(lambda: one.read() == 130, what="the records that waited")
    send(one.addresses()[0], 5)
    wait_until(lambda: one.read() == 135, what="new records")
    assert one.stop() == 0


def test_orphans_that_do_not_end_are_killed(fake):
    one = fake()
    one.start()
    one.mode("tally.0", "deaf")
    deaf = one.pid("tally.0")
    one.kill_supervisor()
    pause(0.3)
    assert alive(deaf)
    one.mode("ingest-udp.0")
    one.start("--set", "drain_timeout=500ms", wait=False)
    wait_until(lambda: not alive(deaf), what="the end of the orphan")
    one.mode("tally.0")
    one.wait_for("\nready\n")
    assert "has not ended: killed" in one.output()
    assert one.stop() == 0


def test_sighup_while_it_waits_for_orphans_is_kept_for_later(fake):
    one = fake()
    one.start()
    one.mode("tally.0", "deaf")
    deaf = one.pid("tally.0")
    one.kill_supervisor()
    one.mode("ingest-udp.0")
    one.start(wait=False)
    one.wait_for("waiting for stages of the last supervisor")
    one.process.send_signal(signal.SIGHUP)
    pause(0.2)
    one.mode("tally.0")
    one.wait_for("\nready\n")
    one.wait_for("configuration taken")
    assert not alive(deaf)
    assert one.stop() == 0


def test_sigterm_while_it_waits_for_orphans_ends_it(fake):
    one = fake()
    one.start()
    one.mode("tally.0", "deaf")
    deaf = one.pid("tally.0")
    one.kill_supervisor()
    one.start(wait=False)
    one.wait_for("waiting for stages of the last supervisor")
    one.process.send_signal(signal.SIGTERM)
    assert one.wait_end() == 1
    one.mode("tally.0")
    wait_until(lambda: not alive(deaf), what="the end of the orphan")


@pytest.mark.limit(120)
def test_supervisor_and_stages_killed_at_random_lose_nothing_that_was_written(fake, rng):
    one = fake()
    one.start()
    for _ in range(12):
        send(one.addresses()[0], 200)
        victim = rng.choice(["supervisor", "tally.0", "ingest-udp.0"])
        pause(rng.random() * 0.05)
        if victim == "supervisor":
            one.kill_supervisor()
            one.start()
        else:
            pid = one.wait_running(victim).pid
            os.kill(pid, signal.SIGKILL)
            one.wait_running(victim, not_pid=pid)
    wait_until(lambda: one.read() == one.written() and one.written() > 0, what="all that was written is read")
    assert one.stop() == 0


# ---- draining ----


def test_the_drain_ends_writers_first(fake):
    one = fake()
    one.start()
    one.mode("ingest-udp.0", "deaf")
    one.process.send_signal(signal.SIGTERM)
    wait_until(lambda: one.control("ingest-udp.0").state == "draining", what="ingest is told to end")
    pause(0.2)
    assert one.control("tally.0").state == "running"
    one.mode("ingest-udp.0")
    assert one.wait_end() == 0
    assert not one.directory.exists()


def test_what_waits_is_kept_said_and_taken_up_by_the_next_start(fake):
    one = fake()
    one.start()
    one.mode("tally.0", "idle")
    pause(0.1)
    send(one.addresses()[0], 20)
    wait_until(lambda: one.written() == 20, what="20 records written")
    assert one.stop() == 3
    assert "waiting_records=20" in one.output() and "group tally: 20 records" in one.output()
    one.mode("tally.0")
    one.start()
    wait_until(lambda: one.read() == 20, what="the records that waited")
    assert one.stop() == 0
    assert not one.directory.exists()


def test_a_drain_that_takes_too_long_is_ended_by_force(fake):
    one = fake()
    one.start("--set", "drain_timeout=700ms")
    one.mode("ingest-udp.0", "deaf")
    one.process.send_signal(signal.SIGTERM)
    assert one.wait_end(10) == 3
    assert "killed" in one.output() and "role=ingest-udp.0" in one.output()
    one.mode("ingest-udp.0")
    one.start()
    assert one.stop() == 0


def test_a_second_sigterm_cuts_the_drain_short(fake):
    one = fake()
    one.start()
    one.mode("tally.0", "deaf")
    one.process.send_signal(signal.SIGTERM)
    wait_until(lambda: one.control("tally.0").state == "draining", what="tally is told to end")
    one.process.send_signal(signal.SIGINT)  # within half a second: the same request, as timeout(1) sends it twice
    time.sleep(1)
    assert one.process.poll() is None
    one.process.send_signal(signal.SIGINT)
    # tally has no private memory and had read all there was
    assert one.wait_end(10) == 0
    assert "cut short" in one.output()


def test_a_stage_that_dies_while_draining_gets_another_life_to_finish(fake):
    one = fake()
    one.start()
    one.mode("ingest-udp.0", "deaf")
    one.process.send_signal(signal.SIGTERM)
    wait_until(lambda: one.control("ingest-udp.0").state == "draining", what="ingest is told to end")
    os.kill(one.pid("ingest-udp.0"), signal.SIGKILL)
    one.mode("ingest-udp.0")
    assert one.wait_end() == 0
    assert "role=ingest-udp.0" in one.output()


def test_a_stage_that_waits_out_its_back_off_does_not_hold_up_the_end(fake):
    one = fake(config={**listeners(["127.0.0.1:0"]), "restart_backoff": "18s", "restart_backoff_max": "18s"})
    one.mode("tally.0", "crash")
    one.start(wait=False)
    one.wait_for("throttled")
    begun = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - begun < 9, "its last lives begin at once"


def lives(one):
    return {role: one.control(role).restarts for role in ("ingest-udp.0", "tally.0")}


def test_sigterm_to_the_whole_group_restarts_nobody(fake):
    one = fake()
    one.start()
    before = one.output()
    os.killpg(one.process.pid, signal.SIGTERM)
    assert one.wait_end() == 0
    said = one.output().removeprefix(before)
    assert "warn" not in said and "error" not in said and "stage runs" not in said, said
    assert not one.directory.exists()


def test_stages_that_were_ended_before_their_supervisor_are_not_started_again(fake):
    one = fake()
    one.start()
    before = one.output()
    for role in ("ingest-udp.0", "tally.0"):
        os.kill(one.pid(role), signal.SIGTERM)
        wait_until(lambda role=role: one.control(role).last_exit == 0, what=f"{role} buried")
    one.process.send_signal(signal.SIGTERM)
    assert one.wait_end() == 0
    said = one.output().removeprefix(before)
    assert "warn" not in said and "stage runs" not in said, said


def test_a_stage_that_is_ended_before_its_turn_comes_back_for_what_it_has_left(fake):
    one = fake()
    one.mode("tally.0", "idle")
    one.start()
    (address,) = one.addresses()
    send(address, 7)
    wait_until(lambda: one.written() == 7, what="7 datagrams in the lane")
    os.kill(one.process.pid, signal.SIGSTOP)
    pids = [one.pid(role) for role in ("tally.0", "ingest-udp.0")]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not any(alive(pid) for pid in pids), what="the end of the stages")
    send(address, 5)
    one.mode("tally.0")
    one.process.send_signal(signal.SIGTERM)
    os.kill(one.process.pid, signal.SIGCONT)
    assert one.wait_end() == 0, "all is drained"
    said = one.output()
    assert said.count("has unfinished work: started once more") == 2, "ingest for its socket, tally for its lane"
    assert "stage died" not in said


def test_a_stage_that_somebody_else_ends_is_started_again(fake):
    one = fake()
    with one:
        pid = one.pid("tally.0")
        os.kill(pid, signal.SIGTERM)
        one.wait_running("tally.0", not_pid=pid)
        one.wait_for("ended by another process: restarted")
        assert lives(one) == {"ingest-udp.0": 0, "tally.0": 1}


def test_sigterm_during_the_start_ends_in_order(fake):
    one = fake()
    one.mode("tally.0", "crash")
    one.start(wait=False)
    one.wait_for("to stop:")
    pause(random.random() * 0.2)
    assert one.stop() == 0
    assert not one.directory.exists()


# ---- a new configuration ----


def test_sighup_without_a_change_restarts_nothing(fake):
    with fake() as one:
        before = [one.pid("tally.0"), one.pid("ingest-udp.0")]
        one.process.send_signal(signal.SIGHUP)
        one.wait_for("no stage changes")
        assert [one.pid("tally.0"), one.pid("ingest-udp.0")] == before


def test_sighup_restarts_only_what_changed(fake):
    config = listeners("127.0.0.1:0", "127.0.0.2:0")
    with fake(config=config) as one:
        before = [one.pid(role) for role in ("tally.0", "ingest-udp.0", "ingest-udp.1")]
        addresses = one.addresses()
        config["ingest"]["udp"][1]["receive_buffer"] = "1MiB"
        one.write_config(config)
        one.process.send_signal(signal.SIGHUP)
        one.wait_running("ingest-udp.1", not_pid=before[2])
        assert [one.pid("tally.0"), one.pid("ingest-udp.0")] == before[:2]
        send(addresses[1], 10)
        wait_until(lambda: one.read(lane=1) == 10, what="the listener kept its port")


def test_sighup_adds_and_removes_listeners(fake):
    port = free_port()
    with fake() as one:
        tally, ingest = one.pid("tally.0"), one.pid("ingest-udp.0")
        one.write_config(listeners("127.0.0.1:0", f"127.0.0.1:{port}"))
        one.process.send_signal(signal.SIGHUP)
        wait_until(lambda: (one.directory / "ingest-udp.1.stage").exists(), what="the new role")
        one.wait_running("ingest-udp.1")
        assert one.pid("ingest-udp.0") == ingest
        assert f"udp 127.0.0.1:{port} ipevent -> ip" in one.output()
        send(("127.0.0.1", port), 10)
        wait_until(lambda: one.read(lane=1) == 10, what="the new lane is read")
        assert one.pid("tally.0") == tally, "it follows the page, in the same life"
        gone = one.pid("ingest-udp.1")
        one.write_config(listeners("127.0.0.1:0"))
        one.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not alive(gone), what="the end of the removed role")
        wait_until(lambda: bindable(port), what="the port is free")
        one.wait_running("tally.0")
        send(one.addresses()[0], 4)
        wait_until(lambda: one.read() == 4, what="the first listener goes on")
        wait_until(lambda: one.output().count("all stages run") == 3, what="the end of the second change")


def bindable(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def given_up(one):
    run = subprocess.run([str(MILLRACE), "stat", "--json", "--instance", one.name], env=one.environment(), capture_output=True, text=True,
                         timeout=20 * SLOW, check=True)
    return json.loads(run.stdout)["supervisor"]["metrics"]["roles_given_up"]


def two_listeners():
    return [f"127.0.0.1:{free_port()}" for _ in range(2)]


def test_a_removed_role_that_could_not_end_gets_another_life_to_finish(instance, tmp_path):
    config = default_config(tmp_path)
    config["drain_timeout"] = "1s"
    config["ingest"]["udp"] = [{"listen": [address], "format": "ipevent", "buffers": 16} for address in two_listeners()]
    millrace = instance(config=config)
    _, (host, port, _) = millrace.addresses()
    os.kill(millrace.pid_of("ingest-udp.1"), signal.SIGSTOP)
    send((host, port), 40)
    del config["ingest"]["udp"][1]
    millrace.write_config(config)
    millrace.kill(signal.SIGHUP)
    wait_until(lambda: len(millrace.stat()["stages"]) == 2, 20, "the role gone")
    assert millrace.ledger("ip")["received"] == 40, "what the kernel had handed over, or kept, is in the lane"
    assert millrace.stat()["supervisor"]["metrics"]["roles_given_up"] == 0
    assert "not ended in time: killed" in millrace.log() and "has unfinished work: started once more" in millrace.log()
    assert millrace.stop() == 0, millrace.log()


def test_a_removed_role_that_never_ends_is_given_up_and_counted_and_later_ends_are_in_order(fake):
    first, second = two_listeners()
    one = fake(config={**listeners([first], [second]), "drain_timeout": "1s"})
    one.start()
    one.mode("ingest-udp.1", "deaf")
    one.write_config({**listeners([first]), "drain_timeout": "1s"})
    one.process.send_signal(signal.SIGHUP)
    one.wait_for("received but unwritten events of a role are dropped")
    one.wait_for("all stages run roles=2")
    assert given_up(one) == 1
    assert not (one.directory / "ingest-udp.1.private").exists()
    one.mode("ingest-udp.1")
    one.write_config({**listeners([first], [second]), "drain_timeout": "20s"})
    one.process.send_signal(signal.SIGHUP)
    one.wait_running("ingest-udp.1")
    one.wait_for("all stages run roles=3")
    assert given_up(one) == 1
    assert one.stop() == 0


def test_a_role_that_died_with_its_supervisor_and_is_not_configured_any_more_is_given_up(fake):
    first, second = two_listeners()
    one = fake(config=listeners([first], [second]))
    one.start()
    stages = [one.pid(role) for role in ("tally.0", "ingest-udp.0", "ingest-udp.1")]
    os.kill(one.process.pid, signal.SIGSTOP)
    for pid in stages:
        os.kill(pid, signal.SIGKILL)
    one.kill_supervisor()
    wait_until(lambda: not any(alive(pid) for pid in stages), what="the end of the stages")
    one.write_config(listeners([first]))
    one.start()
    assert given_up(one) == 1
    assert one.stop() == 0


def test_sighup_with_a_wrong_configuration_changes_nothing(fake):
    with fake() as one:
        before = [one.pid("tally.0"), one.pid("ingest-udp.0")]
        for wrong, told in (({"ingest": {"udp": [{"format": "nonsense"}]}}, "nonsense"),
                            ({**listeners("127.0.0.1:0"), "data_dir": "/elsewhere"}, "key=data_dir"),
                            (listeners("192.0.2.1:9"), "192.0.2.1:9")):
            one.write_config(wrong)
            one.process.send_signal(signal.SIGHUP)
            one.wait_for(told)
        assert [one.pid("tally.0"), one.pid("ingest-udp.0")] == before
        send(one.addresses()[0], 4)
        wait_until(lambda: one.read() == 4, what="everything goes on")


def test_sighup_changes_the_size_of_an_empty_lane(fake):
    one = fake()
    with one:
        send(one.addresses()[0], 50)
        wait_until(lambda: one.read() == 50, what="50 records read")
        tally = one.pid("tally.0")
        one.write_config({**listeners("127.0.0.1:0"), "topics": {"ip": {"size": "4MiB"}}})
        before = (one.directory / "ip.lane.0").stat().st_size
        one.process.send_signal(signal.SIGHUP)
        one.wait_running("tally.0", not_pid=tally)
        wait_until(lambda: (one.directory / "ip.lane.0").stat().st_size == before + (3 << 20), what="the new size")
        assert one.written() == 50
        one.wait_running("ingest-udp.0")
        send(one.addresses()[0], 50)
        wait_until(lambda: one.read() == 100, what="records after the change")


def test_sigterm_while_a_new_configuration_comes_into_force_ends_in_order(fake):
    one = fake()
    one.start()
    one.mode("tally.0", "deaf")
    tally = one.pid("tally.0")
    one.write_config(listeners("127.0.0.1:0") | {"tally": {"commit_interval": "2s"}})
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: one.control("tally.0").state == "draining", what="tally is told to end")
    one.process.send_signal(signal.SIGTERM)
    pause(0.2)
    one.mode("tally.0")
    assert one.wait_end() == 0
    assert not alive(tally)
    assert not one.directory.exists()


# ---- with the real stages ----


def test_more_and_fewer_processes_under_load_lose_no_datagram(instance, tmp_path, rng):
    config = default_config(tmp_path)
    one = instance(config=config)
    sha = load.random_sha(rng)
    datagrams = [load.ipevent(sha, rng.randrange(1 << 24, 1 << 28)) for _ in range(60000)]
    sender = threading.Thread(target=load.send_paced, args=(one.address(), datagrams, 15000), kwargs={"senders": 32})
    sender.start()
    for changes, processes in enumerate((3, 1, 2), start=2):
        config["ingest"]["udp"][0]["processes"] = processes
        one.write_config(config)
        one.kill(signal.SIGHUP)
        wait_until(lambda n=changes: one.log().count("all stages run") == n, 15, f"{processes} processes")
    sender.join()
    stat = one.settle("ip", received=len(datagrams))
    ledger = one.ledger("ip", stat)
    assert (ledger["received"], ledger["written"]) == (len(datagrams), len(datagrams)), ledger
    wait_until(lambda: one.report(sha)["count"] == len(datagrams), what="all are counted, none twice")


@pytest.mark.limit(90)
def test_what_the_kernel_dropped_is_counted_once_when_listeners_change_their_order(instance, tmp_path):
    config = default_config(tmp_path)
    entries = [{"listen": [f"127.0.0.1:{free_port()}"], "format": form, "receive_buffer": "64KiB", "buffers": buffers}
               for form, buffers in (("ipevent", 16), ("raw", 32))]
    config["ingest"]["udp"] = entries
    millrace = instance(config=config)

    def dropped():
        stat = millrace.stat()
        return {topic: millrace.ledger(topic, stat)["kernel_dropped"] for topic in ("ip", "raw")}

    pids = {role: millrace.pid_of(role) for role in ("ingest-udp.0", "ingest-udp.1")}
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    for host, port, _ in millrace.addresses():
        send((host, port), 2000)
    for pid in pids.values():
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: all(dropped().values()), what="drops of both sockets in the ledgers")
    millrace.settle("ip", 1)
    pause(0.3)
    before = dropped()
    config["ingest"]["udp"] = entries[::-1]
    millrace.write_config(config)
    millrace.kill(signal.SIGHUP)
    wait_until(lambda: all(millrace.pid_of(role) != pid for role, pid in pids.items()), 20, "both roles anew")
    millrace.wait_running()
    pause(0.5)
    assert dropped() == before, "another role has the socket, whose counter goes on"
