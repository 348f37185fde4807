"""The store on S3, driven by tests/store_tool against the fault server: every action, and what each fault means (sink/objects/store.h)."""
import pytest

from harness import SLOW, wait_until
from store_help import StoreTool, tool_body

TOKEN = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
MIB = 1 << 20
PART = 5 * MIB


class Tool(StoreTool):
    """The store of a bucket, open."""

    def __init__(self, path, environment=None, section=None, **s3):
        super().__init__(path, {"s3": {"bucket": "bucket", **s3}, **(section or {})}, environment)


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
    assert server.control.data(name) == tool_body(1, PART) + tool_body(2, PART + 1) + tool_body(3, 1000)
    assert server.control.uploads() == [] and server.control.aborts() == 0
    stored = server.control.objects()[0]
    assert stored["headers"]["content-encoding"] == "gzip" and stored["headers"]["content-type"] == "application/x-ndjson"


def test_an_object_goes_up_at_once_unless_there_is_one(store, tool):
    server = store("--s3")
    s3 = tool(server)
    assert s3("put", "chat/a", TOKEN, 2 * MIB + 3)["result"] == "done"
    assert server.control.data("chat/a") == tool_body(1, 2 * MIB + 3)
    again = s3("put", "chat/a", OTHER, 100)
    assert again["result"] == "exists" and "PreconditionFailed" in again["reason"]
    found = s3("find", "chat/a")
    assert (found["token"], found["bytes"]) == (TOKEN, 2 * MIB + 3)
    assert s3("put", "chat/empty", TOKEN, 0)["result"] == "done"
    assert s3("find", "chat/empty")["bytes"] == 0


# ---- what faults mean ----

ACTIONS = {
    "probe": "UploadPart", "find": "*Object", "create": "CreateMultipartUpload", "part": "UploadPart", "list": "ListParts",
    "finish": "CompleteMultipartUpload", "put": "PutObject",
}
READS = ("probe", "find", "list")


class Actions:
    """Each action on the same object, ready to be done."""

    def __init__(self, server, tool_, name="chat/a"):
        self.server, self.tool, self.name = server, tool_, name
        server.control.set(min_part=1)
        self.upload, self.parts = upload(tool_, name, [2 * MIB, 10])

    def fields(self, action):
        return {
            "probe": ["probe"], "find": ["find", "chat/none"], "create": ["create", self.name, TOKEN],
            "part": ["part", self.name, self.upload, 1, 2 * MIB], "list": ["list", self.name, self.upload],
            "finish": ["finish", self.name, self.upload, *self.parts], "put": ["put", "chat/put", TOKEN, 2 * MIB],
        }[action]

    def run(self, action, fault, **how):
        """The result of the action when all of its requests run into the fault."""
        rule = self.server.control.fault(fault, operation=ACTIONS[action], count=0, **how)
        result = self.tool(*self.fields(action))
        self.server.control.clear(rule)
        assert (result["reason"] == "") == (result["result"] == "done")
        return result


# fault: (what it is for actions that only read, for CREATE and PART, for FINISH, for PUT)
FAULTS = {
    "internal": ("again", "again", "again", "again"),
    "slow_down": ("again", "again", "again", "again"),
    "unavailable": ("again", "again", "again", "again"),
    "denied": ("denied", "denied", "denied", "denied"),
    "no_bucket": ("denied", "denied", "denied", "denied"),
    "expired": ("denied", "denied", "denied", "denied"),  # the keys of the configuration do not change
    "skewed": ("denied", "denied", "denied", "denied"),  # and again with the store's time, which is ours
    "conflict": ("again", "again", "unknown", "unknown"),
    "precondition": ("again", "again", "unknown", "exists"),
    "lose": ("again", "unknown", "unknown", "unknown"),
    "drop": ("again", "unknown", "unknown", "unknown"),
    "hang": ("again", "unknown", "unknown", "unknown"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_means_what_the_interface_says(store, tool, fault):
    server = store("--s3")
    actions = Actions(server, tool(server, stall_timeout="500ms" if fault == "hang" else "30s"))
    reads, writes, finish, put = FAULTS[fault]
    got = {action: actions.run(action, fault)["result"] for action in ACTIONS}
    wanted = {action: reads if action in READS else {"finish": finish, "put": put}.get(action, writes) for action in ACTIONS}
    assert got == wanted


def test_a_part_that_is_cut_off_is_sent_again_and_the_object_is_whole(store, tool):
    server = store("--s3")
    s3 = tool(server)
    made = s3("create", "chat/a", TOKEN)["upload"]
    for reset in (False, True):
        server.control.fault("cut", operation="UploadPart", reset=reset)
        assert s3("part", "chat/a", made, 1, PART)["result"] == "unknown"
    server.control.fault("cut_answer", operation="UploadPart")
    assert s3("part", "chat/a", made, 1, PART)["result"] == "unknown"
    part = s3("part", "chat/a", made, 1, PART)
    assert part["result"] == "done"
    assert s3("finish", "chat/a", made, f"1={part['etag']}")["result"] == "done"
    assert server.control.data("chat/a") == tool_body(1, PART)


def test_a_store_that_refuses_connections_is_tried_again(store, tool):
    server = store("--s3")
    actions = Actions(server, tool(server))
    server.control.refuse("s3")
    for action in ACTIONS:
        result = actions.tool(*actions.fields(action))
        assert result["result"] == "again" and result["reason"], (action, result)
    server.control.refuse("s3", False)
    assert actions.tool("probe")["result"] == "done"


def test_the_store_says_how_long_to_wait(store, tool):
    server = store("--s3")
    actions = Actions(server, tool(server))
    result = actions.run("part", "slow_down", retry_after=7)
    assert result["wait"] == 7.0 and "SlowDown: Please reduce your request rate" in result["reason"]
    assert actions.run("finish", "internal")["wait"] == 0.0


@pytest.mark.parametrize("answer, meaning", [
    ({"code": "InternalError"}, "again"),
    ({"code": "NoSuchUpload"}, "missing"),
    ({"code": "SomethingNew"}, "unknown"),
    ({"body": "<CompleteMultipartUploadResult><ETag>x</ETag>"}, "unknown"),
    ({"body": ""}, "unknown"),
    ({"body": "<html>fine</html>"}, "unknown"),
])
def test_200_with_an_error_in_its_body_is_no_success(store, tool, answer, meaning):
    server = store("--s3")
    actions = Actions(server, tool(server))
    assert actions.run("finish", "body_error", **answer)["result"] == meaning
    assert actions.tool("find", "chat/a")["result"] == "missing"
    assert actions.tool(*actions.fields("finish"))["result"] == "done"


@pytest.mark.parametrize("mode, again", [("aws", "done"), ("minio", "missing")])
def test_find_tells_whether_a_lost_completion_worked(store, tool, mode, again):
    server = store("--s3", "--mode", mode)
    actions = Actions(server, tool(server))
    assert actions.run("finish", "drop")["result"] == "unknown"
    assert actions.tool("find", "chat/a")["result"] == "missing"
    assert actions.run("finish", "lose")["result"] == "unknown"
    found = actions.tool("find", "chat/a")
    assert (found["result"], found["token"], found["bytes"]) == ("done", TOKEN, 2 * MIB + 10)
    assert actions.tool(*actions.fields("finish"))["result"] == again
    other = actions.tool("create", "chat/b", TOKEN)["upload"]
    part = actions.tool("part", "chat/b", other, 1, 10)
    server.control.fault("no_upload", operation="CompleteMultipartUpload", acted=True)
    assert actions.tool("finish", "chat/b", other, f"1={part['etag']}")["result"] == "missing"
    assert actions.tool("find", "chat/b")["token"] == TOKEN
    assert server.control.aborts() == 0


def test_a_lost_put_is_found_again(store, tool):
    server = store("--s3")
    s3 = tool(server)
    server.control.fault("lose", operation="PutObject")
    assert s3("put", "chat/a", TOKEN, 1000)["result"] == "unknown"
    assert s3("find", "chat/a")["token"] == TOKEN
    assert s3("put", "chat/a", TOKEN, 1000)["result"] == "exists"


def test_what_the_store_will_never_take_is_said(store, tool):
    server = store("--s3")
    s3 = tool(server)
    number, parts = upload(s3, "chat/a", [1000, 1000])
    small = s3("finish", "chat/a", number, *parts)
    assert small["result"] == "never" and "EntityTooSmall" in small["reason"]
    assert s3("finish", "chat/a", number, '1="wrong"')["result"] == "never"
    assert s3("finish", "chat/a", number, "1=a<b")["result"] == "never"
    long = s3("put", "x" * 1025, TOKEN, 1)
    assert long["result"] == "never" and "KeyTooLongError" in long["reason"]
    assert s3("part", "chat/a", "no-such-upload", 1, 10)["result"] == "missing"
    assert s3("list", "chat/a", "no-such-upload")["result"] == "missing"


def test_an_upload_whose_creation_got_no_answer_is_taken_up(store, tool):
    server = store("--s3")
    s3 = tool(server)
    server.control.fault("lose", operation="CreateMultipartUpload")
    assert s3("create", "chat/a", TOKEN)["result"] == "unknown"
    other = s3("create", "chat/ab", TOKEN)["upload"]
    made = s3("create", "chat/a", TOKEN, "again")
    assert made["result"] == "done" and made["upload"] != other
    assert sorted(one["key"] for one in server.control.uploads()) == ["chat/a", "chat/ab"]
    assert s3("part", "chat/a", made["upload"], 1, 100)["result"] == "done"
    # one with parts is another's, or one that we know
    assert s3("create", "chat/a", TOKEN, "again")["upload"] != made["upload"]
    server.control.fault("denied", operation="ListMultipartUploads", count=0)
    assert s3("create", "chat/c", TOKEN, "again")["result"] == "done"
    assert "s3:ListBucketMultipartUploads" in s3.said()


def test_parts_are_listed_page_by_page(store, tool):
    server = store("--s3")
    server.control.set(page=3)
    s3 = tool(server, connections=8)
    made = s3("create", "chat/a", TOKEN)["upload"]
    s3.begin("parts", "chat/a", made, 2, 24, 1000)
    etags = {part["number"]: part["etag"] for part in (s3.end() for _ in range(23)) if part["result"] == "done"}
    listed = s3("list", "chat/a", made)
    assert {part["number"]: part["etag"] for part in listed["parts"]} == etags and len(etags) == 23
    assert len(server.control.log(operation="ListParts")) == 8
    empty = s3("create", "chat/b", TOKEN)["upload"]
    assert s3("list", "chat/b", empty) == {**s3("list", "chat/b", empty), "result": "done", "parts": []}
    server.control.fault("custom", operation="ListParts", status=200,
                         body="<ListPartsResult><IsTruncated>true</IsTruncated></ListPartsResult>")
    assert s3("list", "chat/a", made)["result"] == "never"
    server.control.fault("custom", operation="ListParts", status=200, body="<ListPartsResult>")
    assert s3("list", "chat/a", made)["result"] == "again"


# ---- who we are, and where the bucket is ----


def test_the_probe_finds_what_is_configured_wrong(store, tool):
    server = store("--s3")
    wrong = {
        "SignatureDoesNotMatch": {"secret_key": "wrong/secret+of+forty+characters++++++++"},
        "InvalidAccessKeyId": {"access_key": "AKIAWRONGWRONGWRONG1"},
        "NoSuchBucket": {"bucket": "other-bucket"},
        "AuthorizationHeaderMalformed": {"region": "eu-west-1"},
    }
    for code, settings in wrong.items():
        s3 = tool(server, **settings)
        result = s3("probe")
        assert result["result"] == "denied" and code in result["reason"], result
        assert "wrong/secret" not in result["reason"] + s3.said()
        for action in (["find", "chat/a"], ["create", "chat/a", TOKEN], ["put", "chat/a", TOKEN, 10]):
            assert s3(*action)["result"] == "denied"
    assert "us-east-1: set s3.region" in tool(server, region="eu-west-1")("probe")["reason"]
    server.control.fault("denied", operation="UploadPart", message="no s3:PutObject")
    assert "no s3:PutObject" in tool(server)("probe")["reason"]
    assert server.control.objects() == [] and server.control.uploads() == []


def test_the_probe_leaves_nothing_and_stays_below_the_prefix(store, tool):
    server = store("--s3")
    s3 = tool(server)
    assert s3("probe")["result"] == "done"
    assert [one["key"] for one in server.control.log(service="s3")] == ["chat/.millrace-probe"]
    assert server.control.objects() == [] and server.control.uploads() == []


def test_a_store_that_stumbles_over_the_probe_is_only_looked_at(store, tool):
    server = store("--s3")
    s3 = tool(server)
    server.control.fault("custom", operation="UploadPart", count=0, status=500, body="Internal Server Error")
    assert s3("probe")["result"] == "done"
    assert server.control.objects() == []
    server.control.fault("no_bucket", operation="GetObject", count=0)
    result = s3("probe")
    assert result["result"] == "denied" and "NoSuchBucket" in result["reason"]


def test_403_of_a_missing_object_is_understood(store, tool):
    server = store("--s3")
    deny = {"operation": "?e?dObject", "count": 0}
    get = {"operation": "GetObject", "count": 0}
    # the message names the right that is missing
    s3 = tool(server)
    server.control.fault("denied", **deny)
    rule = server.control.fault("denied", message="not authorized to perform: s3:ListBucket on resource", **get)
    assert s3("find", "chat/a")["result"] == "missing"
    assert "s3:ListBucket" in s3.said()
    server.control.clear(rule)
    rule = server.control.fault("denied", message="not authorized to perform: s3:GetObject on resource", **get)
    assert s3("find", "chat/a")["result"] == "denied"
    server.control.clear(rule)
    # it says nothing: an object that is there is looked at
    server.control.fault("denied", **get)
    result = s3("find", "chat/a")
    assert result["result"] == "denied" and "s3:GetObject must be allowed" in result["reason"]
    server.control.reset()
    for operation in ("HeadObject", "GetObject"):
        server.control.fault("denied", operation=operation, key="chat/[ab]", count=0)
    assert s3("find", "chat/a")["result"] == "missing"
    assert [one["key"] for one in server.control.objects()] == ["chat/.millrace-probe"]
    before = len(server.control.log(operation="PutObject"))
    assert s3("find", "chat/b")["result"] == "missing"  # known by now
    assert len(server.control.log(operation="PutObject")) == before


def test_a_store_without_conditions_is_looked_at_first(store, tool):
    server = store("--s3")
    s3 = tool(server)
    server.control.fault("custom", operation="PutObject", status=501, code="NotImplemented")
    assert s3("put", "chat/a", TOKEN, 2000)["result"] == "done"
    assert s3.said().count("If-None-Match") == 1
    assert server.control.data("chat/a") == tool_body(1, 2000)
    assert s3("put", "chat/a", OTHER, 10)["result"] == "exists"
    assert s3("put", "chat/b", OTHER, 10)["result"] == "done"
    assert s3.said().count("If-None-Match") == 1
    puts = server.control.log(operation="PutObject")
    assert ["if-none-match" in one["headers"] for one in puts] == [True, False, False]
    s3 = tool(server)
    server.control.fault("custom", operation="PutObject", status=501, code="NotImplemented", count=0)
    assert s3("put", "chat/c", TOKEN, 10)["result"] == "never"
    assert "If-None-Match" not in s3.said()


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_wrong_clock_is_found_and_said_once(store, tool, ahead):
    server = store("--s3")
    server.control.set(clock_skew=ahead)
    s3 = tool(server)
    for action in (["find", "chat/a"], ["probe"], ["put", "chat/a", TOKEN, 10], ["find", "chat/a"]):
        assert s3(*action)["result"] in ("done", "missing")
    assert s3.said().count("the clock here is not that of the store") == 1
    refused = [one for one in server.control.log(service="s3") if one["status"] == 403]
    assert len(refused) == 2  # HEAD, which has no body, and the GET that asked why
    server.control.set(clock_skew=0)
    assert s3("probe")["result"] == "done"


# ---- how bodies and objects are protected ----


def headers_of(server, operation):
    return [one["headers"] for one in server.control.log(operation=operation)]


def test_crc32c_goes_with_every_part_and_the_list(store, tool):
    server = store("--s3")
    s3 = tool(server, checksum="crc32c")
    number, parts = upload(s3, "chat/a", [PART, 100])
    listed = s3("list", "chat/a", number)
    assert [f"{p['number']}={p['etag']}" for p in listed["parts"]] == parts
    # whatever the option says by then
    other = tool(server, checksum="md5")
    again = other("part", "chat/a", number, 2, 100)
    assert f"2={again['etag']}" == parts[1]
    assert other("finish", "chat/a", number, *parts)["result"] == "done"
    assert server.control.objects()[0]["checksum"][0] == "crc32c"
    number, parts = upload(other, "chat/b", [100])
    assert f"1={s3('part', 'chat/b', number, 1, 100)['etag']}" == parts[0]
    assert s3("finish", "chat/b", number, *parts)["result"] == "done"
    assert s3("put", "chat/c", TOKEN, 100)["result"] == "done"
    assert all("x-amz-checksum-crc32c" in one for one in headers_of(server, "PutObject"))


@pytest.mark.parametrize("checksum, header", [("auto", "content-md5"), ("md5", "content-md5"), ("off", None)])
def test_elsewhere_the_checksum_is_md5_or_none(store, tool, checksum, header):
    server = store("--s3")
    server.control.set(checksums="refuse")
    s3 = tool(server, checksum=checksum)
    number, parts = upload(s3, "chat/a", [PART])
    assert s3("finish", "chat/a", number, *parts)["result"] == "done"
    assert s3("put", "chat/b", TOKEN, 100)["result"] == "done"
    sent = headers_of(server, "UploadPart") + headers_of(server, "PutObject")
    assert all(("content-md5" in one) == (header is not None) for one in sent)
    assert all(len(one["x-amz-content-sha256"]) == 64 for one in sent)


def test_a_body_that_was_damaged_on_its_way_is_sent_again(store, tool):
    server = store("--s3")
    s3 = tool(server)
    server.control.fault("custom", operation="PutObject", status=400, code="BadDigest")
    assert s3("put", "chat/a", TOKEN, 100)["result"] == "again"
    assert s3("put", "chat/a", TOKEN, 100)["result"] == "done"


@pytest.mark.parametrize("encryption, key, sent", [
    ("aes256", "", {"x-amz-server-side-encryption": "AES256"}),
    ("kms", "", {"x-amz-server-side-encryption": "aws:kms"}),
    ("kms", "arn:aws:kms:us-east-1:123456789012:key/a", {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:us-east-1:123456789012:key/a"}),
])
def test_objects_are_encrypted_as_asked(store, tool, encryption, key, sent):
    server = store("--s3")
    s3 = tool(server, encryption=encryption, kms_key=key)
    number, parts = upload(s3, "chat/a", [100])
    assert s3("finish", "chat/a", number, *parts)["result"] == "done"
    assert s3("put", "chat/b", TOKEN, 100)["result"] == "done"
    for one in server.control.objects():
        assert sent.items() <= one["headers"].items(), one


def test_tls_is_verified_and_protects_the_body(store, tool):
    server = store("--s3", "--tls")
    s3 = tool(server, ca_file=server.ca_file)
    number, parts = upload(s3, "chat/a", [PART])
    assert s3("finish", "chat/a", number, *parts)["result"] == "done"
    assert server.control.data("chat/a") == tool_body(1, PART)
    assert headers_of(server, "UploadPart")[-1]["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    signed = tool(server, ca_file=server.ca_file, sign_payload="always")
    assert signed("put", "chat/b", TOKEN, 100)["result"] == "done"
    assert len(headers_of(server, "PutObject")[-1]["x-amz-content-sha256"]) == 64
    unknown = tool(server)("probe")
    assert unknown["result"] == "denied" and "certificate" in unknown["reason"], unknown


def test_the_bucket_can_stand_in_the_host(store, tool):
    server = store("--s3")
    s3 = tool(server, endpoint=f"http://localhost:{server.ports['s3']}", style="virtual")
    number, parts = upload(s3, "chat/a", [100])
    assert s3("finish", "chat/a", number, *parts)["result"] == "done"
    assert s3("find", "chat/a")["token"] == TOKEN
    assert {one["host"] for one in headers_of(server, "CreateMultipartUpload")} == {f"bucket.localhost:{server.ports['s3']}"}
    assert s3("create", "chat/b", TOKEN, "again")["result"] == "done"


# ---- where keys come from ----


def test_keys_and_place_come_from_the_environment(store, tool):
    server = store("--s3")
    s3 = tool(server, server.environment(), access_key=None, secret_key=None, endpoint=None)
    assert s3("probe")["result"] == "done"
    assert s3.said().count("objects go to S3") == 1 and "credentials=environment" in s3.said()
    old = {"AWS_ACCESS_KEY": server.keys["access_key"], "AWS_ACCESS_SECRET": server.keys["secret_key"]}
    assert tool(server, old, access_key=None, secret_key=None)("probe")["result"] == "done"
    server.control.add_credential("ASIASESSION000000001", "secret", "a session's token")
    session = {"AWS_ACCESS_KEY_ID": "ASIASESSION000000001", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    server.control.add_credential("ASIASESSION000000001", "secret", "token")
    assert tool(server, session, access_key=None, secret_key=None)("probe")["result"] == "done"


def test_keys_come_from_a_profile_that_may_be_replaced(store, tool, tmp_path):
    server = store("--s3")
    file = tmp_path / "credentials"
    text = "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = x\n\n# ours\n[logs]\naws_access_key_id={}\naws_secret_access_key={}\n"
    file.write_text(text.format("AKIAOLD", "old"))
    server.control.add_credential("AKIAOLD", "old")
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_PROFILE": "logs"}
    s3 = tool(server, environment, access_key=None, secret_key=None)
    assert s3("probe")["result"] == "done"
    server.control.add_credential("AKIAOLD", "old", None, 1.0)  # over
    file.write_text(text.format("AKIANEW", "new"))
    server.control.add_credential("AKIANEW", "new")
    # keys that are younger than a second are not read again
    wait_until(lambda: s3("probe")["result"] == "done", what="the new keys")
    missing = tool(server, environment, access_key=None, secret_key=None, profile="nobody")("probe")
    assert missing["result"] == "denied" and "no profile nobody" in missing["reason"]


def sources(server, tmp_path):
    """Environment of each kind that is fetched, and the operation that shows it."""
    token = tmp_path / "token"
    token.write_text("web-identity-token\n")
    container = tmp_path / "container"
    container.write_text("container-token")
    web = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/test-role",
           "AWS_ENDPOINT_URL_STS": server.urls["credentials"]}
    box = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": server.urls["container_credentials"],
           "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(container)}
    instance = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.urls["credentials"]}
    return {"web_identity": (web, "AssumeRoleWithWebIdentity", token), "container": (box, "ContainerCredentials", container),
            "instance": (instance, "InstanceCredentials", None)}


KINDS = ["web_identity", "container", "instance"]
NO_KEYS = {"access_key": None, "secret_key": None}


@pytest.mark.parametrize("kind", KINDS)
def test_keys_are_fetched_and_renewed_before_they_are_over(store, tool, tmp_path, kind):
    server = store("--s3", "--credentials")
    server.control.set(credential_seconds=3)
    environment, operation, _ = sources(server, tmp_path)[kind]
    s3 = tool(server, environment, **NO_KEYS)
    assert s3("probe")["result"] == "done"

    def used():
        assert s3("find", "chat/a")["result"] == "missing"
        return {one["access_key"] for one in server.control.log(service="s3")}

    wait_until(lambda: len(used()) == 2, 20, "a renewal")
    log = server.control.log(service="s3")
    assert [one for one in log if one["code"] not in ("", "NoSuchUpload", "NoSuchKey")] == []
    assert len(server.control.log(operation=operation)) == 2
    assert not any(word in s3.said() for word in ("web-identity-token", "container-token"))


@pytest.mark.parametrize("kind", KINDS)
def test_keys_that_the_store_calls_over_are_fetched_at_once(store, tool, tmp_path, kind):
    server = store("--s3", "--credentials")
    environment, operation, _ = sources(server, tmp_path)[kind]
    s3 = tool(server, environment, credentials=kind, **NO_KEYS)
    assert s3("probe")["result"] == "done"
    server.control.expire()
    # not within their first second
    result = wait_until(lambda: s3("put", "chat/a", TOKEN, 1000)["result"].replace("denied", ""), what="new keys")
    assert result == "done"
    assert len(server.control.log(operation=operation)) == 2


@pytest.mark.parametrize("kind", ["web_identity", "container"])
def test_the_token_file_is_read_again(store, tool, tmp_path, kind):
    server = store("--s3", "--credentials")
    server.control.set(credential_seconds=2)
    environment, operation, file = sources(server, tmp_path)[kind]
    s3 = tool(server, environment, **NO_KEYS)
    assert s3("probe")["result"] == "done"
    file.write_text("the next token")
    server.control.set(web_identity_token="the next token", container_token="the next token")
    server.control.clear_log()

    def fetched():
        result = s3("probe")
        assert result["result"] == "done", (result["reason"], s3.said(), server.control.log())
        return server.control.log(operation=operation)

    wait_until(fetched, what="a renewal")
    assert server.control.log(operation=operation)[0]["status"] == 200


@pytest.mark.parametrize("kind, reason", [
    ("web_identity", "InvalidIdentityToken"), ("container", "answered 401"), ("instance", "the instance has no role"),
])
def test_a_kind_that_is_refused_is_never_replaced_by_another(store, tool, tmp_path, kind, reason):
    server = store("--s3", "--credentials")
    all_ = sources(server, tmp_path)
    environment = {**all_["instance"][0], **all_[kind][0]}
    server.control.set(web_identity_token="other", container_token="other", role="" if kind == "instance" else "test-role")
    s3 = tool(server, environment, **NO_KEYS)
    result = s3("probe")
    assert result["result"] == "denied" and reason in result["reason"], result
    assert server.control.log(operation="InstanceCredentials") == [] and server.control.log(service="s3") == []
    assert s3.said().count("no fresh credentials") == 1


def test_old_keys_stay_in_use_while_new_ones_cannot_be_had(store, tool, tmp_path):
    server = store("--s3", "--credentials")
    server.control.set(credential_seconds=4)
    environment, operation, _ = sources(server, tmp_path)["instance"]
    s3 = tool(server, environment, **NO_KEYS)
    assert s3("probe")["result"] == "done"
    rule = server.control.fault("unavailable", service="credentials", count=0)

    def result():
        return s3("find", "chat/a")["result"]

    def refused():
        assert result() == "missing"
        return server.control.log(service="credentials", fault=rule)

    wait_until(refused, what="a renewal that is refused")
    assert result() == "missing"
    assert wait_until(lambda: result().replace("missing", ""), what="their end") == "again"
    server.control.clear(rule)
    wait_until(lambda: result() == "missing", what="new keys")
    assert "credentials are fresh again" in s3.said()
    assert len({one["access_key"] for one in server.control.log(operation=operation, status=200)}) == 2


def test_a_service_that_is_not_reached_is_said(tool, tmp_path, store):
    server = store("--s3", "--credentials")
    server.control.refuse("credentials")
    for kind in KINDS:
        environment = sources(server, tmp_path)[kind][0]
        result = tool(server, environment, credentials=kind, **NO_KEYS)("probe")
        assert result["result"] == "again" and "was not reached" in result["reason"], result
    environment = sources(server, tmp_path)["instance"][0]
    result = tool(server, environment, **NO_KEYS)("probe")
    assert result["result"] == "denied" and "nothing is set for any kind" in result["reason"], result


@pytest.mark.parametrize("settings, environment, reason", [
    ({"access_key": "AKIA"}, {}, "sinks[0].store.s3.credentials: secret_key is not set, but the other half is: access_key"),
    ({"credentials": "config"}, {}, "sinks[0].store.s3.credentials: access_key is not set"),
    ({}, {"AWS_ACCESS_KEY_ID": "AKIA"}, "AWS_SECRET_ACCESS_KEY is not set"),
    ({"credentials": "web_identity"}, {}, "AWS_WEB_IDENTITY_TOKEN_FILE is not set"),
    ({}, {"AWS_WEB_IDENTITY_TOKEN_FILE": "/x"}, "AWS_ROLE_ARN is not set"),
    ({"credentials": "container"}, {}, "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor"),
    ({}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"}, "is not allowed"),
    ({}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1@example.com/x"}, "is not allowed"),
    ({}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1.example.com/x"}, "is not allowed"),
    ({}, {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "@example.com/x"}, "is not allowed"),
    ({}, {"AWS_EC2_METADATA_DISABLED": "true"}, "nothing is set for any kind"),
    ({"access_key": "A", "secret_key": "b c"}, {}, "secret_key is no key"),
    ({"access_key": "A", "secret_key": "b", "kms_key": "k"}, {}, "sinks[0].store.s3.kms_key: is for encryption: kms alone"),
    ({"bucket": "a/b"}, {}, "sinks[0].store.s3.bucket: "),
    ({"region": "eu west"}, {}, "sinks[0].store.s3.region: "),
    ({"endpoint": "minio:9000"}, {}, "sinks[0].store.s3.endpoint: "),
    ({"endpoint": "http://h:0"}, {}, "sinks[0].store.s3.endpoint: "),
    ({"endpoint": "http://h/?x"}, {}, "sinks[0].store.s3.endpoint: "),
    ({"style": "virtual", "bucket": "A.b"}, {}, "sinks[0].store.s3.style: "),
    ({"style": "virtual", "endpoint": "http://127.0.0.1:9000"}, {}, "sinks[0].store.s3.style: "),
    ({"access_key": "A", "secret_key": "b", "ca_file": "/nowhere"}, {}, "/nowhere"),
])
def test_what_makes_no_sense_is_said_at_the_start(tmp_path, settings, environment, reason):
    one = Tool(tmp_path, environment, **settings)
    assert one.process.wait(20 * SLOW) == 1
    assert reason in one.said()
    one.process.stdin.close()
    one.process.stdout.close()
    one.log.close()
