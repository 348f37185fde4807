"""The store on S3, driven by tests/store_tool against the fault server: every action, and what each fault means (sink/objects/store.h)."""
import json
import os
import subprocess

import pytest

from harness import BUILD, SLOW

TOKEN = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
MIB = 1 << 20
PART = 5 * MIB
AWS = ("AWS_", "HOME")


def body(number, size):
    """As store_tool makes it: 251 is the period of both terms."""
    period = bytes((i * 31 + number * 7) % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


class Tool:
    """One store, open."""

    def __init__(self, path, environment=None, section=None, **s3):
        store = {"s3": {"bucket": "bucket", **s3}, **(section or {})}
        config = {"sinks": [{"name": "logs", "kind": "objects", "topics": ["log"], "key": "chat/{date}/{client_id}", "store": store}]}
        file = path / "store.yaml"
        file.write_text(json.dumps(config))
        clean = {name: value for name, value in os.environ.items() if not name.startswith(AWS)}
        self.log = open(path / "log", "w+", encoding="utf-8")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [str(BUILD / "tests" / "store_tool"), str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            env={**clean, "HOME": str(path), **(environment or {})})

    def begin(self, *fields):
        self.process.stdin.write("\t".join(map(str, fields)) + "\n")
        self.process.stdin.flush()

    def end(self):
        line = self.process.stdout.readline()
        assert line, self.said()
        return json.loads(line)

    def __call__(self, *fields):
        self.begin(*fields)
        return self.end()

    def said(self):
        """Its log so far."""
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as file:
            return file.read()

    def close(self):
        self.process.stdin.close()
        try:
            status = self.process.wait(20 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()
            self.log.close()
        return status


@pytest.fixture
def tool(tmp_path):
    """tool(server, **s3): a store on the server with its keys, ended after the test."""
    made = []

    def make(server, environment=None, section=None, **s3):
        folder = tmp_path / f"tool{len(made)}"
        folder.mkdir()
        named = {"endpoint": server.urls["s3"], "access_key": server.keys["access_key"], "secret_key": server.keys["secret_key"], **s3}
        made.append(Tool(folder, environment, section, **{name: value for name, value in named.items() if value is not None}))
        return made[-1]

    yield make
    for one in made:
        assert one.close() == 0


def upload(tool_, name, sizes, token=TOKEN):
    """Creates an upload with parts of these sizes. Returns its id and what FINISH wants."""
    made = tool_("create", name, token)
    assert made["result"] == "done", made
    parts = []
    for number, size in enumerate(sizes, 1):
        part = tool_("part", name, made["upload"], number, size)
        assert part["result"] == "done", part
        parts.append(f"{number}={part['etag']}")
    return made["upload"], parts


def test_an_object_goes_up_in_parts_and_is_found(store, tool):
    server = store("--s3")
    s3 = tool(server)
    name = "chat/2026-11-27/a b%2F\u00e4+=&?#'*"
    assert s3("probe")["result"] == "done"
    assert s3("find", name)["result"] == "missing"
    number, parts = upload(s3, name, [PART, PART + 1, 1000])
    assert s3("find", name)["result"] == "missing"
    listed = s3("list", name, number)
    assert [(p["number"], p["bytes"]) for p in listed["parts"]] == [(1, PART), (2, PART + 1), (3, 1000)]
    assert [f"{p['number']}={p['etag']}" for p in listed["parts"]] == parts
    assert s3("finish", name, number, *parts)["result"] == "done"
    found = s3("find", name)
    assert (found["result"], found["token"], found["bytes"]) == ("done", TOKEN, 2 * PART + 1001)
    assert server.control.data(name) == body(1, PART) + body(2, PART + 1) + body(3, 1000)
    assert server.control.uploads() == [] and server.control.aborts() == 0
    stored = server.control.objects()[0]
    assert stored["headers"]["content-encoding"] == "gzip" and stored["headers"]["content-type"] == "application/x-ndjson"


def test_an_object_goes_up_at_once_unless_there_is_one(store, tool):
    server = store("--s3")
    s3 = tool(server)
    assert s3("put", "chat/a", TOKEN, 2 * MIB + 3)["result"] == "done"
    assert server.control.data("chat/a") == body(1, 2 * MIB + 3)
    again = s3("put", "chat/a", OTHER, 100)
    assert again["result"] == "exists" and "PreconditionFailed" in again["reason"]
    found = s3("find", "chat/a")
    assert (found["token"], found["bytes"]) == (TOKEN, 2 * MIB + 3)
    assert s3("put", "chat/empty", TOKEN, 0)["result"] == "done"
    assert s3("find", "chat/empty")["bytes"] == 0
