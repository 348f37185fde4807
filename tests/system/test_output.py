"""What an instance and the commands print: nobody may hold an instance up by not reading it, and what cannot be written is said."""
import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from harness import BUILD, MILLRACE, SLOW, wait_until
from load import ipevent, random_sha, send_paced

PAGE = 4096


def fill(read_end):
    """Fills a pipe to its last byte, through a descriptor of its own: the flags of the shared one are not touched."""
    own = os.open(f"/proc/self/fd/{read_end}", os.O_WRONLY | os.O_NONBLOCK)
    for piece in (b"x" * PAGE, b"x"):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(own, piece)
    os.close(own)


@contextlib.contextmanager
def unread_pipe():
    """(read end, write end, fill it) of a pipe with room for one page."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PAGE)
    try:
        yield ends[0], ends[1], lambda: fill(ends[0])
    finally:
        for end in ends:
            os.close(end)


@contextlib.contextmanager
def unread_socket():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

        def fill_socket():
            with contextlib.suppress(BlockingIOError):
                while True:
                    theirs.send(b"x" * 1000, socket.MSG_DONTWAIT)

        yield ours.fileno(), theirs.fileno(), fill_socket


@contextlib.contextmanager
def stopped_terminal():
    ours, theirs = os.openpty()

    def fill_terminal():
        # The kernel moves what was written on to the other side, which makes room again, a little later.
        own = os.open(os.ttyname(theirs), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        full_since = None
        while full_since is None or time.monotonic() < full_since + 0.2 * SLOW:
            try:
                os.write(own, b"x")
                full_since = None
            except BlockingIOError:
                full_since = full_since or time.monotonic()
                time.sleep(0.01)
        os.close(own)

    try:
        yield ours, theirs, fill_terminal
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("output", [unread_pipe, unread_socket, stopped_terminal])
@pytest.mark.parametrize("full_before_the_start", [False, True])
def test_an_output_that_nobody_reads_holds_nobody_up(instance, output, full_before_the_start):
    millrace = instance(start=False)
    with output() as (_, write_end, fill_it):
        if full_before_the_start:
            fill_it()
        flags = fcntl.fcntl(write_end, fcntl.F_GETFL)
        millrace.log_start = 0
        millrace.process = subprocess.Popen(millrace.command(), stdin=subprocess.DEVNULL, stdout=write_end, stderr=write_end,
                                            env=millrace.environment(), start_new_session=True)
        millrace.wait_running()
        fill_it()
        for role in ("tally.0", "ingest-udp.0"):
            pid = millrace.pid_of(role)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: (stage := millrace.stage(role))["pid"] != pid and stage["state"] == "running", 20, f"{role} again")
        os.kill(millrace.process.pid, signal.SIGHUP)
        stat = wait_until(lambda: (stat := millrace.stat())["supervisor"]["metrics"]["log_lines_dropped"] >= 3 and stat, 20, "lines counted")
        wait_until(lambda: millrace.stage("tally.0")["metrics"]["log_lines_dropped"] > 0, 20, "the stage's lines counted")
        assert stat["supervisor"]["alive"]
        table = millrace.millrace("stat", "--metrics").stdout
        assert re.search(r"^supervisor +log_lines_dropped +[1-9]", table, re.MULTILINE), table
        assert fcntl.fcntl(write_end, fcntl.F_GETFL) == flags, "the descriptor is not ours alone: its flags stay"
        assert millrace.stop() == 0
        assert not millrace.directory.exists()


def test_lines_that_were_dropped_are_told_when_there_is_room_again(instance):
    millrace = instance(start=False)
    with unread_pipe() as (read_end, write_end, fill_it):
        millrace.log_start = 0
        millrace.process = subprocess.Popen(millrace.command(), stdin=subprocess.DEVNULL, stdout=write_end, stderr=write_end,
                                            env=millrace.environment(), start_new_session=True)
        millrace.wait_running()
        fill_it()
        os.kill(millrace.process.pid, signal.SIGHUP)
        wait_until(lambda: millrace.stat()["supervisor"]["metrics"]["log_lines_dropped"] >= 2, 20, "lines counted")
        os.read(read_end, PAGE)
        os.kill(millrace.process.pid, signal.SIGHUP)
        said = os.read(read_end, PAGE).decode()
        assert "lines before this one were dropped" in said and "lines=" in said, said
        assert millrace.stop() == 0


def run(arguments, **options):
    return subprocess.run([str(MILLRACE), *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=30 * SLOW,
                          check=False, **options)


@pytest.mark.parametrize("arguments", [
    ["check"], ["check", "--json"], ["check", "--keys"], ["check", "--default"], ["check", "--effective"], ["help"], ["--version"],
    ["check", "--help"], ["run", "--help"], ["bench", "stream", "--help"], ["bench", "queue", "--help"], ["bench", "udp", "--help"],
    ["bench", "objects", "--help"],
    ["bench", "enrich", "--help"],
    ["send", "udp", "--count", "10", "--output", "/dev/null"], ["send", "udp", "--count", "1000", "--output", "-"],
])
def test_what_cannot_be_printed_is_an_error(arguments):
    with open("/dev/full", "wb") as full:
        done = run(arguments, stdout=full)
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("program", ["supervisor", "tally", "ingest-udp", "ingest-http", "enrich"])
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_programs_of_the_pipeline_check_what_they_print(program, option):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BUILD / "libexec" / "millrace" / program, option], stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=30 * SLOW, check=False)
    assert done.returncode == 1 and "No space left on device" in done.stderr


def test_stat_checks_what_it_prints(instance):
    millrace = instance()
    for arguments in (["stat"], ["stat", "--json"], ["stat", "--metrics"]):
        with open("/dev/full", "wb") as full:
            done = run(arguments, stdout=full, env=millrace.environment())
        assert done.returncode == 1 and "No space left on device" in done.stderr, (arguments, done.stderr)


def test_a_report_and_a_tap_that_cannot_be_printed_are_errors(instance, rng):
    millrace = instance()
    sha = random_sha(rng)
    send_paced(millrace.address(), [ipevent(sha, n) for n in range(10)], 1000)
    millrace.settle("ip", 10)
    reported = ["report", sha, "-c", str(millrace.config_file)]
    assert run(reported, stdout=subprocess.DEVNULL, env=millrace.environment()).returncode == 0
    for arguments in (reported, ["tap", "ip", "--last", "5", "--no-follow"], ["tap", "ip", "--last", "5"]):
        with open("/dev/full", "wb") as full:
            done = run(arguments, stdout=full, env=millrace.environment())
        assert done.returncode == 1 and "No space left on device" in done.stderr, (arguments, done.stderr)


@pytest.mark.parametrize("acknowledge", ["exit", "line"])
def test_what_a_program_of_consume_could_not_write_is_not_acknowledged(instance, tmp_path, rng, acknowledge):
    millrace = instance()
    group = ["consume", "ip", "--group", "mine", "--ack", acknowledge]
    assert run([*group, "--no-follow", "--", "cat"], stdout=subprocess.DEVNULL, env=millrace.environment()).returncode == 0
    send_paced(millrace.address(), [ipevent(random_sha(rng), n) for n in range(10)], 1000)
    wait_until(lambda: millrace.ledger("ip")["written"] == 10, 20, "all written")

    def state():
        return next(one for one in millrace.topic("ip")["lanes"][0]["groups"] if one["group"] == "mine")

    # In the mode "line" the program's output is the acknowledgement, so what it writes goes elsewhere.
    program = ["cat"] if acknowledge == "exit" else ["sh", "-ec", "while read -r line; do if [ -z \"$line\" ]; then echo; else echo \"$line\" >&3; fi; done"]
    with open("/dev/full", "wb") as full:
        writes_to = {"stdout": full} if acknowledge == "exit" else {"stdout": subprocess.DEVNULL}
        wrapped = program if acknowledge == "exit" else ["sh", "-c", 'exec "$0" "$@" 3> /dev/full', *program]
        done = run([*group, "--retries", "1", "--no-follow", "--", *wrapped], env=millrace.environment(), **writes_to)
    assert done.returncode == 1 and "was not acknowledged" in done.stderr, done.stderr
    assert (state()["read_records"], state()["waiting_records"]) == (0, 10)
    with open(tmp_path / "out", "wb") as out:
        assert run([*group[:4], "--no-follow", "--", "cat"], stdout=out, env=millrace.environment()).returncode == 0
    assert (tmp_path / "out").read_bytes().count(b"\n") == 10
    assert (state()["read_records"], state()["waiting_records"]) == (10, 0)


def test_a_reader_that_has_gone_is_no_error():
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = run(["check", "--keys"], stdout=write_end)
    os.close(write_end)
    assert done.returncode == 0 and done.stderr == ""


def limited(kib):
    """Files may have no more: what is beyond is EFBIG, and SIGXFSZ, which kills a process that does not ignore it."""
    return ["/bin/bash", "-c", f'ulimit -f {kib}; exec "$0" "$@"']


def test_a_file_that_may_not_grow_is_an_error_with_its_text(tmp_path, instance):
    target = tmp_path / "datagrams"
    done = subprocess.run([*limited(64), str(MILLRACE), "send", "udp", "--count", "10000", "--output", str(target)],
                          capture_output=True, text=True, timeout=30 * SLOW, check=False)
    assert done.returncode == 1 and "File too large" in done.stderr
    millrace = instance(start=False, wrapper=limited(512))
    millrace.start(wait=False)
    assert millrace.wait_end() == 1
    assert "File too large" in millrace.log()
    assert not millrace.directory.exists()


def test_a_database_that_may_not_grow_is_a_failed_commit_and_nobody_dies(instance):
    millrace = instance()
    pid = millrace.pid_of("tally.0")
    host, port = millrace.address()
    load = ("send", "udp", f"{host}:{port}", "--count", "2000", "--apps", "50")
    assert millrace.millrace(*load).returncode == 0
    millrace.settle("ip", 2000)
    subprocess.run(["prlimit", f"--pid={pid}", "--fsize=4096:unlimited"], check=True)
    assert millrace.millrace(*load).returncode == 0
    wait_until(lambda: millrace.stage("tally.0")["metrics"]["failed_commits"] > 0, 30, "a commit that failed")
    assert millrace.pid_of("tally.0") == pid and millrace.stage("tally.0")["restarts"] == 0
    subprocess.run(["prlimit", f"--pid={pid}", "--fsize=unlimited:unlimited"], check=True)
    wait_until(lambda: millrace.group("ip", "tally")["waiting_records"] == 0, 30, "all counted")
