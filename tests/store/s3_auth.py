"""Signature Version 4, the server's side, written from the documents and not from any client.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html          canonical request, string to sign
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html                    codes and their status
"""
import calendar
import email.utils
import hashlib
import hmac
import re
import time
import urllib.parse

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_SKEW_S = 15 * 60
AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9a-f]{64})")


def encode(text, keep=""):
    """UriEncode of the documents: all bytes but A-Z a-z 0-9 - . _ ~, hexadecimal digits in upper case."""
    return urllib.parse.quote(text, safe="-._~" + keep)


def canonical_path(raw_path):
    """What the path says, encoded once; of S3 alone: dots and double slashes stay as they are."""
    return encode(urllib.parse.unquote_to_bytes(raw_path), "/")


def canonical_query(query_list):
    return "&".join(f"{name}={value}" for name, value in sorted((encode(name), encode(value)) for name, value in query_list))


def canonical_headers(request, names):
    lines = []
    for name in names:
        values = [" ".join(value.split()) for sent, value in request.header_list if sent.lower() == name]
        lines.append(f"{name}:{','.join(values)}\n")
    return "".join(lines)


def canonical_request(request, names, payload):
    return "\n".join([request.method, canonical_path(request.raw_path), canonical_query(request.query_list),
                      canonical_headers(request, names), ";".join(names), payload])


def signing_key(secret, day, region, service):
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def parse_date(text):
    """Seconds since the epoch of x-amz-date or Date, or None."""
    try:
        return calendar.timegm(time.strptime(text, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        parsed = email.utils.parsedate_tz(text)
        return email.utils.mktime_tz(parsed) if parsed else None


def must_be_signed(request):
    """Host, Content-Type when it is there, and every x-amz-* header."""
    return sorted({"host"} | {name for name in request.headers if name.startswith("x-amz-") or name == "content-type"})


def check(request, settings, now, credentials, refuse):
    """Returns the credential that signed. refuse(code, message, **more) makes the error that is raised otherwise."""
    header = request.header("authorization")
    if not header:
        raise refuse("AccessDenied", "Access Denied")
    if not header.startswith(ALGORITHM):
        raise refuse("InvalidRequest", f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.")
    match = AUTHORIZATION.fullmatch(header)
    scope = match[1].split("/") if match else []
    if len(scope) < 5:
        raise refuse("AuthorizationHeaderMalformed", "The authorization header is malformed.")
    access_key, (day, region, service, ending) = "/".join(scope[:-4]), scope[-4:]
    if (service, ending) != ("s3", "aws4_request"):
        raise refuse("AuthorizationHeaderMalformed", "The authorization header is malformed; incorrect service or ending of the scope.")
    if region != settings.region:
        raise refuse("AuthorizationHeaderMalformed", Region=settings.region,
                     message=f"The authorization header is malformed; the region '{region}' is wrong; expecting '{settings.region}'")
    credential = credentials.find(access_key)
    if credential is None:
        raise refuse("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", AWSAccessKeyId=access_key)
    check_date(request, day, now, refuse)
    check_signature(request, match, credential, "/".join(scope[-4:]), refuse)
    check_token(request, credential, now, refuse)
    return credential


def check_date(request, day, now, refuse):
    text = request.header("x-amz-date") or request.header("date")
    signed_at = parse_date(text) if text else None
    if signed_at is None:
        raise refuse("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    if time.strftime("%Y%m%d", time.gmtime(signed_at)) != day:
        raise refuse("AuthorizationHeaderMalformed", "The authorization header is malformed; the date of the scope is not that of x-amz-date.")
    if abs(now - signed_at) > MAX_SKEW_S:
        raise refuse("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", RequestTime=text,
                     ServerTime=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)), MaxAllowedSkewMilliseconds=MAX_SKEW_S * 1000)


def check_signature(request, match, credential, scope, refuse):
    names = match[2].split(";")
    missing = [name for name in must_be_signed(request) if name not in names]
    if missing:
        raise refuse("AccessDenied", "There were headers present in the request which were not signed", HeadersNotSigned=", ".join(missing))
    if names != sorted(names) or any(name not in request.headers for name in names):
        raise refuse("SignatureDoesNotMatch", "SignedHeaders names what is not there, or is not in order.")
    payload = request.header("x-amz-content-sha256")
    if not payload:
        raise refuse("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    if payload.startswith("STREAMING-"):
        raise refuse("NotImplemented", "A header you provided implies functionality that is not implemented", Header="x-amz-content-sha256")
    if payload != UNSIGNED and not re.fullmatch("[0-9a-f]{64}", payload):
        raise refuse("InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value.")
    canonical = canonical_request(request, names, payload)
    date = request.header("x-amz-date") or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(parse_date(request.header("date"))))
    to_sign = "\n".join([ALGORITHM, date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    day, region, service, _ = scope.split("/")
    right = hmac.new(signing_key(credential.secret, day, region, service), to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(right, match[3]):
        raise refuse("SignatureDoesNotMatch", AWSAccessKeyId=credential.access_key, StringToSign=to_sign, SignatureProvided=match[3],
                     CanonicalRequest=canonical,
                     message="The request signature we calculated does not match the signature you provided. Check your key and signing method.")


def check_token(request, credential, now, refuse):
    token = request.header("x-amz-security-token")
    if credential.token is None and token:
        raise refuse("InvalidToken", "The provided token is malformed or otherwise invalid.")
    if credential.token is not None and not token:
        raise refuse("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.",
                     AWSAccessKeyId=credential.access_key)
    if token and token != credential.token:
        raise refuse("InvalidToken", "The provided token is malformed or otherwise invalid.")
    if credential.expires is not None and now >= credential.expires:
        raise refuse("ExpiredToken", "The provided token has expired.")
