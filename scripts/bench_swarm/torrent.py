"""A .torrent file of one file (BEP 3): the same one for every client."""

import hashlib

PIECE_BYTES = 256 << 10


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    if isinstance(value, str):
        return bencode(value.encode())
    return b"d%be" % b"".join(bencode(key) + bencode(value[key]) for key in sorted(value))


def torrent(path, announce):
    with path.open("rb") as file:
        pieces = iter(lambda: file.read(PIECE_BYTES), b"")
        hashes = b"".join(hashlib.sha1(piece).digest() for piece in pieces)
    info = {"length": path.stat().st_size, "name": path.name, "piece length": PIECE_BYTES, "pieces": hashes}
    return bencode({"announce": announce, "info": info})
