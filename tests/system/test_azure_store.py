"""The store on Azure Blob, driven by tests/store_tool against the fault server: every action, and what each fault means
(sink/objects/store.h)."""
import base64
import hashlib
import hmac
import os
import time
import urllib.parse

import pytest

from store_help import AzureClient, StoreTool, block_id, tool_body

TOKEN = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
MIB = 1 << 20
PART = 2 * MIB
NAME = "chat/a"


@pytest.fixture
def tool(tmp_path):
    """tool(server, **azure): a store on the server with its key, ended after the test. None leaves an option out."""
    made = []

    def make(server, environment=None, status=0, **azure):
        folder = tmp_path / f"tool{len(made)}"
        folder.mkdir()
        named = {"container": "container", "account": server.keys["account"], "endpoint": server.urls["azure_account"], **azure}
        if not {"credentials", "sas", "sas_file", "key_file"} & set(azure):
            named.setdefault("key", server.keys["account_key"])
        one = StoreTool(folder, {"azure": {name: value for name, value in named.items() if value is not None}}, environment)
        made.append((one, status))
        return one

    yield make
    for one, status in made:
        assert one.close() == status


def upload(tool_, name, sizes, token=TOKEN):
    """Puts blocks of these sizes. Returns the upload's id and what FINISH wants."""
    made = tool_("create", name, token)
    assert made["result"] == "done", made
    parts = []
    for number, size in enumerate(sizes, 1):
        part = tool_("part", name, made["upload"], number, size)
        assert part["result"] == "done", part
        parts.append(f"{number}={part['etag']}")
    return made["upload"], parts


def client_of(server, **named):
    return AzureClient(server.ports["azure"], server.keys["account"], server.keys["account_key"], **named)


# ---- what works ----


def test_a_blob_goes_up_in_blocks_and_is_found(store, tool):
    server = store("--azure")
    azure = tool(server)
    name = "chat/2026-11-27/a b%2F\u00e4+=&?#'*"
    assert azure("probe")["result"] == "done"
    assert azure("find", name)["result"] == "missing"
    number, parts = upload(azure, name, [PART, PART + 1, 1000])
    assert number == f"{TOKEN}/gzip/application/x-ndjson"
    assert azure("find", name)["result"] == "missing"
    listed = azure("list", name, number)
    assert [(p["number"], p["bytes"]) for p in listed["parts"]] == [(1, PART), (2, PART + 1), (3, 1000)]
    assert [f"{p['number']}={p['etag']}" for p in listed["parts"]] == parts
    assert azure("finish", name, number, *parts)["result"] == "done"
    found = azure("find", name)
    assert (found["result"], found["token"], found["bytes"]) == ("done", TOKEN, 2 * PART + 1001)
    assert server.control.data(name) == tool_body(1, PART) + tool_body(2, PART + 1) + tool_body(3, 1000)
    assert server.control.uploads() == []
    stored = server.control.objects()[0]
    assert (stored["headers"]["Content-Encoding"], stored["headers"]["Content-Type"]) == ("gzip", "application/x-ndjson")
    assert len({len(one) for one in stored["blocks"]}) == 1
    assert all(one["headers"].get("content-md5") for one in server.control.log(operation="PutBlock"))


def test_a_blob_goes_up_at_once_unless_there_is_one(store, tool):
    server = store("--azure")
    azure = tool(server)
    assert azure("put", NAME, TOKEN, 2 * MIB + 3)["result"] == "done"
    assert server.control.data(NAME) == tool_body(1, 2 * MIB + 3)
    again = azure("put", NAME, OTHER, 100)
    assert again["result"] == "exists" and "BlobAlreadyExists: The specified blob already exists." in again["reason"]
    found = azure("find", NAME)
    assert (found["token"], found["bytes"]) == (TOKEN, 2 * MIB + 3)
    assert azure("put", "chat/empty", TOKEN, 0)["result"] == "done"
    assert azure("find", "chat/empty")["bytes"] == 0
    client_of(server).ask("PUT", "foreign", None, b"hello", x_ms_blob_type="BlockBlob")
    foreign = azure("find", "foreign")
    assert (foreign["result"], foreign["token"], foreign["bytes"]) == ("done", "", 5)


def test_many_blocks_go_up_at_once_in_any_order(store, tool):
    server = store("--azure")
    azure = tool(server, connections=8)
    made = azure("create", NAME, TOKEN)["upload"]
    azure.begin("parts", NAME, made, 1, 40, 1000)
    etags = {part["number"]: part["etag"] for part in (azure.end() for _ in range(40)) if part["result"] == "done"}
    listed = azure("list", NAME, made)
    assert [part["number"] for part in listed["parts"]] == list(range(1, 41)) and len(etags) == 40
    assert azure("finish", NAME, made, *(f"{number}={etag}" for number, etag in sorted(etags.items())))["result"] == "done"
    assert server.control.data(NAME) == b"".join(tool_body(number, 1000) for number in range(1, 41))


def test_thousands_of_blocks_are_listed_and_committed(store, tool):
    server = store("--azure")
    azure = tool(server, checksum="off", connections=16)
    made = azure("create", NAME, TOKEN)["upload"]
    for first in range(1, 2001, 50):
        azure.begin("parts", NAME, made, first, first + 49, 1)
        assert {azure.end()["result"] for _ in range(50)} == {"done"}
    assert azure("part", NAME, made, 50_000, 1)["result"] == "done"
    listed = azure("list", NAME, made)
    assert [part["number"] for part in listed["parts"]] == [*range(1, 2001), 50_000]
    assert azure("finish", NAME, made, *(f"{part['number']}={part['etag']}" for part in listed["parts"][:-1]))["result"] == "done"
    assert azure("find", NAME)["bytes"] == 2000


# ---- what faults mean ----

ACTIONS = {"probe": "PutBlockList", "find": "GetBlobProperties", "part": "PutBlock", "list": "GetBlockList", "finish": "PutBlockList", "put": "PutBlob"}
READS = ("probe", "find", "list")


class Actions:
    """Each action that asks something, ready to be done."""

    def __init__(self, server, tool_, name=NAME):
        self.server, self.tool, self.name = server, tool_, name
        self.upload, self.parts = upload(tool_, name, [2 * MIB, 10])

    def fields(self, action):
        return {
            "probe": ["probe"], "find": ["find", "chat/none"], "part": ["part", self.name, self.upload, 1, 2 * MIB],
            "list": ["list", self.name, self.upload], "finish": ["finish", self.name, self.upload, *self.parts],
            "put": ["put", "chat/put", TOKEN, 2 * MIB],
        }[action]

    def run(self, action, fault, **how):
        """The result of the action when all of its requests run into the fault."""
        rule = self.server.control.fault(fault, operation=ACTIONS[action], count=0, **how)
        result = self.tool(*self.fields(action))
        self.server.control.clear(rule)
        assert (result["reason"] == "") == (result["result"] == "done")
        return result


# fault: (what it is for actions that only read, for PART, for FINISH, for PUT)
FAULTS = {
    "internal": ("again", "again", "again", "again"),
    "slow_down": ("again", "again", "again", "again"),
    "unavailable": ("again", "again", "again", "again"),
    "denied": ("denied", "denied", "denied", "denied"),
    "no_bucket": ("denied", "denied", "denied", "denied"),
    "expired": ("denied", "denied", "denied", "denied"),
    "skewed": ("denied", "denied", "denied", "denied"),  # by a store whose time is ours
    "conflict": ("again", "again", "unknown", "exists"),
    "precondition": ("again", "again", "unknown", "exists"),
    "body_error": ("again", "unknown", "unknown", "unknown"),
    "lose": ("again", "unknown", "unknown", "unknown"),
    "drop": ("again", "unknown", "unknown", "unknown"),
    "cut_answer": ("again", "unknown", "unknown", "unknown"),
    "hang": ("again", "unknown", "unknown", "unknown"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_means_what_the_interface_says(store, tool, fault):
    server = store("--azure")
    actions = Actions(server, tool(server, stall_timeout="700ms" if fault == "hang" else "30s"))
    reads, part, finish, put = FAULTS[fault]
    got = {action: actions.run(action, fault)["result"] for action in ACTIONS}
    assert got == {action: reads if action in READS else {"finish": finish, "put": put}.get(action, part) for action in ACTIONS}


def test_409_is_settled_by_its_code(store, tool):
    server = store("--azure")
    actions = Actions(server, tool(server))
    wanted = {
        "BlobAlreadyExists": {"finish": "unknown", "put": "exists", "part": "again"},
        "BlobImmutableDueToPolicy": {"finish": "unknown", "put": "exists", "part": "again"},
        "ContainerBeingDeleted": {"finish": "denied", "put": "denied", "part": "denied", "find": "denied"},
        "AccountBeingCreated": {"finish": "again", "put": "again", "part": "again", "probe": "again"},
    }
    for code, results in wanted.items():
        assert {action: actions.run(action, "custom", status=409, code=code)["result"] for action in results} == results


def test_a_time_out_of_the_store_may_have_worked(store, tool):
    server = store("--azure")
    actions = Actions(server, tool(server))
    results = {action: actions.run(action, "custom", status=500, code="OperationTimedOut")["result"] for action in ("part", "finish", "put", "find")}
    assert results == {"part": "again", "finish": "unknown", "put": "unknown", "find": "again"}


def test_a_block_that_is_cut_off_is_sent_again_and_the_blob_is_whole(store, tool):
    server = store("--azure")
    azure = tool(server)
    made = azure("create", NAME, TOKEN)["upload"]
    for reset in (False, True):
        server.control.fault("cut", operation="PutBlock", reset=reset)
        assert azure("part", NAME, made, 1, PART)["result"] == "unknown"
    server.control.fault("lose", operation="PutBlock")
    assert azure("part", NAME, made, 1, PART)["result"] == "unknown"
    part = azure("part", NAME, made, 1, PART)
    assert part["result"] == "done"
    assert azure("finish", NAME, made, f"1={part['etag']}")["result"] == "done"
    assert server.control.data(NAME) == tool_body(1, PART)


def test_a_block_that_was_damaged_on_the_way_is_sent_again(store, tool):
    server = store("--azure")
    actions = Actions(server, tool(server))
    result = actions.run("part", "custom", status=400, code="Md5Mismatch", message="The MD5 value did not match.")
    assert result["result"] == "again" and "Md5Mismatch" in result["reason"]


def test_a_store_that_refuses_connections_is_tried_again(store, tool):
    server = store("--azure")
    actions = Actions(server, tool(server))
    server.control.refuse("azure")
    for action in ACTIONS:
        result = actions.tool(*actions.fields(action))
        assert result["result"] == "again" and result["reason"], (action, result)
    server.control.refuse("azure", False)
    assert actions.tool("probe")["result"] == "done"


def test_the_store_says_how_long_to_wait(store, tool):
    server = store("--azure")
    actions = Actions(server, tool(server))
    result = actions.run("part", "slow_down", retry_after=7)
    assert result["wait"] == 7.0 and "503 ServerBusy: The server is busy." in result["reason"]
    assert actions.run("finish", "internal")["wait"] == 0.0


def test_while_the_store_fails_large_bodies_wait_for_its_word(store, tool):
    server = store("--azure")
    actions = Actions(server, tool(server))
    before = len(server.control.log(operation="PutBlock"))
    actions.run("part", "slow_down")
    actions.run("part", "slow_down", early=True)
    assert actions.tool(*actions.fields("part"))["result"] == "done"
    assert actions.tool(*actions.fields("part"))["result"] == "done"
    expected = ["expect" in one["headers"] for one in server.control.log(operation="PutBlock")[before:]]
    assert expected == [False, True, True, False]


def test_find_tells_whether_a_lost_commit_worked(store, tool):
    server = store("--azure")
    actions = Actions(server, tool(server))
    assert actions.run("finish", "drop")["result"] == "unknown"
    assert actions.tool("find", NAME)["result"] == "missing"
    assert actions.run("finish", "lose")["result"] == "unknown"
    found = actions.tool("find", NAME)
    assert (found["result"], found["token"], found["bytes"]) == ("done", TOKEN, 2 * MIB + 10)
    # the same blocks under the same token once more: nothing changes
    assert actions.tool(*actions.fields("finish"))["result"] == "done"
    assert actions.tool("list", NAME, actions.upload)["result"] == "missing"
    assert server.control.data(NAME) == tool_body(1, 2 * MIB) + tool_body(2, 10)
    # 409 and 412 after it worked
    for fault in ("conflict", "precondition"):
        other = Actions(server, actions.tool, f"chat/{fault}")
        assert other.run("finish", fault, acted=True)["result"] == "unknown"
        assert other.tool("find", other.name)["token"] == TOKEN


def test_a_lost_put_is_found_again(store, tool):
    server = store("--azure")
    azure = tool(server)
    server.control.fault("lose", operation="PutBlob")
    assert azure("put", NAME, TOKEN, 1000)["result"] == "unknown"
    assert azure("find", NAME)["token"] == TOKEN
    assert azure("put", NAME, TOKEN, 1000)["result"] == "exists"


# ---- other writers of the same name ----


def test_blocks_that_another_writer_has_swept_away_are_missed(store, tool):
    server = store("--azure")
    actions = Actions(server, tool(server))
    assert client_of(server).ask("PUT", NAME, None, b"theirs", x_ms_blob_type="BlockBlob")[0] == 201
    result = actions.tool(*actions.fields("finish"))
    assert result["result"] == "missing" and "InvalidBlockList" in result["reason"]
    assert actions.tool("list", NAME, actions.upload)["result"] == "missing"
    found = actions.tool("find", NAME)
    assert (found["token"], found["bytes"]) == ("", 6)
    assert server.control.data(NAME) == b"theirs"


def test_blocks_of_another_writer_are_not_ours(store, tool):
    server = store("--azure")
    first, second = tool(server), tool(server)
    ours, parts = upload(first, NAME, [100, 200])
    theirs, other_parts = upload(second, NAME, [300, 400, 500], OTHER)
    assert [part["bytes"] for part in first("list", NAME, ours)["parts"]] == [100, 200]
    assert [part["bytes"] for part in second("list", NAME, theirs)["parts"]] == [300, 400, 500]
    assert first("finish", NAME, ours, *parts)["result"] == "done"
    assert second("finish", NAME, theirs, *other_parts)["result"] == "missing"
    assert second("find", NAME)["token"] == TOKEN
    assert server.control.data(NAME) == tool_body(1, 100) + tool_body(2, 200)


def test_a_name_with_block_ids_of_another_length_cannot_be_used(store, tool):
    server = store("--azure")
    azure = tool(server)
    assert client_of(server).put_block(NAME, block_id(1), b"theirs")[0] == 201
    made = azure("create", NAME, TOKEN)["upload"]
    result = azure("part", NAME, made, 1, 100)
    assert result["result"] == "missing" and "InvalidBlobOrBlock" in result["reason"]
    assert azure("find", NAME)["result"] == "missing"


def test_what_the_store_will_never_take_is_said(store, tool):
    server = store("--azure")
    azure = tool(server)
    assert azure("put", "x" * 1025, TOKEN, 1)["result"] == "never"
    assert azure("part", NAME, "no upload", 1, 10)["result"] == "never"
    assert azure("list", NAME, TOKEN)["result"] == "never"
    made = azure("create", NAME, TOKEN)["upload"]
    assert azure("part", NAME, made, 1, 0)["result"] == "never"
    assert azure("list", NAME, made)["result"] == "missing"
    assert azure("finish", NAME, made, "1=x")["result"] == "missing"
    server.control.fault("custom", operation="GetBlockList", status=200, body="<BlockList><UncommittedBlocks>")
    assert azure("list", NAME, made)["result"] == "again"
    server.control.fault("custom", operation="GetBlockList", status=200, body="x" * (3 * MIB), headers={"x-ms-request-id": "1"})
    assert azure("list", NAME, made)["result"] in ("never", "again")


# ---- who we are, and where the container is ----


def test_the_probe_finds_what_is_configured_wrong(store, tool):
    server = store("--azure")
    wrong_key = base64.b64encode(b"w" * 64).decode()
    wrong = {
        "AuthenticationFailed": {"key": wrong_key},
        "ContainerNotFound": {"container": "other-container"},
        "ResourceNotFound": {"account": "otheraccount", "endpoint": server.urls["azure"] + "/otheraccount"},
    }
    for code, settings in wrong.items():
        azure = tool(server, **settings)
        result = azure("probe")
        assert result["result"] == "denied" and code in result["reason"], result
        assert wrong_key not in result["reason"] + azure.said() and "\n" not in result["reason"]
        made = azure("create", NAME, TOKEN)["upload"]
        for action in (["find", NAME], ["part", NAME, made, 1, 10], ["put", NAME, TOKEN, 10], ["list", NAME, made]):
            assert azure(*action)["result"] == "denied"
    for operation, what in (("PutBlockList", "may not write"), ("GetBlobProperties", "")):
        server.control.fault("denied", operation=operation, message=what or None)
        result = tool(server)("probe")
        assert result["result"] == "denied" and what in result["reason"] and "AuthorizationPermissionMismatch" in result["reason"]
    assert server.control.objects() == [] and server.control.uploads() == []


def test_the_probe_leaves_nothing_and_stays_below_the_prefix(store, tool):
    server = store("--azure")
    assert tool(server)("probe")["result"] == "done"
    assert {one["key"] for one in server.control.log(service="azure")} == {"chat/.millrace-probe"}
    assert server.control.objects() == [] and server.control.uploads() == []


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_wrong_clock_is_found_and_said_once(store, tool, ahead):
    server = store("--azure")
    server.control.set(clock_skew=ahead)
    azure = tool(server)
    actions = Actions(server, azure)
    for action in ACTIONS:
        wanted = "missing" if action == "find" else "done"
        assert azure(*actions.fields(action))["result"] == wanted, action
    assert azure.said().count("clock") == 1
    assert len(server.control.log(code="AuthenticationFailed")) == 1
    server.control.set(clock_skew=0)
    assert azure("put", "chat/back", TOKEN, 10)["result"] == "done"


def test_the_account_may_be_part_of_the_host_and_the_store_speak_tls(store, tool):
    server = store("--azure", "--tls")
    port = server.ports["azure"]
    azure = tool(server, endpoint=f"https://{server.keys['account']}.blob.localhost:{port}/", ca_file=server.ca_file)
    number, parts = upload(azure, NAME, [1000])
    assert azure("finish", NAME, number, *parts)["result"] == "done"
    assert azure("find", NAME)["bytes"] == 1000
    untrusted = tool(server)("probe")
    assert untrusted["result"] == "denied" and "certificate" in untrusted["reason"]


def signed(server, text):
    digest = hmac.new(base64.b64decode(server.keys["account_key"]), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def service_sas(server, permissions="rcw", seconds=3600, version="2021-12-02"):
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    resource = f"/blob/{server.keys['account']}/container"
    fields = [permissions, "", end, resource, "", "", "", version, "c", "", "", "", "", "", "", ""]
    return urllib.parse.urlencode({"sp": permissions, "se": end, "sv": version, "sr": "c", "sig": signed(server, "\n".join(fields))})


def account_sas(server, permissions="rcw", kinds="o", seconds=3600, version="2021-12-02"):
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    fields = [server.keys["account"], permissions, "b", kinds, "", end, "", "", version, "", ""]
    return urllib.parse.urlencode({"sp": permissions, "ss": "b", "srt": kinds, "se": end, "sv": version, "sig": signed(server, "\n".join(fields))})


@pytest.mark.parametrize("make", [service_sas, account_sas])
def test_a_shared_access_signature_opens_the_container(store, tool, make):
    server = store("--azure")
    sas = make(server)
    azure = tool(server, sas="?" + sas, account=None)
    assert azure("probe")["result"] == "done"
    actions = Actions(server, azure)
    for action in ACTIONS:
        assert azure(*actions.fields(action))["result"] == ("missing" if action == "find" else "done"), action
    assert {one["access_key"] for one in server.control.log(service="azure")} == {"sas"}
    over = tool(server, sas=make(server, seconds=-10))("probe")
    assert over["result"] == "denied" and "AuthenticationFailed" in over["reason"]
    assert urllib.parse.parse_qs(sas)["sig"][0] not in over["reason"]
    read_only = tool(server, sas=make(server, permissions="r"))("probe")
    assert read_only["result"] == "denied" and "AuthorizationPermissionMismatch" in read_only["reason"]
    write_only = tool(server, sas=make(server, permissions="cw"))("probe")
    assert write_only["result"] == "denied" and "AuthorizationPermissionMismatch" in write_only["reason"]


def test_a_secret_in_a_file_is_read_again_when_it_is_refused(store, tool, tmp_path):
    server = store("--azure")
    key_file, sas_file = tmp_path / "key", tmp_path / "sas"
    key_file.write_text(server.keys["account_key"] + "\n")
    sas_file.write_text(service_sas(server, seconds=2) + "\n")
    by_key, by_sas = tool(server, key_file=str(key_file)), tool(server, sas_file=str(sas_file))
    assert by_key("probe")["result"] == by_sas("probe")["result"] == "done"
    time.sleep(2.2)
    assert by_sas("put", "chat/1", TOKEN, 10)["result"] == "denied"
    sas_file.write_text(service_sas(server))
    assert by_sas("put", "chat/1", TOKEN, 10)["result"] == "done"
    sas_file.write_text("nonsense")
    assert by_sas("put", "chat/2", TOKEN, 10)["result"] == "done"
    os.unlink(key_file)
    assert by_key("put", "chat/3", TOKEN, 10)["result"] == "done"
    wrong = tmp_path / "wrong"
    wrong.write_text(base64.b64encode(b"w" * 64).decode())
    later = tool(server, key_file=str(wrong))
    assert later("probe")["result"] == "denied"
    wrong.write_text(server.keys["account_key"])
    assert later("probe")["result"] == "done"


def test_the_environment_has_account_and_key(store, tool):
    server = store("--azure")
    environment = {"AZURE_STORAGE_ACCOUNT": server.keys["account"], "AZURE_STORAGE_KEY": server.keys["account_key"]}
    assert tool(server, environment, account=None, key=None)("probe")["result"] == "done"
    environment = {"AZURE_STORAGE_ACCOUNT": server.keys["account"], "AZURE_STORAGE_SAS_TOKEN": service_sas(server)}
    assert tool(server, environment, account=None, key=None)("probe")["result"] == "done"
    # what is configured comes first
    environment["AZURE_STORAGE_SAS_TOKEN"] = "sig=wrong"
    assert tool(server, environment)("probe")["result"] == "done"


@pytest.mark.parametrize("settings, message", [
    ({"key": "no base64"}, "sinks[0].store.azure.key: is none; allowed: base64, as the portal shows it"),
    ({"sas": "sv=2021-12-02"}, "sinks[0].store.azure.sas: is none; allowed: the query of a shared access signature, with sig="),
    ({"key": "AAAA", "sas": "sig=x"}, "sinks[0].store.azure.credentials: auto, and both key and sas are set; allowed: key, sas"),
    ({"credentials": "key"}, "sinks[0].store.azure.key: is not set, and neither is key_file or AZURE_STORAGE_KEY in the environment"),
    ({"credentials": "sas"}, "sinks[0].store.azure.sas: is not set, and neither is sas_file or AZURE_STORAGE_SAS_TOKEN in the environment"),
    ({"key_file": "/nonexistent/key"}, "sinks[0].store.azure.key_file: /nonexistent/key: No such file or directory"),
    ({"account": "Upper"}, "sinks[0].store.azure.account: is no name of a storage account; allowed: a-z 0-9"),
    ({"account": None, "key": "AAAA"}, "sinks[0].store.azure.account: is not set; a key needs it"),
    ({"account": None, "endpoint": None}, "sinks[0].store.azure.account: is not set, and neither is endpoint"),
    ({"container": "a_b"}, "sinks[0].store.azure.container: is no name of a container; allowed: 3 to 63 of a-z 0-9 -"),
    ({"endpoint": "blob.core.windows.net"}, "sinks[0].store.azure.endpoint: is none; allowed: http://HOST:PORT or https://HOST, and a path"),
    ({"ca_file": "/nonexistent/ca"}, "sinks[0].store.azure.ca_file: /nonexistent/ca: No such file or directory"),
    ({"credentials": "managed_identity", "client_id": "a&b"}, "sinks[0].store.azure.client_id: is none; allowed: letters, digits and -"),
])
def test_a_wrong_option_is_named(store, tool, settings, message):
    azure = tool(store("--azure"), status=1, **settings)
    azure.process.wait()
    assert azure.said() == message + "\n"


# ---- managed identity ----


def identity(server, tool_, environment=None, **azure):
    return tool_(server, environment, credentials="managed_identity", identity_endpoint=server.urls["credentials"], key=None, **azure)


def test_a_managed_identity_opens_the_container(store, tool):
    server = store("--azure", "--credentials")
    azure = identity(server, tool, client_id="11111111-2222-3333-4444-555555555555")
    assert azure("probe")["result"] == "done"
    actions = Actions(server, azure)
    for action in ACTIONS:
        assert azure(*actions.fields(action))["result"] == ("missing" if action == "find" else "done"), action
    assert {one["access_key"] for one in server.control.log(service="azure")} == {"bearer"}
    asked = server.control.log(operation="AzureToken")
    assert len(asked) == 1 and "client_id=11111111-2222-3333-4444-555555555555" in asked[0]["target"]


def test_a_token_is_renewed_before_it_ends(store, tool):
    server = store("--azure", "--credentials", "--set", "credential_seconds=8")
    azure = identity(server, tool)
    assert azure("probe")["result"] == "done"
    deadline = time.monotonic() + 60
    while len(server.control.log(operation="AzureToken")) < 2 and time.monotonic() < deadline:
        assert azure("find", NAME)["result"] == "missing"
        time.sleep(0.2)
    assert len(server.control.log(operation="AzureToken")) >= 2
    assert {one["status"] for one in server.control.log(operation="GetBlobProperties")} == {404}


def test_a_token_that_the_store_refuses_is_replaced(store, tool):
    server = store("--azure", "--credentials")
    azure = identity(server, tool)
    assert azure("put", "chat/1", TOKEN, 10)["result"] == "done"
    server.control.expire()
    assert azure("put", "chat/2", TOKEN, 10)["result"] == "done"
    assert len(server.control.log(operation="AzureToken")) == 2


def test_an_identity_that_fails_is_an_error_and_no_other_kind_is_tried(store, tool):
    server = store("--azure", "--credentials")
    environment = {"AZURE_STORAGE_KEY": server.keys["account_key"]}
    server.control.fault("internal", operation="AzureToken", count=0)
    azure = identity(server, tool, environment)
    result = azure("probe")
    assert result["result"] == "again" and "managed identity: 500" in result["reason"]
    server.control.clear()
    server.control.fault("custom", operation="AzureToken", status=400, count=0,
                         body='{"error": "invalid_request", "error_description": "Identity not found"}')
    azure = identity(server, tool, environment)
    result = azure("probe")
    assert result["result"] == "denied" and "400 invalid_request: Identity not found" in result["reason"]
    assert server.control.log(service="azure") == []
    server.control.clear()
    server.control.refuse("credentials")
    assert identity(server, tool, environment)("probe")["result"] == "again"
    server.control.refuse("credentials", False)
    deadline = time.monotonic() + 60
    while azure("probe")["result"] != "done" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert azure("probe")["result"] == "done"
