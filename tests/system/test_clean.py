"""millrace clean: a dead instance's segments go, nothing that lives or waits is touched."""
import contextlib
import os
import signal
import subprocess

import pytest

from harness import MILLRACE, wait_until
from supervisor_help import FakeInstance, alive, send


@pytest.fixture
def fake(tmp_path, shm_root):
    one = FakeInstance(tmp_path, shm_root)
    yield one
    one.discard()


def clean(one, *options):
    return subprocess.run([str(MILLRACE), "clean", "--instance", one.name, *options], capture_output=True, text=True,
                          env=one.environment(), timeout=30, check=False)


def kill_all(one):
    stages = [one.pid(role) for role in ("tally.0", "ingest-udp.0")]
    one.process.send_signal(signal.SIGSTOP)
    for pid in stages:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    one.kill_supervisor()
    wait_until(lambda: not any(alive(pid) for pid in stages), what="the end of the stages")


def test_it_refuses_while_the_supervisor_or_a_stage_lives(fake):
    fake.start()
    done = clean(fake, "--force")
    assert done.returncode == 1 and f"its supervisor is process {fake.process.pid}" in done.stderr
    fake.mode("tally.0", "deaf")
    deaf = fake.pid("tally.0")
    fake.kill_supervisor()
    wait_until(lambda: not alive(fake.pid("ingest-udp.0")), what="the end of ingest")
    done = clean(fake, "--force")
    assert done.returncode == 1 and f"process {deaf} holds tally.0.role" in done.stderr
    assert (fake.directory / "instance").exists()
    fake.mode("tally.0")
    wait_until(lambda: not alive(deaf), what="the end of tally")
    done = clean(fake)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"removed {fake.directory}: ") and "0 unread records" in done.stdout
    assert not fake.directory.exists()


def test_it_refuses_while_a_reader_lives(fake):
    fake.start()
    with subprocess.Popen([str(MILLRACE), "tap", "ip", "--instance", fake.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env=fake.environment()) as tap:
        wait_until(lambda: len(list(fake.directory.glob("ip.reader.*"))) == 2, what="the reader's file besides that of tally")
        tap.send_signal(signal.SIGSTOP)
        kill_all(fake)
        done = clean(fake, "--force")
        tap.kill()
    assert done.returncode == 1 and "holds ip.reader." in done.stderr, done
    done = clean(fake, "--force")
    assert done.returncode == 0 and not fake.directory.exists()


def test_unread_records_are_told_and_need_force(fake):
    fake.mode("tally.0", "idle")
    fake.start()
    send(fake.addresses()[0], 7)
    wait_until(lambda: fake.written() == 7, what="7 records")
    kill_all(fake)
    done = clean(fake)
    assert done.returncode == 1 and "7 unread records" in done.stderr and "ip lane 0 group tally: 7 records" in done.stderr
    assert "1 stage did not end in order" in done.stderr
    assert fake.written() == 7
    done = clean(fake, "--force")
    assert done.returncode == 0 and "7 unread records" in done.stdout and "ip lane 0 group tally: 7 records" in done.stdout
    assert not fake.directory.exists()


def test_segments_of_another_build_need_force(fake):
    fake.start()
    kill_all(fake)
    with open(fake.directory / "instance", "r+b") as page:
        page.seek(8)
        page.write(b"\x01" * 8)
    done = clean(fake)
    assert done.returncode == 1 and "another build" in done.stderr and "--force" in done.stderr
    assert clean(fake, "--force").returncode == 0 and not fake.directory.exists()


def test_what_is_not_there_is_said(fake):
    done = clean(fake)
    assert done.returncode == 1 and "has left nothing" in done.stderr
    fake.directory.symlink_to("/tmp")
    done = clean(fake, "--force")
    fake.directory.unlink()
    assert done.returncode == 1 and "is no folder" in done.stderr


@pytest.mark.parametrize("what", ["the root is anybody's", "the folder is anybody's", "the root is a link"])
def test_a_folder_that_others_could_swap_is_left_alone_and_check_says_so(fake, tmp_path, what):
    fake.start()
    kill_all(fake)
    root = fake.directory.parent
    files = sorted(fake.directory.iterdir())
    environment = fake.environment()
    changed = root if "root is anybody" in what else fake.directory
    if "link" in what:
        (tmp_path / "link").symlink_to(root)
        environment["MILLRACE_SHM"] = str(tmp_path / "link")
    else:
        changed.chmod(0o777)
    try:
        for command in (["clean", "--force"], ["check"]):
            done = subprocess.run([str(MILLRACE), *command, "--instance", fake.name], capture_output=True, text=True, env=environment,
                                  timeout=60, check=False)
            assert done.returncode == 1, (command, done.stdout)
            assert ("is no folder" if "link" in what else "may be written by others") in done.stderr, (command, done.stderr)
        assert sorted(fake.directory.iterdir()) == files
    finally:
        root.chmod(0o755)
        fake.directory.chmod(0o700)
    assert clean(fake, "--force").returncode == 0
