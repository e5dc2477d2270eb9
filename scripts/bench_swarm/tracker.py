"""The tracker of the benchmark's foreign clients: BEP 3 and 23 over HTTP, one torrent, nothing kept.

All of them use this one, so that none is slowed down by its own. Usage: tracker.py ADDRESS PORT. It prints
a line for each announce: the peer's address, what it still lacks, the event.
"""

import ipaddress
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

INTERVAL_SECONDS = 30
peers = {}


class Tracker(BaseHTTPRequestHandler):
    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query, encoding="latin-1")
        asked = {name: values[0] for name, values in query.items()}
        where, event = (self.client_address[0], int(asked.get("port", 0))), asked.get("event", "")
        others = [each for each in peers if each != where]
        if event == "stopped":
            peers.pop(where, None)
        elif where[1]:
            peers[where] = True
        compact = b"".join(ipaddress.ip_address(host).packed + port.to_bytes(2, "big") for host, port in others)
        body = b"d8:intervali%de5:peers%d:%be" % (INTERVAL_SECONDS, len(compact), compact)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        print(where[0], asked.get("left", ""), event, flush=True)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Tracker).serve_forever()
