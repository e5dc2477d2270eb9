//! The client's side: catalog, torrents and reports over HTTP(S).
//!
//! The lesson: a host that stages trusts the server with its disk, so it must know the server before it
//! believes a byte. By `https://` that is a pin or an authority, always one of them. A key is sent in no
//! other way. `http://` works against a server without a key, for whoever trusts the network; the torrents'
//! hashes are then as good as that trust.
//!
//! Reports go out on a thread of their own ([`Reporter`]): staging never waits for whoever watches it.
//!
//! Left out: proxies and redirects. An image server is on the same network, and what it does not answer
//! itself it does not mean.

mod connect;

use super::access::Access;
use super::catalog::{Listing, Name};
use super::monitor::{Report, Status};
use super::tls::{self, Trust};
use crate::limits::{
    CLIENT_LIMIT, MAX_CATALOG_BYTES, MAX_METAINFO_BYTES, MAX_REFUSAL_BYTES, MAX_STATUS_BYTES,
    REPORT_LIMIT, TORRENT_LIMIT,
};
use offload::config::Key;
use serde::de::DeserializeOwned;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

/// Why the server's answer is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's: this is no address of an image server.
    #[error("{0:?} is no image server's address: give it as https://HOST:PORT")]
    Url(String),
    /// The caller's: nothing says who the server is.
    #[error(
        "nothing says that {0} is your image server: give the fingerprint that it shows when it starts \
         (--trust FINGERPRINT), or the PEM file of the authority that signed its certificate"
    )]
    NoTrust(String),
    /// The caller's: anybody could read the token, or change what is fetched.
    #[error("{0} is plain HTTP, over which no key is sent and no certificate shown: use https://")]
    Plain(String),
    /// This machine's or the caller's: see there.
    #[error(transparent)]
    Trust(#[from] tls::Error),
    /// Not the server that was meant, or its identity is new.
    #[error(
        "the server at {url} is not the one that is trusted ({reason}): compare the fingerprint that it \
         shows when it starts with the one given here"
    )]
    Stranger {
        /// Where.
        url: String,
        /// What TLS found.
        reason: rustls::Error,
    },
    /// The server's, the network's or the caller's: nobody answers.
    #[error("{url}: {reason}; is the image server running there, and may this host reach it?")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server refuses; it says why.
    #[error("{url} is refused (status {status}): {words}")]
    Refused {
        /// What was asked for.
        url: String,
        /// RFC 9110 §15.
        status: u16,
        /// What the server says.
        words: String,
    },
    /// The server's: its answer is none of an image server.
    #[error("{url}: the answer is none of an image server: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// An image server, as its clients see it.
#[derive(Clone, Debug)]
pub struct Remote {
    base: String,
    agent: Agent,
    authorization: Option<String>,
}

impl Remote {
    /// The server at `url`, known by `trust`, where `key` opens it.
    ///
    /// # Errors
    /// When the address is none, or `https://` has no trust, or `http://` has a key or trust given.
    pub fn new(url: &str, trust: Option<&Trust>, key: Option<&Key>) -> Result<Remote, Error> {
        let shown = || url.chars().take(200).collect::<String>();
        let parsed: Uri = url.parse().map_err(|_| Error::Url(shown()))?;
        let bare = parsed.path_and_query().is_none_or(|rest| matches!(rest.as_str(), "" | "/"));
        let (Some(scheme), Some(authority), true) = (parsed.scheme_str(), parsed.authority(), bare)
        else {
            return Err(Error::Url(shown()));
        };
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(Error::Url(shown()));
        }
        let config = match (scheme, trust) {
            ("https", Some(trust)) => Some(trust.client_config()?),
            ("https", None) => return Err(Error::NoTrust(shown())),
            ("http", None) if key.is_none() => None,
            ("http", _) => return Err(Error::Plain(shown())),
            _ => return Err(Error::Url(shown())),
        };
        Ok(Remote {
            base: format!("{scheme}://{authority}"),
            agent: connect::agent(config),
            authorization: key.map(|key| Access::new(key).bearer_header().to_owned()),
        })
    }

    /// What is published.
    ///
    /// # Errors
    /// When the server does not answer, refuses, or answers what is no catalog.
    pub fn catalog(&self) -> Result<Listing, Error> {
        let (url, listing): (_, Listing) = self.json("catalog.json", MAX_CATALOG_BYTES)?;
        if listing.is_sound() {
            Ok(listing)
        } else {
            Err(Error::Answer { url, reason: "it publishes too much".to_owned() })
        }
    }

    /// A torrent, as the server has it: unverified, to be held against the catalog's info-hash.
    ///
    /// # Errors
    /// When the server does not answer, refuses (404: it does not publish the name), or sends too much.
    pub fn torrent(&self, name: &Name) -> Result<Vec<u8>, Error> {
        let url = self.url(&format!("torrents/{name}.torrent"));
        self.fetch(&url, MAX_METAINFO_BYTES, TORRENT_LIMIT)
    }

    /// What the server's monitor shows.
    ///
    /// # Errors
    /// When the server does not answer, refuses, or answers what is no status.
    pub fn status(&self) -> Result<Status, Error> {
        Ok(self.json("status.json", MAX_STATUS_BYTES)?.1)
    }

    /// Tells the monitor of this host, waiting for the answer; see [`Reporter`] for one that does not wait.
    ///
    /// # Errors
    /// When the server does not answer, or takes no report of this host.
    pub fn report(&self, report: &Report) -> Result<(), Error> {
        let url = self.url("report");
        let unsent = |reason: String| Error::Answer { url: url.clone(), reason };
        let body = serde_json::to_vec(report).map_err(|e| unsent(e.to_string()))?;
        let mut request = self.agent.post(&url).content_type("application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let request = request.config().timeout_global(Some(REPORT_LIMIT)).build();
        let answer = request.send(&body[..]).map_err(|e| failed(&url, e))?;
        granted(&url, answer).map(drop)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    fn json<T: DeserializeOwned>(&self, path: &str, most: usize) -> Result<(String, T), Error> {
        let url = self.url(path);
        let bytes = self.fetch(&url, most, CLIENT_LIMIT)?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok((url, value)),
            Err(e) => Err(Error::Answer { url, reason: e.to_string() }),
        }
    }

    fn fetch(&self, url: &str, most: usize, limit: Duration) -> Result<Vec<u8>, Error> {
        let mut request = self.agent.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let answer = request.config().timeout_global(Some(limit)).build().call();
        let mut answer = granted(url, answer.map_err(|e| failed(url, e))?)?;
        let body = answer.body_mut().with_config().limit(most as u64);
        body.read_to_vec().map_err(|e| failed(url, e))
    }
}

/// The answer where it is 200, else what the server says.
fn granted(url: &str, mut answer: Response<Body>) -> Result<Response<Body>, Error> {
    let status = answer.status().as_u16();
    if status == 200 {
        return Ok(answer);
    }
    let words = answer.body_mut().with_config().limit(MAX_REFUSAL_BYTES as u64).read_to_string();
    // It goes to a terminal.
    let words = words.unwrap_or_default().replace(char::is_control, " ").trim().to_owned();
    Err(Error::Refused { url: url.to_owned(), status, words })
}

fn failed(url: &str, e: ureq::Error) -> Error {
    let url = url.to_owned();
    match e {
        ureq::Error::BodyExceedsLimit(most) => {
            Error::Answer { url, reason: format!("it is longer than {most} bytes") }
        }
        ureq::Error::Rustls(reason @ rustls::Error::InvalidCertificate(_)) => {
            Error::Stranger { url, reason }
        }
        ureq::Error::Io(e) => {
            let reason = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match reason {
                Some(reason @ rustls::Error::InvalidCertificate(_)) => {
                    Error::Stranger { url, reason: reason.clone() }
                }
                _ => Error::Unreachable { url, reason: e.to_string() },
            }
        }
        other => Error::Unreachable { url, reason: other.to_string() },
    }
}

/// Sends reports without anybody waiting for them. Only the newest waits to be sent, and one that cannot be
/// sent is lost: the next says more.
pub struct Reporter {
    shared: Arc<(Mutex<Slot>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Slot {
    next: Option<Report>,
    closed: bool,
}

impl Reporter {
    /// Sends to this server from now on.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(remote: Remote) -> io::Result<Reporter> {
        let shared = Arc::new((Mutex::new(Slot::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let work = move || {
            while let Some(report) = next(&theirs) {
                // Best effort: whoever watches sees that this host is silent.
                let _ = remote.report(&report);
            }
        };
        let thread = thread::Builder::new().name("reporter".to_owned()).spawn(work)?;
        Ok(Reporter { shared, thread: Some(thread) })
    }

    /// Has this sent soon, in place of what was not sent yet.
    pub fn tell(&self, report: Report) {
        lock(&self.shared.0).next = Some(report);
        self.shared.1.notify_one();
    }

    /// Sends what was told last and ends; that takes twice [`REPORT_LIMIT`] at most, should the server be
    /// gone.
    pub fn stop(self) {}
}

impl Drop for Reporter {
    fn drop(&mut self) {
        lock(&self.shared.0).closed = true;
        self.shared.1.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest report; `None` once closed and nothing waits.
fn next((slot, told): &(Mutex<Slot>, Condvar)) -> Option<Report> {
    let mut slot = lock(slot);
    loop {
        if let Some(report) = slot.next.take() {
            return Some(report);
        }
        if slot.closed {
            return None;
        }
        slot = told.wait(slot).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tls::Fingerprint;

    #[test]
    fn an_address_needs_trust_and_a_key_needs_tls() {
        let pin = Trust::Pin(Fingerprint([0; 32]));
        let key = Key::new([1; 32]);
        let shown =
            |url: &str, trust: Option<&Trust>, key: Option<&Key>| match Remote::new(url, trust, key) {
                Ok(remote) => remote.base,
                Err(e) => e.to_string(),
            };
        assert_eq!(shown("https://h:1/", Some(&pin), Some(&key)), "https://h:1");
        assert_eq!(shown("https://[::1]:1", Some(&pin), None), "https://[::1]:1");
        assert_eq!(shown("http://h", None, None), "http://h");
        assert!(shown("https://h", None, None).contains("--trust FINGERPRINT"));
        for (trust, key) in [(None, Some(&key)), (Some(&pin), None)] {
            assert!(shown("http://h", trust, key).contains("use https://"));
        }
        for wrong in [
            "",
            "h:1",
            "h",
            "ftp://h",
            "https://",
            "https://u:p@h",
            "https://h/path",
            "https://h?q",
            "a b",
        ] {
            assert!(shown(wrong, Some(&pin), None).contains("https://HOST:PORT"), "{wrong}");
        }
    }
}
