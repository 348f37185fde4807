"""The lists of S3, in pages: ListParts, ListMultipartUploads, ListObjectsV2. Sources: API_ListParts.html and so on, see s3.py."""
import base64
import time
import urllib.parse
import xml.sax.saxutils

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
OWNER = "<ID>test</ID><DisplayName>test</DisplayName>"


def escape(text):
    """XML 1.0 has no way to write most control characters: AWS sends references all the same (EncodingType of API_ListObjectsV2)."""
    text = xml.sax.saxutils.escape(text, {'"': "&quot;", "\r": "&#13;"})
    return "".join(f"&#x{ord(c):x};" if ord(c) < 32 and c not in "\n\t" else c for c in text)


def element(name, content, namespace=""):
    return f'<{name} xmlns="{namespace}">{content}</{name}>' if namespace else f"<{name}>{content}</{name}>"


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def limit_of(request, world, name):
    text = request.query.get(name, "1000")
    if not text.isdigit() or int(text) > 2**31 - 1:
        raise request.refuse("InvalidArgument", f"Argument {name} must be an integer between 0 and 2147483647", ArgumentName=name)
    return min(int(text), 1000, world.settings.page)


def fields(**named):
    return "".join(element(name, escape(str(value))) for name, value in named.items() if value is not None)


def encoder(request):
    """How names are written: encoding-type=url or as they are."""
    return (lambda text: urllib.parse.quote(text, safe="/-._~")) if request.query.get("encoding-type") == "url" else (lambda text: text)


def list_parts(s3, request, bucket):
    upload = s3.upload_of(request, bucket)
    marker = request.query.get("part-number-marker", "0")
    if not marker.isdigit():
        raise request.refuse("InvalidArgument", "Argument part-number-marker must be an integer", ArgumentName="part-number-marker")
    limit = limit_of(request, s3.world, "max-parts")
    numbers = sorted(number for number in upload.parts if number > int(marker))
    page, cut = numbers[:limit], len(numbers) > limit
    kind = ("FULL_OBJECT" if upload.whole else "COMPOSITE") if upload.algorithm else None
    text = fields(Bucket=bucket.name, Key=encoder(request)(upload.key), UploadId=upload.id, StorageClass="STANDARD", PartNumberMarker=marker,
                  NextPartNumberMarker=page[-1] if page else 0, MaxParts=limit, IsTruncated="true" if cut else "false",
                  ChecksumAlgorithm=upload.algorithm.upper() or None, ChecksumType=kind)
    text += element("Initiator", OWNER) + element("Owner", OWNER)
    for number in page:
        part = upload.parts[number]
        checksum = {f"Checksum{upload.algorithm.upper()}": part.checksum} if upload.algorithm else {}
        text += element("Part", fields(PartNumber=number, LastModified=iso(part.time), ETag=part.etag, Size=part.body.length, **checksum))
    return s3.ok({}, element("ListPartsResult", text, NAMESPACE))


def list_uploads(s3, request, bucket):
    """In the order of keys, and of time for the same key."""
    query, encode = request.query, encoder(request)
    prefix, key_marker, id_marker = query.get("prefix", ""), query.get("key-marker", ""), query.get("upload-id-marker", "")
    limit = limit_of(request, s3.world, "max-uploads")
    all_of_them = sorted((one.key, one.time, one.id) for one in bucket.uploads.values() if one.key.startswith(prefix))
    start = 0
    if key_marker:
        # After the key; or, with an id, after that upload of this key.
        start = sum(1 for key, _, _ in all_of_them if key < key_marker)
        same = [at for at, (key, _, _) in enumerate(all_of_them) if key == key_marker]
        known = [at for at in same if all_of_them[at][2] == id_marker]
        start = known[0] + 1 if id_marker and known else start + len(same)
    page, cut = all_of_them[start : start + limit], len(all_of_them) > start + limit
    text = fields(Bucket=bucket.name, KeyMarker=encode(key_marker), UploadIdMarker=id_marker, Prefix=encode(prefix), MaxUploads=limit,
                  EncodingType=query.get("encoding-type"), IsTruncated="true" if cut else "false",
                  NextKeyMarker=encode(page[-1][0]) if cut else None, NextUploadIdMarker=page[-1][2] if cut else None)
    for key, at, number in page:
        text += element("Upload", fields(Key=encode(key), UploadId=number) + element("Initiator", OWNER) + element("Owner", OWNER)
                        + fields(StorageClass="STANDARD", Initiated=iso(at)))
    return s3.ok({}, element("ListMultipartUploadsResult", text, NAMESPACE))


def list_objects(s3, request, bucket):
    """In the order of the keys' UTF-8 bytes. Keys between prefix and delimiter become one common prefix."""
    query, encode = request.query, encoder(request)
    prefix, delimiter, after = query.get("prefix", ""), query.get("delimiter", ""), query.get("start-after", "")
    token = query.get("continuation-token")
    if token is not None:
        try:
            after = base64.urlsafe_b64decode(token.encode()).decode()
        except ValueError:
            raise request.refuse("InvalidArgument", "The continuation token provided is incorrect") from None
    limit = limit_of(request, s3.world, "max-keys")
    entries = {}  # name: object, or None for a common prefix
    for key in sorted(bucket.objects, key=str.encode):
        if not key.startswith(prefix):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key if end < 0 else key[: end + len(delimiter)]
        if name.encode() > after.encode():
            entries.setdefault(name, bucket.objects[key] if end < 0 else None)
    names = list(entries)
    page, cut = names[:limit], len(names) > limit
    next_token = base64.urlsafe_b64encode(page[-1].encode()).decode() if cut and page else None
    text = fields(Name=bucket.name, Prefix=encode(prefix), Delimiter=encode(delimiter) or None, StartAfter=query.get("start-after"),
                  ContinuationToken=token, NextContinuationToken=next_token, KeyCount=len(page), MaxKeys=limit,
                  EncodingType=query.get("encoding-type"), IsTruncated="true" if cut else "false")
    for name in page:
        one = entries[name]
        if one:
            text += element("Contents", fields(Key=encode(name), LastModified=iso(one.time), ETag=one.etag, Size=one.size(),
                                               StorageClass="STANDARD"))
    for name in page:
        if entries[name] is None:
            text += element("CommonPrefixes", fields(Prefix=encode(name)))
    return s3.ok({}, element("ListBucketResult", text, NAMESPACE))
