"""The supervisor with listeners that take connections, and with a queue. Its stages are fake ones that misbehave on demand."""
import os
import signal
import socket
import stat
import struct

import pytest

from harness import wait_until
from supervisor_help import alive, ask, connect, http_listeners, listeners


def restarted(one, role, pid):
    return one.wait_running(role, not_pid=pid).pid


# ---- connections ----


def test_start_tells_who_takes_connections_and_what_the_queue_holds(fake):
    with fake(config=http_listeners(["127.0.0.1:0"], ["[::1]:0"], processes=2)) as one:
        output = one.output()
        port = one.http_addresses()[0][1]
        assert port != 0
        assert f"http 127.0.0.1:{port} -> metric, log, track.raw, postback, 2 processes\n" in output
        assert "queue postback: 64 slots of 256 bytes" in output
        assert "topic metric: 4 lanes of 64 KiB, when full: refuse" in output
        for address in one.http_addresses():
            assert ask(address) == b"taken"


def test_a_stage_that_is_dead_refuses_no_connection(fake):
    with fake(config=http_listeners("127.0.0.1:0")) as one:
        address = one.http_addresses()[0]
        pid = one.pid("ingest-http.0")
        one.mode("ingest-http.0", "crash")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), what="the stage's end")
        waiting = [connect(address) for _ in range(20)]
        for client in waiting:
            client.sendall(b"hello")
        one.mode("ingest-http.0")
        for client in waiting:
            with client:
                assert client.recv(100) == b"taken"


def test_connections_that_wait_at_sigterm_are_served_and_then_the_port_refuses(fake):
    one = fake(config=http_listeners("127.0.0.1:0"))
    one.start()
    address = one.http_addresses()[0]
    pid = one.pid("ingest-http.0")
    os.kill(pid, signal.SIGSTOP)
    waiting = [connect(address) for _ in range(20)]
    for client in waiting:
        client.sendall(b"hello")
    one.process.send_signal(signal.SIGTERM)
    one.wait_for("draining")
    os.kill(pid, signal.SIGCONT)
    for client in waiting:
        with client:
            assert client.recv(100) == b"taken"
    assert one.wait_end() == 0
    with pytest.raises(ConnectionRefusedError):
        connect(address)


def test_a_port_that_another_program_listens_on_is_named(fake):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        one = fake(config=http_listeners(["127.0.0.1:0"], [f"127.0.0.1:{port}"], processes=2))
        message = one.run_refused()
        assert f"tcp 127.0.0.1:{port}" in message and "ingest.http[1].listen" in message
        assert "Address already in use" in message
        assert not one.directory.exists()


def test_a_udp_and_a_tcp_listener_may_have_the_same_port(fake):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = http_listeners([f"127.0.0.1:{port}"])
    config["ingest"]["udp"] = listeners([f"127.0.0.1:{port}"])["ingest"]["udp"]
    with fake(config=config) as one:
        assert ask(("127.0.0.1", port)) == b"taken"


def test_a_unix_socket_is_there_as_long_as_the_supervisor(fake, tmp_path):
    path = str(tmp_path / "http.sock")
    one = fake(config=http_listeners([f"unix:{path}", "127.0.0.1:0"], processes=2))
    one.start()
    assert one.http_addresses()[0] == path
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    assert all(ask(path) == b"taken" for _ in range(10))
    stages = [one.pid("ingest-http.0"), one.pid("ingest-http.1")]
    one.kill_supervisor()
    wait_until(lambda: not any(map(alive, stages)), what="the end of the orphans")
    assert os.path.exists(path)
    one.start()  # nobody listens there any more: it is replaced
    assert ask(path) == b"taken"
    other = fake(config=http_listeners([f"unix:{path}"]))
    assert f"unix:{path}" in other.run_refused()
    assert ask(path) == b"taken"
    assert one.stop() == 0
    assert not os.path.exists(path)


def test_a_file_that_is_no_socket_is_left_alone(fake, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    one = fake(config=http_listeners([f"unix:{path}"]))
    assert "Address already in use" in one.run_refused()
    assert path.read_text() == "data"


def test_passed_listening_sockets_are_used_and_stay_open(fake, tmp_path):
    path = str(tmp_path / "passed.sock")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        port = tcp.getsockname()[1]
        for one_socket in (tcp, local):
            one_socket.set_inheritable(True)
        early = connect(("127.0.0.1", port))  # before there is a supervisor
        early.sendall(b"hello")
        one = fake(config=http_listeners([f"127.0.0.1:{port}", f"unix:{path}"], processes=2), pass_sockets=[tcp, local])
        with one:
            assert early.recv(100) == b"taken"
            assert ask(path) == b"taken" and ask(("127.0.0.1", port)) == b"taken"
        early.close()
        connect(("127.0.0.1", port)).close()
        assert os.path.exists(path)


def test_sighup_adds_and_removes_listeners_of_connections(fake):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with fake(config=http_listeners("127.0.0.1:0")) as one:
        first, pid = one.http_addresses()[0], one.pid("ingest-http.0")
        one.write_config(http_listeners("127.0.0.1:0", f"127.0.0.1:{port}", processes=1))
        one.process.send_signal(signal.SIGHUP)
        one.wait_for(f"http 127.0.0.1:{port} -> ")
        one.wait_running("ingest-http.1")
        assert ask(("127.0.0.1", port)) == b"taken"
        assert one.pid("ingest-http.0") == pid
        gone = one.pid("ingest-http.1")
        one.write_config(http_listeners("127.0.0.1:0"))
        one.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not alive(gone), what="the end of the removed role")
        wait_until(lambda: one.output().count("all stages run") == 3, what="the end of the second change")
        with pytest.raises(ConnectionRefusedError):
            connect(("127.0.0.1", port))
        assert ask(first) == b"taken"


# ---- the queue ----


def test_what_a_killed_role_had_claimed_is_free_before_its_next_life(fake):
    with fake(config=http_listeners("127.0.0.1:0", "127.0.0.1:0")) as one:
        for _ in range(3):
            assert ask(one.http_addresses()[0], b"post") == b"taken"
        one.mode("ingest-http.0", "hold")
        wait_until(lambda: one.queue() == {"free": 59, "filling": 2, "ready": 2, "taken": 1}, what="the claims")
        one.mode("ingest-http.0")
        pid = one.pid("ingest-http.0")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: one.control("ingest-http.0").restarts == 1, what="the next life")
        # fake stages repair nothing: it was the supervisor
        assert one.queue() == {"free": 61, "filling": 0, "ready": 3, "taken": 0}
        assert "unfinished=2 given_back=1" in one.output()
        restarted(one, "ingest-http.0", pid)
        one.process.send_signal(signal.SIGTERM)
        assert one.wait_end() == 3


def test_what_roles_had_claimed_that_died_with_their_supervisor_is_free_after_the_start(fake):
    one = fake(config=http_listeners("127.0.0.1:0"))
    one.start()
    assert ask(one.http_addresses()[0], b"post") == b"taken"
    one.mode("ingest-http.0", "hold")
    wait_until(lambda: one.queue()["taken"] == 1, what="the claims")
    pid = one.pid("ingest-http.0")
    one.mode("ingest-http.0")
    os.kill(pid, signal.SIGSTOP)
    one.kill_supervisor()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), what="the stage's end")
    assert one.queue() == {"free": 61, "filling": 2, "ready": 0, "taken": 1}
    one.start()
    assert one.queue() == {"free": 63, "filling": 0, "ready": 1, "taken": 0}
    assert one.stop() == 3


def test_messages_that_nobody_has_taken_survive_an_orderly_end(fake):
    one = fake(config=http_listeners("127.0.0.1:0"))
    one.start()
    for _ in range(5):
        assert ask(one.http_addresses()[0], b"post") == b"taken"
    assert one.stop() == 3
    assert "queue postback: 5 messages" in one.output()
    one.start()
    assert one.queue()["ready"] == 5
    assert one.stop() == 3


def test_a_role_that_uses_the_queue_goes_on_when_other_roles_come_and_go(fake):
    config = http_listeners("127.0.0.1:0")
    with fake(config=config) as one:
        pid = one.pid("ingest-http.0")
        for n, changes in ((2, 2), (1, 3)):
            config["ingest"]["udp"] = listeners(*["127.0.0.1:0"] * n)["ingest"]["udp"]
            one.write_config(config)
            one.process.send_signal(signal.SIGHUP)
            wait_until(lambda k=changes: one.output().count("all stages run") == k, what="the change")
        assert one.pid("ingest-http.0") == pid
        assert ask(one.http_addresses()[0]) == b"taken"


def test_sighup_changes_the_size_of_an_empty_queue_only(fake):
    one = fake(config=http_listeners("127.0.0.1:0"))
    one.start()
    pid = one.pid("ingest-http.0")
    one.write_config(http_listeners("127.0.0.1:0", slots=256))
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: one.queue()["free"] == 256, what="the new size")
    pid = restarted(one, "ingest-http.0", pid)
    assert ask(one.http_addresses()[0], b"post") == b"taken"
    one.write_config(http_listeners("127.0.0.1:0", slots=64))
    one.process.send_signal(signal.SIGHUP)
    one.wait_for("a queue keeps its size until the next start")
    restarted(one, "ingest-http.0", pid)
    assert one.queue() == {"free": 255, "filling": 0, "ready": 1, "taken": 0}
    assert one.stop() == 3


def test_a_queue_that_is_no_longer_used_keeps_what_waits(fake):
    one = fake(config=http_listeners("127.0.0.1:0"))
    one.start()
    assert ask(one.http_addresses()[0], b"post") == b"taken"
    gone = one.pid("ingest-http.0")
    one.write_config(listeners("127.0.0.1:0"))
    one.process.send_signal(signal.SIGHUP)
    one.wait_for("a queue that the configuration no longer has is kept")
    wait_until(lambda: not alive(gone), what="the end of the removed role")
    wait_until(lambda: one.output().count("all stages run") == 2, what="the end of the change")
    assert one.stop() == 3
    one.write_config(http_listeners("127.0.0.1:0"))
    one.start()
    assert one.queue()["ready"] == 1
    assert one.stop() == 3


def test_segments_of_a_queue_that_are_damaged_are_named(fake):
    one = fake(config=http_listeners("127.0.0.1:0"))
    one.start()
    pid = one.pid("ingest-http.0")
    one.kill_supervisor()
    wait_until(lambda: not alive(pid), what="the stage's end")
    with open(one.directory / "postback.queue", "r+b") as queue:
        queue.seek(24)  # generation
        queue.write(struct.pack("<Q", 4711))
    message = one.run_refused()
    assert "postback.queue" in message and "remove" in message
