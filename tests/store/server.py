#!/usr/bin/python3
"""A server that plays S3, Azure Blob and their credential services for tests, and fails on demand.

    tests/store/server.py --s3 --azure --credentials        prints one line of JSON: ports, URLs, keys; ends with its parent

README.md beside it has the faults, and control.py the calls.
"""
import argparse
import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]
from store.services import Servers  # noqa: E402

PR_SET_PDEATHSIG = 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--s3", action="store_true", help="S3")
    parser.add_argument("--azure", action="store_true", help="Azure Blob")
    parser.add_argument("--credentials", action="store_true", help="instance and container metadata, STS, managed identity")
    parser.add_argument("--tls", action="store_true", help="the stores speak TLS, with a certificate made for this run")
    parser.add_argument("--bucket", action="append", help="a bucket of S3, may be repeated (bucket)")
    parser.add_argument("--container", action="append", help="a container of Azure, may be repeated (container)")
    parser.add_argument("--discard", action="store_true", help="keep sizes and digests of bodies, not the bytes")
    parser.add_argument("--mode", choices=["aws", "minio"], default="aws", help="whose ways to follow where they differ (aws)")
    parser.add_argument("--connections", type=int, default=256, help="the most at a time, for each service (256)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="any setting of world.py")
    parser.add_argument("--stay", action="store_true", help="go on when the parent ends")
    return parser.parse_args()


def end_with_parent():
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)


def main():
    options = arguments()
    if not (options.s3 or options.azure or options.credentials):
        sys.exit("nothing to serve: --s3, --azure, --credentials")
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    if not options.stay:
        end_with_parent()
    settings = {name: json.loads(value) for name, _, value in (one.partition("=") for one in options.set)}
    with Servers(s3=options.s3, azure=options.azure, credentials=options.credentials, tls=options.tls, control_port=True,
                 buckets=options.bucket or ["bucket"], containers=options.container or ["container"], connections=options.connections,
                 discard=options.discard, mode=options.mode, **settings) as servers:
        print(json.dumps(servers.describe()), flush=True)
        done.wait()


if __name__ == "__main__":
    main()
