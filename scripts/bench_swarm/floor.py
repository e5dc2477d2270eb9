"""The least that a peer can do with one core: FILE comes through a loopback connection in pieces of BYTES, and
each is hashed (SHA-1) and written to COPY by the same thread. Prints that thread's processor seconds."""

import hashlib
import os
import resource
import socket
import sys


def send(listener, path, piece_bytes):
    with listener.accept()[0] as peer, open(path, "rb", buffering=0) as file:
        while chunk := file.read(piece_bytes):
            peer.sendall(chunk)


def receive(address, path, piece_bytes):
    piece = memoryview(bytearray(piece_bytes))
    with socket.create_connection(address) as peer, open(path, "wb", buffering=0) as file:
        while count := peer.recv_into(piece, piece_bytes, socket.MSG_WAITALL):
            hashlib.sha1(piece[:count]).digest()
            file.write(piece[:count])


def main(path, copy, piece_bytes):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = os.fork()
        if child == 0:
            send(listener, path, piece_bytes)
            os._exit(0)
        before = resource.getrusage(resource.RUSAGE_SELF)
        receive(listener.getsockname(), copy, piece_bytes)
        after = resource.getrusage(resource.RUSAGE_SELF)
    os.waitpid(child, 0)
    print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
