"""Azure Blob as far as a writer of block blobs uses it.

https://learn.microsoft.com/en-us/rest/api/storageservices/put-blob, put-block, put-block-list, get-block-list, get-blob,
    get-blob-properties, get-container-properties, list-blobs       the operations
https://learn.microsoft.com/en-us/rest/api/storageservices/common-rest-api-error-codes, blob-service-error-codes
https://learn.microsoft.com/en-us/rest/api/storageservices/status-and-error-codes2     the form of errors
https://learn.microsoft.com/en-us/rest/api/storageservices/scalability targets, naming-and-referencing-containers--blobs--and-metadata
What the documents leave open is as Azurite 3.35.0 was seen to answer: a repeated Put Block List with If-None-Match: * is 409
BlobAlreadyExists, without a condition 201 when its ids are still known; a block id of another length is 400 InvalidBlobOrBlock.
Lost answers show as 412 or 409 (Azure/azure-sdk-for-net#35632, Azure/azure-sdk-for-go#23794).

Paths are /ACCOUNT/CONTAINER/BLOB, as of an emulator, or /CONTAINER/BLOB when the host is ACCOUNT.blob.DOMAIN.
"""
import base64
import binascii
import itertools
import re
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from xml.etree import ElementTree

from store import azure_auth
from store.s3_lists import element, escape
from store.wire import Answer, Body, Label, Refusal

BLOCK_ID_MAX_BYTES = 64
BLOCKS_MAX = 50000
UNCOMMITTED_MAX = 100000
METADATA_MAX_BYTES = 8192
BLOB_NAME_MAX = 1024
# Code: status and message.
ERRORS = {
    "AuthenticationFailed": (403, azure_auth.FAILED),
    "AuthorizationFailure": (403, "This request is not authorized to perform this operation."),
    "AuthorizationPermissionMismatch": (403, "This request is not authorized to perform this operation using this permission."),
    "AuthorizationProtocolMismatch": (403, "This request is not authorized to perform this operation using this protocol."),
    "AuthorizationResourceTypeMismatch": (403, "This request is not authorized to perform this operation using this resource type."),
    "AuthorizationServiceMismatch": (403, "This request is not authorized to perform this operation using this service."),
    "AuthorizationSourceIPMismatch": (403, "This request is not authorized to perform this operation using this source IP."),
    "BlobAlreadyExists": (409, "The specified blob already exists."),
    "BlobNotFound": (404, "The specified blob does not exist."),
    "BlockCountExceedsLimit": (409, "The uncommitted block count cannot exceed the maximum limit of 100,000 blocks."),
    "BlockListTooLong": (400, "The block list may not contain more than 50,000 blocks."),
    "ConditionNotMet": (412, "The condition specified using HTTP conditional header(s) is not met."),
    "ContainerNotFound": (404, "The specified container does not exist."),
    "EmptyMetadataKey": (400, "The key for one of the metadata key-value pairs is empty."),
    "InternalError": (500, "The server encountered an internal error. Please retry the request."),
    "InvalidAuthenticationInfo": (401, "Server failed to authenticate the request. Please refer to the information in the www-authenticate header."),
    "InvalidBlobOrBlock": (400, "The specified blob or block content is invalid."),
    "InvalidBlockId": (400, "The specified block ID is invalid. The block ID must be Base64-encoded."),
    "InvalidBlockList": (400, "The specified block list is invalid."),
    "InvalidHeaderValue": (400, "The value for one of the HTTP headers is not in the correct format."),
    "InvalidMd5": (400, "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64 encoded."),
    "InvalidMetadata": (400, "The specified metadata is invalid. It includes characters that are not permitted."),
    "InvalidQueryParameterValue": (400, "Value for one of the query parameters specified in the request URI is invalid."),
    "InvalidRange": (416, "The range specified is invalid for the current size of the resource."),
    "InvalidResourceName": (400, "The specified resource name contains invalid characters."),
    "InvalidUri": (400, "The requested URI does not represent any resource on the server."),
    "InvalidXmlDocument": (400, "XML specified is not syntactically valid."),
    "Md5Mismatch": (400, "The MD5 value specified in the request did not match with the MD5 value calculated by the server."),
    "MetadataTooLarge": (400, "The metadata specified exceeds the maximum permissible limit (8KB)."),
    "MissingContentLengthHeader": (411, "The Content-Length header was not specified."),
    "MissingRequiredHeader": (400, "An HTTP header that's mandatory for this request is not specified."),
    "MissingRequiredQueryParameter": (400, "A query parameter that's mandatory for this request is not specified."),
    "NoAuthenticationInformation": (401, "Server failed to authenticate the request. Please refer to the information in the www-authenticate"
                                         " header."),
    "OperationTimedOut": (500, "The operation could not be completed within the permitted time."),
    "RequestBodyTooLarge": (413, "The request body is too large and exceeds the maximum permissible limit."),
    "ResourceNotFound": (404, "The specified resource does not exist."),
    "ServerBusy": (503, "The server is busy."),
    "UnsupportedHeader": (400, "One of the HTTP headers specified in the request is not supported."),
    "UnsupportedHttpVerb": (405, "The resource doesn't support specified Http Verb."),
}
FAULTS = {"internal": "InternalError", "unavailable": "ServerBusy", "slow_down": "ServerBusy", "conflict": "BlobAlreadyExists",
          "precondition": "ConditionNotMet", "body_error": "InternalError", "no_upload": "InvalidBlockList", "no_bucket": "ContainerNotFound",
          "denied": "AuthorizationPermissionMismatch", "expired": "AuthenticationFailed", "skewed": "AuthenticationFailed", "custom": "InternalError"}
STORED_HEADERS = {"x-ms-blob-content-type": "Content-Type", "x-ms-blob-content-encoding": "Content-Encoding",
                  "x-ms-blob-content-language": "Content-Language", "x-ms-blob-content-disposition": "Content-Disposition",
                  "x-ms-blob-cache-control": "Cache-Control", "x-ms-blob-content-md5": "Content-MD5"}
_etags = itertools.count(0x8DD000000000000)


@dataclass
class Block:
    id: str
    body: Body


@dataclass
class Blob:
    """committed is None while there are uncommitted blocks alone."""

    name: str
    committed: list = None
    uncommitted: dict = field(default_factory=dict)
    etag: str = ""
    headers: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    time: float = 0.0
    created: float = 0.0

    def size(self):
        return sum(block.body.length for block in self.committed)

    def data(self):
        return b"".join(block.body.bytes() for block in self.committed)


class Azure:
    name = "azure"
    server = "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"
    watched = True

    def __init__(self, world, credentials, accounts, containers=("container",)):
        self.world = world
        self.credentials = credentials
        self.lock = world.lock
        self.accounts = accounts  # name: key
        self.containers = {(account, name): {} for account in accounts for name in containers}

    # ---- what is asked ----

    def address(self, request):
        """(account, container, blob), of which the last may be missing; UTF-8 that is none comes out as replacement characters."""
        path, host = request.raw_path[1:], request.host()
        account = None
        for domain in self.world.settings.domains:
            if host.endswith(f".blob.{domain}"):
                account = host[: -len(domain) - 6]
        if account is None:
            account, _, path = path.partition("/")
        container, _, blob = path.partition("/")
        return account, urllib.parse.unquote(container), urllib.parse.unquote(blob)

    def label(self, request):
        _, container, blob = self.address(request)
        query, method = request.query, request.method
        comp = query.get("comp", "")
        if not blob and query.get("restype") == "container":
            operation = {("GET", "list"): "ListBlobs", ("GET", ""): "GetContainerProperties", ("HEAD", ""): "GetContainerProperties"}.get(
                (method, comp), "Unknown")
        elif not blob:
            operation = "Unknown"
        else:
            operation = {("PUT", ""): "PutBlob", ("PUT", "block"): "PutBlock", ("PUT", "blocklist"): "PutBlockList",
                         ("GET", "blocklist"): "GetBlockList", ("GET", ""): "GetBlob", ("HEAD", ""): "GetBlobProperties"}.get(
                             (method, comp), "Unknown")
        return Label("azure", operation, container, blob, part=query.get("blockid"))

    # ---- answers ----

    def error(self, name, request, status=None, code=None, message=None, retry_after=None, headers=None, body=None):
        """The answer that a fault asks for."""
        bearer = request.header("authorization").startswith("Bearer")
        code = code or ("InvalidAuthenticationInfo" if name == "expired" and bearer else FAULTS[name])
        answer = self.refusal(request, code, message).answer
        answer.status = status or (200 if name == "body_error" else answer.status)
        answer.headers.update(headers or {})
        if retry_after is not None:
            answer.headers["Retry-After"] = str(retry_after)
        if body is not None:
            answer.body = body.encode()
        return answer

    def refusal(self, request, code, message=None, Detail="", **more):
        status, known = ERRORS.get(code, (400, code))
        ids = self.ids(request)
        when = time.strftime("%Y-%m-%dT%H:%M:%S.0000000Z", time.gmtime(self.world.now()))
        fields = element("Code", code) + element("Message", escape(f"{message or known}\nRequestId:{ids['x-ms-request-id']}\nTime:{when}"))
        fields += element("AuthenticationErrorDetail", escape(Detail)) if Detail else ""
        fields += "".join(element(name, escape(str(value))) for name, value in more.items())
        headers = {"Content-Type": "application/xml", "x-ms-error-code": code, **ids}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize" \
                                          " resource_id=https://storage.azure.com"
        body = '\ufeff<?xml version="1.0" encoding="utf-8"?>' + element("Error", fields)
        return Refusal(Answer(status, headers, body.encode(), code))

    def ids(self, request):
        ids = {"x-ms-request-id": str(uuid.uuid4()), "x-ms-version": request.header("x-ms-version", "2009-09-19")}
        if "x-ms-client-request-id" in request.headers:
            ids["x-ms-client-request-id"] = request.header("x-ms-client-request-id")
        return ids

    def ok(self, request, status=200, headers=None, body=b""):
        if isinstance(body, str):
            body = ('\ufeff<?xml version="1.0" encoding="utf-8"?>' + body).encode()
            headers = {"Content-Type": "application/xml", **(headers or {})}
        return Answer(status, {**self.ids(request), **(headers or {})}, body)

    # ---- before the body ----

    def begin(self, request):
        def refuse(code, message=None, **more):
            return self.refusal(request, code, message, **more)

        request.refuse = refuse
        label = request.label
        stores = label.operation in ("PutBlob", "PutBlock")
        request.body = Body(keep=not (stores and self.world.settings.discard))
        account, container, _ = self.address(request)
        request.account = account
        if account not in self.accounts:
            raise refuse("ResourceNotFound")
        who = azure_auth.check(request, account, self.accounts[account], self.world, self.credentials.bearers, refuse)
        self.world.log.update(request.entry, access_key=who)
        if label.operation == "Unknown":
            raise refuse("UnsupportedHttpVerb")
        if (account, container) not in self.containers:
            raise refuse("ContainerNotFound")
        if len(label.key) > BLOB_NAME_MAX or "\ufffd" in label.key:
            raise refuse("InvalidResourceName")
        if request.chunked or (request.method == "PUT" and not request.has_length):
            raise refuse("MissingContentLengthHeader")
        limit = {"PutBlob": self.world.settings.max_blob, "PutBlock": self.world.settings.max_block}.get(label.operation, 64 << 20)
        if request.length > limit:
            raise refuse("RequestBodyTooLarge", MaxLimit=limit)
        self.check_metadata(request)

    def check_metadata(self, request):
        if any(name in request.headers for name in ("x-ms-content-crc64", "x-ms-source-content-md5", "x-ms-copy-source")):
            raise request.refuse("UnsupportedHeader")
        metadata = metadata_of(request)
        if "" in metadata:
            raise request.refuse("EmptyMetadataKey")
        # The names are identifiers of C#.
        if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in metadata):
            raise request.refuse("InvalidMetadata")
        if sum(len(name) + len(value) for name, value in metadata.items()) > METADATA_MAX_BYTES:
            raise request.refuse("MetadataTooLarge")

    # ---- after the body ----

    def act(self, request):
        if "content-md5" in request.headers and request.method == "PUT":
            self.check_md5(request, request.header("content-md5"))
        handler = {
            "PutBlob": self.put_blob, "PutBlock": self.put_block, "PutBlockList": self.put_block_list, "GetBlockList": self.get_block_list,
            "GetBlob": self.get_blob, "GetBlobProperties": self.get_blob, "GetContainerProperties": self.get_container, "ListBlobs": self.list_blobs,
        }[request.label.operation]
        with self.lock:
            return handler(request, self.containers[request.account, request.label.bucket])

    def check_md5(self, request, text):
        try:
            sent = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            sent = b""
        if len(sent) != 16:
            raise request.refuse("InvalidMd5")
        if sent != request.body.digest("md5"):
            raise request.refuse("Md5Mismatch", UserSpecifiedMd5=text, ServerCalculatedMd5=base64.b64encode(request.body.digest("md5")).decode())

    def check_conditions(self, request, blob):
        """If-Match and If-None-Match, by the blob that is there (or None)."""
        exists = blob is not None and blob.committed is not None
        match, none_match = request.header("if-match"), request.header("if-none-match")
        if match and not (exists and match in ("*", blob.etag)):
            raise request.refuse("ConditionNotMet")
        if none_match == "*" and exists:
            raise request.refuse("BlobAlreadyExists" if request.method == "PUT" else "ConditionNotMet")
        if none_match and exists and none_match == blob.etag:
            raise request.refuse("ConditionNotMet")

    def commit(self, request, blobs, blob, blocks, content_md5):
        """The blob is these blocks from now on; all others are forgotten."""
        kept = {id(block) for block in blocks}
        old = [block for block in (blob.committed or []) + list(blob.uncommitted.values()) if id(block) not in kept]
        self.world.forget(*{id(block): block.body for block in old}.values())
        headers = {to: request.header(name) for name, to in STORED_HEADERS.items() if name in request.headers}
        if "Content-Type" not in headers:
            headers["Content-Type"] = request.header("content-type", "application/octet-stream") if request.label.operation == "PutBlob" \
                else "application/octet-stream"
        if content_md5:
            headers["Content-MD5"] = content_md5
        blob.committed, blob.uncommitted, blob.headers, blob.metadata = blocks, {}, headers, metadata_of(request)
        blob.etag, blob.time = f'"0x{next(_etags):X}"', self.world.now()
        blob.created = blob.created or blob.time
        blobs[blob.name] = blob
        return {"ETag": blob.etag, "Last-Modified": http_date(blob.time), "x-ms-request-server-encrypted": "true"}

    # ---- operations ----

    def put_blob(self, request, blobs):
        kind = request.header("x-ms-blob-type")
        if not kind:
            raise request.refuse("MissingRequiredHeader", HeaderName="x-ms-blob-type")
        if kind != "BlockBlob":
            raise request.refuse("InvalidHeaderValue", HeaderName="x-ms-blob-type", HeaderValue=kind)
        if "x-ms-blob-content-md5" in request.headers:
            self.check_md5(request, request.header("x-ms-blob-content-md5"))
        blob = blobs.get(request.label.key) or Blob(request.label.key)
        self.check_conditions(request, blob)
        md5 = base64.b64encode(request.body.digest("md5")).decode()
        headers = self.commit(request, blobs, blob, [Block("", request.body)], md5)
        self.world.keep(request.body)
        return self.ok(request, 201, {**headers, "Content-MD5": md5})

    def put_block(self, request, blobs):
        number = request.query.get("blockid")
        if number is None:
            raise request.refuse("MissingRequiredQueryParameter", QueryParameterName="blockid")
        try:
            decoded = base64.b64decode(number, validate=True)
        except (binascii.Error, ValueError):
            decoded = b""
        if not 1 <= len(decoded) <= BLOCK_ID_MAX_BYTES:
            raise request.refuse("InvalidQueryParameterValue", QueryParameterName="blockid", QueryParameterValue=number,
                                 Reason="Not a valid base64 string.")
        if request.length == 0:
            raise request.refuse("InvalidHeaderValue", HeaderName="Content-Length", HeaderValue="0")
        blob = blobs.get(request.label.key) or Blob(request.label.key)
        known = [block.id for block in (blob.committed or []) if block.id] + list(blob.uncommitted)
        if known and len(known[0]) != len(number):
            raise request.refuse("InvalidBlobOrBlock")
        if number not in blob.uncommitted and len(blob.uncommitted) >= UNCOMMITTED_MAX:
            raise request.refuse("BlockCountExceedsLimit")
        if number in blob.uncommitted:
            self.world.forget(blob.uncommitted[number].body)
        blob.uncommitted[number] = Block(number, request.body)
        self.world.keep(request.body)
        blobs[blob.name] = blob
        return self.ok(request, 201, {"Content-MD5": base64.b64encode(request.body.digest("md5")).decode(), "x-ms-request-server-encrypted": "true"})

    def put_block_list(self, request, blobs):
        wanted = self.parse_block_list(request)
        blob = blobs.get(request.label.key) or Blob(request.label.key)
        self.check_conditions(request, blob)
        committed = {block.id: block for block in (blob.committed or []) if block.id}
        blocks = []
        for where, number in wanted:
            places = {"Committed": (committed,), "Uncommitted": (blob.uncommitted,), "Latest": (blob.uncommitted, committed)}[where]
            found = [place[number] for place in places if number in place]
            if not found:
                raise request.refuse("InvalidBlockList")
            blocks.append(found[0])
        headers = self.commit(request, blobs, blob, blocks, request.header("x-ms-blob-content-md5"))
        self.world.log.update(request.entry, blocks=len(blocks))
        return self.ok(request, 201, headers)

    def parse_block_list(self, request):
        """[(Committed, Uncommitted or Latest, id)]"""
        try:
            root = ElementTree.fromstring(request.body.bytes())
        except ElementTree.ParseError:
            raise request.refuse("InvalidXmlDocument") from None
        if root.tag != "BlockList" or any(child.tag not in ("Committed", "Uncommitted", "Latest") for child in root):
            raise request.refuse("InvalidXmlDocument")
        if len(root) > BLOCKS_MAX:
            raise request.refuse("BlockListTooLong")
        return [(child.tag, (child.text or "").strip()) for child in root]

    def get_block_list(self, request, blobs):
        kind = request.query.get("blocklisttype", "committed").lower()
        if kind not in ("committed", "uncommitted", "all"):
            raise request.refuse("InvalidQueryParameterValue", QueryParameterName="blocklisttype", QueryParameterValue=kind)
        blob = blobs.get(request.label.key)
        if blob is None or (blob.committed is None and not blob.uncommitted):
            raise request.refuse("BlobNotFound")

        def section(name, blocks):
            return element(name, "".join(element("Block", element("Name", block.id) + element("Size", str(block.body.length))) for block in blocks))

        text = section("CommittedBlocks", [block for block in blob.committed or [] if block.id]) if kind != "uncommitted" else ""
        if kind != "committed":
            text += section("UncommittedBlocks", [blob.uncommitted[number] for number in sorted(blob.uncommitted)])
        headers = {"x-ms-blob-content-length": str(blob.size() if blob.committed is not None else 0)}
        if blob.committed is not None:
            headers.update({"ETag": blob.etag, "Last-Modified": http_date(blob.time)})
        return self.ok(request, 200, headers, element("BlockList", text))

    def get_blob(self, request, blobs):
        blob = blobs.get(request.label.key)
        if blob is None or blob.committed is None:
            raise request.refuse("BlobNotFound")
        self.check_conditions(request, blob)
        headers = {"ETag": blob.etag, "Last-Modified": http_date(blob.time), "Accept-Ranges": "bytes", "x-ms-blob-type": "BlockBlob",
                   "x-ms-creation-time": http_date(blob.created), "x-ms-server-encrypted": "true", "x-ms-lease-status": "unlocked",
                   "x-ms-lease-state": "available", **blob.headers, **{f"x-ms-meta-{name}": value for name, value in blob.metadata.items()},
                   "Content-Length": str(blob.size())}
        if request.method == "HEAD":
            return self.ok(request, 200, headers)
        if blob.size() and self.world.settings.discard:
            raise request.refuse("InternalError", "the test server discards bodies")
        body = blob.data()
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("x-ms-range") or request.header("range"))
        if not match:
            return self.ok(request, 200, headers, body)
        first, last = int(match[1]), min(int(match[2] or len(body) - 1), len(body) - 1)
        if first >= len(body):
            raise request.refuse("InvalidRange")
        piece = body[first : last + 1]
        if "Content-MD5" in headers:
            headers["x-ms-blob-content-md5"] = headers.pop("Content-MD5")
        return self.ok(request, 206, {**headers, "Content-Length": str(len(piece)), "Content-Range": f"bytes {first}-{last}/{len(body)}"}, piece)

    def get_container(self, request, _blobs):
        return self.ok(request, 200, {"ETag": '"0x8DC000000000000"', "Last-Modified": http_date(self.world.now()), "x-ms-lease-status": "unlocked",
                                      "x-ms-lease-state": "available", "x-ms-has-immutability-policy": "false", "x-ms-has-legal-hold": "false"})

    def list_blobs(self, request, blobs):
        """In the order of the names; blobs of uncommitted blocks alone only with include=uncommittedblobs."""
        query = request.query
        prefix, delimiter, marker = query.get("prefix", ""), query.get("delimiter", ""), query.get("marker", "")
        include = query.get("include", "").split(",")
        asked = query.get("maxresults", "5000")
        if not asked.isdigit() or int(asked) == 0:
            raise request.refuse("InvalidQueryParameterValue", QueryParameterName="maxresults", QueryParameterValue=asked)
        limit = min(int(asked), 5000, self.world.settings.page)
        entries = {}
        for name in sorted(blobs):
            blob = blobs[name]
            if not name.startswith(prefix) or name < marker or (blob.committed is None and "uncommittedblobs" not in include):
                continue
            end = name.find(delimiter, len(prefix)) if delimiter else -1
            entries.setdefault(name if end < 0 else name[: end + len(delimiter)], blob if end < 0 else None)
        names = list(entries)
        text = "".join(self.list_entry(name, entries[name], include) for name in names[:limit])
        following = names[limit] if len(names) > limit else ""
        base = "http://" + request.header("host") + "/" + request.account
        body = f'<EnumerationResults ServiceEndpoint="{escape(base)}" ContainerName="{escape(request.label.bucket)}">' + "".join(
            element(tag, escape(value)) for tag, value in (("Prefix", prefix), ("Marker", marker), ("MaxResults", str(limit)),
                                                           ("Delimiter", delimiter)) if value)
        return self.ok(request, 200, {}, body + element("Blobs", text) + element("NextMarker", escape(following)) + "</EnumerationResults>")

    def list_entry(self, name, blob, include):
        if blob is None:
            return element("BlobPrefix", element("Name", escape(name)))
        committed = blob.committed is not None
        fields = {"Last-Modified": http_date(blob.time), "Etag": blob.etag.strip('"'), "Content-Length": str(blob.size() if committed else 0),
                  **blob.headers, "BlobType": "BlockBlob"}
        text = element("Name", escape(name)) + element("Properties", "".join(element(tag, escape(value)) for tag, value in fields.items()))
        if "metadata" in include:
            text += element("Metadata", "".join(element(tag, escape(value)) for tag, value in blob.metadata.items()))
        return element("Blob", text)

    # ---- for the control interface ----

    def dump(self):
        with self.lock:
            return [{"service": "azure", "bucket": container, "account": account, "key": blob.name, "size": blob.size(), "etag": blob.etag,
                     "metadata": blob.metadata, "headers": blob.headers, "parts": len(blob.committed), "time": blob.time,
                     "blocks": [block.id for block in blob.committed]}
                    for (account, container), blobs in self.containers.items() for blob in blobs.values() if blob.committed is not None]

    def data(self, bucket, key):
        with self.lock:
            return next(blobs[key].data() for (_, container), blobs in self.containers.items() if container == bucket and key in blobs)

    def open_uploads(self):
        with self.lock:
            return [{"service": "azure", "bucket": container, "key": blob.name, "committed": blob.committed is not None,
                     "parts": {number: {"size": block.body.length} for number, block in sorted(blob.uncommitted.items())}}
                    for (_, container), blobs in self.containers.items() for blob in blobs.values() if blob.uncommitted]

    def reset(self):
        with self.lock:
            self.containers = {name: {} for name in self.containers}


# ---- small pieces ----


def http_date(seconds):
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(seconds))


def metadata_of(request):
    return {name[10:]: value for name, value in request.headers.items() if name.startswith("x-ms-meta-")}
