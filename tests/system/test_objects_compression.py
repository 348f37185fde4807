"""Sinks of the kind objects: each method of compression, from a request to the program that reads the object."""
import json
import subprocess

import pytest

from cli_help import millrace
from harness import SLOW
from objects_help import check_objects, flush, numbers_of, objects_config, read_directory, send_logs

TOOLS = {"isal": ["gzip", "-dc"], "zlib": ["gzip", "-dc"], "zstd": ["zstd", "-dcq"], "none": ["cat"]}


@pytest.mark.parametrize("method", ["none", "isal:0", "isal:3", "zlib:9", "zstd:1"])
def test_an_object_is_read_by_the_program_of_its_method(method, instance, tmp_path):
    def unpack(data):
        tool = TOOLS[method.partition(":")[0]]
        return subprocess.run(tool, input=data, capture_output=True, check=True, timeout=30 * SLOW).stdout.decode().splitlines()

    one = instance(config=objects_config(tmp_path, compression=method))
    send_logs(one, range(2000))
    flush(one)
    objects = read_directory(tmp_path / "data" / "objects", unpack)
    check_objects(objects)
    assert numbers_of(objects) == list(range(2000))


def test_a_method_that_is_none_is_refused_by_check(tmp_path):
    for method in ("isal:4", "zstd:20", "gzip", "isal:01"):
        path = tmp_path / "objects.yaml"
        path.write_text(json.dumps({"sinks": [{"name": "logs", "topics": ["log"], "compression": method}]}))
        result = millrace("check", "-c", path)
        assert result.returncode == 1
        assert f'sinks[0].compression: "{method}" is no method; allowed: isal:0 to isal:3, ' in result.stderr
