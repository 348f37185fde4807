"""The S3 part of the fault server, asked by boto3 and by AWS's own examples of signatures."""
import base64
import calendar
import http.client
import os
import time

import pytest
from botocore.exceptions import ClientError

from harness import SLOW
from store_help import s3_client
from store.checksums import BYTE_TABLE, crc32c
from store.services import Servers

MIB = 1 << 20
BUCKET = "bucket"
HOSTILE = ["plain", "a b/ü+&=~*'(x)!;,$@:", "../up", "a//b", "%2e%2E/%", "line\nbreak", "q?x=1&uploads", "end/"]


@pytest.fixture(scope="module")
def shared():
    with Servers(s3=True) as servers:
        yield servers


@pytest.fixture
def servers(shared):
    before = shared.world.set()
    yield shared
    shared.world.set(**before)
    shared.control.reset()


@pytest.fixture(scope="module")
def client(shared):
    return s3_client(shared.describe())


def code_of(call, **named):
    """(code, status) of the error that the call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**named)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def begin(client, key="k", **named):
    return client.create_multipart_upload(Bucket=BUCKET, Key=key, **named)["UploadId"]


def put_parts(client, upload, bodies, key="k", **named):
    parts = []
    for number, body in enumerate(bodies, 1):
        answer = client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=body, **named)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        parts[-1].update({name: value for name, value in answer.items() if name.startswith("Checksum")})
    return parts


def complete(client, upload, parts, key="k", **named):
    return client.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **named)


# ---- checksums ----


def test_crc32c_is_that_of_the_standard(rng):
    assert crc32c(b"123456789") == 0xE3069283
    for length in (0, 1, 9, 4095, 4096, 4097, 70001, 1 << 20):
        data, register = rng.randbytes(length), 0xFFFFFFFF
        for byte in data:
            register = BYTE_TABLE[(register ^ byte) & 0xFF] ^ (register >> 8)
        assert crc32c(data) == register ^ 0xFFFFFFFF
        assert crc32c(data[length // 3 :], crc32c(data[: length // 3])) == crc32c(data)


# ---- objects ----


@pytest.mark.parametrize("key", HOSTILE)
def test_an_object_comes_back_with_its_metadata(servers, client, key):
    client.put_object(Bucket=BUCKET, Key=key, Body=b"hello", Metadata={"token": "t-1"}, ContentType="text/plain")
    answer = client.get_object(Bucket=BUCKET, Key=key)
    assert (answer["Body"].read(), answer["Metadata"], answer["ContentType"]) == (b"hello", {"token": "t-1"}, "text/plain")
    head = client.head_object(Bucket=BUCKET, Key=key)
    assert (head["ContentLength"], head["Metadata"], head["ETag"]) == (5, {"token": "t-1"}, '"5d41402abc4b2a76b9719d911017c592"')
    assert [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET)["Contents"]] == [key]
    assert servers.control.data(key) == b"hello"


def test_virtual_host_style_names_the_bucket_in_the_host(servers):
    def ask(host, target):
        connection = http.client.HTTPConnection("127.0.0.1", servers.ports["s3"], timeout=10 * SLOW)
        connection.request("GET", target, headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    assert ask("bucket.localhost:1234", "/a/b?uploadId=7") == 403 and ask("localhost", "/bucket/a/b?uploadId=7") == 403
    assert [(one["bucket"], one["key"], one["operation"], one["upload"]) for one in servers.control.log()] == [(BUCKET, "a/b", "ListParts", "7")] * 2


def test_a_range_is_answered_in_part(servers, client):
    client.put_object(Bucket=BUCKET, Key="k", Body=b"0123456789")
    for text, expected in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-3", b"789"), ("bytes=8-99", b"89")):
        assert client.get_object(Bucket=BUCKET, Key="k", Range=text)["Body"].read() == expected
    assert code_of(client.get_object, Bucket=BUCKET, Key="k", Range="bytes=10-") == ("InvalidRange", 416)


def test_what_is_not_there_is_said(servers, client):
    assert code_of(client.get_object, Bucket=BUCKET, Key="k") == ("NoSuchKey", 404)
    assert code_of(client.head_object, Bucket=BUCKET, Key="k") == ("404", 404)
    assert code_of(client.put_object, Bucket="nowhere", Key="k") == ("NoSuchBucket", 404)
    assert code_of(client.head_bucket, Bucket="nowhere") == ("404", 404)
    assert client.head_bucket(Bucket=BUCKET)["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "us-east-1"
    assert code_of(client.upload_part, Bucket=BUCKET, Key="k", UploadId="x", PartNumber=1, Body=b"") == ("NoSuchUpload", 404)
    assert code_of(client.put_object, Bucket=BUCKET, Key="k" * 1025) == ("KeyTooLongError", 400)
    assert code_of(client.delete_object, Bucket=BUCKET, Key="k") == ("MethodNotAllowed", 405)
    assert code_of(client.put_object, Bucket=BUCKET, Key="k", Metadata={"a": "b" * 2048}) == ("MetadataTooLarge", 400)


def conditional(client):
    """Older boto3 has no IfNoneMatch: the header is put in by hand."""
    def add(request, **_):
        request.headers["If-None-Match"] = "*"

    client.meta.events.register("before-sign.s3.PutObject", add)
    client.meta.events.register("before-sign.s3.CompleteMultipartUpload", add)
    return client


def test_a_put_that_must_be_the_first_is_refused_after_another(servers):
    client = conditional(s3_client(servers.describe()))
    client.put_object(Bucket=BUCKET, Key="k", Body=b"first")
    assert code_of(client.put_object, Bucket=BUCKET, Key="k", Body=b"second") == ("PreconditionFailed", 412)
    assert servers.control.data("k") == b"first"
    servers.control.fault("conflict", operation="PutObject")
    assert code_of(client.put_object, Bucket=BUCKET, Key="other") == ("ConditionalRequestConflict", 409)
    assert [one["key"] for one in servers.control.objects()] == ["k"]
    upload = begin(client)
    parts = put_parts(client, upload, [b"x"])
    assert code_of(complete, client=client, upload=upload, parts=parts) == ("PreconditionFailed", 412)
    assert [one["upload"] for one in servers.control.uploads()] == [upload]


def test_encryption_is_recorded_and_given_back(servers, client):
    answer = client.put_object(Bucket=BUCKET, Key="a", ServerSideEncryption="AES256")
    assert answer["ServerSideEncryption"] == "AES256"
    answer = client.put_object(Bucket=BUCKET, Key="b", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId="my-key")
    assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", "my-key")
    assert answer["ETag"] != '"9dd4e461268c8034f5c8564e155c67a6"', "with SSE-KMS the ETag is not the MD5"
    assert [one["headers"].get("x-amz-server-side-encryption-aws-kms-key-id") for one in servers.control.objects()] == [None, "my-key"]
    assert code_of(client.put_object, Bucket=BUCKET, Key="c", SSEKMSKeyId="my-key") == ("InvalidArgument", 400)
    upload = begin(client, ServerSideEncryption="AES256")
    assert complete(client, upload, put_parts(client, upload, [b"x"]))["ServerSideEncryption"] == "AES256"


# ---- multipart uploads ----


def test_an_upload_is_the_object_of_its_parts(servers, client):
    bodies = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"end"]
    upload = begin(client, Metadata={"token": "t"})
    parts = put_parts(client, upload, bodies)
    assert servers.control.objects() == []
    answer = complete(client, upload, parts)
    assert answer["ETag"].endswith('-3"')
    got = client.get_object(Bucket=BUCKET, Key="k")
    assert got["Body"].read() == b"".join(bodies) and got["Metadata"] == {"token": "t"} and got["ETag"] == answer["ETag"]
    assert servers.control.uploads() == [] and servers.world.memory == 10 * MIB + 3


def test_a_part_that_is_sent_again_replaces_the_first(servers, client):
    upload = begin(client)
    put_parts(client, upload, [b"first"])
    parts = put_parts(client, upload, [b"second"])
    complete(client, upload, parts)
    assert servers.control.data("k") == b"second" and servers.world.memory == 6


def test_a_repeated_complete_succeeds_on_aws_and_not_on_minio(servers, client):
    upload = begin(client)
    parts = put_parts(client, upload, [b"x"])
    first = complete(client, upload, parts)
    assert complete(client, upload, parts)["ETag"] == first["ETag"]
    servers.world.set(mode="minio")
    assert code_of(complete, client=client, upload=upload, parts=parts) == ("NoSuchUpload", 404)


def test_complete_refuses_what_does_not_fit(servers, client):
    upload = begin(client)
    parts = put_parts(client, upload, [b"a", b"b"])
    named = {"client": client, "upload": upload}
    assert code_of(complete, parts=parts, **named) == ("EntityTooSmall", 400)
    assert code_of(complete, parts=parts[::-1], **named) == ("InvalidPartOrder", 400)
    assert code_of(complete, parts=[parts[0], parts[0]], **named) == ("InvalidPartOrder", 400)
    assert code_of(complete, parts=[{**parts[0], "ETag": parts[1]["ETag"]}], **named) == ("InvalidPart", 400)
    assert code_of(complete, parts=[{**parts[0], "PartNumber": 7}], **named) == ("InvalidPart", 400)
    assert code_of(complete, parts=[], **named) == ("MalformedXML", 400)
    assert code_of(client.upload_part, Bucket=BUCKET, Key="other", UploadId=upload, PartNumber=1) == ("NoSuchUpload", 404)
    for number in (0, 10001):
        assert code_of(client.upload_part, Bucket=BUCKET, Key="k", UploadId=upload, PartNumber=number) == ("InvalidArgument", 400)
    servers.world.set(max_part=3)
    assert code_of(client.upload_part, Bucket=BUCKET, Key="k", UploadId=upload, PartNumber=3, Body=b"four") == ("EntityTooLarge", 400)
    assert [one["upload"] for one in servers.control.uploads()] == [upload]


def test_an_abort_is_counted(servers, client):
    upload = begin(client)
    put_parts(client, upload, [b"x"])
    client.abort_multipart_upload(Bucket=BUCKET, Key="k", UploadId=upload)
    assert servers.control.aborts() == 1 and servers.control.uploads() == [] and servers.world.memory == 0
    assert code_of(client.list_parts, Bucket=BUCKET, Key="k", UploadId=upload) == ("NoSuchUpload", 404)


def test_lists_come_in_pages(servers, client):
    servers.world.set(page=2)
    uploads = [begin(client, key) for key in ("b", "a", "c/ü", "a", "d")]
    put_parts(client, uploads[0], [b"1", b"2", b"3", b"4", b"5"], "b")
    pages = list(client.get_paginator("list_parts").paginate(Bucket=BUCKET, Key="b", UploadId=uploads[0]))
    assert [[part["PartNumber"] for part in page["Parts"]] for page in pages] == [[1, 2], [3, 4], [5]]
    pages = list(client.get_paginator("list_multipart_uploads").paginate(Bucket=BUCKET))
    assert [[one["Key"] for one in page["Uploads"]] for page in pages] == [["a", "a"], ["b", "c/ü"], ["d"]]
    assert {one["UploadId"] for page in pages for one in page["Uploads"]} == set(uploads)
    for key in HOSTILE:
        client.put_object(Bucket=BUCKET, Key=key)
    pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET))
    assert [one["Key"] for page in pages for one in page["Contents"]] == sorted(HOSTILE, key=str.encode)
    assert all(len(page["Contents"]) <= 2 for page in pages)
    page = client.list_objects_v2(Bucket=BUCKET, Prefix="a", Delimiter="/")
    assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["a b/", "a/"]
    assert [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET, Prefix="q?")["Contents"]] == ["q?x=1&uploads"]


# ---- checksums of bodies ----


def in_base64(value):
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def test_wrong_digests_are_refused(servers, client):
    body, key = b"hello", {"Bucket": BUCKET, "Key": "k"}
    assert code_of(client.put_object, Body=body, ContentMD5=base64.b64encode(bytes(16)).decode(), **key) == ("BadDigest", 400)
    assert code_of(client.put_object, Body=body, ContentMD5="nonsense", **key) == ("InvalidDigest", 400)
    assert code_of(client.put_object, Body=body, ChecksumCRC32C=in_base64(crc32c(b"other")), **key) == ("BadDigest", 400)
    assert code_of(client.put_object, Body=body, ChecksumCRC32C="nonsense", **key) == ("InvalidRequest", 400)
    assert client.put_object(Body=body, ChecksumCRC32C=in_base64(crc32c(body)), **key)["ChecksumCRC32C"] == in_base64(crc32c(body))
    assert client.head_object(ChecksumMode="ENABLED", **key)["ChecksumCRC32C"] == in_base64(crc32c(body))
    servers.world.set(checksums="refuse")
    assert code_of(client.put_object, Body=body, ChecksumCRC32C=in_base64(crc32c(body)), **key) == ("NotImplemented", 501)
    servers.world.set(checksums="ignore")
    assert "ChecksumCRC32C" not in client.put_object(Body=body, ChecksumCRC32C=in_base64(crc32c(b"other")), **key)


def test_an_upload_with_checksums_wants_one_of_each_part(servers, client):
    body = os.urandom(5 * MIB)
    upload = begin(client, ChecksumAlgorithm="CRC32C")
    first, second = crc32c(body), crc32c(b"end")
    parts = put_parts(client, upload, [body], ChecksumCRC32C=in_base64(first))
    answer = client.upload_part(Bucket=BUCKET, Key="k", UploadId=upload, PartNumber=2, Body=b"end", ChecksumCRC32C=in_base64(second))
    parts.append({"PartNumber": 2, "ETag": answer["ETag"], "ChecksumCRC32C": answer["ChecksumCRC32C"]})
    named = {"Bucket": BUCKET, "Key": "k", "UploadId": upload, "PartNumber": 3, "Body": b"x"}
    assert code_of(client.upload_part, **named) == ("InvalidRequest", 400)
    without = [{name: part[name] for name in ("PartNumber", "ETag")} for part in parts]
    assert code_of(complete, client=client, upload=upload, parts=without) == ("InvalidRequest", 400)
    wrong = [parts[0], {**parts[1], "ChecksumCRC32C": in_base64(first)}]
    assert code_of(complete, client=client, upload=upload, parts=wrong) == ("InvalidPart", 400)
    joined = first.to_bytes(4, "big") + second.to_bytes(4, "big")
    assert complete(client, upload, parts)["ChecksumCRC32C"] == f"{in_base64(crc32c(joined))}-2"


def test_a_part_with_a_checksum_that_was_not_announced_is_refused(servers, client):
    upload = begin(client)
    named = {"Bucket": BUCKET, "Key": "k", "UploadId": upload, "PartNumber": 1, "Body": b"x", "ChecksumCRC32C": in_base64(crc32c(b"x"))}
    assert code_of(client.upload_part, **named) == ("InvalidRequest", 400)


# ---- signatures ----

EXAMPLE_KEY, EXAMPLE_SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
# docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, the examples: target, headers, body, signature.
EXAMPLES = {
    "get object": ("GET", "/test.txt", {"Range": "bytes=0-9", "x-amz-content-sha256": EMPTY}, b"",
                   "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", 404),
    "put object": ("PUT", "/test%24file.text", {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY",
                   "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"}, b"Welcome to Amazon S3.",
                   "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd", 200),
    "get with a query without value": ("GET", "/?lifecycle", {"x-amz-content-sha256": EMPTY}, b"",
                                       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", 501),
    "list": ("GET", "/?max-keys=2&prefix=J", {"x-amz-content-sha256": EMPTY}, b"",
             "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", 501),
}


def ask_raw(port, method, target, headers, body=b""):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * SLOW)
    try:
        connection.request(method, target, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_the_examples_of_the_documents_are_right_and_their_neighbours_wrong(name, right):
    method, target, headers, body, signature, status = EXAMPLES[name]
    then = calendar.timegm((2013, 5, 24, 0, 0, 0))
    with Servers(s3=True, buckets=["examplebucket"], access_key=EXAMPLE_KEY, secret_key=EXAMPLE_SECRET if right else EXAMPLE_SECRET + "x",
                 domains=("s3.amazonaws.com",), clock_skew=then - time.time()) as servers:
        headers = {"Host": "examplebucket.s3.amazonaws.com", "x-amz-date": "20130524T000000Z", **headers}
        names = ";".join(sorted(one.lower() for one in headers))
        headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={EXAMPLE_KEY}/20130524/us-east-1/s3/aws4_request, SignedHeaders={names}," \
                                   f" Signature={signature}"
        got, text = ask_raw(servers.ports["s3"], method, target, headers, body)
        assert got == (status if right else 403) and ("SignatureDoesNotMatch" in text) == (not right), text


def test_a_signature_that_does_not_fit_is_refused(servers):
    about = servers.describe()
    listing = {"Bucket": BUCKET, "Key": "k"}
    assert code_of(s3_client(about, aws_secret_access_key="wrong").get_object, **listing) == ("SignatureDoesNotMatch", 403)
    assert code_of(s3_client(about, aws_access_key_id="nobody").get_object, **listing) == ("InvalidAccessKeyId", 403)
    assert code_of(s3_client(about, region_name="eu-west-1").get_object, **listing) == ("NoSuchKey", 404)  # boto3 goes on in the right region
    assert [one["code"] for one in servers.control.log()][-2:] == ["AuthorizationHeaderMalformed", "NoSuchKey"]
    assert code_of(s3_client(about, aws_session_token="none").get_object, **listing) == ("InvalidToken", 400)
    for skew in (-1000, 1000):
        servers.world.set(clock_skew=skew)
        assert code_of(s3_client(about).get_object, **listing) == ("RequestTimeTooSkewed", 403)
    servers.world.set(clock_skew=800)
    assert code_of(s3_client(about).get_object, **listing) == ("NoSuchKey", 404)
    assert {one["status"] for one in servers.control.log()} == {400, 403, 404}


@pytest.mark.parametrize("change", ["header", "unsigned", "payload", "query", "path", "method"])
def test_what_was_changed_after_signing_is_refused(servers, change):
    client = s3_client(servers.describe())

    def spoil(request, **_):
        if change == "header":
            del request.headers["x-amz-meta-token"]
            request.headers["x-amz-meta-token"] = "other"
        elif change == "unsigned":
            request.headers["x-amz-meta-more"] = "not signed"
        elif change == "payload":
            request.body = b"jello"
        elif change == "query":
            request.url += "?x-id=PutObject"
        elif change == "path":
            request.url += "x"
        else:
            request.method = "POST"

    client.meta.events.register("before-send.s3.PutObject", spoil)
    code = {"unsigned": "AccessDenied", "payload": "XAmzContentSHA256Mismatch"}.get(change, "SignatureDoesNotMatch")
    status = 400 if change == "payload" else 403
    # Without Content-MD5 the payload is covered by its hash alone.
    assert code_of(client.put_object, Bucket=BUCKET, Key="k", Body=b"hello", Metadata={"token": "t"}) == (code, status)
    assert servers.control.objects() == []


def test_a_session_token_is_wanted_until_it_expires(servers):
    servers.control.add_credential("ASIA1", "secret", token="the-token", expires=time.time() + 500)
    named = {"aws_access_key_id": "ASIA1", "aws_secret_access_key": "secret"}
    about, key = servers.describe(), {"Bucket": BUCKET, "Key": "k"}
    s3_client(about, aws_session_token="the-token", **named).put_object(**key)
    assert servers.control.log()[0]["headers"]["x-amz-security-token"] == "***"
    assert code_of(s3_client(about, **named).put_object, **key) == ("InvalidAccessKeyId", 403)
    assert code_of(s3_client(about, aws_session_token="another", **named).put_object, **key) == ("InvalidToken", 400)
    servers.world.set(clock_skew=600)
    assert code_of(s3_client(about, aws_session_token="the-token", **named).put_object, **key) == ("ExpiredToken", 400)


def test_without_a_signature_nothing_is_allowed(servers):
    status, text = ask_raw(servers.ports["s3"], "GET", "/bucket/k", {})
    assert status == 403 and "<Code>AccessDenied</Code>" in text
    status, text = ask_raw(servers.ports["s3"], "GET", "/bucket/k", {"Authorization": "AWS AKIA:signature"})
    assert status == 400 and "<Code>InvalidRequest</Code>" in text


def test_bodies_can_be_discarded(servers, client):
    servers.world.set(discard=True)
    upload = begin(client)
    parts = put_parts(client, upload, [bytes(5 * MIB), b"end"])
    complete(client, upload, parts)
    assert servers.world.memory == 0 and servers.control.objects()[0]["size"] == 5 * MIB + 3
    assert code_of(client.get_object, Bucket=BUCKET, Key="k") == ("NotImplemented", 501)
    assert [one["length"] for one in servers.control.log(operation="UploadPart")] == [5 * MIB, 3]
