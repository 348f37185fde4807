"""moto's server with one thing mended: a part of an upload that it does not know is NoSuchUpload, as on S3. moto 5.2.5 answers 500
(KeyError). The sink asks so whether it may write without writing anything."""
import sys

from moto.s3.exceptions import NoSuchUpload
from moto.s3.models import S3Backend
from moto.server import main

plain = S3Backend.upload_part


def upload_part(self, bucket_name, multipart_id, *more, **named):
    if multipart_id not in self.get_bucket(bucket_name).multiparts:
        raise NoSuchUpload(upload_id=multipart_id)
    return plain(self, bucket_name, multipart_id, *more, **named)


S3Backend.upload_part = upload_part
sys.exit(main())
