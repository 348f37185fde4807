"""Checksums as the stores compute them. Nothing here is shared with what is tested."""
import functools
import hashlib
import struct
import zlib

# RFC 3720, appendix B.4: the Castagnoli polynomial, bits reflected.
CASTAGNOLI = 0x82F63B78
FOLD_FROM_BYTES = 4096


def _byte_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return table


BYTE_TABLE = _byte_table()


def _plain(register, data):
    table = BYTE_TABLE
    for byte in data:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register


@functools.lru_cache(maxsize=256)
def _shift_columns(n_bytes):
    """What a register becomes after n_bytes of zeros, for each of its 32 bits alone."""
    if n_bytes == 1:
        return tuple(_plain(1 << bit, b"\0") for bit in range(32))
    half, rest = _shift_columns(n_bytes // 2), _shift_columns(1) if n_bytes % 2 else None
    twice = [_apply(half, column) for column in half]
    return tuple(_apply(rest, column) for column in twice) if rest else tuple(twice)


def _apply(columns, register):
    result = 0
    while register:
        low = register & -register
        result ^= columns[low.bit_length() - 1]
        register ^= low
    return result


@functools.lru_cache(maxsize=64)
def _shift_tables(n_bytes):
    """tables[to][of]: byte `to` of the shifted word, by the value of its byte `of`; for bytes.translate."""
    columns = _shift_columns(n_bytes)
    tables = [[None] * 4 for _ in range(4)]
    for of in range(4):
        words = [0]
        for value in range(1, 256):
            low = value & -value
            words.append(words[value ^ low] ^ columns[8 * of + low.bit_length() - 1])
        for to in range(4):
            tables[to][of] = bytes((word >> (8 * to)) & 0xFF for word in words)
    return tables


def crc32c(data, crc=0):
    """CRC-32C of data, going on from crc. The first half of the data is folded onto the second again and again: the sum is
    linear, so that shifting a whole plane of bytes is one bytes.translate, and adding two planes one exclusive or of integers."""
    register = crc ^ 0xFFFFFFFF
    odd = len(data) % 8
    register, data = _plain(register, data[:odd]), data[odd:]
    if len(data) < FOLD_FROM_BYTES:
        return _plain(register, data) ^ 0xFFFFFFFF
    data = struct.pack("<I", struct.unpack("<I", data[:4])[0] ^ register) + data[4:]
    planes = [data[i::4] for i in range(4)]
    while len(planes[0]) >= FOLD_FROM_BYTES // 4:
        words = len(planes[0])
        if words % 2:
            planes, words = [b"\0" + plane for plane in planes], words + 1  # zeros in front change nothing any more
        half = words // 2
        tables = _shift_tables(4 * half)
        first, second = [plane[:half] for plane in planes], [plane[half:] for plane in planes]
        folded = []
        for to in range(4):
            total = int.from_bytes(second[to], "little")
            for of in range(4):
                total ^= int.from_bytes(first[of].translate(tables[to][of]), "little")
            folded.append(total.to_bytes(half, "little"))
        planes = folded
    rest = bytearray(4 * len(planes[0]))
    for i in range(4):
        rest[i::4] = planes[i]
    return _plain(0, rest) ^ 0xFFFFFFFF


class Crc32c:
    """The interface of hashlib, for CRC-32C; the digest is big endian, as in x-amz-checksum-crc32c."""

    def __init__(self):
        self.value = 0

    def update(self, data):
        self.value = crc32c(bytes(data), self.value)

    def digest(self):
        return struct.pack(">I", self.value)


class Crc32:
    """The same for CRC-32."""

    def __init__(self):
        self.value = 0

    def update(self, data):
        self.value = zlib.crc32(data, self.value)

    def digest(self):
        return struct.pack(">I", self.value)


ALGORITHMS = {"crc32c": Crc32c, "crc32": Crc32, "sha1": hashlib.sha1, "sha256": hashlib.sha256, "md5": hashlib.md5}


def digest(name, data):
    one = ALGORITHMS[name]()
    one.update(data)
    return one.digest()
