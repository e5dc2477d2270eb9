//! A request, read whole within its bounds before anybody acts on it.
//!
//! The target is cut at its slashes before it is decoded: `%2f` in a name is a character of that name and
//! never a cut, so no encoding of a path means another path.

use super::Response;
use crate::limits::{MAX_HTTP_BODY_BYTES, MAX_HTTP_HEAD_BYTES, MAX_HTTP_HEADERS};
use percent_encoding::percent_decode_str;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A resource.
    Get,
    /// The head of what GET would answer; the server leaves the body out.
    Head,
    /// A report.
    Post,
}

/// A request that was read whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// The path's parts, decoded; empty for `/`. None is empty, `.` or `..`, or has a control character.
    pub path: Vec<String>,
    /// What follows the `?`, as it came: an info-hash in it is no text.
    pub query: String,
    /// RFC 9110 §11.6.2.
    pub authorization: Option<String>,
    /// Empty unless the client posts.
    pub body: Vec<u8>,
    /// The client; an IPv4 address is one even if it came by an IPv6 socket.
    pub from: SocketAddr,
    /// Did it come by TLS?
    pub secure: bool,
}

/// Why there is no request.
pub(super) enum Stop {
    /// The client's fault; it is told.
    Refused(Response),
    /// Nobody is there to be told, or the deadline has passed.
    Gone,
}

fn refuse(status: u16, words: &str) -> Stop {
    Stop::Refused(Response::text(status, words))
}

/// Reads one request.
pub(super) fn read(stream: &mut impl Read, from: SocketAddr, secure: bool) -> Result<Request, Stop> {
    let (mut bytes, head_bytes) = read_head(stream)?;
    let head = parse(&bytes[..head_bytes])?;
    let mut body = bytes.split_off(head_bytes);
    // Beyond the body there could only be another request, and there is no keep-alive.
    body.truncate(head.body_bytes);
    let mut rest = vec![0; head.body_bytes - body.len()];
    stream.read_exact(&mut rest).map_err(|_| Stop::Gone)?;
    body.extend(rest);
    let Head { method, path, query, authorization, .. } = head;
    Ok(Request { method, path, query, authorization, body, from, secure })
}

/// Bytes up to the empty line and perhaps some more, and where the empty line ends.
fn read_head(stream: &mut impl Read) -> Result<(Vec<u8>, usize), Stop> {
    let mut bytes = Vec::with_capacity(1024);
    let mut chunk = [0; 2048];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Err(Stop::Gone),
            Ok(n) => {
                // The empty line may begin in what came before.
                let looked_at = bytes.len().saturating_sub(3);
                bytes.extend_from_slice(&chunk[..n]);
                if let Some(end) = head_end(&bytes, looked_at) {
                    return Ok((bytes, end));
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Stop::Gone),
        }
        if bytes.len() >= MAX_HTTP_HEAD_BYTES {
            return Err(refuse(431, "the request's headers are too long\n"));
        }
    }
}

/// Where the first empty line from `start` on ends.
fn head_end(bytes: &[u8], start: usize) -> Option<usize> {
    (start..bytes.len()).find_map(|at| {
        let rest = &bytes[at..];
        let line = if rest.starts_with(b"\n\r\n") { 3 } else { 2 };
        (line == 3 || rest.starts_with(b"\n\n")).then_some(at + line)
    })
}

struct Head {
    method: Method,
    path: Vec<String>,
    query: String,
    authorization: Option<String>,
    body_bytes: usize,
}

fn parse(bytes: &[u8]) -> Result<Head, Stop> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HTTP_HEADERS];
    let mut raw = httparse::Request::new(&mut headers);
    let (method, target) = match raw.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => match (raw.method, raw.path) {
            (Some(method), Some(target)) => (method, target),
            _ => return Err(refuse(400, "this is no HTTP request\n")),
        },
        Err(httparse::Error::TooManyHeaders) => return Err(refuse(431, "too many headers\n")),
        Err(httparse::Error::Version) => return Err(refuse(505, "HTTP/1.1 is spoken here\n")),
        Ok(httparse::Status::Partial) | Err(_) => {
            return Err(refuse(400, "this is no HTTP request\n"));
        }
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        _ => {
            let refusal = Response::text(405, "only GET, HEAD and POST are known here\n");
            return Err(Stop::Refused(refusal.with("Allow", "GET, HEAD, POST")));
        }
    };
    let (path, query) = split(target).ok_or_else(|| refuse(400, "this path cannot be\n"))?;
    let authorization = one(raw.headers, "authorization")?.map(str::to_owned);
    let body_bytes = body_bytes(method, raw.headers)?;
    Ok(Head { method, path, query, authorization, body_bytes })
}

/// How long the body is said to be.
fn body_bytes(method: Method, headers: &[httparse::Header<'_>]) -> Result<usize, Stop> {
    // Two ways to say where a body ends are one too many (RFC 9112 §6.1).
    if headers.iter().any(|header| header.name.eq_ignore_ascii_case("transfer-encoding")) {
        return Err(refuse(501, "send the body with a Content-Length\n"));
    }
    match one(headers, "content-length")? {
        None if method == Method::Post => Err(refuse(411, "say how long the body is\n")),
        None => Ok(0),
        Some(text) if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => {
            Err(refuse(400, "the Content-Length is no number\n"))
        }
        Some(text) => match text.parse() {
            Ok(length) if length <= MAX_HTTP_BODY_BYTES => Ok(length),
            _ => Err(refuse(413, "the body is too long\n")),
        },
    }
}

/// The value of a header that may come once.
fn one<'a>(headers: &[httparse::Header<'a>], name: &str) -> Result<Option<&'a str>, Stop> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let Some(first) = values.next() else { return Ok(None) };
    let text = str::from_utf8(first.value).map(str::trim);
    match (text, values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(refuse(400, "a header came twice, or is no text\n")),
    }
}

/// A target's path and query (RFC 9112 §3.2.1, and §3.2.2: a proxy's form is accepted).
fn split(target: &str) -> Option<(Vec<String>, String)> {
    let absolute = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    let target = match absolute {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some((Vec::new(), query.to_owned()));
    }
    let parts = path.split('/').map(part).collect::<Option<Vec<_>>>()?;
    Some((parts, query.to_owned()))
}

fn part(text: &str) -> Option<String> {
    let mut escapes = text.split('%').skip(1);
    if !escapes.all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit())) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?.into_owned();
    let sound = !matches!(decoded.as_str(), "" | "." | "..") && !decoded.chars().any(char::is_control);
    sound.then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(text: &[u8]) -> Result<Request, Option<u16>> {
        let from = "192.0.2.7:1".parse().unwrap();
        read(&mut &text[..], from, false).map_err(|stop| match stop {
            Stop::Refused(response) => Some(response.status),
            Stop::Gone => None,
        })
    }

    fn path(target: &str) -> Result<Vec<String>, Option<u16>> {
        asked(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).map(|r| r.path)
    }

    #[test]
    fn a_request_is_read_with_its_body() {
        let request = asked(
            b"POST /report?a=%00 HTTP/1.1\r\nHost: x\r\nauthorization:  Bearer z \r\n\
              Content-Length: 4\r\n\r\nbodyGET / HTTP/1.1",
        )
        .unwrap();
        assert_eq!(request.method, Method::Post);
        assert_eq!((request.path, request.query.as_str()), (vec!["report".to_owned()], "a=%00"));
        assert_eq!(
            (request.authorization.as_deref(), &request.body[..]),
            (Some("Bearer z"), &b"body"[..])
        );
        assert_eq!(asked(b"GET / HTTP/1.0\n\n").unwrap().path, Vec::<String>::new());
    }

    #[test]
    fn a_path_is_cut_before_it_is_decoded() {
        assert_eq!(path("/torrents/a%2Fb%20c"), Ok(vec!["torrents".to_owned(), "a/b c".to_owned()]));
        assert_eq!(path("http://proxied:80/status.json?x"), Ok(vec!["status.json".to_owned()]));
        assert_eq!(path("http://proxied"), Ok(vec![]));
        for wrong in [
            "*",
            "status",
            "//",
            "/a//b",
            "/a/",
            "/..",
            "/a/../b",
            "/%2e%2E/etc/passwd",
            "/%2e",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%+1",
            "/%ff",
            "/%00",
            "/a%0d%0aX:%20y",
        ] {
            assert_eq!(path(wrong), Err(Some(400)), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_reason() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_HTTP_HEAD_BYTES));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HTTP_HEADERS + 1));
        let body = format!("POST /r HTTP/1.1\r\nContent-Length: {}\r\n\r\n", MAX_HTTP_BODY_BYTES + 1);
        for (text, status) in [
            ("GARBAGE\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("DELETE / HTTP/1.1\r\n\r\n", 405),
            ("get / HTTP/1.1\r\n\r\n", 405),
            ("POST / HTTP/1.1\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0", 501),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n0", 400),
            ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n0", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n0", 413),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (&long, 431),
            (&many, 431),
            (&body, 413),
        ] {
            assert_eq!(asked(text.as_bytes()).map(|r| r.path), Err(Some(status)), "{text:.60}");
        }
        // Who goes before the end is told nothing.
        for text in ["", "GET", "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n0"] {
            assert_eq!(asked(text.as_bytes()).map(|r| r.path), Err(None), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..40) {
            let mut text = b"GET /a%20b?c=d HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz".to_vec();
            let end = (at + bytes.len()).min(text.len());
            text.splice(at..end, bytes.iter().copied());
            if let Ok(request) = asked(&text) {
                let sound = |p: &String| !p.is_empty() && p != "." && p != ".." && !p.contains('\0');
                prop_assert!(request.path.iter().all(sound));
            }
            let _ = asked(&bytes);
        }
    }
}
