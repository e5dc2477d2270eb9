//! The image server's face on real sockets: hostile clients, strangers, and a browser.

use offload::config::Key;
use offload::time::Time;
use offload_swarm::id::InfoHash;
use offload_swarm::image::access::Access;
use offload_swarm::image::catalog::{Entry, Item, Kind, Name};
use offload_swarm::image::client::{Error, Remote, Reporter};
use offload_swarm::image::http::{Handler, Response, Server};
use offload_swarm::image::monitor::{Monitor, Observed, ObservedPeer, Phase, Report};
use offload_swarm::image::pack::Compression;
use offload_swarm::image::routes::{Routes, TrackerCall};
use offload_swarm::image::tls::{Fingerprint, IDENTITY_FILE, Identity, Trust};
use offload_swarm::limits::{
    MAX_CATALOG_BYTES, MAX_HTTP_BODY_BYTES, MAX_HTTP_HEAD_BYTES, MAX_HTTP_SERVED_PER_ADDRESS,
    MAX_HTTP_WAITING,
};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::Instant;
use tempfile::TempDir;

const KEY: [u8; 32] = [7; 32];

/// A server with an image, an override and a client in it.
struct Rig {
    server: Server,
    routes: Arc<Routes>,
    identity: Identity,
    state: TempDir,
}

impl Rig {
    fn start(key: Option<&Key>) -> Rig {
        let state = TempDir::new().unwrap();
        let identity = Identity::load_or_make(state.path(), &["127.0.0.1".to_owned()]).unwrap();
        let started = Instant::now();
        let tracker = |call: TrackerCall, query: &str, from: std::net::IpAddr| {
            format!("{call:?} {query} {from}").into_bytes()
        };
        let clock = move || Time::ZERO + started.elapsed();
        let routes =
            Routes::new(Monitor::new(None), key.map(Access::new), Box::new(tracker), Box::new(clock));
        let routes = Arc::new(routes);
        for (name, kind, overrides) in
            [("site", Kind::Override, &[][..]), ("web", Kind::Image, &["site".parse().unwrap()][..])]
        {
            routes.with_catalog(|catalog| catalog.publish(entry(name, kind, overrides))).unwrap();
        }
        let theirs = Arc::clone(&routes);
        let handler: Handler = Arc::new(move |request| theirs.answer(request));
        let server = Server::start(any_port(), Some(identity.server_config()), handler).unwrap();
        Rig { server, routes, identity, state }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.server.local_addr())
    }

    fn pin(&self) -> Trust {
        Trust::Pin(self.identity.fingerprint())
    }

    /// The answer to these bytes, from the first to the last.
    fn ask(&self, request: &str) -> String {
        ask(self.server.local_addr(), request.as_bytes())
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn entry(name: &str, kind: Kind, overrides: &[Name]) -> Entry {
    let item = Item {
        name: name.parse().unwrap(),
        kind,
        info_hash: InfoHash([3; 20]),
        file_name: format!("{name}.tar.zst").parse().unwrap(),
        packed_bytes: 606_000_000,
        unpacked_bytes: 2_100_000_000,
        entries: 1,
        compression: Compression::Zstd,
        sealed: false,
        overrides: overrides.to_vec(),
    };
    Entry { item, torrent: Arc::from(format!("torrent of {name}").as_bytes()) }
}

fn report(host: &str, phase: Phase, done_bytes: u64) -> Report {
    Report {
        host: host.to_owned(),
        image: "web".to_owned(),
        port: 6881,
        phase,
        done_bytes,
        total_bytes: 606_000_000,
        down_rate: 112_000_000,
        up_rate: 93_500_000,
        uptime_seconds: 75,
        version: "0.1.0".to_owned(),
    }
}

fn ask(server: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    // A server that has refused may have closed before all was sent.
    let _ = stream.write_all(request);
    answer(&mut stream)
}

fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status_of(answer: &str) -> u16 {
    answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A connection from another address of this host.
fn connect_from(source: &str, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.into()
}

#[test]
fn what_is_published_is_answered_and_nothing_else() {
    let rig = Rig::start(None);
    let torrent = rig.get("/torrents/web.torrent");
    assert!(torrent.starts_with("HTTP/1.1 200 OK\r\n"), "{torrent}");
    assert!(torrent.contains("Content-Length: 14\r\n") && torrent.ends_with("\r\n\r\ntorrent of web"));
    assert!(rig.get("/torrents/w%65b.torrent").ends_with("torrent of web"));
    let head = rig.ask("HEAD /torrents/web.torrent HTTP/1.1\r\n\r\n");
    assert!(head.contains("Content-Length: 14\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(rig.get("/announce?info_hash=%00%ff").ends_with("Announce info_hash=%00%ff 127.0.0.1"));
    assert!(rig.get("/scrape").ends_with("Scrape  127.0.0.1"));
    for path in [
        "/torrents/none.torrent",
        "/torrents/web",
        "/torrents/.torrent",
        "/torrents/..%2f..%2fidentity.pem",
        "/torrents/%2e%2e%2fweb.torrent",
        "/torrents/web.torrent%00",
        "/torrents",
        "/identity.pem",
        "/etc/passwd",
        "/x/announce",
        "/torrents/web.torrent/x",
    ] {
        let status = status_of(&rig.get(path));
        assert!(matches!(status, 404 | 400), "{path}: {status}");
    }
    rig.server.stop();
}

#[test]
fn hostile_requests_are_refused_with_the_reason() {
    let rig = Rig::start(None);
    let header = "a".repeat(4 * MAX_HTTP_HEAD_BYTES);
    let body = "x".repeat(2 * MAX_HTTP_BODY_BYTES);
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nX: {header}\r\n\r\n"), 431),
        (format!("GET /{header} HTTP/1.1\r\n\r\n"), 431),
        (format!("POST /report HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()), 413),
        ("POST /report HTTP/1.1\r\nContent-Length: 4\r\n\r\nnull".to_owned(), 400),
        ("POST /announce HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned(), 405),
        ("GET /report HTTP/1.1\r\n\r\n".to_owned(), 405),
        ("DELETE / HTTP/1.1\r\n\r\n".to_owned(), 405),
        ("CONNECT evil:443 HTTP/1.1\r\n\r\n".to_owned(), 405),
        ("GET /../x HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /%zz HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\0\0\0\r\n\r\n".to_owned(), 400),
    ] {
        let answer = rig.ask(&request);
        assert_eq!(status_of(&answer), status, "{request:.40} got {answer}");
    }
    // Half a TLS handshake, and none at all.
    assert_eq!(ask(rig.server.local_addr(), b"\x16\x03\x01\x00\x05hello").find("HTTP"), None);
    assert_eq!(status_of(&rig.get("/catalog.json")), 200, "it still answers");
}

#[test]
fn who_dawdles_delays_nobody_else_and_is_cut_off() {
    let rig = Rig::start(None);
    let server = rig.server.local_addr();
    let mut slow: Vec<TcpStream> = (0..2 * MAX_HTTP_SERVED_PER_ADDRESS)
        .map(|_| {
            let mut stream = connect_from("127.0.0.2", server);
            stream.write_all(b"GET / HTTP/1.1\r\nX: y").unwrap();
            stream
        })
        .collect();
    assert_eq!(status_of(&rig.get("/catalog.json")), 200);
    // A byte now and then keeps no connection open: the deadline is the request's.
    let first = &mut slow[0];
    let mut byte = [0];
    first.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    loop {
        let _ = first.write_all(b"y");
        match first.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => panic!("half a request is answered"),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
}

#[test]
fn beyond_the_queue_clients_are_told_to_come_again_and_stopping_waits_for_nobody() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let rig = Rig::start(None);
    let server = rig.server.local_addr();
    let silent: Vec<TcpStream> = (0..MAX_HTTP_SERVED_PER_ADDRESS + MAX_HTTP_WAITING)
        .map(|_| TcpStream::connect(server).unwrap())
        .collect();
    let refused = ask(server, b"");
    assert_eq!(status_of(&refused), 503, "{refused}");
    assert!(refused.contains("Retry-After: "), "{refused}");
    rig.server.stop();
    for mut stream in silent {
        assert_eq!(answer(&mut stream), "");
    }
    assert!(TcpStream::connect(server).is_err(), "nobody listens");
}

#[test]
fn a_fault_in_an_answer_costs_that_answer_only() {
    let handler: Handler = Arc::new(|request| {
        assert!(request.path.is_empty(), "a fault on purpose");
        Response::text(200, "well")
    });
    let server = Server::start(any_port(), None, handler).unwrap();
    for _ in 0..40 {
        assert_eq!(status_of(&ask(server.local_addr(), b"GET /x HTTP/1.1\r\n\r\n")), 500);
    }
    assert!(ask(server.local_addr(), b"GET / HTTP/1.1\r\n\r\n").ends_with("well"));
    let taken = Server::start(server.local_addr(), None, Arc::new(|_| Response::text(200, "")));
    let message = taken.err().unwrap().to_string();
    assert!(message.contains("cannot listen on 127.0.0.1:") && message.contains("free"), "{message}");
}

#[test]
fn a_pinned_server_is_believed_and_no_other() {
    let rig = Rig::start(None);
    let listing = |trust: &Trust| Remote::new(&rig.url("https"), Some(trust), None).unwrap().catalog();
    let names: Vec<String> =
        listing(&rig.pin()).unwrap().entries.iter().map(|item| item.name.to_string()).collect();
    assert_eq!(names, ["site", "web"]);
    let wrong = Trust::Pin(Fingerprint([9; 32]));
    let message = listing(&wrong).unwrap_err().to_string();
    assert!(message.contains("is not the one that is trusted"), "{message}");
    // The server's own certificate as the authority: then its name counts.
    let authority = Trust::Authority(rig.state.path().join(IDENTITY_FILE));
    assert_eq!(listing(&authority).unwrap().entries.len(), 2);
    let by_name = format!("https://localhost:{}", rig.server.local_addr().port());
    let other_name = Remote::new(&by_name, Some(&authority), None).unwrap().catalog();
    assert!(matches!(other_name, Err(Error::Stranger { .. })), "{other_name:?}");
    assert_eq!(
        Remote::new(&by_name, Some(&rig.pin()), None).unwrap().catalog().unwrap().entries.len(),
        2
    );
    let foreign = Rig::start(None);
    let authority = Trust::Authority(foreign.state.path().join(IDENTITY_FILE));
    assert!(matches!(listing(&authority), Err(Error::Stranger { .. })));
}

#[test]
fn without_a_key_anybody_fetches_with_or_without_tls() {
    let rig = Rig::start(None);
    let name = "web".parse().unwrap();
    // More than any buffer on the way holds.
    let mut large = entry("large", Kind::Image, &[]);
    large.torrent = (0..5_000_000u32).map(|i| (i >> 8) as u8).collect();
    let expected = Arc::clone(&large.torrent);
    rig.routes.with_catalog(|catalog| catalog.publish(large)).unwrap();
    let plain = Remote::new(&rig.url("http"), None, None).unwrap();
    let tls = Remote::new(&rig.url("https"), Some(&rig.pin()), None).unwrap();
    for remote in [plain, tls] {
        assert_eq!(remote.torrent(&name).unwrap(), b"torrent of web");
        assert!(remote.torrent(&"large".parse().unwrap()).unwrap() == *expected);
        let message = remote.torrent(&"none".parse().unwrap()).unwrap_err().to_string();
        assert!(message.contains("(status 404): there is nothing here"), "{message}");
    }
    assert_eq!(rig.routes.announce_path(), "/announce");
}

#[test]
fn with_a_key_only_its_holders_are_answered_and_only_by_tls() {
    let key = Key::new(KEY);
    let rig = Rig::start(Some(&key));
    let remote = |key: Option<&Key>| Remote::new(&rig.url("https"), Some(&rig.pin()), key).unwrap();
    let name = "web".parse().unwrap();
    assert_eq!(remote(Some(&key)).torrent(&name).unwrap(), b"torrent of web");
    remote(Some(&key)).report(&report("a", Phase::Staging, 0)).unwrap();
    assert_eq!(remote(Some(&key)).status().unwrap().clients.len(), 1);
    for other in [None, Some(&Key::new([8; 32]))] {
        let message = remote(other).torrent(&name).unwrap_err().to_string();
        assert!(message.contains("(status 401): give the key file"), "{message}");
        assert!(remote(other).catalog().is_err() && remote(other).status().is_err());
        assert!(remote(other).report(&report("x", Phase::Staging, 0)).is_err());
    }
    // Over plain HTTP not even the right token opens.
    let access = Access::new(&key);
    for path in ["/", "/catalog.json", "/status.json", "/torrents/web.torrent"] {
        let header = access.bearer_header();
        let asked = format!("GET {path} HTTP/1.1\r\nAuthorization: {header}\r\n\r\n");
        let answer = rig.ask(&asked);
        assert!(status_of(&answer) == 403 && answer.contains("https://"), "{answer}");
        assert_eq!(status_of(&rig.get(path)), 403);
    }
    // The tracker asks for the pass of the torrents handed out.
    let announce = rig.routes.announce_path();
    assert_eq!(announce, format!("/{}/announce", access.pass()));
    assert!(rig.get(&format!("{announce}?port=1")).ends_with("Announce port=1 127.0.0.1"));
    assert!(rig.get(&announce.replace("announce", "scrape")).contains("Scrape"));
    for path in ["/announce", "/scrape", "/0/announce", &format!("/{}/announce", access.bearer())] {
        assert!(!rig.get(path).contains("Announce") && status_of(&rig.get(path)) == 403, "{path}");
    }
    assert_eq!(rig.routes.status().clients.len(), 1, "no report of a stranger is shown");
}

#[test]
fn reports_are_shown_and_the_last_one_is_sent_before_the_reporter_ends() {
    let rig = Rig::start(None);
    let remote = Remote::new(&rig.url("https"), Some(&rig.pin()), None).unwrap();
    let reporter = Reporter::start(remote.clone()).unwrap();
    for done in 0..50 {
        reporter.tell(report("a", Phase::Staging, done));
    }
    reporter.tell(report("a", Phase::Failed("disk full".to_owned()), 50));
    reporter.stop();
    let status = remote.status().unwrap();
    assert_eq!((status.clients.len(), status.clients[0].why.as_str()), (1, "disk full"));
    let mut unknown = report("a", Phase::Staging, 0);
    unknown.image = "none".to_owned();
    let message = remote.report(&unknown).unwrap_err().to_string();
    assert!(message.contains("nothing of this name is published here"), "{message}");
}

#[test]
fn a_client_does_not_believe_any_server() {
    let (asked, asks) = mpsc::channel();
    let handler: Handler = Arc::new(move |request| {
        let _ = asked.send(request.path.clone());
        let evil = r#"{"entries":[{"name":"../x","kind":"image","info_hash":"","file_name":"x"}]}"#;
        match request.query.as_str() {
            _ if request.path.first().is_some_and(|part| part == "torrents") => {
                Response::text(302, "elsewhere\u{1b}[2J").with("Location", "http://127.0.0.1:1/")
            }
            _ if request.path == ["status.json"] => Response::ok("", *b"[]"),
            _ if request.secure => Response::ok("application/json", evil.as_bytes()),
            _ => Response::ok("application/json", vec![b' '; MAX_CATALOG_BYTES + 1]),
        }
    });
    let state = TempDir::new().unwrap();
    let identity = Identity::load_or_make(state.path(), &[]).unwrap();
    let server = Server::start(any_port(), Some(identity.server_config()), handler).unwrap();
    let plain = Remote::new(&format!("http://{}", server.local_addr()), None, None).unwrap();
    let message = plain.catalog().unwrap_err().to_string();
    assert!(message.contains(&format!("longer than {MAX_CATALOG_BYTES} bytes")), "{message}");
    let pin = Trust::Pin(identity.fingerprint());
    let tls = Remote::new(&format!("https://{}", server.local_addr()), Some(&pin), None).unwrap();
    let message = tls.catalog().unwrap_err().to_string();
    assert!(message.contains("none of an image server") && message.contains("../x"), "{message}");
    let message = tls.torrent(&"web".parse().unwrap()).unwrap_err().to_string();
    assert!(message.contains("(status 302): elsewhere [2J"), "{message:?}");
    assert!(tls.status().is_err());
    assert_eq!(asks.try_iter().count(), 4, "one request each, no redirect is followed");
    let address = server.local_addr();
    server.stop();
    let message = tls.catalog().unwrap_err().to_string();
    assert!(message.contains(&address.to_string()) && message.contains("running there"), "{message}");
    // A server that says nothing and one that breaks off.
    let listener = TcpListener::bind(any_port()).unwrap();
    let broken = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").unwrap();
    });
    assert!(Remote::new(&broken, None, None).unwrap().catalog().is_err());
    thread.join().unwrap();
}

#[test]
fn a_browser_shows_the_clients_live() {
    let rig = Rig::start(None);
    let hostile = report("<script>document.title='owned'</script>", Phase::Staging, 303_000_000);
    let others = [
        report("n1", Phase::Seeding, 606_000_000),
        report("n2", Phase::Failed("no pool has 706 MB free".to_owned()), 1_000_000),
        report("n3", Phase::Extracting, 606_000_000),
    ];
    let remote = Remote::new(&rig.url("http"), None, None).unwrap();
    for (port, report) in (1..).zip(others.into_iter().chain([hostile])) {
        remote.report(&Report { port, ..report }).unwrap();
    }
    let peer = ObservedPeer { address: "192.0.2.44:6881".parse().unwrap(), left_bytes: 101_000_000 };
    rig.routes.monitor().observe(vec![Observed {
        image: "web".to_owned(),
        total_bytes: 606_000_000,
        copies: Some(2.4),
        peers: vec![peer],
    }]);
    let dom = chromium(&rig.url("http"), &["--virtual-time-budget=4000", "--dump-dom"]);
    for part in [
        "role=\"status\">live</span>",
        "<span id=\"ready\">1</span> / <span id=\"clients\">5</span>",
        "<small>does not report</small>",
        "<b>83.3 %</b>",
        "failed: no pool has 706 MB free",
        "&lt;script&gt;document.title='owned'&lt;/script&gt;",
        "<td class=\"number\">2.4</td>",
        "112.0 MB/s",
    ] {
        assert!(dom.contains(part), "{part} is not in\n{dom}");
    }
    assert!(dom.contains("<title>Staging: 1 of 5 ready</title>"), "nothing of a client's ran");
    // The script is what wrote the rows: it has enabled the buttons that sort.
    assert!(dom.contains("<button data-key=\"host\">"), "{dom}");
}

fn chromium(url: &str, arguments: &[&str]) -> String {
    let profile = TempDir::new().unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--no-first-run", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(url)
        .output()
        .expect("chromium runs: scripts/setup.sh test installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
