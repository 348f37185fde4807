"""Apache Kafka answers as the tests of the sinks need it; asked by librdkafka (in confluent-kafka) and by Kafka's own tools."""
import pytest

from harness import SLOW


def producer(kafka, **more):
    from confluent_kafka import Producer  # pylint: disable=import-outside-toplevel

    return Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "log_level": 0,
                     **{name.replace("_", "."): value for name, value in more.items()}})


def values(kafka, topic, **named):
    return [value for _, _, _, value in kafka.consume(topic, **named)]


@pytest.mark.limit(240)
def test_messages_come_back_in_order_and_outlive_the_broker(kafka):
    kafka.create("smoke", partitions=2)
    one = producer(kafka)
    sent = [f"{number}".encode() for number in range(20000)]
    for start in range(0, len(sent), 5000):
        for value in sent[start : start + 5000]:
            one.produce("smoke", value, partition=int(value) % 2)
        assert one.flush(30 * SLOW) == 0
    kafka.kill()
    kafka.start()
    got = kafka.consume("smoke")
    assert [value for number, _, _, value in got if number == 0] == sent[::2]
    assert [value for number, _, _, value in got if number == 1] == sent[1::2]


@pytest.mark.limit(240)
def test_a_transaction_is_seen_as_a_whole_or_not_at_all(kafka):
    kafka.create("whole")
    one = producer(kafka, transactional_id="smoke")
    one.init_transactions(30 * SLOW)
    for text, commit in (("a", True), ("b", False), ("c", True)):
        one.begin_transaction()
        one.produce("whole", text.encode())
        one.flush(30 * SLOW)
        if commit:
            one.commit_transaction(30 * SLOW)
        else:
            one.abort_transaction(30 * SLOW)
    assert values(kafka, "whole") == [b"a", b"c"]
    assert values(kafka, "whole", isolation="read_uncommitted") == [b"a", b"b", b"c"]


@pytest.mark.limit(240)
def test_kafka_s_own_tools_read_what_librdkafka_wrote(kafka):
    kafka.create("console")
    one = producer(kafka, compression_type="lz4")
    for number in range(100):
        one.produce("console", f"value {number}".encode(), f"key {number}".encode())
    assert one.flush(30 * SLOW) == 0
    text = kafka.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", kafka.bootstrap, "--topic", "console", "--from-beginning",
                      "--max-messages", "100", "--timeout-ms", "30000", "--property", "print.key=true")
    assert text.splitlines() == [f"key {number}\tvalue {number}" for number in range(100)]
