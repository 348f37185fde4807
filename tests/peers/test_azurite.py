"""Azurite answers as the tests of the sinks need it, and the fault server answers the same: both asked by Azure's own library."""
import base64
import datetime
import os

import pytest

from store_help import AzureClient, block_id


@pytest.fixture(params=["azurite", "fault server"])
def account(request, azure_library):
    """(client of the account, its name, its key, its port)"""
    from azure.storage.blob import BlobServiceClient  # pylint: disable=import-outside-toplevel

    if request.param == "azurite":
        one = request.getfixturevalue("azurite")
        service = one.service()
        if not service.get_container_client("container").exists():
            service.create_container("container")
        return service, one.account, one.key, one.port.number
    server = request.getfixturevalue("store")("--azure")
    name, key = server.keys["account"], server.keys["account_key"]
    return BlobServiceClient(server.urls["azure_account"], credential={"account_name": name, "account_key": key}), name, key, server.ports["azure"]


@pytest.fixture
def container(account):
    return account[0].get_container_client("container")


def name_of(request):
    return f"{request.node.name}/ü&+ b"


def test_blocks_become_a_blob(container, request):
    blob = container.get_blob_client(name_of(request))
    bodies = [os.urandom(1 << 20), b"end"]
    ids = [base64.b64encode(f"{number:06d}".encode()).decode() for number in (1, 2)]
    for number, body in zip(ids, bodies):
        blob.stage_block(number, body)
    committed, uncommitted = blob.get_block_list("all")
    assert committed == [] and [block.size for block in uncommitted] == [1 << 20, 3]
    blob.commit_block_list(ids, metadata={"token": "t"})
    assert blob.download_blob().readall() == b"".join(bodies) and blob.get_blob_properties().metadata == {"token": "t"}
    assert [block.id for block in blob.get_block_list("committed")[0]] == ids
    assert name_of(request) in [one.name for one in container.list_blobs(include=["metadata"])]


def test_a_put_that_must_be_the_first_is_refused_after_another(container, request):
    from azure.core.exceptions import ResourceExistsError  # pylint: disable=import-outside-toplevel

    blob = container.get_blob_client(name_of(request))
    blob.upload_blob(b"first", overwrite=False)
    with pytest.raises(ResourceExistsError) as caught:
        blob.upload_blob(b"second", overwrite=False)
    assert caught.value.error_code == "BlobAlreadyExists"
    assert blob.download_blob().readall() == b"first"


def test_a_sas_of_azure_s_library_is_taken(account, request):
    from azure.storage.blob import BlobClient, generate_account_sas, generate_container_sas  # pylint: disable=import-outside-toplevel

    service, name, key, _ = account
    expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    signatures = [generate_container_sas(name, "container", account_key=key, permission="rcwl", expiry=expiry),
                  generate_account_sas(name, key, resource_types="co", permission="rwcl", expiry=expiry)]
    for number, sas in enumerate(signatures):
        blob = BlobClient(service.url.rstrip("/"), "container", f"{name_of(request)}{number}", credential=sas)
        blob.upload_blob(b"hello")
        assert blob.download_blob().readall() == b"hello"


def test_requests_by_hand_are_answered_the_same(account, request):
    """The verdicts of tests/system/test_store_azure.py that are not in the documents."""
    _, name, key, port = account
    client, blob = AzureClient(port, name, key), name_of(request)

    def verdict(answer):
        return answer[0], answer[1].get("x-ms-error-code")

    assert client.put_block(blob, block_id(1), b"one")[0] == 201
    assert verdict(client.put_block(blob, base64.b64encode(b"1").decode(), b"x")) == (400, "InvalidBlobOrBlock")
    assert verdict(client.put_block_list(blob, [block_id(2)])) == (400, "InvalidBlockList")
    assert client.put_block_list(blob, [block_id(1)], If_None_Match="*")[0] == 201
    assert verdict(client.put_block_list(blob, [block_id(1)], If_None_Match="*")) == (409, "BlobAlreadyExists")
    assert client.put_block_list(blob, [block_id(1)])[0] == 201
    assert verdict(client.ask("HEAD", blob + "x")) == (404, "BlobNotFound")
    wrong = AzureClient(port, name, base64.b64encode(bytes(64)).decode())
    assert verdict(wrong.ask("GET", blob))[0] == 403
