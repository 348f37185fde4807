"""The services that hand out credentials, and the book of what they handed out.

EC2 instance metadata, version 2      https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
                                      .../UserGuide/instance-metadata-security-credentials.html
ECS and EKS container credentials     https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
STS AssumeRoleWithWebIdentity         https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
Azure managed identity                https://learn.microsoft.com/en-us/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
All on one port, told apart by their paths.
"""
import base64
import itertools
import json
import os
import re
import time
import urllib.parse
from dataclasses import dataclass

from store.s3_lists import element, escape
from store.wire import Answer, Body, Label, Refusal

TOKEN_TTL_MAX_S = 21600
CONTAINER_PATH = "/v2/credentials/6f1a2b3c"
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_numbers = itertools.count(1)


@dataclass
class Credential:
    access_key: str
    secret: str
    token: str = None
    expires: float = None
    source: str = "fixed"


class Credentials:
    """Access keys of S3 and bearer tokens of Azure: which exist, and until when."""

    def __init__(self, world):
        self.world = world
        self.keys = {}
        self.bearers = {}

    def add(self, access_key, secret, token=None, expires=None):
        with self.world.lock:
            self.keys[access_key] = Credential(access_key, secret, token, expires)

    def find(self, access_key):
        with self.world.lock:
            return self.keys.get(access_key)

    def issue(self, source):
        number = next(_numbers)
        one = Credential(f"ASIATEST{number:012d}", base64.b64encode(os.urandom(30)).decode(), base64.b64encode(os.urandom(120)).decode(),
                         self.world.now() + self.world.settings.credential_seconds, source)
        with self.world.lock:
            self.keys[one.access_key] = one
        return one

    def issue_bearer(self, resource):
        """(token, when it expires)"""
        token = base64.urlsafe_b64encode(os.urandom(90)).decode()
        expires = self.world.now() + self.world.settings.credential_seconds
        with self.world.lock:
            self.bearers[token] = (resource, expires)
        return token, expires

    def expire_issued(self):
        """All that was issued is over, now; returns how many."""
        with self.world.lock:
            now = self.world.now()
            issued = [one for one in self.keys.values() if one.source != "fixed"]
            for one in issued:
                one.expires = now
            self.bearers = {token: (resource, now) for token, (resource, _) in self.bearers.items()}
            return len(issued) + len(self.bearers)


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


FAULTS = {"internal": 500, "unavailable": 503, "slow_down": 429, "denied": 403, "expired": 400, "no_bucket": 404, "no_upload": 404, "conflict": 409,
          "precondition": 412, "body_error": 200, "skewed": 400, "custom": 500}


class CredentialServices:
    name = "credentials"
    server = "EC2ws"
    watched = True

    def __init__(self, world, credentials):
        self.world = world
        self.credentials = credentials
        self.instance_tokens = {}

    def label(self, request):
        path, method = request.raw_path, request.method
        if path == "/latest/api/token":
            operation = "InstanceToken"
        elif path.rstrip("/") == ROLES_PATH.rstrip("/"):
            operation = "InstanceRole"
        elif path.startswith(ROLES_PATH):
            operation = "InstanceCredentials"
        elif path.startswith("/latest/"):
            operation = "InstanceMetadata"
        elif path.startswith("/v2/credentials/") or path == "/v1/credentials":
            operation = "ContainerCredentials"
        elif path.startswith("/metadata/identity/"):
            operation = "AzureToken"
        elif path == "/" and method in ("POST", "GET"):
            operation = "AssumeRoleWithWebIdentity"
        else:
            operation = "Unknown"
        return Label("credentials", operation)

    def error(self, name, request, status=None, code=None, message=None, retry_after=None, headers=None, body=None):
        status = status or FAULTS[name]
        if request.label.operation == "AssumeRoleWithWebIdentity":
            answer = self.sts_error(status, code or {429: "Throttling", 500: "InternalFailure", 403: "AccessDenied"}.get(status, "Error"), message)
        else:
            answer = Answer(status, {"Content-Type": "application/json"}, json.dumps({"code": code or name, "message": message or name}).encode(),
                            code or name)
        answer.headers.update(headers or {})
        if retry_after is not None:
            answer.headers["Retry-After"] = str(retry_after)
        if body is not None:
            answer.body = body.encode()
        return answer

    def begin(self, request):
        request.body = Body()
        if request.length > 1 << 20:
            raise Refusal(Answer(413))

    def act(self, request):
        handler = {
            "InstanceToken": self.instance_token, "InstanceRole": self.instance_role, "InstanceCredentials": self.instance_credentials,
            "InstanceMetadata": self.instance_metadata, "ContainerCredentials": self.container, "AzureToken": self.azure_token,
            "AssumeRoleWithWebIdentity": self.assume_role,
        }.get(request.label.operation)
        if handler is None:
            raise Refusal(Answer(404))
        return handler(request)

    # ---- EC2 ----

    def instance_token(self, request):
        """A session's token: PUT, with its life in seconds, and never through a proxy."""
        if request.method != "PUT":
            raise Refusal(Answer(405))
        if "x-forwarded-for" in request.headers:
            raise Refusal(Answer(403))
        ttl = request.header("x-aws-ec2-metadata-token-ttl-seconds")
        if not re.fullmatch(r"\d{1,5}", ttl) or not 1 <= int(ttl) <= TOKEN_TTL_MAX_S:
            raise Refusal(Answer(400))
        token = base64.b64encode(os.urandom(40)).decode()
        with self.world.lock:
            self.instance_tokens[token] = self.world.now() + int(ttl)
        return Answer(200, {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": ttl, "Content-Type": "text/plain"}, token.encode())

    def check_instance(self, request):
        if request.method != "GET":
            raise Refusal(Answer(405))
        expires = self.instance_tokens.get(request.header("x-aws-ec2-metadata-token"))
        if expires is None or expires <= self.world.now():
            raise Refusal(Answer(401))

    def instance_role(self, request):
        self.check_instance(request)
        if not self.world.settings.role:
            raise Refusal(Answer(404))
        return Answer(200, {"Content-Type": "text/plain"}, self.world.settings.role.encode())

    def instance_credentials(self, request):
        self.check_instance(request)
        if urllib.parse.unquote(request.raw_path[len(ROLES_PATH) :]) != self.world.settings.role:
            raise Refusal(Answer(404))
        one = self.issue(request)
        return json_answer({"Code": "Success", "LastUpdated": iso(self.world.now()), "Type": "AWS-HMAC", **aws_fields(one)}, "text/plain")

    def instance_metadata(self, request):
        self.check_instance(request)
        values = {"/latest/meta-data/placement/region": self.world.settings.region}
        if request.raw_path not in values:
            raise Refusal(Answer(404))
        return Answer(200, {"Content-Type": "text/plain"}, values[request.raw_path].encode())

    def issue(self, request):
        one = self.credentials.issue(request.label.operation)
        self.world.log.update(request.entry, access_key=one.access_key)
        return one

    # ---- containers ----

    def container(self, request):
        if request.method != "GET":
            raise Refusal(Answer(405))
        wanted = self.world.settings.container_token
        if wanted and request.header("authorization") != wanted:
            raise Refusal(json_answer({"code": "AccessDenied", "message": "wrong Authorization"}, status=401))
        return json_answer({"RoleArn": self.world.settings.role_arn, **aws_fields(self.issue(request))})

    # ---- STS ----

    def sts_error(self, status, code, message=None):
        fields = element("Type", "Sender") + element("Code", code) + element("Message", escape(message or code))
        body = element("ErrorResponse", element("Error", fields) + element("RequestId", f"{next(_numbers):032x}"), STS_NAMESPACE)
        return Answer(status, {"Content-Type": "text/xml"}, body.encode(), code)

    def assume_role(self, request):
        text = request.body.bytes().decode("utf-8", "replace") if request.method == "POST" else request.raw_query
        form = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
        if form.get("Action") != "AssumeRoleWithWebIdentity" or form.get("Version") != "2011-06-15":
            raise Refusal(self.sts_error(400, "InvalidAction"))
        for name in ("RoleArn", "RoleSessionName", "WebIdentityToken"):
            if not form.get(name):
                raise Refusal(self.sts_error(400, "ValidationError", f"{name} is missing"))
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", form["RoleSessionName"]):
            raise Refusal(self.sts_error(400, "ValidationError", "RoleSessionName"))
        if form["WebIdentityToken"] != self.world.settings.web_identity_token:
            raise Refusal(self.sts_error(400, "InvalidIdentityToken", "The web identity token that was passed could not be validated"))
        if form["RoleArn"] != self.world.settings.role_arn:
            raise Refusal(self.sts_error(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"))
        fields = aws_fields(self.issue(request))
        inner = "".join(element(name, escape(fields[key])) for name, key in (("AccessKeyId",) * 2, ("SecretAccessKey",) * 2,
                                                                             ("SessionToken", "Token"), ("Expiration",) * 2))
        result = element("SubjectFromWebIdentityToken", "test") + element("Credentials", inner)
        body = element("AssumeRoleWithWebIdentityResponse", element("AssumeRoleWithWebIdentityResult", result)
                       + element("ResponseMetadata", element("RequestId", f"{next(_numbers):032x}")), STS_NAMESPACE)
        return Answer(200, {"Content-Type": "text/xml"}, body.encode())

    # ---- Azure ----

    def azure_token(self, request):
        def refuse(status, code):
            return Refusal(json_answer({"error": code, "error_description": code}, status=status))

        query = request.query
        if request.method != "GET" or request.raw_path != "/metadata/identity/oauth2/token":
            raise refuse(404, "not_found")
        if request.header("metadata").lower() != "true" or "x-forwarded-for" in request.headers:
            raise refuse(400, "bad_request_102")
        if query.get("api-version", "") < "2018-02-01" or not query.get("resource"):
            raise refuse(400, "invalid_request")
        token, expires = self.credentials.issue_bearer(query["resource"])
        now = self.world.now()
        return json_answer({"access_token": token, "client_id": query.get("client_id", "00000000-0000-0000-0000-000000000001"),
                            "expires_in": str(int(expires - now)), "expires_on": str(int(expires)), "ext_expires_in": str(int(expires - now)),
                            "not_before": str(int(now)), "resource": query["resource"], "token_type": "Bearer"})


def aws_fields(one):
    return {"AccessKeyId": one.access_key, "SecretAccessKey": one.secret, "Token": one.token, "Expiration": iso(one.expires)}


def json_answer(value, kind="application/json", status=200):
    return Answer(status, {"Content-Type": kind}, json.dumps(value).encode(), value.get("code", "") if status != 200 else "")
