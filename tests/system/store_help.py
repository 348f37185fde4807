"""The fault server of tests/store in a process of its own, and clients for it.

    def test_x(store):
        server = store("--s3")                      see tests/store/server.py --help
        server.urls["s3"], server.keys              also server.environment() for a program
        rule = server.control.fault("hold", operation="CompleteMultipartUpload", when="after")
        server.control.wait_held(rule)
"""
import base64
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import select
import subprocess
import sys
import urllib.parse

from harness import BUILD, ROOT, SLOW

sys.path.insert(0, str(ROOT / "tests"))
from store.control import RemoteControl  # noqa: E402

START_S = 20
AZURE_VERSION = "2021-12-02"


class StoreServer:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(ROOT / "tests" / "store" / "server.py"), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        ready, _, _ = select.select([self.process.stdout], [], [], START_S * SLOW)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the store's server did not start: {arguments}")
        self.about = json.loads(line)
        self.ports, self.urls, self.ca_file = self.about["ports"], self.about["urls"], self.about["ca_file"]
        self.keys = {name: self.about[name] for name in ("access_key", "secret_key", "account", "account_key")}
        self.control = RemoteControl(self.ports["control"], timeout=120 * SLOW)

    def environment(self):
        """What AWS's tools take from the environment."""
        return {"AWS_ACCESS_KEY_ID": self.keys["access_key"], "AWS_SECRET_ACCESS_KEY": self.keys["secret_key"],
                "AWS_REGION": self.about["region"], "AWS_ENDPOINT_URL": self.urls["s3"]}

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(10 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.process.stdout.close()


def tool_body(number, size):
    """As tests/store_tool makes it: 251 is the period of both terms."""
    period = bytes((i * 31 + number * 7) % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


class StoreTool:
    """One store of a sink, open in tests/store_tool. store: what the section `store` says."""

    def __init__(self, path, store, environment=None, clean=("AWS_", "AZURE_", "IDENTITY_", "HOME"), key="chat/{date}/{client_id}"):
        config = {"sinks": [{"name": "logs", "kind": "objects", "topics": ["log"], "key": key, "store": store}]}
        file = path / "store.yaml"
        file.write_text(json.dumps(config))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(clean)}
        self.log = open(path / "log", "w+", encoding="utf-8")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [str(BUILD / "tests" / "store_tool"), str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            env={**kept, "HOME": str(path), **(environment or {})})

    def begin(self, *fields):
        self.process.stdin.write("\t".join(map(str, fields)) + "\n")
        self.process.stdin.flush()

    def end(self):
        line = self.process.stdout.readline()
        assert line, self.said()
        return json.loads(line)

    def __call__(self, *fields):
        self.begin(*fields)
        return self.end()

    def said(self):
        """Its log so far."""
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as file:
            return file.read()

    def close(self):
        self.process.stdin.close()
        try:
            status = self.process.wait(20 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()
            self.log.close()
        return status


def s3_client(about, style="path", url=None, **more):
    """boto3 for a server (Servers.describe() or StoreServer.about), without retries of its own."""
    import boto3  # pylint: disable=import-outside-toplevel
    from botocore.config import Config  # pylint: disable=import-outside-toplevel

    options = {"s3": {"addressing_style": style}, "retries": {"total_max_attempts": 1, "mode": "standard"}, "read_timeout": 30 * SLOW,
               "connect_timeout": 10 * SLOW, "signature_version": "s3v4"}
    try:
        config = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required", **options)
    except TypeError:  # before boto3 1.36, which sends no checksums of its own accord
        config = Config(**options)
    named = {"aws_access_key_id": about["access_key"], "aws_secret_access_key": about["secret_key"], "region_name": about["region"], **more}
    return boto3.client("s3", endpoint_url=url or about["urls"]["s3"], config=config, **named)


def azure_signature(account, key, method, path, query, headers):
    """Shared Key as the document has it: learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key."""
    def value(name):
        return headers.get(name, "")

    length = value("Content-Length")
    lines = [method, value("Content-Encoding"), value("Content-Language"), "" if length == "0" else length, value("Content-MD5"),
             value("Content-Type"), "", value("If-Modified-Since"), value("If-Match"), value("If-None-Match"), value("If-Unmodified-Since"),
             value("Range")]
    lines += [f"{name.lower()}:{headers[name]}" for name in sorted(headers, key=str.lower) if name.lower().startswith("x-ms-")]
    lines.append(f"/{account}{path}")
    lines += [f"{name}:{query[name]}" for name in sorted(query)]
    digest = hmac.new(base64.b64decode(key), "\n".join(lines).encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


class AzureClient:
    """Requests by hand. Each returns (status, headers, body); sas is the query of a shared access signature, bearer a token."""

    def __init__(self, port, account, key, container="container", sas="", bearer=""):
        self.port, self.account, self.key, self.container, self.sas, self.bearer = port, account, key, container, sas, bearer

    def ask(self, method, blob="", query=None, body=b"", date=None, **headers):
        """headers: underscores become hyphens."""
        query = dict(query or {})
        path = f"/{self.account}/{self.container}" + (f"/{urllib.parse.quote(blob, safe='/')}" if blob else "")
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers.setdefault("x-ms-version", AZURE_VERSION)
        headers["x-ms-date"] = email.utils.formatdate(date, usegmt=True)
        if method == "PUT":
            headers.setdefault("Content-Length", str(len(body)))
        text = "&".join(f"{urllib.parse.quote(name)}={urllib.parse.quote(value, safe='')}" for name, value in query.items())
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        elif self.sas:
            text = f"{text}&{self.sas}" if text else self.sas
        elif self.key:
            headers["Authorization"] = f"SharedKey {self.account}:" + azure_signature(self.account, self.key, method, path, query, headers)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 * SLOW)
        try:
            connection.request(method, path + (f"?{text}" if text else ""), body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def put_block(self, blob, number, body, **headers):
        return self.ask("PUT", blob, {"comp": "block", "blockid": number}, body, **headers)

    def put_block_list(self, blob, numbers, where="Latest", **headers):
        body = "<?xml version='1.0' encoding='utf-8'?><BlockList>" + "".join(f"<{where}>{n}</{where}>" for n in numbers) + "</BlockList>"
        return self.ask("PUT", blob, {"comp": "blocklist"}, body.encode(), **headers)


def block_id(number):
    return base64.b64encode(f"{number:08d}".encode()).decode()
