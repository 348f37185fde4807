"""Shared memory that is too small, of another build, or not there: a clear line, and nothing is harmed."""
import pytest

from harness import SLOW, namespace, processes, wait_until
from load import ipevent, random_sha, send_paced

RATE = 20000 / SLOW


@pytest.mark.skipif(namespace() is None, reason="no right to mount in a namespace of its own")
def test_a_shared_memory_that_is_too_small_is_refused_with_the_numbers(instance, tmp_path):
    small = tmp_path / "shm"
    small.mkdir()
    millrace = instance(start=False)
    millrace.wrapper = [*namespace(), "sh", "-c", f'mount -t tmpfs -o size=1m none "{small}" && exec "$0" "$@"']
    millrace.shm_root = small
    millrace.start(wait=False)
    assert millrace.wait_end(15) == 1
    said = millrace.log()
    assert str(small) in said or "shared memory" in said, said
    assert any(number in said for number in ("1048576", "1.0 MiB", "1 MiB", "1MiB", "1024")), said
    assert not (small / millrace.name).exists()


def spoil_layout(path):
    with open(path, "r+b") as file:
        file.seek(8)
        byte = file.read(1)[0]
        file.seek(8)
        file.write(bytes([byte ^ 1]))


def test_segments_of_another_build_are_refused_and_named(instance, rng):
    millrace = instance()
    sha = random_sha(rng)
    send_paced(millrace.address(), [ipevent(sha, 1)] * 10, RATE)
    millrace.settle("ip", 10)
    spoil_layout(millrace.directory / "instance")
    result = millrace.millrace("stat", "--json")
    assert result.returncode == 1 and "another build" in result.stderr
    spoil_layout(millrace.directory / "instance")  # as it was
    assert millrace.millrace("stat", "--json").returncode == 0
    # Left behind by a killed supervisor of another build: the next one says so and touches nothing.
    stages = [s["pid"] for s in millrace.stat()["stages"]]
    millrace.kill()
    wait_until(lambda: not set(stages) & set(processes.children()), 10, "the end of the stages")
    spoil_layout(millrace.lane_file("ip"))
    millrace.start(wait=False)
    assert millrace.wait_end(10) == 1
    assert "another build" in millrace.log() and "ip.lane.0" in millrace.log()
    spoil_layout(millrace.lane_file("ip"))
    millrace.start()
    assert millrace.report(sha)["count"] == 10


def test_a_stat_without_an_instance_says_what_to_do(instance):
    millrace = instance(start=False)
    result = millrace.millrace("stat")
    assert result.returncode == 1
    assert millrace.name in result.stderr and "millrace run" in result.stderr
