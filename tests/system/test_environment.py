"""Variables of the environment that configure: what check says of them, and that a run has them."""
import json
import re
import signal
import urllib.request

import pytest

from cli_help import millrace
from harness import SLOW, default_config, wait_until
from objects_help import check_objects, flush, numbers_of, objects_config, send_logs, sink_metrics
from test_objects_stores import S3

LOGS = "sinks:\n  - {name: logs, topics: [log]}\n"
AWS = {"STORAGE": "aws", "AWS_BUCKET": "b-7", "AWS_REGION": "eu-north-1", "AWS_ACCESS_KEY": "AKIDEXAMPLE", "AWS_ACCESS_SECRET": "geheim"}


@pytest.fixture
def logs(tmp_path):
    path = tmp_path / "logs.yaml"
    path.write_text(LOGS)
    return path


def test_check_shows_what_the_variables_lead_to_and_no_secret(logs):
    shown = millrace("check", "-c", logs, "--effective", env={**AWS, "PORT": "3000"})
    assert shown.returncode == 0, shown.stderr
    assert 'bucket: "b-7"' in shown.stdout and 'secret_key: "***"' in shown.stdout
    assert 'listen: ["[::]:3000"]' in shown.stdout
    assert "geheim" not in shown.stdout + shown.stderr
    notes = millrace("check", "-c", logs, "--json", env={**AWS, "PORT": "3000"})
    assert json.loads(notes.stdout)["environment"] == [
        "PORT -> ingest.http[0].listen=[::]:3000",
        "AWS_BUCKET=b-7 -> sinks[0].store.s3.bucket=b-7",
        "AWS_REGION=eu-north-1 -> sinks[0].store.s3.region=eu-north-1",
        "AWS_ACCESS_KEY=AKIDEXAMPLE -> sinks[0].store.s3.access_key=AKIDEXAMPLE",
        "AWS_ACCESS_SECRET=*** -> sinks[0].store.s3.secret_key=***",
    ]
    text = millrace("check", env={"PORT": "3000"})
    assert "environment: PORT -> ingest.http[0].listen=[::]:3000\n" in text.stdout
    assert json.loads(millrace("check", "--json").stdout)["environment"] == []


def test_a_bad_value_is_an_error_that_names_the_variable(logs):
    for env, part in (
        ({"PORT": "http"}, 'PORT: "http" is no port'),
        ({"ADDR": "here"}, "ADDR: ingest.http[0].listen[0]: "),
        ({"STORAGE": "ftp"}, 'STORAGE: "ftp" is no storage; allowed: aws, azure'),
        ({"STORAGE": "aws"}, "STORAGE: aws needs AWS_BUCKET"),
        ({"NO_UPLOAD": "perhaps"}, "NO_UPLOAD: "),
        ({"QUEUE_TIMEOUT_MIN": "1h"}, 'QUEUE_TIMEOUT_MIN: "1h" is no number of minutes'),
    ):
        result = millrace("check", "-c", logs, env=env)
        assert result.returncode == 1 and result.stderr.startswith(part), (env, result.stderr)


def test_a_run_listens_where_the_variables_say_and_a_reload_takes_the_same(instance, tmp_path, monkeypatch):
    monkeypatch.setenv("ADDR", "127.0.0.2")
    monkeypatch.setenv("PORT", "0")
    config = default_config(tmp_path)
    config["ingest"]["http"] = [{"processes": 1}]
    one = instance(config=config)
    assert "ADDR and PORT -> ingest.http[0].listen=127.0.0.2:0" in one.log()
    written = (one.directory / "config.yaml").read_text()
    assert 'listen: ["127.0.0.2:0"]' in written
    port = int(re.search(r"127\.0\.0\.2:(\d+)", one.log().replace("127.0.0.2:0", ""))[1])
    with urllib.request.urlopen(f"http://127.0.0.2:{port}/log", timeout=10 * SLOW) as answer:
        assert answer.status == 200
    # A reload takes the same.
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "configuration taken, no stage changes" in one.log(), 10, "the reload")
    assert (one.directory / "config.yaml").read_text() == written


def test_the_environment_of_the_earlier_streamer_brings_the_log_to_s3(instance, store, tmp_path, monkeypatch):
    kind = S3(store)
    for name, value in {
        "STORAGE": "aws", "AWS_BUCKET": "bucket", "AWS_REGION": kind.server.about["region"], "QUEUE_TIMEOUT_MIN": "5",
        "AWS_ACCESS_KEY": kind.server.keys["access_key"], "AWS_ACCESS_SECRET": kind.server.keys["secret_key"],
        "AWS_ENDPOINT_URL": kind.server.urls["s3"],
    }.items():
        monkeypatch.setenv(name, value)
    one = instance(config=objects_config(tmp_path, part_size="5MiB", tails="64MiB"))
    assert "QUEUE_TIMEOUT_MIN=5 -> sinks[0].finish.after=5m" in one.log()
    assert kind.server.keys["secret_key"] not in one.log()
    send_logs(one, range(500))
    flush(one)
    objects = kind.objects()
    check_objects(objects)
    assert numbers_of(objects) == list(range(500))


def test_no_upload_makes_objects_and_stores_none(instance, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_UPLOAD", "1")
    one = instance(config=objects_config(tmp_path))
    send_logs(one, range(100))
    flush(one)
    assert sink_metrics(one)["events"] == 100 and sink_metrics(one)["objects"] == 5
    assert not list((tmp_path / "data").rglob("content_logs*"))
