"""The sink's store on moto: every action, driven by tests/store_tool, and read back by boto3."""
import pytest

from store_help import s3_client, tool_body
from test_s3_store import MIB, OTHER, PART, TOKEN, Tool, upload

BUCKET = "objects"
NAME = "chat/2026-11-27/a b%2F\u00e4+=&?#'*"


@pytest.fixture
def client(moto):
    client = s3_client(moto.about())
    client.create_bucket(Bucket=BUCKET)
    for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=one["Key"])
    return client


@pytest.fixture
def tool(client, moto, tmp_path):
    """tool(**s3): the store on moto, ended after the test."""
    made = []

    def make(**s3):
        folder = tmp_path / f"tool{len(made)}"
        folder.mkdir()
        made.append(Tool(folder, bucket=BUCKET, endpoint=moto.url, access_key=moto.access_key, secret_key=moto.secret_key, **s3))
        return made[-1]

    yield make
    for one in made:
        assert one.close() == 0


@pytest.mark.parametrize("checksum", ["off", "md5", "crc32c"])
def test_an_object_goes_up_in_parts_and_is_read_back(client, tool, checksum):
    store = tool(checksum=checksum)
    assert store("probe")["result"] == "done" and store("find", NAME)["result"] == "missing"
    number, parts = upload(store, NAME, [PART, PART + 1, 1000])
    again = store("part", NAME, number, 3, 1000)
    assert f"3={again['etag']}" == parts[2]
    listed = store("list", NAME, number)["parts"]
    assert [(part["number"], part["bytes"]) for part in listed] == [(1, PART), (2, PART + 1), (3, 1000)]
    assert [f"{part['number']}={part['etag']}" for part in listed] == [part.split(" ")[0] for part in parts], "moto lists no checksums"
    assert store("finish", NAME, number, *parts)["result"] == "done"
    found = store("find", NAME)
    assert (found["result"], found["token"], found["bytes"]) == ("done", TOKEN, 2 * PART + 1001)
    got = client.get_object(Bucket=BUCKET, Key=NAME)
    assert got["Body"].read() == tool_body(1, PART) + tool_body(2, PART + 1) + tool_body(3, 1000)
    assert got["ContentEncoding"] == "gzip"
    assert client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_an_upload_that_is_gone_is_found_by_its_token(tool):
    """A Complete once more, as after a lost answer."""
    store = tool()
    number, parts = upload(store, NAME, [100])
    assert store("finish", NAME, number, *parts)["result"] == "done"
    assert store("finish", NAME, number, *parts)["result"] in ("done", "missing")
    assert store("find", NAME)["token"] == TOKEN


def test_an_object_goes_up_at_once_unless_there_is_one(client, tool):
    store = tool()
    assert store("put", "chat/a", TOKEN, 2 * MIB + 3)["result"] == "done"
    assert store("put", "chat/a", OTHER, 100)["result"] == "exists"
    assert client.get_object(Bucket=BUCKET, Key="chat/a")["Body"].read() == tool_body(1, 2 * MIB + 3)
    assert store("find", "chat/a")["token"] == TOKEN


def test_a_bucket_that_is_not_there_needs_a_person(moto, tmp_path):
    store = Tool(tmp_path, bucket="nowhere", endpoint=moto.url, access_key=moto.access_key, secret_key=moto.secret_key)
    answer = store("probe")
    assert store.close() == 0
    assert answer["result"] == "denied" and answer["reason"], answer
