"""Sinks of the kind objects with Azure Blob as their store (the fault server): every line in exactly one blob, whatever the store
does and whenever the sink dies."""
import os
import signal

import pytest

from harness import kill_pid, wait_until
from objects_help import (DAY, ROLE, check_objects, flush, numbers_of, objects_config, pid_of_sink, plain, send_logs, sink_metrics, sink_note, unpack)


@pytest.fixture
def server(store):
    return store("--azure")


def azure_config(tmp_path, server, **sink):
    store = {"azure": {"account": server.keys["account"], "container": "container", "key": server.keys["account_key"],
                       "endpoint": server.urls["azure_account"], "stall_timeout": "5s", **sink.pop("azure", {})}, "retry": "5ms", "retry_max": "100ms"}
    return objects_config(tmp_path, store=store, **sink)


def read_blobs(server, reader=unpack):
    return {one["key"]: reader(server.control.data(one["key"])) for one in server.control.objects()}


def in_blocks(tmp_path, server):
    """So that large lines go up in blocks; small blobs go up at once."""
    return azure_config(tmp_path, server, compression="none", part_size="1MiB", tails="64MiB", topics={"log": {"size": "16MiB"}})


TEXT = "x" * 10_000  # 300 lines are three parts


def test_lines_are_in_blobs_named_by_day_and_client(instance, tmp_path, server):
    millrace = instance(config=azure_config(tmp_path, server))
    send_logs(millrace, range(1000))
    flush(millrace)
    blobs = read_blobs(server)
    assert sorted(blobs) == [f"chat/{DAY}/content_logs_{DAY}_{client}" for client in range(1, 6)]
    assert numbers_of(blobs) == list(range(1000))
    check_objects(blobs)
    assert all(one["headers"]["Content-Encoding"] == "gzip" for one in server.control.objects())
    send_logs(millrace, range(1000, 1010), client=1)
    flush(millrace)
    blobs = read_blobs(server)
    assert len(blobs) == 6 and numbers_of(blobs) == list(range(1010))
    assert server.control.uploads() == []
    assert server.keys["account_key"] not in millrace.log()


def test_large_blobs_go_up_in_blocks(instance, tmp_path, server):
    millrace = instance(config=in_blocks(tmp_path, server))
    send_logs(millrace, range(300), client=1, text=TEXT)
    flush(millrace)
    [one] = server.control.objects()
    assert one["parts"] >= 3 and len({len(block) for block in one["blocks"]}) == 1
    assert numbers_of(read_blobs(server, plain)) == list(range(300))
    assert server.control.uploads() == []


@pytest.mark.parametrize("operation", ["GetBlobProperties", "PutBlock", "PutBlockList", "PutBlob"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_between_a_request_and_its_answer(instance, tmp_path, server, operation, when):
    millrace = instance(config=in_blocks(tmp_path, server))
    many = 5 if operation == "PutBlob" else 300
    rule = server.control.fault("hold", operation=operation, when=when, key="chat/2*")
    send_logs(millrace, range(many), client=1, text=TEXT)
    first = pid_of_sink(millrace)
    os.kill(first, signal.SIGUSR1)
    assert server.control.wait_held(rule)
    kill_pid(first)
    server.control.release(rule, close=True)
    wait_until(lambda: pid_of_sink(millrace) not in (None, first), 20, "the next life")
    wait_until(lambda: millrace.stage(ROLE)["state"] == "running", 20, "that it runs")
    flush(millrace)
    assert numbers_of(read_blobs(server, plain)) == list(range(many))
    assert server.control.uploads() == []


@pytest.mark.parametrize("fault", ["lose", "cut_answer", "internal", "slow_down", "conflict", "precondition", "body_error", "no_upload", "drop", "cut"])
def test_faults_lose_nothing_and_double_nothing(instance, tmp_path, server, rng, fault):
    millrace = instance(config=in_blocks(tmp_path, server))
    acted = {"acted": True} if fault in ("conflict", "precondition", "no_upload") else {}
    for operation in ("PutBlock", "PutBlockList", "PutBlob", "GetBlobProperties"):
        if fault == "no_upload" and operation != "PutBlockList":
            continue
        server.control.fault(fault, operation=operation, probability=0.3, seed=rng.getrandbits(32), **acted)
    for turn in range(3):
        send_logs(millrace, range(turn * 150, turn * 150 + 150), client=turn % 2 + 1, text=TEXT)
        send_logs(millrace, range(1000 + turn, 1001 + turn), client=3)
        flush(millrace)
    assert numbers_of(read_blobs(server, plain)) == list(range(450)) + [1000, 1001, 1002]
    assert server.control.uploads() == []


def test_a_store_that_is_away_holds_lines_back_and_loses_none(instance, tmp_path, server):
    millrace = instance(config=in_blocks(tmp_path, server))
    server.control.refuse("azure")
    send_logs(millrace, range(300), client=1, text=TEXT)
    wait_until(lambda: sink_note(millrace), 20, "a note of the failure")
    assert sink_metrics(millrace)["objects"] == 0
    server.control.refuse("azure", False)
    flush(millrace)
    assert numbers_of(read_blobs(server, plain)) == list(range(300))


def test_a_wrong_key_is_failing_and_not_success(instance, tmp_path, server):
    config = azure_config(tmp_path, server, azure={"key": "AAAA"})
    millrace = instance(config=config)
    wait_until(lambda: "AuthenticationFailed" in sink_note(millrace), 20, "the store's own words")
    assert "error" in millrace.log() and "AAAA" not in millrace.log()


def test_an_end_completes_all_that_is_open(instance, tmp_path, server):
    millrace = instance(config=in_blocks(tmp_path, server))
    send_logs(millrace, range(300), text=TEXT)
    assert millrace.stop() == 0
    blobs = read_blobs(server, plain)
    assert numbers_of(blobs) == list(range(300)) and len(blobs) == 5
    check_objects(blobs)
