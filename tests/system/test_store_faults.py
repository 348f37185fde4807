"""What the fault server does wrong on demand, its log and its control interface; and the services that hand out credentials."""
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from xml.etree import ElementTree

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, HTTPClientError
from botocore.parsers import ResponseParserError

from harness import ROOT, SLOW, wait_until
from store.credentials import CONTAINER_PATH
from store.services import Servers
from store_help import s3_client

MIB = 1 << 20
BUCKET = "bucket"
PUT = {"Bucket": BUCKET, "Key": "k", "Body": b"hello"}


@pytest.fixture(scope="module")
def shared():
    with Servers(s3=True, credentials=True) as servers:
        yield servers


@pytest.fixture
def servers(shared):
    before = shared.world.set()
    yield shared
    shared.world.set(**before)
    shared.control.refuse("s3", False)
    shared.control.reset()


@pytest.fixture
def client(servers):
    return s3_client(servers.describe())


def outcomes(servers, **match):
    return [(one["status"], one["acted"], one["outcome"]) for one in servers.control.log(**match)]


def code_of(call, **named):
    with pytest.raises(ClientError) as caught:
        call(**named)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


class Later:
    """A call in a thread of its own: result() is what it gave or raised."""

    def __init__(self, call, **named):
        self.thread = threading.Thread(target=self.run, args=(call, named), daemon=True)
        self.value = None
        self.thread.start()

    def run(self, call, named):
        try:
            self.value = call(**named)
        except Exception as error:  # pylint: disable=broad-except
            self.value = error

    def result(self):
        self.thread.join(30 * SLOW)
        assert not self.thread.is_alive()
        return self.value


# ---- answers that do not come ----


def test_a_lost_answer_leaves_what_was_done(servers, client):
    servers.control.fault("lose", operation="PutObject")
    with pytest.raises(ConnectionClosedError):
        client.put_object(**PUT)
    assert servers.control.data("k") == b"hello" and outcomes(servers) == [(200, True, "lost")]
    assert servers.control.log()[0]["md5"] == "5d41402abc4b2a76b9719d911017c592"
    client.put_object(**PUT)


def test_a_dropped_request_leaves_nothing(servers, client):
    servers.control.fault("drop", operation="PutObject")
    with pytest.raises(ConnectionClosedError):
        client.put_object(**PUT)
    assert servers.control.objects() == [] and outcomes(servers) == [(None, False, "dropped")]


@pytest.mark.parametrize("when, there", [("before", False), ("after", True)])
@pytest.mark.parametrize("close", [False, True], ids=["answered", "closed"])
def test_a_request_is_held_before_or_after_it_acts(servers, client, when, there, close):
    rule = servers.control.fault("hold", operation="PutObject", when=when)
    waiting = Later(client.put_object, **PUT)
    assert servers.control.wait_held(rule) and servers.control.held(rule)
    assert (len(servers.control.objects()) == 1) == there and servers.control.log()[0]["outcome"] == "held"
    assert servers.control.release(rule, close=close) == 1
    assert isinstance(waiting.result(), ConnectionClosedError) == close
    assert (len(servers.control.objects()) == 1) == (there or not close)
    assert not servers.control.held() and servers.control.release() == 0


def test_a_held_request_goes_on_when_its_client_has_gone(servers):
    """Killed between request and answer: the store acts all the same."""
    rule = servers.control.fault("hold", operation="PutObject", when="before")
    program = "import json, sys; from store_help import s3_client; s3_client(json.loads(sys.argv[1])).put_object(Bucket='bucket', Key='k')"
    path = os.pathsep.join([str(ROOT / "tests" / "system"), *sys.path])
    child = subprocess.Popen([sys.executable, "-c", program, json.dumps(servers.describe())], env=dict(os.environ, PYTHONPATH=path))
    try:
        assert servers.control.wait_held(rule, timeout=20 * SLOW)
    finally:
        child.kill()
        child.wait()
    servers.control.release(rule)
    assert servers.control.wait_log(operation="PutObject", acted=True)
    wait_until(lambda: servers.control.log()[0]["outcome"] in ("gone", "answered"), what="the end of the request")
    assert [one["key"] for one in servers.control.objects()] == ["k"]


def test_a_hold_ends_by_itself(servers, client):
    servers.control.fault("hold", operation="PutObject", seconds=0.2)
    with pytest.raises(ConnectionClosedError):
        client.put_object(**PUT)
    assert outcomes(servers) == [(200, True, "lost")]


def test_a_hang_gives_no_answer_until_the_client_goes(servers):
    servers.control.fault("hang", operation="UploadPart", count=0)
    with socket.create_connection(("127.0.0.1", servers.ports["s3"])) as client:
        client.sendall(b"PUT /bucket/k?partNumber=1&uploadId=u HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + bytes(1000))
        assert servers.control.wait_held()
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
    wait_until(lambda: not servers.control.held(), what="the end of the hang")
    assert outcomes(servers) == [(None, False, "hung")]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_connection_is_cut_in_mid_part(servers, client, reset):
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="k")["UploadId"]
    servers.control.fault("cut", operation="UploadPart", reset=reset)
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        client.upload_part(Bucket=BUCKET, Key="k", UploadId=upload, PartNumber=1, Body=bytes(8 * MIB))
    cut = servers.control.log(operation="UploadPart")[0]
    assert (cut["outcome"], cut["length"], cut["status"]) == ("cut", 4 * MIB, None)
    assert servers.control.uploads()[0]["parts"] == {} and servers.world.memory == 0


def test_an_answer_is_cut(servers, client):
    client.put_object(**PUT)
    servers.control.fault("cut_answer", operation="ListObjectsV2")
    with pytest.raises((HTTPClientError, ResponseParserError)):
        client.list_objects_v2(Bucket=BUCKET)
    assert servers.control.log()[-1]["outcome"] == "cut"


def test_a_port_refuses_and_takes_connections_again(servers, client):
    client.put_object(**PUT)
    port = servers.ports["s3"]
    servers.control.refuse("s3")
    with pytest.raises((EndpointConnectionError, ConnectionClosedError)):
        client.get_object(Bucket=BUCKET, Key="k")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    servers.control.refuse("s3", False)
    assert servers.ports["s3"] == port and client.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"hello"


# ---- answers that are wrong ----


def test_errors_are_those_of_s3(servers, client):
    for action, expected in (("internal", ("InternalError", 500)), ("slow_down", ("SlowDown", 503)), ("conflict", ("ConditionalRequestConflict", 409)),
                             ("precondition", ("PreconditionFailed", 412)), ("no_bucket", ("NoSuchBucket", 404)), ("denied", ("AccessDenied", 403)),
                             ("expired", ("ExpiredToken", 400)), ("skewed", ("RequestTimeTooSkewed", 403)), ("unavailable", ("ServiceUnavailable", 503))):
        servers.control.fault(action, operation="PutObject")
        assert code_of(client.put_object, **PUT) == expected
    assert servers.control.objects() == [] and servers.control.faults()[0]["fired"] == 1
    servers.control.fault("custom", operation="PutObject", status=418, code="Teapot", message="I am one", headers={"x-more": "1"}, retry_after=7)
    with pytest.raises(ClientError) as caught:
        client.put_object(**PUT)
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["Error"]["Message"]) == ("Teapot", "I am one")
    assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "7" and answer["ResponseMetadata"]["HTTPHeaders"]["x-more"] == "1"


def begin_one(client):
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="k")["UploadId"]
    etag = client.upload_part(Bucket=BUCKET, Key="k", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    return {"Bucket": BUCKET, "Key": "k", "UploadId": upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}


def test_a_complete_that_worked_may_say_that_there_is_no_upload(servers, client):
    named = begin_one(client)
    servers.control.fault("no_upload", operation="CompleteMultipartUpload", acted=True)
    assert code_of(client.complete_multipart_upload, **named) == ("NoSuchUpload", 404)
    assert servers.control.data("k") == b"x" and servers.control.uploads() == []
    entry = servers.control.log(operation="CompleteMultipartUpload")[0]
    assert (entry["status"], entry["true_status"], entry["acted"]) == (404, 200, True)


@pytest.mark.parametrize("acted", [False, True])
def test_a_complete_may_be_answered_200_with_an_error(servers, client, acted):
    named = begin_one(client)
    servers.control.fault("body_error", operation="CompleteMultipartUpload", acted=acted)
    status_and_body = []
    client.meta.events.register("before-parse.s3.CompleteMultipartUpload",
                                lambda response_dict, **_: status_and_body.append((response_dict["status_code"], response_dict["body"])))
    try:
        client.complete_multipart_upload(**named)
    except ClientError:
        pass  # some versions look into the body
    entry = servers.control.log(operation="CompleteMultipartUpload")[0]
    assert entry["status"] == 200 and entry["code"] == "InternalError" and (len(servers.control.objects()) == 1) == acted
    assert all(b"<Error>" in body for _, body in status_and_body)


def test_an_early_error_does_not_wait_for_the_body(servers):
    servers.control.fault("slow_down", operation="PutObject", early=True, retry_after=1)
    with socket.create_connection(("127.0.0.1", servers.ports["s3"])) as client:
        client.sendall(b"PUT /bucket/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        client.settimeout(20 * SLOW)
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1\r\n" in answer and b"Connection: close\r\n" in answer


def test_a_body_is_asked_for_when_its_head_is_good(servers):
    """Expect: 100-continue, and a body in chunks, which S3 does not take."""
    with socket.create_connection(("127.0.0.1", servers.ports["s3"])) as client:
        client.settimeout(20 * SLOW)
        servers.control.fault("internal", operation="PutObject")
        client.sendall(b"PUT /bucket/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"5;x=1\r\nhello\r\n0\r\n\r\nGET /bucket/k HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = b""
        while data.count(b"</Error>") < 2:
            data += client.recv(65536)
    assert data.startswith(b"HTTP/1.1 500 ") and b"HTTP/1.1 403 " in data
    assert [one["length"] for one in servers.control.log()] == [5, None]


# ---- which requests ----


def test_a_fault_is_for_the_requests_that_it_names(servers, client):
    servers.control.fault("internal", operation="Put*", key="log/*", nth=2, count=2)
    codes = []
    for key in ("log/1", "other", "log/2", "log/3", "log/4"):
        try:
            client.put_object(Bucket=BUCKET, Key=key)
            codes.append(key)
        except ClientError:
            pass
    assert codes == ["log/1", "other", "log/4"]
    assert servers.control.faults() == [{"id": servers.control.faults()[0]["id"], "action": "internal", "seen": 4, "fired": 2, "operation": "Put*",
                                         "key": "log/*"}]


def test_a_fault_by_chance_is_the_same_with_the_same_seed(servers, client):
    runs = []
    for _ in range(2):
        servers.control.reset()
        servers.control.fault("internal", probability=0.5, seed=3)
        for number in range(20):
            try:
                client.put_object(Bucket=BUCKET, Key=str(number))
            except ClientError:
                pass
        runs.append([one["key"] for one in servers.control.objects()])
    assert runs[0] == runs[1] and 0 < len(runs[0]) < 20


def test_a_rate_is_the_most_that_is_taken_in_a_second(servers, client):
    servers.control.fault("slow_down", above=3)
    refused = 0
    for number in range(6):
        try:
            client.put_object(Bucket=BUCKET, Key=str(number))
        except ClientError as error:
            assert error.response["Error"]["Code"] == "SlowDown"
            refused += 1
    assert refused >= 1 and len(servers.control.objects()) == 6 - refused >= 3


def test_a_slow_server_takes_its_time(servers, client):
    servers.control.fault("slow", operation="PutObject", rate=100_000)
    began = time.monotonic()
    client.put_object(Bucket=BUCKET, Key="k", Body=bytes(30_000))
    assert time.monotonic() - began >= 0.3


def test_unknown_faults_and_settings_are_refused(servers):
    for wrong in ({"action": "nonsense"}, {"action": "hold", "when": "soon"}, {"action": "slow"}, {"action": "internal", "colour": 1}):
        with pytest.raises((ValueError, TypeError)):
            servers.control.fault(**wrong)
    with pytest.raises(ValueError):
        servers.control.set(colour=1)


# ---- in a process of its own ----


def test_the_server_is_driven_from_another_process(store):
    server = store("--s3", "--bucket", "other", "--set", "min_part=1")
    assert "azure" not in server.ports
    client = s3_client(server.about)
    key = "a b/ü&?"
    client.put_object(Bucket="other", Key=key, Body=b"\0hello")
    assert server.control.data(key) == b"\0hello" and server.control.data(key, bucket="other") == b"\0hello"
    with pytest.raises(KeyError):
        server.control.data("nothing")
    rule = server.control.fault("hold", when="after", operation="GetObject")
    waiting = Later(client.get_object, Bucket="other", Key=key)
    assert server.control.wait_held(rule)
    server.control.release(rule)
    assert waiting.result()["ContentLength"] == 6
    assert [one["operation"] for one in server.control.log()] == ["PutObject", "GetObject"]
    assert server.control.set(mode="minio")["mode"] == "minio"
    with pytest.raises(ValueError):
        server.control.fault("nonsense")
    with pytest.raises(AttributeError):
        server.control.nonsense()
    assert server.environment()["AWS_ENDPOINT_URL"] == server.urls["s3"]
    assert server.stop() == 0


def test_the_server_ends_with_its_parent():
    program = "import subprocess, sys; child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE); print(child.pid, flush=True);" \
              " child.stdout.readline(); print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(ROOT / "tests" / "store" / "server.py"), "--s3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(signal.SIGKILL)
        parent.wait()

    def gone():
        try:
            os.waitpid(pid, os.WNOHANG)  # it is ours now: the tests are the reaper
        except ChildProcessError:
            pass
        return not os.path.exists(f"/proc/{pid}")

    wait_until(gone, 10, "the end of the server")


def test_the_stores_speak_tls_with_a_certificate_of_their_own(store):
    server = store("--s3", "--azure", "--tls")
    client = s3_client(server.about, verify=server.ca_file)
    assert server.urls["s3"].startswith("https://")
    client.put_object(**PUT)
    assert server.control.data("k") == b"hello"
    with socket.create_connection(("127.0.0.1", server.ports["azure"])) as plain:
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
    context = ssl.create_default_context(cafile=server.ca_file)
    with socket.create_connection(("127.0.0.1", server.ports["s3"])) as plain, context.wrap_socket(plain, server_hostname="bucket.localhost"):
        pass


# ---- credentials ----


def ask(servers, method, target, headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", servers.ports["credentials"], timeout=20 * SLOW)
    try:
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


ROLES = "/latest/meta-data/iam/security-credentials/"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"


def put_with(servers, given):
    """A PutObject with the credentials of an answer."""
    client = s3_client(servers.describe(), aws_access_key_id=given["AccessKeyId"], aws_secret_access_key=given["SecretAccessKey"],
                       aws_session_token=given.get("Token") or given["SessionToken"])
    return client.put_object(**PUT)


def test_an_instance_has_credentials_for_those_with_a_session_token(servers):
    assert ask(servers, "GET", ROLES)[0] == 401
    assert ask(servers, "PUT", "/latest/api/token")[0] == 400 and ask(servers, "PUT", "/latest/api/token", {TTL: "21601"})[0] == 400
    assert ask(servers, "PUT", "/latest/api/token", {TTL: "60", "X-Forwarded-For": "10.0.0.1"})[0] == 403
    status, token = ask(servers, "PUT", "/latest/api/token", {TTL: "60"})
    assert status == 200
    with_token = {"X-aws-ec2-metadata-token": token}
    assert ask(servers, "GET", ROLES, with_token) == (200, "test-role")
    assert ask(servers, "GET", "/latest/meta-data/placement/region", with_token) == (200, "us-east-1")
    servers.world.set(credential_seconds=120)
    status, text = ask(servers, "GET", ROLES + "test-role", with_token)
    given = json.loads(text)
    assert (status, given["Code"], given["Type"]) == (200, "Success", "AWS-HMAC")
    put_with(servers, given)
    assert servers.control.log(operation="PutObject")[0]["access_key"] == given["AccessKeyId"]
    expected = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 120))
    assert given["Expiration"] >= expected[:-1]
    servers.control.expire()
    assert code_of(put_with, servers=servers, given=given) == ("ExpiredToken", 400)
    servers.world.set(clock_skew=61)
    assert ask(servers, "GET", ROLES, with_token)[0] == 401


def test_a_container_has_credentials_for_those_with_its_token(servers):
    assert ask(servers, "GET", CONTAINER_PATH)[0] == 401
    status, text = ask(servers, "GET", CONTAINER_PATH, {"Authorization": "container-token"})
    assert status == 200
    put_with(servers, json.loads(text))
    servers.world.set(container_token="rotated")
    assert ask(servers, "GET", CONTAINER_PATH, {"Authorization": "container-token"})[0] == 401
    servers.control.fault("internal", operation="ContainerCredentials")
    assert ask(servers, "GET", CONTAINER_PATH, {"Authorization": "rotated"})[0] == 500


def test_a_web_identity_becomes_a_role(servers):
    form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": "arn:aws:iam::123456789012:role/test-role",
            "RoleSessionName": "millrace", "WebIdentityToken": "web-identity-token"}

    def assume(**changed):
        body = urllib.parse.urlencode({**form, **changed})
        return ask(servers, "POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, body)

    status, text = assume()
    assert status == 200
    root, space = ElementTree.fromstring(text), "{https://sts.amazonaws.com/doc/2011-06-15/}"
    given = {name: root.findtext(f".//{space}{name}") for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")}
    put_with(servers, given)
    for changed, expected in (({"WebIdentityToken": "old"}, "InvalidIdentityToken"), ({"RoleArn": "arn:x"}, "AccessDenied"),
                              ({"RoleSessionName": ""}, "ValidationError")):
        status, text = assume(**changed)
        assert status in (400, 403) and ElementTree.fromstring(text).findtext(f".//{space}Code") == expected
    servers.control.fault("slow_down", operation="AssumeRoleWithWebIdentity")
    assert assume()[0] == 429


def test_boto3_finds_its_credentials_here(servers, tmp_path):
    """An independent client of the metadata of an instance and of a container."""
    url = servers.describe()["urls"]
    about = json.dumps(servers.describe())
    program = "import json, sys, boto3; from botocore.config import Config; about = json.loads(sys.argv[1]);" \
              " boto3.client('s3', endpoint_url=about['urls']['s3'], region_name='us-east-1', config=Config(s3={'addressing_style': 'path'}))" \
              ".put_object(Bucket='bucket', Key=sys.argv[2])"
    ways = {"instance": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url["credentials"]},
            "container": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url["container_credentials"], "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token"}}
    for name, variables in ways.items():
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables}
        run = subprocess.run(["/usr/bin/python3", "-c", program, about, name], env=env, capture_output=True, text=True, timeout=50 * SLOW, check=False)
        assert run.returncode == 0, run.stderr
    keys = [one["access_key"] for one in servers.control.log(operation="PutObject")]
    assert len(keys) == 2 and all(key.startswith("ASIATEST") for key in keys)
    assert [one["operation"] for one in servers.control.log(service="credentials")] == ["InstanceToken", "InstanceRole", "InstanceCredentials",
                                                                                        "ContainerCredentials"]
