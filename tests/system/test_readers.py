"""Readers that are missing: a group that nobody reads holds writers back, a topic that nobody keeps is overwritten, an instance that is down has
nothing to consume."""
import re

from harness import default_config, wait_until
from load import ipevent, random_sha, send_paced

RATE = 20000


def small_topics(tmp_path):
    config = default_config(tmp_path)
    config["topics"]["ip"]["size"] = "64KiB"
    return config


def test_a_forgotten_reader_is_named_in_the_log_with_what_helps(instance, tmp_path, rng):
    one = instance(config=small_topics(tmp_path))
    assert one.millrace("consume", "ip", "--group", "archvie", "--no-follow", "--", "cat").returncode == 0
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, 1)] * 5000, RATE)
    wait_until(lambda: one.ledger("ip")["received"] == 5000, 20, "all received")
    assert one.ledger("ip")["dropped"] > 3000
    said = wait_until(lambda: re.search(r"warn supervisor.* a topic is full.*", one.log()), 10, "a line in the log")[0]
    assert "topic=ip group=archvie no_reader_since=20" in said
    remedy = re.search(r"millrace (consume ip --group archvie --forget --instance \S+)\"", said)[1]
    assert one.millrace(*remedy.split()).returncode == 0
    wait_until(lambda: re.search(r"info supervisor.* a topic has room again topic=ip group=archvie", one.log()), 20, "room")
    assert one.log().count("a topic is full") == 1
