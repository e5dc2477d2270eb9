"""A .torrent file of one file (BEP 3): the same one for every client."""

import hashlib


def piece_bytes(size):
    """As `offload image pack` cuts it."""
    piece = 64 << 10
    while piece < 4 << 20 and size > 2048 * piece:
        piece *= 2
    return piece


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    if isinstance(value, str):
        return bencode(value.encode())
    return b"d%be" % b"".join(bencode(key) + bencode(value[key]) for key in sorted(value))


def torrent(path, announce):
    size = path.stat().st_size
    length = piece_bytes(size)
    with path.open("rb") as file:
        pieces = iter(lambda: file.read(length), b"")
        hashes = b"".join(hashlib.sha1(piece).digest() for piece in pieces)
    info = {"length": size, "name": path.name, "piece length": length, "pieces": hashes}
    return bencode({"announce": announce, "info": info})
