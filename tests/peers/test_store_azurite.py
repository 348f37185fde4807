"""The sink's store on Azurite: every action, driven by tests/store_tool, and read back by Azure's own library."""
import pytest

from store_help import StoreTool, tool_body
from test_azure_store import MIB, OTHER, PART, TOKEN, upload

CONTAINER = "objects"
NAME = "chat/2026-11-27/a b%2F\u00e4+=&?#'*"


@pytest.fixture
def container(azurite):
    container = azurite.service().get_container_client(CONTAINER)
    if not container.exists():
        container.create_container()
    for one in container.list_blobs():
        container.delete_blob(one.name)
    return container


@pytest.fixture
def tool(container, azurite, tmp_path):  # pylint: disable=unused-argument
    """tool(**azure): the store on Azurite, ended after the test."""
    made = []

    def make(**azure):
        folder = tmp_path / f"tool{len(made)}"
        folder.mkdir()
        named = {"container": CONTAINER, "account": azurite.account, "endpoint": azurite.url, **({} if "sas" in azure else {"key": azurite.key})}
        made.append(StoreTool(folder, {"azure": {**named, **azure}}))
        return made[-1]

    yield make
    for one in made:
        assert one.close() == 0


@pytest.mark.parametrize("checksum", ["off", "md5"])
def test_a_blob_goes_up_in_blocks_and_is_read_back(container, tool, checksum):
    store = tool(checksum=checksum)
    assert store("probe")["result"] == "done" and store("find", NAME)["result"] == "missing"
    number, parts = upload(store, NAME, [PART, PART + 1, 1000])
    again = store("part", NAME, number, 3, 1000)
    assert f"3={again['etag']}" == parts[2]
    listed = store("list", NAME, number)["parts"]
    assert [(part["number"], part["bytes"]) for part in listed] == [(1, PART), (2, PART + 1), (3, 1000)]
    assert [f"{part['number']}={part['etag']}" for part in listed] == parts
    assert store("finish", NAME, number, *parts)["result"] == "done"
    found = store("find", NAME)
    assert (found["result"], found["token"], found["bytes"]) == ("done", TOKEN, 2 * PART + 1001)
    blob = container.get_blob_client(NAME)
    assert blob.download_blob(decompress=False).readall() == tool_body(1, PART) + tool_body(2, PART + 1) + tool_body(3, 1000)
    settings = blob.get_blob_properties().content_settings
    assert (settings.content_encoding, settings.content_type) == ("gzip", "application/x-ndjson")
    assert [one.name for one in container.list_blobs(include=["uncommittedblobs"])] == [NAME]


def test_a_list_once_more_as_after_a_lost_answer_changes_nothing(container, tool):
    store = tool()
    number, parts = upload(store, NAME, [100, 200])
    assert store("finish", NAME, number, *parts)["result"] == "done"
    assert store("finish", NAME, number, *parts)["result"] == "done"
    assert store("list", NAME, number)["result"] == "missing"
    assert store("find", NAME)["token"] == TOKEN
    assert container.get_blob_client(NAME).download_blob(decompress=False).readall() == tool_body(1, 100) + tool_body(2, 200)
    number, _ = upload(store, "chat/none", [100])
    assert store("finish", "chat/none", number, "1=x", "2=y")["result"] == "missing"


def test_a_blob_goes_up_at_once_unless_there_is_one(container, tool):
    store = tool()
    assert store("put", "chat/a", TOKEN, 2 * MIB + 3)["result"] == "done"
    assert store("put", "chat/a", OTHER, 100)["result"] == "exists"
    assert container.get_blob_client("chat/a").download_blob(decompress=False).readall() == tool_body(1, 2 * MIB + 3)
    assert store("find", "chat/a")["token"] == TOKEN
    assert store("put", "chat/empty", TOKEN, 0)["result"] == "done"


def test_another_writers_blocks_are_told_from_ours(container, tool):
    store = tool()
    number, parts = upload(store, NAME, [100])
    other, other_parts = upload(store, NAME, [300, 400], OTHER)
    assert [part["bytes"] for part in store("list", NAME, number)["parts"]] == [100]
    assert store("finish", NAME, other, *other_parts)["result"] == "done"
    assert store("finish", NAME, number, *parts)["result"] == "missing"
    assert store("find", NAME)["token"] == OTHER
    container.get_blob_client("chat/foreign").stage_block("MDAwMQ==", b"theirs")
    made = store("create", "chat/foreign", TOKEN)["upload"]
    assert store("part", "chat/foreign", made, 1, 100)["result"] == "missing"


def test_what_is_configured_wrong_needs_a_person(tool):
    for wrong in ({"container": "nowhere"}, {"key": "AAAA"}, {"account": "otheraccount"}):
        answer = tool(**wrong)("probe")
        assert answer["result"] == "denied" and answer["reason"], (wrong, answer)


def test_a_shared_access_signature_opens_the_container(azurite, tool):
    import datetime  # pylint: disable=import-outside-toplevel

    from azure.storage.blob import generate_container_sas  # pylint: disable=import-outside-toplevel

    def signature(permission, hours=1):
        expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)
        return generate_container_sas(azurite.account, CONTAINER, account_key=azurite.key, permission=permission, expiry=expiry)

    store = tool(sas=signature("rcw"))
    assert store("probe")["result"] == "done"
    number, parts = upload(store, NAME, [100])
    assert store("finish", NAME, number, *parts)["result"] == "done" and store("find", NAME)["token"] == TOKEN
    for wrong in (signature("r"), signature("cw"), signature("rcw", hours=-1)):
        assert tool(sas=wrong)("probe")["result"] == "denied"
