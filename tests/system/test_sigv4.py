"""Our signature version 4 against botocore's: random requests, signed by both."""
import datetime
import os
import random
import string
import subprocess
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from harness import BUILD, SLOW

auth = pytest.importorskip("botocore.auth")
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402

REQUESTS = 800
NAMES = ["uploads", "uploadId", "partNumber", "max-parts", "part-number-marker", "acl", "X", "x", "a-b", "a_b", "a~b", "zz.z"]
HEADERS = [
    "content-type", "Content-MD5", "If-None-Match", "x-amz-meta-millrace-token", "X-Amz-Server-Side-Encryption", "Range",
    "x-amz-checksum-crc32c", "x-amz-acl", "Content-Encoding", "Expect", "User-Agent",
]


def text(random_, alphabet, least, most):
    return "".join(random_.choice(alphabet) for _ in range(random_.randint(least, most)))


def one_request(random_):
    """The fields of a line of sigv4_tool."""
    letters = string.ascii_letters + string.digits
    odd = letters + "-._~/+=& %,;:@$!*'()\u00e4\u20ac\U0001f600"
    path = "/" + quote(text(random_, odd, 0, 60), safe="/~")
    pairs = []
    for name in random_.sample(NAMES, random_.randint(0, 5)):
        for _ in range(random_.randint(1, 2)):
            value = quote(text(random_, odd, 0, 20), safe="-_.~")
            pairs.append(random_.choice([f"{name}={value}", name]) if value == "" else f"{name}={value}")
    random_.shuffle(pairs)
    headers = [
        f"{name}:{random_.choice(['', ' ', '   '])}{text(random_, letters + ' =/+;,*', 0, 30)}{random_.choice(['', ' '])}"
        for name in random_.sample(HEADERS, random_.randint(0, 8))
    ]
    body = random_.choice(["UNSIGNED-PAYLOAD", f"{random_.getrandbits(256):064x}"])
    return [
        text(random_, letters, 16, 20), text(random_, letters + "/+", 40, 40), random_.choice(["", text(random_, letters + "/+=", 1, 900)]),
        random_.choice(["us-east-1", "eu-central-1", "auto", "cn-north-1"]), random_.choice(["GET", "PUT", "POST", "HEAD"]),
        random_.choice(["examplebucket.s3.amazonaws.com", "127.0.0.1:9000", "[::1]:81", "minio.example"]), path, "&".join(pairs), body,
        str(random_.randint(0, 4_000_000_000)), *headers,
    ]


class Auth(auth.S3SigV4Auth):
    """botocore's, with the hash of the body given."""

    def __init__(self, body, *arguments):
        super().__init__(*arguments)
        self.body = body

    def payload(self, request):
        return self.body


def botocore_signs(monkeypatch, fields):
    access, secret, token, region, method, host, path, query, body, seconds, *headers = fields
    now = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc)
    if hasattr(auth, "get_current_datetime"):
        monkeypatch.setattr(auth, "get_current_datetime", lambda: now)
    else:
        monkeypatch.setattr(auth, "datetime", SimpleNamespace(datetime=SimpleNamespace(utcnow=lambda: now)))
    request = AWSRequest(method=method, url=f"https://{host}{path}" + (f"?{query}" if query else ""))
    for header in headers:
        name, value = header.split(":", 1)
        request.headers[name] = value
    signer = Auth(body, Credentials(access, secret, token or None), "s3", region)
    signer.add_auth(request)
    return request.headers["Authorization"], signer.canonical_request(request)


def test_signs_the_same_as_botocore(monkeypatch):
    seed = int(os.environ.get("MILLRACE_SEED") or random.getrandbits(32))
    print("seed", seed)
    random_ = random.Random(seed)
    requests = [one_request(random_) for _ in range(REQUESTS)]
    result = subprocess.run(
        [str(BUILD / "tests" / "sigv4_tool")], input="".join("\t".join(fields) + "\n" for fields in requests), text=True,
        capture_output=True, timeout=30 * SLOW, check=True)
    ours = result.stdout.splitlines()
    assert len(ours) == REQUESTS
    for fields, mine in zip(requests, ours):
        theirs, canonical = botocore_signs(monkeypatch, fields)
        assert mine == theirs, f"{fields}\n{canonical}"
