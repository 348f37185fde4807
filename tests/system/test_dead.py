"""millrace dead: dead letters are shown, sent again and deleted, whether or not an instance runs."""
import json
import sqlite3
import subprocess
import time

import pytest

from cli_help import millrace
from harness import BUILD

TOOL = BUILD / "tests" / "dead_tool"
DAY_MS = 86400 * 1000


def tool(folder, *arguments):
    return subprocess.run([str(TOOL), str(folder), *map(str, arguments)], capture_output=True, text=True, check=True, timeout=60).stdout


def identity(number):
    return f"1122334455667788{number:016x}"


def counts(folder):
    return dict(zip(("later", "parked", "claimed", "dead", "gone"), map(int, tool(folder, "counts").split())))


@pytest.fixture
def letters(tmp_path):
    """Six dead letters, the last the newest: 1 to 3 for host001, 4 to 6 for host002."""
    folder = tmp_path / "data"
    now = int(time.time() * 1000)
    for number in range(1, 7):
        tool(
            folder, "dead", number, 1 if number <= 3 else 2, 400 if number % 2 else 0,
            "answered 400" if number % 2 else "killed its sender\n\x1b[31m2 times", now - (7 - number) * DAY_MS,
        )
    return folder


def dead(folder, *arguments):
    return millrace("dead", *arguments, "--set", f"data_dir={folder}")


def listed(folder, *arguments):
    result = dead(folder, "list", "--json", *arguments)
    assert result.returncode == 0, result.stderr
    return [int(json.loads(line)["id"][16:], 16) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], [6, 5, 4, 3, 2, 1]), (["--limit", 2], [6, 5]), (["--limit", 0], [6, 5, 4, 3, 2, 1]), (["--host", "HOST001.example"], [3, 2, 1]),
        (["--host", "host002.example:443"], [6, 5, 4]), (["--host", "host002.example:80"], []), (["--host", "host00"], []),
        (["--endpoint", "https://host002.example/ho"], [6, 5, 4]), (["--endpoint", "ost002"], []), (["--reason", "ANSWERED"], [5, 3, 1]),
        (["--status", 400], [5, 3, 1]), (["--status", 0], [6, 4, 2]), (["--since", "60h"], [6, 5]), (["--until", "60h"], [4, 3, 2, 1]),
        (["--since", "108h", "--until", "60h"], [4, 3]), (["--since", "108h", "--status", 400, "--limit", 1], [5]), (["--since", "2020-01-01", "--until", "2020-01-02 12:00"], []),
    ],
)
def test_filters_choose_among_dead_letters_the_newest_first(letters, arguments, expected):
    assert listed(letters, *arguments) == expected


def test_a_table_shows_them_without_control_characters(letters):
    result = dead(letters, "list", "--limit", 3)
    lines = result.stdout.splitlines()
    assert result.returncode == 0 and len(lines) == 5
    assert lines[0].split() == ["DIED", "ID", "ATTEMPTS", "STATUS", "REASON", "METHOD", "URL"]
    assert identity(6) in lines[1] and "killed its sender\\x0a\\x1b[31m2 times" in lines[1]
    assert identity(5) in lines[2] and " 400 " in lines[2]
    assert lines[4] == "3 shown, the newest; there are 6 in all, --limit shows more"
    assert dead(letters, "list", "--host", "nobody").stdout == "0 shown; there are 6 in all\n"


def test_secrets_in_urls_are_not_shown(letters):
    with sqlite3.connect(letters / "deliver.db") as db:
        db.execute("UPDATE postback SET url = 'https://me:word@host002.example/hook?token=hush&n=1' WHERE id = ?", (identity(6),))
    for arguments in (["list"], ["list", "--json"], ["show", identity(6)], ["show", identity(6), "--json"]):
        text = dead(letters, *arguments).stdout
        assert "token=***&n=1" in text and "hush" not in text and "word" not in text, arguments


def test_one_is_shown_with_its_history(letters):
    shown = json.loads(dead(letters, "show", identity(5).upper(), "--json").stdout)
    assert shown["id"] == identity(5) and shown["attempts"] == 2 and shown["status"] == 400 and shown["reason"] == "answered 400"
    assert shown["data"] == {"user": "u5", "text": "äabcde"} and shown["method"] == "POST"
    assert shown["history"] == [
        {"at": 1700000000000, "status": 503, "error": "busy", "ms": 12}, {"at": 1700000005000, "status": 400, "error": "refused", "ms": 3},
    ]
    text = dead(letters, "show", identity(5)).stdout
    assert time.strftime("died        %Y-%m-", time.localtime(shown["dead_ts"] / 1000)) in text
    assert "answered 400" in text and "busy" in text and " 503 " in text and '{"user":"u5"' in text
    missing = dead(letters, "show", identity(77))
    assert missing.returncode == 3 and "no dead letter has this id" in missing.stderr and missing.stdout == ""


def test_a_replay_parks_them_with_no_attempts_and_their_history_and_forgets_that_the_endpoint_is_gone(letters):
    tool(letters, "gone", 1)
    tool(letters, "gone", 2)
    assert dead(letters, "replay", "--host", "host002.example").stdout == "replayed 3\n"
    assert counts(letters) == {"later": 0, "parked": 3, "claimed": 0, "dead": 3, "gone": 1}
    claimed = [line.split(" ", 3) for line in tool(letters, "claim").splitlines()]
    assert [(int(number), attempts, first) for number, attempts, first, _ in claimed] == [(4, "0", "0"), (5, "0", "0"), (6, "0", "0")]
    assert all(len(json.loads(history)) == 2 for *_, history in claimed)
    assert listed(letters) == [3, 2, 1]


def test_ids_are_replayed_and_purged_and_unknown_ones_are_told(letters):
    result = dead(letters, "replay", identity(2), identity(99), identity(3))
    assert result.returncode == 3 and result.stdout == "replayed 2\n" and identity(99) in result.stderr
    result = dead(letters, "purge", identity(1), identity(2))
    assert result.returncode == 3 and result.stdout == "purged 1\n"
    assert listed(letters) == [6, 5, 4]


def test_a_limit_takes_the_oldest(letters):
    assert dead(letters, "purge", "--status", 0, "--limit", 2).stdout == "purged 2\n"
    assert listed(letters) == [6, 5, 3, 1]
    assert dead(letters, "replay", "--all", "--limit", 1).stdout == "replayed 1\n"
    assert listed(letters) == [6, 5, 3]
    assert dead(letters, "purge", "--all", "--yes").stdout == "purged 3\n"
    assert dead(letters, "list").stdout == "no dead letters\n"


def test_more_than_one_batch_is_changed(tmp_path):
    folder = tmp_path / "data"
    tool(folder, "dead", 1, 1, 400, "no", 1000)
    with sqlite3.connect(folder / "deliver.db") as db:
        db.executemany(
            "INSERT INTO postback SELECT NULL, ?, state, owner, due_ms, endpoint, origin, method, arrival_ns, source, source_port, attempts,"
            " first_ms, dead_ms, reason, url, data, history FROM postback WHERE seq = 1", [(identity(n),) for n in range(2, 1701)],
        )
    assert dead(folder, "replay", "--status", 400, "--limit", 600).stdout == "replayed 600\n"
    assert dead(folder, "replay", "--status", 400).stdout == "replayed 1100\n"
    assert counts(folder) == {"later": 0, "parked": 1700, "claimed": 0, "dead": 0, "gone": 0}


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["bury"], ["list", identity(1)], ["show"], ["show", identity(1), identity(2)], ["show", "xyz"], ["replay"], ["purge"], ["purge", "--all"],
        ["replay", "--all", "--status", "400"], ["replay", identity(1), "--status", "400"], ["list", "--since", "yesterday"], ["list", "--since", "5"],
        ["replay", "--all", "--json"], ["list", "--status", "1000"],
    ],
)
def test_wrong_use_is_two_and_changes_nothing(letters, arguments):
    result = dead(letters, *arguments)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and result.stdout == ""
    assert counts(letters)["dead"] == 6


def test_no_file_is_told_and_none_is_made(tmp_path):
    result = dead(tmp_path, "list")
    assert result.returncode == 1 and "deliver.db: No such file or directory" in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
    (tmp_path / "deliver.db").write_text("notes")
    result = dead(tmp_path, "list")
    assert result.returncode == 1 and "not an SQLite database" in result.stderr


def test_the_file_of_a_running_instance_is_found(instance, tmp_path):
    one = instance()
    tool(tmp_path / "data", "dead", 7, 1, 400, "no", 1000)
    result = one.millrace("dead", "list", "--json")
    assert result.returncode == 0 and json.loads(result.stdout)["id"] == identity(7)
    assert one.millrace("dead", "replay", "--all").stdout == "replayed 1\n"
