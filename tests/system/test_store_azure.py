"""The Azure part of the fault server, asked by requests that are made by hand from the documents (store_help.AzureClient)."""
import base64
import hashlib
import hmac
import http.client
import json
import time
import urllib.parse
from xml.etree import ElementTree

import pytest

from harness import SLOW
from store.services import ACCOUNT, ACCOUNT_KEY, Servers
from store_help import AzureClient, block_id

HOSTILE = ["plain", "a b/ü+&=~*'(x)!;,$@:", "..%2fup", "a//b", "%2e%2E/%", "q?x=1&comp=block"]


@pytest.fixture(scope="module")
def shared():
    with Servers(azure=True, credentials=True) as servers:
        yield servers


@pytest.fixture
def servers(shared):
    before = shared.world.set()
    yield shared
    shared.world.set(**before)
    shared.control.reset()


@pytest.fixture
def client(servers):
    return client_of(servers)


def client_of(servers, **named):
    return AzureClient(servers.ports["azure"], ACCOUNT, named.pop("key", ACCOUNT_KEY), **named)


def verdict(answer):
    """(status, error code); the code stands in the header, and in the body when there is one."""
    status, headers, body = answer
    code = headers.get("x-ms-error-code", "")
    assert not body or status < 400 or ElementTree.fromstring(body).findtext("Code") == code
    return status, code


def put(client, blob="k", body=b"hello", **headers):
    return client.ask("PUT", blob, None, body, x_ms_blob_type="BlockBlob", **headers)


def lists(client, blob="k", kind="all"):
    """(ids of committed blocks, ids of uncommitted ones)"""
    status, _, body = client.ask("GET", blob, {"comp": "blocklist", "blocklisttype": kind})
    assert status == 200
    root = ElementTree.fromstring(body)
    return tuple([one.findtext("Name") for one in root.findall(f"{part}/Block")] for part in ("CommittedBlocks", "UncommittedBlocks"))


# ---- blobs ----


@pytest.mark.parametrize("name", HOSTILE)
def test_a_blob_comes_back_with_its_metadata(servers, client, name):
    status, headers, _ = put(client, name, x_ms_meta_token="t-1", x_ms_blob_content_type="text/plain")
    assert status == 201 and headers["Content-MD5"] == base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    status, headers, body = client.ask("GET", name)
    assert (status, body, headers["x-ms-meta-token"], headers["Content-Type"]) == (200, b"hello", "t-1", "text/plain")
    status, headers, body = client.ask("HEAD", name)
    assert (status, body, headers["x-ms-meta-token"], headers["Content-Length"]) == (200, b"", "t-1", "5")
    assert servers.control.data(name) == b"hello" and servers.control.objects()[0]["metadata"] == {"token": "t-1"}
    root = ElementTree.fromstring(client.ask("GET", "", {"restype": "container", "comp": "list"})[2])
    assert [one.text for one in root.findall("Blobs/Blob/Name")] == [name]


def test_a_put_that_must_be_the_first_is_refused_after_another(servers, client):
    assert put(client, If_None_Match="*")[0] == 201
    assert verdict(put(client, body=b"second", If_None_Match="*")) == (409, "BlobAlreadyExists")
    assert servers.control.data("k") == b"hello"
    assert verdict(put(client, body=b"third", If_Match='"0x1"')) == (412, "ConditionNotMet")
    etag = client.ask("HEAD", "k")[1]["ETag"]
    assert put(client, body=b"fourth", If_Match=etag)[0] == 201 and servers.world.memory == len(b"fourth")


def test_what_is_not_there_is_said(client):
    assert verdict(client.ask("GET", "k")) == (404, "BlobNotFound")
    assert verdict(client.ask("HEAD", "k")) == (404, "BlobNotFound")
    assert verdict(client.ask("GET", "k", {"comp": "blocklist"})) == (404, "BlobNotFound")
    assert client.ask("GET", "", {"restype": "container"})[0] == 200
    assert client.ask("HEAD", "", {"restype": "container"})[0] == 200
    assert verdict(client.ask("DELETE", "k")) == (405, "UnsupportedHttpVerb")
    client.container = "nowhere"
    assert verdict(put(client)) == (404, "ContainerNotFound")
    assert verdict(client.ask("GET", "", {"restype": "container"})) == (404, "ContainerNotFound")


def test_a_put_without_what_it_needs_is_refused(servers, client):
    assert verdict(client.ask("PUT", "k", None, b"x")) == (400, "MissingRequiredHeader")
    assert verdict(client.ask("PUT", "k", None, b"x", x_ms_blob_type="PageBlob")) == (400, "InvalidHeaderValue")
    assert verdict(put(client, Content_MD5=base64.b64encode(bytes(16)).decode())) == (400, "Md5Mismatch")
    assert verdict(put(client, Content_MD5="nonsense")) == (400, "InvalidMd5")
    assert verdict(client.ask("PUT", "k", None, b"x", **{"x-ms-blob-type": "BlockBlob", "x-ms-meta-a-b": "x"})) == (400, "InvalidMetadata")
    servers.world.set(max_blob=4, max_block=4)
    assert verdict(put(client)) == (413, "RequestBodyTooLarge")
    assert verdict(client.put_block("k", block_id(1), b"hello")) == (413, "RequestBodyTooLarge")
    assert servers.control.objects() == []


# ---- blocks ----


def test_a_block_list_makes_the_blob(servers, client):
    ids = [block_id(number) for number in (1, 2, 3)]
    for number, body in zip(ids, (b"one", b"two", b"three")):
        assert client.put_block("k", number, body, Content_MD5=base64.b64encode(hashlib.md5(body).digest()).decode())[0] == 201
    assert verdict(client.ask("GET", "k")) == (404, "BlobNotFound") and lists(client) == ([], ids)
    assert client.put_block("k", ids[1], b"TWO")[0] == 201, "the same id overwrites"
    assert client.put_block_list("k", ids[:2], x_ms_meta_token="t")[0] == 201
    status, headers, body = client.ask("GET", "k")
    assert (status, headers["x-ms-meta-token"], body) == (200, "t", b"oneTWO")
    assert lists(client) == (ids[:2], []), "what the list does not name is gone"
    assert servers.world.memory == 6 and servers.control.uploads() == []
    assert verdict(client.put_block_list("k", ids)) == (400, "InvalidBlockList")


def test_a_repeated_block_list_depends_on_its_condition(client):
    client.put_block("k", block_id(1), b"one")
    assert client.put_block_list("k", [block_id(1)], If_None_Match="*")[0] == 201
    first = client.ask("HEAD", "k")[1]["ETag"]
    assert verdict(client.put_block_list("k", [block_id(1)], If_None_Match="*")) == (409, "BlobAlreadyExists")
    assert verdict(client.put_block_list("k", [block_id(1)], "Uncommitted")) == (400, "InvalidBlockList")
    assert client.put_block_list("k", [block_id(1)])[0] == 201
    assert client.ask("HEAD", "k")[1]["ETag"] != first
    assert verdict(client.put_block_list("k", [block_id(1)], If_Match=first)) == (412, "ConditionNotMet")


def test_block_ids_are_base64_and_all_of_one_length(client):
    assert client.put_block("k", block_id(1), b"x")[0] == 201
    assert verdict(client.put_block("k", base64.b64encode(b"1").decode(), b"x")) == (400, "InvalidBlobOrBlock")
    assert verdict(client.put_block("k", "not base64!", b"x")) == (400, "InvalidQueryParameterValue")
    assert verdict(client.put_block("k", base64.b64encode(bytes(65)).decode(), b"x")) == (400, "InvalidQueryParameterValue")
    assert verdict(client.ask("PUT", "k", {"comp": "block"}, b"x")) == (400, "MissingRequiredQueryParameter")
    assert verdict(client.put_block("k", block_id(1), b"")) == (400, "InvalidHeaderValue")
    assert verdict(client.ask("PUT", "k", {"comp": "blocklist"}, b"<nonsense")) == (400, "InvalidXmlDocument")
    assert client.put_block_list("k", [block_id(1)])[0] == 201
    assert verdict(client.put_block("k", base64.b64encode(b"1").decode(), b"x")) == (400, "InvalidBlobOrBlock"), "committed ones count too"


def test_a_put_of_the_whole_blob_drops_uncommitted_blocks(servers, client):
    client.put_block("k", block_id(1), b"x")
    assert servers.control.uploads()[0]["parts"] == {block_id(1): {"size": 1}}
    assert put(client)[0] == 201 and servers.control.uploads() == []
    assert lists(client) == ([], []) and servers.world.memory == 5


def test_lists_come_in_pages(servers, client):
    servers.world.set(page=2)
    names = ["a/1", "a/2", "b", "c&<", "d"]
    for name in names:
        put(client, name, x_ms_meta_n=name)
    client.put_block("e", block_id(1), b"x")
    seen, marker = [], ""
    while True:
        query = {"restype": "container", "comp": "list", "include": "metadata", **({"marker": marker} if marker else {})}
        root = ElementTree.fromstring(client.ask("GET", "", query)[2])
        seen.append([(one.findtext("Name"), one.findtext("Metadata/n")) for one in root.findall("Blobs/Blob")])
        marker = root.findtext("NextMarker")
        if not marker:
            break
    assert [pair for page in seen for pair in page] == [(name, name) for name in names] and max(map(len, seen)) == 2
    servers.world.set(page=100)
    query = {"restype": "container", "comp": "list", "delimiter": "/", "include": "uncommittedblobs"}
    root = ElementTree.fromstring(client.ask("GET", "", query)[2])
    assert [one.text for one in root.findall("Blobs/*/Name")] == ["a/", "b", "c&<", "d", "e"]


# ---- who asks ----


def test_a_shared_key_that_does_not_fit_is_refused(servers):
    other = base64.b64encode(bytes(64)).decode()
    status, headers, body = put(client_of(servers, key=other))
    assert verdict((status, headers, body)) == (403, "AuthenticationFailed") and b"string to sign" in body
    assert verdict(put(client_of(servers, key=""))) == (401, "NoAuthenticationInformation")
    for skew in (-1000, 1000):
        assert verdict(client_of(servers).ask("GET", "k", date=time.time() + skew)) == (403, "AuthenticationFailed")
    assert verdict(client_of(servers).ask("GET", "k", date=time.time() + 800)) == (404, "BlobNotFound")
    servers.world.set(clock_skew=1000)
    assert verdict(client_of(servers).ask("GET", "k")) == (403, "AuthenticationFailed")


@pytest.mark.parametrize("change", ["path", "query", "header", "length", "version"])
def test_what_was_changed_after_signing_is_refused(servers, change, monkeypatch):
    real = http.client.HTTPConnection.request

    def spoil(self, method, target, body=None, headers=None, **more):
        headers = dict(headers)
        if change == "path":
            target = target.replace("/k", "/l")
        elif change == "query":
            target += "?timeout=30"
        elif change == "header":
            headers["x-ms-meta-token"] = "other"
        elif change == "length":
            body, headers["Content-Length"] = b"x", "1"
        else:
            headers["x-ms-version"] = "2020-02-10"
        return real(self, method, target, body, headers, **more)

    monkeypatch.setattr(http.client.HTTPConnection, "request", spoil)
    assert verdict(put(client_of(servers), x_ms_meta_token="t")) == (403, "AuthenticationFailed")
    assert servers.control.objects() == []


def signed(fields, to_sign, key=ACCOUNT_KEY):
    fields["sig"] = base64.b64encode(hmac.new(base64.b64decode(key), to_sign.encode(), hashlib.sha256).digest()).decode()
    return urllib.parse.urlencode(fields)


def service_sas(permissions, key=ACCOUNT_KEY, expiry="2099-01-01T00:00:00Z", version="2021-12-02", **more):
    """learn.microsoft.com/en-us/rest/api/storageservices/create-service-sas, for version 2020-12-06 and later, or 2018-11-09."""
    fields = {"sp": permissions, "se": expiry, "sv": version, "sr": "c", **more}
    lines = [permissions, fields.get("st", ""), expiry, f"/blob/{ACCOUNT}/container", "", "", fields.get("spr", ""), version, "c", ""]
    lines += [""] * (6 if version >= "2020-12-06" else 5)
    return signed(fields, "\n".join(lines), key)


def account_sas(permissions, types="co", services="b", expiry="2099-01-01T00:00:00Z"):
    fields = {"sp": permissions, "ss": services, "srt": types, "se": expiry, "sv": "2021-12-02"}
    return signed(fields, "\n".join([ACCOUNT, permissions, services, types, "", expiry, "", "", "2021-12-02", "", ""]))


@pytest.mark.parametrize("version", ["2019-02-02", "2021-12-02"])
def test_a_service_sas_allows_what_it_says(servers, version):
    client = client_of(servers, sas=service_sas("rcwl", version=version))
    assert put(client)[0] == 201 and client.ask("GET", "k")[2] == b"hello"
    assert client.put_block("j", block_id(1), b"x")[0] == 201 and client.put_block_list("j", [block_id(1)])[0] == 201
    assert client.ask("GET", "", {"restype": "container", "comp": "list"})[0] == 200
    assert verdict(client.ask("GET", "", {"restype": "container"})) == (403, "AuthorizationPermissionMismatch"), "only an account SAS may"
    assert verdict(put(client_of(servers, sas=service_sas("r", version=version)))) == (403, "AuthorizationPermissionMismatch")


def test_a_sas_that_does_not_fit_is_refused(servers):
    for sas in (service_sas("rw", key=base64.b64encode(bytes(64)).decode()), service_sas("rw").replace("sp=rw", "sp=rwd"),
                service_sas("rw", expiry="2020-01-01T00:00:00Z"), service_sas("rw", st="2098-01-01T00:00:00Z"), account_sas("rw") + "x"):
        assert verdict(put(client_of(servers, sas=sas))) == (403, "AuthenticationFailed")
    assert verdict(put(client_of(servers, sas=service_sas("rw", spr="https")))) == (403, "AuthorizationProtocolMismatch")


def test_an_account_sas_allows_what_it_says(servers):
    client = client_of(servers, sas=account_sas("rwl"))
    assert put(client)[0] == 201 and client.ask("GET", "", {"restype": "container"})[0] == 200
    assert verdict(put(client_of(servers, sas=account_sas("rwl", types="c")))) == (403, "AuthorizationResourceTypeMismatch")
    assert verdict(put(client_of(servers, sas=account_sas("rwl", services="q")))) == (403, "AuthorizationServiceMismatch")


def managed_token(servers, resource="https://storage.azure.com/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", servers.ports["credentials"], timeout=10 * SLOW)
    query = urllib.parse.urlencode({"api-version": "2018-02-01", "resource": resource})
    connection.request("GET", f"/metadata/identity/oauth2/token?{query}", headers={"Metadata": "true", **headers})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


def test_a_managed_identity_has_a_token_until_it_expires(servers):
    servers.world.set(credential_seconds=300)
    status, answer = managed_token(servers)
    assert status == 200 and answer["token_type"] == "Bearer" and answer["expires_in"] in ("299", "300")
    assert abs(int(answer["expires_on"]) - time.time() - 300) < 60
    client = client_of(servers, bearer=answer["access_token"])
    assert put(client)[0] == 201
    assert verdict(client_of(servers, bearer="nonsense").ask("GET", "k")) == (401, "InvalidAuthenticationInfo")
    wrong = managed_token(servers, "https://vault.azure.net")[1]["access_token"]
    assert verdict(client_of(servers, bearer=wrong).ask("GET", "k")) == (401, "InvalidAuthenticationInfo")
    assert verdict(client.ask("GET", "k", x_ms_version="2016-05-31")) == (403, "AuthenticationFailed")
    assert servers.control.expire() >= 1
    assert verdict(client.ask("GET", "k")) == (401, "InvalidAuthenticationInfo")
    assert managed_token(servers, Metadata="false")[0] == 400
    servers.control.fault("slow_down", operation="AzureToken", retry_after=1)
    assert managed_token(servers)[0] == 429


# ---- faults, in Azure's words ----


def test_faults_have_the_codes_of_azure(servers, client):
    for action, expected in (("internal", (500, "InternalError")), ("slow_down", (503, "ServerBusy")), ("conflict", (409, "BlobAlreadyExists")),
                             ("precondition", (412, "ConditionNotMet")), ("no_bucket", (404, "ContainerNotFound")),
                             ("denied", (403, "AuthorizationPermissionMismatch")), ("expired", (403, "AuthenticationFailed"))):
        servers.control.fault(action, operation="PutBlob")
        assert verdict(put(client)) == expected
    assert servers.control.objects() == []


def test_a_block_list_whose_answer_is_lost_has_worked(servers, client):
    client.put_block("k", block_id(1), b"x")
    servers.control.fault("lose", operation="PutBlockList")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        client.put_block_list("k", [block_id(1)], If_None_Match="*")
    assert servers.control.data("k") == b"x"
    assert verdict(client.put_block_list("k", [block_id(1)], If_None_Match="*")) == (409, "BlobAlreadyExists")
    assert [(one["status"], one["outcome"]) for one in servers.control.log(operation="PutBlockList")] == [(201, "lost"), (409, "answered")]


def test_the_host_may_name_the_account(servers):
    connection = http.client.HTTPConnection("127.0.0.1", servers.ports["azure"], timeout=10 * SLOW)
    connection.request("GET", "/container/a%20b", headers={"Host": f"{ACCOUNT}.blob.localhost"})
    answer = connection.getresponse()
    assert answer.status == 401 and servers.control.log()[0]["key"] == "a b" and servers.control.log()[0]["bucket"] == "container"
    connection.close()
