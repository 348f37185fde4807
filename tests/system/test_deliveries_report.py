"""millrace report deliveries: what is counted of the attempts equals what the receiver answered."""
import json
import time
from collections import Counter

import pytest

import cli_help
from deliver_help import accept, deliver_config, kill_role, stage_metric, wait_stage_metric
from harness import SLOW, wait_until
from test_catch import Catch

OUTCOMES = {200: "delivered", 204: "delivered", 503: "again", 400: "dead", 410: "gone"}


def with_tally(tmp_path, **tally):
    return {**deliver_config(tmp_path), "tally": {"commit_interval": "50ms", **tally}}


def report(millrace, *arguments):
    result = millrace.millrace("report", "deliveries", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def counted(told):
    """{(endpoint, outcome): count} of a report."""
    return {
        (item["endpoint"], outcome): sums["count"] for item in told["items"] for outcome, sums in item["outcomes"].items()
    }


def answered(log, port):
    """The same from what the receiver wrote."""
    counts = Counter()
    for line in log.read_text().splitlines():
        request = json.loads(line)
        path = request["target"].split("?")[0]
        counts[f"http://127.0.0.1:{port}{path}", OUTCOMES[request["status"]]] += 1
    return counts


def wait_counted(millrace, expected, *arguments):
    """The report, once it has so many attempts."""
    def there():
        told = report(millrace, *arguments)
        return told["all"]["attempts"] >= sum(expected.values()) and told

    return wait_until(there, 20, f"{sum(expected.values())} attempts in the report")


def check_sums(told):
    """Items add up to what is told of all, and latencies are in order."""
    for one in [told["all"], *told["items"]]:
        counts = {outcome: sums["count"] for outcome, sums in one["outcomes"].items()}
        assert one["attempts"] == sum(counts.values())
        assert one["success"] == pytest.approx(counts.get("delivered", 0) / one["attempts"], rel=1e-5)
        assert one["p50_us"] <= one["p90_us"] <= one["p99_us"]
    for outcome, sums in told["all"]["outcomes"].items():
        assert sums["count"] == sum(item["outcomes"].get(outcome, {"count": 0})["count"] for item in told["items"])


def test_the_report_has_what_the_receiver_answered(instance, tmp_path):
    log = tmp_path / "requests"
    answers = ["--answer", "/good=200", "--answer", "/mixed=503:0.5,204:0.5", "--answer", "/bad=400", "--answer", "/gone=410", "--delay", "/slow=300ms"]
    with Catch(*answers, "--log", log) as catch:
        millrace = instance(config=with_tally(tmp_path))
        n = {"good": 40, "mixed": 30, "bad": 7, "gone": 1, "slow": 5}
        for path, count in n.items():
            accept(millrace, f"http://127.0.0.1:{catch.port}/{path}?n={{n}}", [{"n": 1000 * len(path) + i} for i in range(count)])
        wait_stage_metric(millrace, "delivered", n["good"] + n["mixed"] + n["slow"])
        wait_stage_metric(millrace, "dead", n["bad"] + n["gone"])
        account = catch.account()
    expected = answered(log, catch.port)
    assert account["received"] == sum(expected.values()) and account["statuses"]["200"] == n["good"] + n["slow"]
    told = wait_counted(millrace, expected)
    assert counted(told) == expected and told["total"] == len(n)
    check_sums(told)
    by_path = {item["endpoint"].rsplit("/", 1)[1]: item for item in told["items"]}
    assert by_path["bad"]["success"] == 0 and by_path["good"]["success"] == 1
    slow = by_path["slow"]["outcomes"]["delivered"]
    assert 300_000 <= slow["average_us"] and 300_000 <= slow["p50_us"] <= slow["p99_us"]
    # Two endpoints chosen by their begin, and pages that fit together.
    assert {item["endpoint"] for item in report(millrace, "--endpoint", f"http://127.0.0.1:{catch.port}/g")["items"]} == {
        f"http://127.0.0.1:{catch.port}/good", f"http://127.0.0.1:{catch.port}/gone",
    }
    pages = [report(millrace, "--limit", 2, "--offset", offset)["items"] for offset in (0, 2, 4)]
    assert sum(pages, []) == told["items"]
    stepped = report(millrace, "--step", "1m", "--since", "2h")
    assert all(item["ts"] % 60000 == 0 for item in stepped["items"]) and stepped["all"]["outcomes"].keys() == told["all"]["outcomes"].keys()
    assert report(millrace, "--since", "2020-01-01", "--until", "2020-01-02")["all"] == {"attempts": 0, "outcomes": {}}
    assert millrace.stop() == 0
    assert counted(report(millrace, "--set", f"data_dir={tmp_path}/data")) == expected, "there while nothing runs"


def test_attempts_that_come_to_no_request_are_counted_without_a_time(instance, tmp_path):
    millrace = instance(config={**with_tally(tmp_path), "deliver": {**deliver_config(tmp_path)["deliver"], "guard": {"allow": []}}})
    accept(millrace, "http://127.0.0.1:9/never?n={n}", [{"n": 1}, {"n": 2}])
    wait_stage_metric(millrace, "dead", 2)
    told = wait_counted(millrace, {"dead": 2})
    assert told["items"] == [{"endpoint": "http://127.0.0.1:9/never", "attempts": 2, "success": 0.0, "outcomes": {"dead": {"count": 2}}}]


def test_endpoints_over_the_limit_are_told_together(instance, tmp_path):
    with Catch() as catch:
        millrace = instance(config=with_tally(tmp_path, endpoints=3))
        for i in range(9):
            accept(millrace, f"http://127.0.0.1:{catch.port}/path{i}?n={{n}}", [{"n": i}])
        wait_stage_metric(millrace, "delivered", 9)
        told = wait_counted(millrace, {"delivered": 9})
        others = [item for item in told["items"] if item.get("other")]
        # The nine may lie in two minutes.
        assert len(others) == 1 and others[0]["endpoint"] is None and 3 <= others[0]["attempts"] <= 6
        wait_until(lambda: stage_metric(millrace, "delivery_other", "tally") == others[0]["attempts"], 10, "the gauge, which the next tick tells")


def test_kills_of_tally_lose_no_attempt_and_count_none_twice(instance, tmp_path, rng):
    log = tmp_path / "requests"
    with Catch("--answer", "/a=200", "--answer", "/b=503:0.3,200:0.7", "--log", log) as catch:
        millrace = instance(config=with_tally(tmp_path))
        sent = 0
        for _ in range(10):
            for path in "ab":
                n = rng.randrange(1, 60)
                accept(millrace, f"http://127.0.0.1:{catch.port}/{path}?n={{n}}", [{"n": sent + i} for i in range(n)])
                sent += n
            time.sleep(rng.random() * 0.1)
            kill_role(millrace, "tally.0")
        wait_stage_metric(millrace, "delivered", sent)
        catch.account()
        expected = answered(log, catch.port)
        told = wait_counted(millrace, expected, "--since", f"{int(3600 * SLOW)}s")
    assert counted(told) == expected
    check_sums(told)


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (["--since", "soon"], 2, "--since soon: not a time"), (["--until", "1x"], 2, "--until 1x: not a time"), (["--step", "90s"], 2, "whole minutes"),
        (["--since", "1h", "--until", "2h"], 2, "span"), (["more"], 2, "too many words"), (["--limit", "10001"], 2, "--limit"), ([], 1, "nothing was counted"),
    ],
)
def test_what_cannot_be_answered_is_told_in_a_line(tmp_path, arguments, status, words):
    result = cli_help.millrace("report", "deliveries", "--set", f"data_dir={tmp_path}", *arguments)
    assert (result.returncode, result.stdout) == (status, "") and result.stderr.count("\n") == 1
    assert words in result.stderr


@pytest.mark.parametrize("option", [("--since", "2h"), ("--until", "1h"), ("--endpoint", "http://h/"), ("--step", "5m")])
def test_options_of_deliveries_are_refused_elsewhere(tmp_path, option):
    for words in (["metrics", "hour"], ["account", "a"], ["consumers"], ["consumer", "type"], ["ab" * 32]):
        result = cli_help.millrace("report", *words, *option, "--set", f"data_dir={tmp_path}")
        assert (result.returncode, result.stdout) == (2, "") and f"{option[0]}: is for deliveries alone" in result.stderr, words
