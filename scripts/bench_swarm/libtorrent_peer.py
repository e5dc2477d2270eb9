"""A peer by libtorrent. Usage: libtorrent_peer.py [--seed] [--tuned] [--one-host] ADDRESS:PORT TORRENT|MAGNET
DIRECTORY. With --one-host all peers may be on one address, and are found by the tracker alone.

It prints `ready`, starts when a line arrives (so that the start of Python is not measured), and prints
`complete` once it has everything; it goes on seeding until it is ended.
"""

import sys
import time

import libtorrent

# What should help libtorrent on a switched network (a guess that was measured, no search): no uTP, which yields to any queue; everybody
# unchoked, so that nobody waits for a round of the choker; a short queue of requests, so that sixteen
# leechers do not reserve half of the file at the seeder; no connection kept back for being on the same net.
TUNED = {
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "mixed_mode_algorithm": libtorrent.bandwidth_mixed_algo_t.prefer_tcp,
    "unchoke_slots_limit": -1,
    "max_out_request_queue": 16,
    "request_queue_time": 1,
    "connection_speed": 200,
    "torrent_connect_boost": 200,
    "smooth_connects": False,
    "out_enc_policy": libtorrent.enc_policy.disabled,
    "in_enc_policy": libtorrent.enc_policy.disabled,
}


def main():
    address, what, directory = [word for word in sys.argv[1:] if not word.startswith("--")]
    # No router, no other networks: nothing to discover but the local peers.
    settings = {
        "listen_interfaces": address,
        "enable_dht": False, "enable_upnp": False, "enable_natpmp": False,
        "alert_mask": libtorrent.alert.category_t.status_notification
        | libtorrent.alert.category_t.storage_notification,
    }
    if "--tuned" in sys.argv:
        settings.update(TUNED)
    if "--one-host" in sys.argv:
        settings.update(allow_multiple_connections_per_ip=True, enable_lsd=False)
    print("ready", flush=True)
    if "--seed" not in sys.argv:
        sys.stdin.readline()
    session = libtorrent.session(settings)
    if what.startswith("magnet:"):
        asked = libtorrent.parse_magnet_uri(what)
    else:
        asked = libtorrent.load_torrent_file(what)
    asked.save_path = directory
    asked.flags &= ~(libtorrent.torrent_flags.paused | libtorrent.torrent_flags.auto_managed)
    if "--seed" in sys.argv:
        asked.flags |= libtorrent.torrent_flags.seed_mode
    handle = session.add_torrent(asked)
    while not handle.status().is_seeding:
        session.wait_for_alert(100)
        session.pop_alerts()
    # Pieces are verified before they are written: whoever reads the file now may be too early.
    handle.flush_cache()
    flushed = False
    while not flushed:
        session.wait_for_alert(100)
        flushed = any(isinstance(alert, libtorrent.cache_flushed_alert) for alert in session.pop_alerts())
    print("complete", flush=True)
    while True:
        time.sleep(3600)


main()
