"""Who may ask Azure Blob, and for what: the server's side, written from the documents and not from any client.

https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key       string to sign, canonicalized headers and resource
https://learn.microsoft.com/en-us/rest/api/storageservices/create-service-sas              fields by version, permissions by operation
https://learn.microsoft.com/en-us/rest/api/storageservices/create-account-sas
https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-azure-active-directory    bearer tokens
"""
import base64
import calendar
import email.utils
import hashlib
import hmac
import ipaddress
import re
import time
import urllib.parse

MAX_SKEW_S = 15 * 60
FAILED = "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature."
SIGNED_HEADERS = ("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date", "if-modified-since", "if-match",
                  "if-none-match", "if-unmodified-since", "range")
# By operation: permissions of which a SAS must have one, and the resource type of an account SAS.
NEEDS = {"PutBlob": ("wc", "o"), "PutBlock": ("wc", "o"), "PutBlockList": ("wc", "o"), "GetBlob": ("r", "o"), "GetBlobProperties": ("r", "o"),
         "GetBlockList": ("r", "o"), "ListBlobs": ("l", "c"), "GetContainerProperties": ("r", "c")}
ACCOUNT_ONLY = ("GetContainerProperties",)  # no service SAS allows it


def hmac_base64(key, text):
    return base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()


def check(request, account, key, world, bearers, refuse):
    """Returns who asks: "key", "sas" or "bearer"."""
    scheme, _, value = request.header("authorization").partition(" ")
    if not scheme and "sig" in request.query:
        check_sas(request, account, key, world.now(), refuse)
        return "sas"
    if not scheme:
        raise refuse("NoAuthenticationInformation")
    check_date(request, world.now(), refuse)
    if "x-ms-version" not in request.headers:
        raise refuse("MissingRequiredHeader", HeaderName="x-ms-version")
    if scheme == "SharedKey":
        check_shared_key(request, account, key, value, refuse)
        return "key"
    if scheme == "Bearer":
        check_bearer(request, value, world.now(), bearers, refuse)
        return "bearer"
    raise refuse("InvalidAuthenticationInfo")


def check_date(request, now, refuse):
    text = request.header("x-ms-date") or request.header("date")
    parsed = email.utils.parsedate_tz(text) if text else None
    if parsed is None:
        raise refuse("AuthenticationFailed", Detail="Date or x-ms-date is missing or malformed.")
    if abs(now - email.utils.mktime_tz(parsed)) > MAX_SKEW_S:
        raise refuse("AuthenticationFailed", Detail=f"Request date header too old: '{text}'")


# ---- shared key ----


def canonical_resource(request, account):
    """The account, the path as it was sent, and each parameter on a line; of an emulator the path begins with the account itself."""
    values = {}
    for name, value in request.query_list:
        values.setdefault(name.lower(), []).append(value)
    lines = "".join(f"\n{name}:{','.join(sorted(values[name]))}" for name in sorted(values))
    return f"/{account}{request.raw_path}{lines}"


def string_to_sign(request, account):
    fields = {name: request.header(name) for name in SIGNED_HEADERS}
    if fields["content-length"] == "0":
        fields["content-length"] = ""  # since version 2015-02-21
    if "x-ms-date" in request.headers:
        fields["date"] = ""
    own = {name: " ".join(value.split()) for name, value in request.headers.items() if name.startswith("x-ms-")}
    headers = "".join(f"{name}:{own[name]}\n" for name in sorted(own))
    return "\n".join([request.method, *fields.values()]) + "\n" + headers + canonical_resource(request, account)


def check_shared_key(request, account, key, value, refuse):
    name, _, signature = value.partition(":")
    to_sign = string_to_sign(request, account)
    if name != account or not hmac.compare_digest(hmac_base64(key, to_sign), signature):
        quoted = to_sign.replace("\n", "\\n")
        raise refuse("AuthenticationFailed", Detail=f"The MAC signature found in the HTTP request '{signature}' is not the same as any computed"
                     f" signature. Server used following string to sign: '{quoted}'.")


# ---- shared access signatures ----


def sas_time(text):
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d"):
        try:
            return calendar.timegm(time.strptime(text, form))
        except ValueError:
            pass
    return None


def account_sas_string(account, query):
    names = ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"] + (["ses"] if query["sv"] >= "2020-12-06" else [])
    return account + "\n" + "".join(query.get(name, "") + "\n" for name in names)


def service_sas_string(account, query, container, blob):
    resource = f"/blob/{account}/{container}" + (f"/{blob}" if query["sr"] == "b" else "")
    names = ["sr", "snapshot"] if query["sv"] >= "2018-11-09" else []
    names += ["ses"] if query["sv"] >= "2020-12-06" else []
    start = [query.get(name, "") for name in ("sp", "st", "se")] + [resource] + [query.get(name, "") for name in ("si", "sip", "spr", "sv")]
    return "\n".join(start + [query.get(name, "") for name in names + ["rscc", "rscd", "rsce", "rscl", "rsct"]])


def check_sas(request, account, key, now, refuse):
    query, label = request.query, request.label
    permissions, kind = NEEDS.get(label.operation, ("", ""))
    if not re.fullmatch(r"20\d\d-\d\d-\d\d", query.get("sv", "")) or sas_time(query.get("se", "")) is None:
        raise refuse("AuthenticationFailed", Detail="sv and se are mandatory, and of a form of their own.")
    is_account = "ss" in query
    if not is_account and query.get("sr") not in ("b", "c"):
        raise refuse("AuthenticationFailed", Detail="sr is mandatory. Cannot be empty")
    to_sign = account_sas_string(account, query) if is_account else service_sas_string(account, query, label.bucket, label.key)
    if not hmac.compare_digest(hmac_base64(key, to_sign), query["sig"]):
        quoted = to_sign.replace("\n", "\\n")
        raise refuse("AuthenticationFailed", Detail=f"Signature did not match. String to sign used was {quoted}")
    start = sas_time(query["st"]) if query.get("st") else None
    if now >= sas_time(query["se"]) or (start is not None and now < start):
        raise refuse("AuthenticationFailed", Detail=f"Signature not valid in the specified time frame: Start [{query.get('st', '')}] -"
                     f" Expiry [{query['se']}] - Current [{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now))}]")
    if query.get("spr") == "https" and not request.connection.listener.tls:
        raise refuse("AuthorizationProtocolMismatch")
    if query.get("sip") and not in_range("127.0.0.1", query["sip"]):
        raise refuse("AuthorizationSourceIPMismatch")
    if is_account and "b" not in query["ss"]:
        raise refuse("AuthorizationServiceMismatch")
    if is_account and kind not in query.get("srt", ""):
        raise refuse("AuthorizationResourceTypeMismatch")
    if not is_account and (label.operation in ACCOUNT_ONLY or (label.operation == "ListBlobs" and query["sr"] == "b")):
        raise refuse("AuthorizationPermissionMismatch")
    if not set(permissions) & set(query.get("sp", "")):
        raise refuse("AuthorizationPermissionMismatch")


def in_range(address, text):
    first, _, last = text.partition("-")
    return ipaddress.ip_address(first) <= ipaddress.ip_address(address) <= ipaddress.ip_address(last or first)


# ---- bearer tokens ----


def check_bearer(request, token, now, bearers, refuse):
    if request.header("x-ms-version") < "2017-11-09":
        raise refuse("AuthenticationFailed", Detail="x-ms-version is too old for bearer tokens.")
    resource, expires = bearers.get(token, (None, 0))
    host = urllib.parse.urlsplit(resource or "").hostname or ""
    if host != "storage.azure.com" and not host.endswith(".blob.core.windows.net"):
        raise refuse("InvalidAuthenticationInfo", Detail="Issuer or audience validation failed. Audience did not match.")
    if now >= expires:
        raise refuse("InvalidAuthenticationInfo", Detail="Lifetime validation failed. The token is expired.")
