"""tally and its database in a running instance: what becomes of the counts when somebody moves the files away."""
import os
import shutil
import signal

from harness import default_config, wait_until
from load import ipevent, random_sha, send_paced

RATE = 20000


def note_of(one, role):
    return one.stage(role)["note"]


def test_a_database_deleted_under_tally_is_told_and_nothing_is_settled_on_it(instance, tmp_path, rng):
    one = instance(config=default_config(tmp_path))
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, 1)] * 500, RATE)
    one.settle("ip", 500)
    tally = one.pid_of("tally.0")
    (tmp_path / "data" / "tally.db").unlink()
    wait_until(lambda: one.stage("tally.0")["metrics"]["failing"] == 1, 10, "tally sees it")
    note = note_of(one, "tally.0")
    assert note.startswith("cannot commit: tally.db: deleted or moved away") and f"kill -9 {tally}" in note
    assert note in one.millrace("stat").stdout and "deleted or moved away" in one.log()
    send_paced(one.address(), [ipevent(sha, 1)] * 300, RATE)
    wait_until(lambda: one.ledger("ip")["written"] == 800, 10, "all written")
    group = one.group("ip", "tally")
    assert (group["read_records"], group["waiting_records"]) == (500, 300)
    # A new life begins with an empty database: what waits is counted, what was read before is named.
    os.kill(tally, signal.SIGKILL)
    one.settle("ip", 800)
    assert one.report(sha)["count"] == 300
    assert "counts are short of 500 records" in note_of(one, "tally.0")
    assert "records=500" in one.log() and one.stage("tally.0")["metrics"]["lost_records"] == 500


def test_an_empty_data_dir_under_a_group_that_has_read_is_told_at_the_start(instance, tmp_path, rng):
    one = instance(config=default_config(tmp_path))
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, 1)] * 500, RATE)
    one.settle("ip", 500)
    one.kill()  # the segments stay, the next supervisor takes them over
    wait_until(lambda: one.stage("tally.0")["state"] != "running", 10, "tally ends with its supervisor")
    shutil.rmtree(tmp_path / "data")
    one.start()
    assert "counts are short of 500 records" in note_of(one, "tally.0")
    assert "the database lacks records that its group has read" in one.log()
