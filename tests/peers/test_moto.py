"""moto answers as the tests of the sinks need it, and the fault server answers the same: both asked by boto3."""
import os

import pytest
from botocore.exceptions import ClientError

from store_help import s3_client

MIB = 1 << 20


@pytest.fixture(params=["moto", "fault server"])
def client(request):
    if request.param == "fault server":
        return s3_client(request.getfixturevalue("store")("--s3", "--bucket", "smoke").about)
    client = s3_client(request.getfixturevalue("moto").about())
    client.create_bucket(Bucket="smoke")
    return client


def test_an_upload_is_the_object_of_its_parts(client):
    bodies = [os.urandom(5 * MIB), b"end"]
    named = {"Bucket": "smoke", "Key": "a/ü&+ b"}
    upload = client.create_multipart_upload(Metadata={"token": "t"}, **named)["UploadId"]
    parts = [{"PartNumber": number, "ETag": client.upload_part(UploadId=upload, PartNumber=number, Body=body, **named)["ETag"]}
             for number, body in enumerate(bodies, 1)]
    assert [part["Size"] for part in client.list_parts(UploadId=upload, **named)["Parts"]] == [5 * MIB, 3]
    client.complete_multipart_upload(UploadId=upload, MultipartUpload={"Parts": parts}, **named)
    got = client.get_object(**named)
    assert got["Body"].read() == b"".join(bodies) and got["Metadata"] == {"token": "t"}


def test_a_small_part_before_the_last_is_refused(client):
    named = {"Bucket": "smoke", "Key": "small"}
    upload = client.create_multipart_upload(**named)["UploadId"]
    parts = [{"PartNumber": number, "ETag": client.upload_part(UploadId=upload, PartNumber=number, Body=b"x", **named)["ETag"]} for number in (1, 2)]
    with pytest.raises(ClientError) as caught:
        client.complete_multipart_upload(UploadId=upload, MultipartUpload={"Parts": parts}, **named)
    assert caught.value.response["Error"]["Code"] == "EntityTooSmall"
