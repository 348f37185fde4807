"""S3 as far as a writer of objects uses it.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html    each operation: API_PutObject.html ...
https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html      path and virtual-host style
https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html              5 MiB, 5 GiB, 10,000 parts
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html  If-None-Match: 412, 409
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html    x-amz-checksum-*
What the documents leave open is as AWS was seen to answer: a repeated Complete succeeds (adobe/S3Mock#2586) and gives NoSuchUpload on
MinIO (minio/minio#13318); a part is refused with a checksum that CreateMultipartUpload did not announce (apache/opendal#4533), and
without the one that it did (floci-io/floci#3093 has the answers of AWS).
"""
import base64
import binascii
import hashlib
import itertools
import os
import re
import time
import urllib.parse
from dataclasses import dataclass, field
from xml.etree import ElementTree

from store import s3_auth, s3_lists
from store.s3_lists import NAMESPACE, element, escape
from store.wire import Answer, Body, Label, Refusal

KEY_MAX_BYTES = 1024
METADATA_MAX_BYTES = 2048
PARTS_MAX = 10000
STATUS = {
    "AccessDenied": 403, "AuthorizationHeaderMalformed": 400, "BadDigest": 400, "ConditionalRequestConflict": 409, "EntityTooLarge": 400,
    "EntityTooSmall": 400, "ExpiredToken": 400, "InternalError": 500, "InvalidAccessKeyId": 403, "InvalidArgument": 400, "InvalidDigest": 400,
    "InvalidPart": 400, "InvalidPartOrder": 400, "InvalidRange": 416, "InvalidRequest": 400, "InvalidToken": 400, "InvalidURI": 400,
    "KeyTooLongError": 400, "MalformedXML": 400, "MetadataTooLarge": 400, "MethodNotAllowed": 405, "MissingContentLength": 411,
    "NoSuchBucket": 404, "NoSuchKey": 404, "NoSuchUpload": 404, "NotImplemented": 501, "PreconditionFailed": 412, "RequestTimeTooSkewed": 403,
    "ServiceUnavailable": 503, "SignatureDoesNotMatch": 403, "SlowDown": 503, "XAmzContentSHA256Mismatch": 400,
}
MESSAGES = {
    "InternalError": "We encountered an internal error. Please try again.", "NoSuchBucket": "The specified bucket does not exist",
    "NoSuchKey": "The specified key does not exist.", "SlowDown": "Please reduce your request rate.",
    "NoSuchUpload": "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or"
                    " completed.",
    "InvalidPart": "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag"
                   " may not match the part's entity tag.",
    "InvalidPartOrder": "The list of parts was not in ascending order. Parts must be ordered by part number.",
    "EntityTooSmall": "Your proposed upload is smaller than the minimum allowed size",
    "EntityTooLarge": "Your proposed upload exceeds the maximum allowed size",
    "PreconditionFailed": "At least one of the pre-conditions you specified did not hold",
    "ConditionalRequestConflict": "The conditional request cannot succeed due to a conflicting operation against this resource.",
    "AccessDenied": "Access Denied", "ExpiredToken": "The provided token has expired.",
    "RequestTimeTooSkewed": "The difference between the request time and the current time is too large.",
    "ServiceUnavailable": "Service is unable to handle request.", "MissingContentLength": "You must provide the Content-Length HTTP header.",
    "MethodNotAllowed": "The specified method is not allowed against this resource.",
    "MalformedXML": "The XML you provided was not well-formed or did not validate against our published schema",
    "InvalidDigest": "The Content-MD5 you specified is not valid.",
    "NotImplemented": "A header you provided implies functionality that is not implemented",
}
# What the faults call by these names. no_upload is meant for after a Complete that worked (acted=True).
FAULTS = {"internal": "InternalError", "unavailable": "ServiceUnavailable", "slow_down": "SlowDown", "conflict": "ConditionalRequestConflict",
          "precondition": "PreconditionFailed", "body_error": "InternalError", "no_upload": "NoSuchUpload", "no_bucket": "NoSuchBucket",
          "denied": "AccessDenied", "expired": "ExpiredToken", "skewed": "RequestTimeTooSkewed", "custom": "InternalError"}
CHECKSUMS = ("crc32", "crc32c", "sha1", "sha256")
ENCRYPTION_HEADERS = ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
                      "x-amz-server-side-encryption-bucket-key-enabled", "x-amz-server-side-encryption-context")
STORED_HEADERS = ("content-type", "content-encoding", "content-disposition", "content-language", "cache-control", "x-amz-storage-class",
                  *ENCRYPTION_HEADERS)
_request_numbers = itertools.count(1)


@dataclass
class Part:
    number: int
    body: Body
    etag: str
    checksum: str
    time: float


@dataclass
class Object:
    key: str
    bodies: list
    etag: str
    headers: dict
    metadata: dict
    checksum: tuple  # (algorithm, value, type) or ()
    time: float
    upload: str = ""

    def size(self):
        return sum(body.length for body in self.bodies)

    def data(self):
        return b"".join(body.bytes() for body in self.bodies)


@dataclass
class Upload:
    id: str
    bucket: str
    key: str
    headers: dict
    metadata: dict
    algorithm: str
    whole: bool  # FULL_OBJECT, not COMPOSITE
    time: float
    parts: dict = field(default_factory=dict)


@dataclass
class Bucket:
    name: str
    objects: dict = field(default_factory=dict)
    uploads: dict = field(default_factory=dict)
    completed: dict = field(default_factory=dict)  # upload id: (list of part numbers and ETags, the answer's fields)
    aborted: list = field(default_factory=list)


class S3:
    name = "s3"
    server = "AmazonS3"
    watched = True

    def __init__(self, world, credentials, buckets=("bucket",)):
        self.world = world
        self.credentials = credentials
        self.lock = world.lock
        self.buckets = {name: Bucket(name) for name in buckets}

    # ---- what is asked ----

    def address(self, request):
        """(bucket, key) of path style or virtual-host style; None where there is none. The key is text, or bytes that are not UTF-8."""
        path = urllib.parse.unquote_to_bytes(request.raw_path)
        host = request.host()
        for domain in self.world.settings.domains:
            if host.endswith("." + domain):
                return host[: -len(domain) - 1], as_text(path[1:])
        bucket, _, key = path[1:].partition(b"/")
        return as_text(bucket), as_text(key)

    def label(self, request):
        bucket, key = self.address(request)
        query, method = request.query, request.method
        if not bucket:
            operation = {"GET": "ListBuckets"}.get(method, "Unknown")
        elif not key:
            operation = {"HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket", "POST": "DeleteObjects"}.get(method, "Unknown")
            if method == "GET":
                operation = ("ListMultipartUploads" if "uploads" in query else "ListObjectsV2" if query.get("list-type") == "2" else
                             "GetBucketLocation" if "location" in query else "ListObjects")
        elif "uploadId" in query:
            operation = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "GET": "ListParts",
                         "DELETE": "AbortMultipartUpload"}.get(method, "Unknown")
        elif "uploads" in query:
            operation = {"POST": "CreateMultipartUpload"}.get(method, "Unknown")
        else:
            operation = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}.get(method, "Unknown")
        part = query.get("partNumber")
        return Label("s3", operation, bucket or "", key if isinstance(key, str) else repr(key), query.get("uploadId", ""),
                     int(part) if part and re.fullmatch(r"\d{1,9}", part) else part)

    # ---- answers ----

    def error(self, name, request, status=None, code=None, message=None, retry_after=None, headers=None, body=None):
        """The answer that a fault asks for."""
        code = code or FAULTS[name]
        answer = self.refusal(request, code, message or MESSAGES.get(code, code)).answer
        answer.status = status or (200 if name == "body_error" else answer.status)
        answer.headers.update(headers or {})
        if retry_after is not None:
            answer.headers["Retry-After"] = str(retry_after)
        if body is not None:
            answer.body = body.encode()
        return answer

    def refusal(self, request, code, message=None, **more):
        numbers = request_ids()
        label = request.label
        fields = {"Code": code, "Message": message or MESSAGES.get(code, code), "BucketName": label.bucket, "Key": label.key, **more,
                  "RequestId": numbers["x-amz-request-id"], "HostId": numbers["x-amz-id-2"]}
        body = '<?xml version="1.0" encoding="UTF-8"?>\n' + element("Error", "".join(element(k, escape(str(v))) for k, v in fields.items() if v))
        return Refusal(Answer(STATUS.get(code, 400), {"Content-Type": "application/xml", **numbers}, body.encode(), code))

    def ok(self, headers=None, body=b"", status=200):
        if isinstance(body, str):
            body = ('<?xml version="1.0" encoding="UTF-8"?>\n' + body).encode()
            headers = {"Content-Type": "application/xml", **(headers or {})}
        return Answer(status, {**request_ids(), **(headers or {})}, body)

    # ---- before the body ----

    def begin(self, request):
        label = request.label

        def refuse(code, message=None, **more):
            return self.refusal(request, code, message, **more)

        request.refuse = refuse
        wanted = {"md5"}
        if request.header("x-amz-content-sha256") != s3_auth.UNSIGNED:
            wanted.add("sha256")
        wanted |= {name for name in CHECKSUMS if f"x-amz-checksum-{name}" in request.headers}
        algorithm = self.algorithm_of_upload(label)
        stores = label.operation in ("PutObject", "UploadPart")
        request.body = Body(keep=not (stores and self.world.settings.discard), digests=wanted | ({algorithm} if algorithm else set()))
        credential = s3_auth.check(request, self.world.settings, self.world.now(), self.credentials, refuse)
        self.world.log.update(request.entry, access_key=credential.access_key)
        if not isinstance(self.address(request)[1], str):
            raise refuse("InvalidURI", "Couldn't parse the specified URI.")
        if len(label.key.encode()) > KEY_MAX_BYTES:
            raise refuse("KeyTooLongError", "Your key is too long", Size=len(label.key.encode()), MaxSizeAllowed=KEY_MAX_BYTES)
        if label.bucket not in self.buckets:
            raise refuse("NoSuchBucket")
        if request.chunked or (request.method in ("PUT", "POST") and not request.has_length and label.operation != "CreateMultipartUpload"):
            raise refuse("MissingContentLength")
        if stores and request.length > self.world.settings.max_part:
            raise refuse("EntityTooLarge", ProposedSize=request.length, MaxSizeAllowed=self.world.settings.max_part)
        if "x-amz-copy-source" in request.headers:
            raise refuse("NotImplemented", Header="x-amz-copy-source")
        self.check_headers(request)

    def algorithm_of_upload(self, label):
        with self.lock:
            bucket = self.buckets.get(label.bucket)
            upload = bucket.uploads.get(label.upload) if bucket else None
            return upload.algorithm if upload else ""

    def check_headers(self, request):
        encryption = request.header("x-amz-server-side-encryption")
        if encryption and request.label.operation not in ("PutObject", "CreateMultipartUpload"):
            raise request.refuse("InvalidArgument", "x-amz-server-side-encryption header is not supported for this operation.")
        if encryption not in ("", "AES256", "aws:kms", "aws:kms:dsse"):
            raise request.refuse("InvalidArgument", "The encryption method specified is not supported")
        if "x-amz-server-side-encryption-aws-kms-key-id" in request.headers and not encryption.startswith("aws:kms"):
            raise request.refuse("InvalidArgument", "Server Side Encryption with AWS KMS managed key requires HTTP header"
                                 " x-amz-server-side-encryption : aws:kms")
        size = sum(len(name) + len(value) for name, value in metadata_of(request).items())
        if size > METADATA_MAX_BYTES:
            raise request.refuse("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size", Size=size)
        if request.header("if-none-match", "*") != "*" and request.method in ("PUT", "POST"):
            raise request.refuse("NotImplemented", Header="If-None-Match")
        if self.world.settings.checksums == "refuse" and any(name.startswith("x-amz-checksum-") for name in request.headers):
            raise request.refuse("NotImplemented", Header="x-amz-checksum-*")

    # ---- after the body ----

    def act(self, request):
        self.check_digests(request)
        handler = {
            "PutObject": self.put_object, "HeadObject": self.get_object, "GetObject": self.get_object, "HeadBucket": self.head_bucket,
            "CreateMultipartUpload": self.create_upload, "UploadPart": self.upload_part, "CompleteMultipartUpload": self.complete_upload,
            "AbortMultipartUpload": self.abort_upload, "ListParts": s3_lists.list_parts, "ListMultipartUploads": s3_lists.list_uploads,
            "ListObjectsV2": s3_lists.list_objects,
        }.get(request.label.operation)
        if handler is None:
            raise request.refuse("MethodNotAllowed" if request.method == "DELETE" else "NotImplemented")
        with self.lock:
            bucket = self.buckets[request.label.bucket]
            return handler(self, request, bucket) if handler.__module__ == s3_lists.__name__ else handler(request, bucket)

    def check_digests(self, request):
        payload = request.header("x-amz-content-sha256")
        if payload != s3_auth.UNSIGNED and payload != request.body.digest("sha256").hex():
            raise request.refuse("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.",
                                 ClientComputedContentSHA256=payload, S3ComputedContentSHA256=request.body.digest("sha256").hex())
        if "content-md5" in request.headers:
            sent = from_base64(request.header("content-md5"), 16)
            if sent is None:
                raise request.refuse("InvalidDigest")
            if sent != request.body.digest("md5"):
                raise request.refuse("BadDigest", "The Content-MD5 you specified did not match what we received.")
        name, value = self.checksum_header(request)
        if name and self.world.settings.checksums == "check" and request.label.operation in ("PutObject", "UploadPart"):
            if from_base64(value, len(request.body.digest(name))) is None:
                raise request.refuse("InvalidRequest", f"Value for x-amz-checksum-{name} header is invalid.")
            if value != base64.b64encode(request.body.digest(name)).decode():
                raise request.refuse("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")

    def checksum_header(self, request):
        """(name, value) of the one x-amz-checksum-* header, or ("", "")."""
        if self.world.settings.checksums == "ignore":
            return "", ""
        sent = [(name, request.header(f"x-amz-checksum-{name}")) for name in CHECKSUMS if f"x-amz-checksum-{name}" in request.headers]
        if len(sent) > 1:
            raise request.refuse("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
        if not sent and "x-amz-sdk-checksum-algorithm" in request.headers and request.label.operation in ("PutObject", "UploadPart"):
            raise request.refuse("InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or"
                                 " x-amz-trailer headers were found.")
        return sent[0] if sent else ("", "")

    # ---- operations ----

    def head_bucket(self, _request, _bucket):
        return self.ok({"x-amz-bucket-region": self.world.settings.region, "Content-Type": "application/xml"})

    def check_absent(self, request, bucket):
        if "if-none-match" in request.headers and request.label.key in bucket.objects:
            raise request.refuse("PreconditionFailed", Condition="If-None-Match")

    def put_object(self, request, bucket):
        self.check_absent(request, bucket)
        name, value = self.checksum_header(request)
        headers = stored_headers(request)
        one = Object(request.label.key, [request.body], etag_of(request.body.digest("md5"), headers), headers, metadata_of(request),
                     (name, value, "FULL_OBJECT") if name else (), self.world.now())
        self.replace(bucket, one)
        self.world.keep(request.body)
        return self.ok({"ETag": one.etag, **checksum_headers(one.checksum), **encryption_of(headers)})

    def replace(self, bucket, one):
        old = bucket.objects.get(one.key)
        if old:
            self.world.forget(*old.bodies)
        bucket.objects[one.key] = one

    def get_object(self, request, bucket):
        one = bucket.objects.get(request.label.key)
        if one is None:
            raise request.refuse("NoSuchKey")
        size, status, body = one.size(), 200, b""
        headers = {"ETag": one.etag, "Last-Modified": http_date(one.time), "Accept-Ranges": "bytes", "Content-Type": "binary/octet-stream",
                   **{name.title() if not name.startswith("x-") else name: value for name, value in one.headers.items()},
                   **{f"x-amz-meta-{name}": value for name, value in one.metadata.items()}, "Content-Length": str(size)}
        if request.header("x-amz-checksum-mode").upper() == "ENABLED":
            headers.update(checksum_headers(one.checksum))
        if request.method == "GET":
            if size and self.world.settings.discard:
                raise request.refuse("NotImplemented", "the test server discards bodies")
            body = one.data()
            if "range" in request.headers:
                status, headers, body = ranged(request, headers, body)
        return self.ok(headers, body, status)

    def create_upload(self, request, bucket):
        algorithm = request.header("x-amz-checksum-algorithm").lower()
        if self.world.settings.checksums == "ignore":
            algorithm = ""
        if algorithm and algorithm not in CHECKSUMS:
            raise request.refuse("InvalidRequest", "Checksum algorithm provided is unsupported.")
        kind = request.header("x-amz-checksum-type").upper()
        upload = Upload(base64.urlsafe_b64encode(os.urandom(48)).decode(), bucket.name, request.label.key, stored_headers(request),
                        metadata_of(request), algorithm, kind == "FULL_OBJECT", self.world.now())
        bucket.uploads[upload.id] = upload
        self.world.log.update(request.entry, upload=upload.id)
        more = {"x-amz-checksum-algorithm": algorithm.upper(), "x-amz-checksum-type": kind or "COMPOSITE"} if algorithm else {}
        fields = element("Bucket", escape(bucket.name)) + element("Key", escape(upload.key)) + element("UploadId", upload.id)
        return self.ok({**more, **encryption_of(upload.headers)}, element("InitiateMultipartUploadResult", fields, NAMESPACE))

    def upload_of(self, request, bucket):
        upload = bucket.uploads.get(request.label.upload)
        if upload is None or upload.key != request.label.key:
            raise request.refuse("NoSuchUpload", UploadId=request.label.upload)
        return upload

    def upload_part(self, request, bucket):
        number = request.label.part
        if not isinstance(number, int) or not 1 <= number <= PARTS_MAX:
            raise request.refuse("InvalidArgument", f"Part number must be an integer between 1 and {PARTS_MAX}, inclusive",
                                 ArgumentName="partNumber", ArgumentValue=number)
        upload = self.upload_of(request, bucket)
        name, value = self.checksum_header(request)
        if name != upload.algorithm and (name or not upload.whole):
            raise request.refuse("InvalidRequest", f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm or 'null'},"
                                 f" actual checksum Type: {name or 'null'}")
        if upload.algorithm and not name:
            value = base64.b64encode(request.body.digest(upload.algorithm)).decode()
        if number in upload.parts:
            self.world.forget(upload.parts[number].body)
        upload.parts[number] = Part(number, request.body, etag_of(request.body.digest("md5"), upload.headers), value, self.world.now())
        self.world.keep(request.body)
        checksum = {f"x-amz-checksum-{upload.algorithm}": value} if upload.algorithm else {}
        return self.ok({"ETag": upload.parts[number].etag, **checksum, **encryption_of(upload.headers)})

    def complete_upload(self, request, bucket):
        wanted = self.parse_complete(request)
        done = bucket.completed.get(request.label.upload)
        if done and done["key"] == request.label.key and self.world.settings.mode == "aws" and done["parts"] == [w[:2] for w in wanted]:
            return self.ok(encryption_of(done["headers"]), done["body"])
        upload = self.upload_of(request, bucket)
        parts = self.choose_parts(request, upload, wanted)
        self.check_absent(request, bucket)
        one = self.assemble(request, upload, parts)
        self.replace(bucket, one)
        self.world.forget(*(part.body for part in upload.parts.values() if part not in parts))
        del bucket.uploads[upload.id]
        fields = {"Location": f"http://{request.header('host')}{request.raw_path}", "Bucket": bucket.name, "Key": one.key, "ETag": one.etag}
        if one.checksum:
            fields.update({f"Checksum{one.checksum[0].upper()}": one.checksum[1], "ChecksumType": one.checksum[2]})
        body = element("CompleteMultipartUploadResult", "".join(element(k, escape(v)) for k, v in fields.items()), NAMESPACE)
        bucket.completed[upload.id] = {"key": one.key, "parts": [w[:2] for w in wanted], "body": body, "headers": upload.headers}
        return self.ok(encryption_of(upload.headers), body)

    def parse_complete(self, request):
        """[(number, ETag without quotes, {checksum element: value})]"""
        try:
            root = ElementTree.fromstring(request.body.bytes())
        except ElementTree.ParseError:
            raise request.refuse("MalformedXML") from None
        plain = [(strip_namespace(child.tag), {strip_namespace(f.tag): (f.text or "").strip() for f in child}) for child in root]
        if strip_namespace(root.tag) != "CompleteMultipartUpload" or not plain:
            raise request.refuse("MalformedXML")
        wanted = []
        for tag, fields in plain:
            number, etag = fields.pop("PartNumber", ""), fields.pop("ETag", "")
            if tag != "Part" or not re.fullmatch(r"\d{1,5}", number) or not etag:
                raise request.refuse("MalformedXML")
            wanted.append((int(number), etag.strip('"'), fields))
        return wanted

    def choose_parts(self, request, upload, wanted):
        numbers = [number for number, _, _ in wanted]
        if numbers != sorted(set(numbers)):
            raise request.refuse("InvalidPartOrder", UploadId=upload.id)
        parts = []
        for number, etag, checksums in wanted:
            part = upload.parts.get(number)
            if part is None or part.etag.strip('"') != etag:
                raise request.refuse("InvalidPart", UploadId=upload.id, PartNumber=number, ETag=etag)
            self.check_part_checksum(request, upload, part, checksums)
            parts.append(part)
        for part in parts[:-1]:
            if part.body.length < self.world.settings.min_part:
                raise request.refuse("EntityTooSmall", ProposedSize=part.body.length, MinSizeAllowed=self.world.settings.min_part,
                                     PartNumber=part.number, ETag=part.etag.strip('"'))
        return parts

    def check_part_checksum(self, request, upload, part, checksums):
        if self.world.settings.checksums != "check":
            return
        name = f"Checksum{upload.algorithm.upper()}"
        if upload.algorithm and not upload.whole and name not in checksums:
            raise request.refuse("InvalidRequest", f"The upload was created using a {upload.algorithm} checksum. The complete request must"
                                 f" include the checksum for each part. It was missing for part {part.number} in the request.")
        if any(key != name or value != part.checksum for key, value in checksums.items() if key.startswith("Checksum")):
            raise request.refuse("InvalidPart", UploadId=upload.id, PartNumber=part.number)

    def assemble(self, request, upload, parts):
        joined = b"".join(part.body.digest("md5") for part in parts)
        etag = f'"{etag_of(hashlib.md5(joined).digest(), upload.headers).strip(chr(34))}-{len(parts)}"'
        checksum = ()
        if upload.algorithm and not upload.whole:
            whole = Body(digests=(upload.algorithm,))
            whole.add(b"".join(base64.b64decode(part.checksum) for part in parts))
            checksum = (upload.algorithm, f"{base64.b64encode(whole.digest(upload.algorithm)).decode()}-{len(parts)}", "COMPOSITE")
        elif upload.algorithm:
            whole = Body(keep=False, digests=(upload.algorithm,))
            for part in parts:
                whole.add(part.body.bytes())
            checksum = (upload.algorithm, base64.b64encode(whole.digest(upload.algorithm)).decode(), "FULL_OBJECT")
            sent = request.header(f"x-amz-checksum-{upload.algorithm}")
            if sent and sent != checksum[1] and not self.world.settings.discard:
                raise request.refuse("BadDigest", f"The {upload.algorithm} you specified did not match the calculated checksum.")
        return Object(upload.key, [part.body for part in parts], etag, upload.headers, upload.metadata, checksum, self.world.now(), upload.id)

    def abort_upload(self, request, bucket):
        upload = self.upload_of(request, bucket)
        self.world.forget(*(part.body for part in upload.parts.values()))
        del bucket.uploads[upload.id]
        bucket.aborted.append(upload.id)
        return self.ok(status=204)

    # ---- for the control interface ----

    def dump(self):
        with self.lock:
            return [{"service": "s3", "bucket": bucket.name, "key": one.key, "size": one.size(), "etag": one.etag, "metadata": one.metadata,
                     "headers": one.headers, "parts": len(one.bodies), "upload": one.upload, "time": one.time,
                     "checksum": list(one.checksum)}
                    for bucket in self.buckets.values() for one in bucket.objects.values()]

    def data(self, bucket, key):
        with self.lock:
            return self.buckets[bucket].objects[key].data()

    def open_uploads(self):
        with self.lock:
            return [{"service": "s3", "bucket": bucket.name, "key": one.key, "upload": one.id, "metadata": one.metadata,
                     "parts": {number: {"size": part.body.length, "etag": part.etag} for number, part in sorted(one.parts.items())}}
                    for bucket in self.buckets.values() for one in bucket.uploads.values()]

    def reset(self):
        with self.lock:
            self.buckets = {name: Bucket(name) for name in self.buckets}


# ---- small pieces ----


def as_text(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def request_ids():
    number = next(_request_numbers)
    return {"x-amz-request-id": f"{number:016X}", "x-amz-id-2": base64.b64encode(f"host of {number:016d}".encode()).decode()}


def from_base64(text, length):
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == length else None


def http_date(seconds):
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(seconds))


def strip_namespace(tag):
    return tag.rpartition("}")[2]


def etag_of(md5, headers):
    """The MD5 in quotes; with SSE-KMS something else, as documented (userguide, checking object integrity)."""
    if headers.get("x-amz-server-side-encryption", "").startswith("aws:kms"):
        md5 = hashlib.md5(b"kms" + md5).digest()
    return f'"{md5.hex()}"'


def stored_headers(request):
    return {name: request.header(name) for name in STORED_HEADERS if name in request.headers}


def metadata_of(request):
    return {name[11:]: value for name, value in request.headers.items() if name.startswith("x-amz-meta-")}


def encryption_of(headers):
    return {name: value for name, value in headers.items() if name in ENCRYPTION_HEADERS}


def checksum_headers(checksum):
    return {f"x-amz-checksum-{checksum[0]}": checksum[1], "x-amz-checksum-type": checksum[2]} if checksum else {}


def ranged(request, headers, body):
    """One range of bytes; others are ignored, as RFC 9110 allows."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.header("range"))
    if not match or match[1] == match[2] == "":
        return 200, headers, body
    first = int(match[1]) if match[1] else max(0, len(body) - int(match[2]))
    last = min(int(match[2]), len(body) - 1) if match[1] and match[2] else len(body) - 1
    if first >= len(body) or first > last:
        raise request.refuse("InvalidRange", "The requested range is not satisfiable")
    piece = body[first : last + 1]
    return 206, {**headers, "Content-Length": str(len(piece)), "Content-Range": f"bytes {first}-{last}/{len(body)}"}, piece
