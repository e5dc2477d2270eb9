//! Which request gets what, and who may ask.
//!
//! | path | method | what |
//! |---|---|---|
//! | `/` | GET | the status page |
//! | `/status.json` | GET | [`super::monitor::Status`] |
//! | `/catalog.json` | GET | [`super::catalog::Listing`] |
//! | `/torrents/NAME.torrent` | GET | a torrent |
//! | `/report` | POST | takes in a [`Report`] |
//! | `/announce`, `/scrape` | GET | the tracker (BEP 3, 48); with a key `/PASS/announce`, `/PASS/scrape` |
//!
//! Paths are matched part by part against this table and the catalog, never against a file system. With a
//! key, all but the tracker asks for it ([`super::access`]).

use super::access::Access;
use super::catalog::{Catalog, Name};
use super::http::{Method, Request, Response};
use super::monitor::{Monitor, Report, Status, Taken};
use super::page;
use offload::time::Time;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// What a tracker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackerCall {
    /// BEP 3.
    Announce,
    /// BEP 48.
    Scrape,
}

/// A tracker's answer, bencoded, to a raw query from an address.
pub type TrackerFn = dyn Fn(TrackerCall, &str, IpAddr) -> Vec<u8> + Send + Sync;

/// What the image server shows.
pub struct Routes {
    catalog: RwLock<Catalog>,
    monitor: Mutex<Monitor>,
    access: Option<Access>,
    tracker: Box<TrackerFn>,
    clock: Box<dyn Fn() -> Time + Send + Sync>,
}

impl Routes {
    /// A face with these parts behind it; with `access`, for those who have the key only.
    pub fn new(
        monitor: Monitor,
        access: Option<Access>,
        tracker: Box<TrackerFn>,
        clock: Box<dyn Fn() -> Time + Send + Sync>,
    ) -> Routes {
        let (catalog, monitor) = (RwLock::new(Catalog::new()), Mutex::new(monitor));
        Routes { catalog, monitor, access, tracker, clock }
    }

    /// The path of the announce URL that goes into torrents.
    pub fn announce_path(&self) -> String {
        match &self.access {
            Some(access) => format!("/{}/announce", access.pass()),
            None => "/announce".to_owned(),
        }
    }

    /// Changes what is published. Requests that come meanwhile wait.
    pub fn with_catalog<T>(&self, change: impl FnOnce(&mut Catalog) -> T) -> T {
        change(&mut self.catalog.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The monitor, for what the tracker and the seeder know.
    pub fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shown at this moment.
    pub fn status(&self) -> Status {
        let now = (self.clock)();
        self.monitor().snapshot(now)
    }

    /// Answers a request: the handler of [`super::http::Server::start`].
    pub fn answer(&self, request: &Request) -> Response {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        if let Some(call) = self.tracker_call(&path) {
            let answer = || (self.tracker)(call, &request.query, request.from.ip());
            return get(request, || Response::ok("text/plain", answer()));
        }
        if let Some(refusal) = self.access.as_ref().and_then(|access| access.refusal(request)) {
            return refusal;
        }
        match path[..] {
            [] => get(request, || page::response(&self.status())),
            ["status.json"] => get(request, || json(&self.status())),
            ["catalog.json"] => get(request, || json(&self.catalog().listing())),
            ["torrents", file] => get(request, || self.torrent(file)),
            ["report"] if request.method == Method::Post => self.take_report(request),
            ["report"] => Response::text(405, "reports are sent by POST\n").with("Allow", "POST"),
            _ => nothing(),
        }
    }

    /// Is this the tracker's path, for whoever knows it?
    fn tracker_call(&self, path: &[&str]) -> Option<TrackerCall> {
        let last = match (&self.access, path) {
            (None, [last]) => last,
            (Some(access), [pass, last]) if access.is_pass(pass) => last,
            _ => return None,
        };
        match *last {
            "announce" => Some(TrackerCall::Announce),
            "scrape" => Some(TrackerCall::Scrape),
            _ => None,
        }
    }

    fn catalog(&self) -> std::sync::RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn torrent(&self, file: &str) -> Response {
        let name = file.strip_suffix(".torrent").and_then(|name| name.parse::<Name>().ok());
        let torrent = name.and_then(|name| self.catalog().get(&name).map(|e| e.torrent.clone()));
        torrent.map_or_else(nothing, |bytes| Response::ok("application/x-bittorrent", bytes))
    }

    fn take_report(&self, request: &Request) -> Response {
        let Ok(report) = serde_json::from_slice::<Report>(&request.body) else {
            return Response::text(400, "this is no report\n");
        };
        let known = report.image.parse::<Name>().is_ok_and(|name| self.catalog().get(&name).is_some());
        if !known {
            return Response::text(404, "nothing of this name is published here\n");
        }
        let now = (self.clock)();
        match self.monitor().report(now, request.from.ip(), report) {
            Taken::Shown => Response::ok("text/plain", *b""),
            Taken::Full => Response::text(503, "more clients than are shown\n"),
        }
    }
}

fn get(request: &Request, answer: impl FnOnce() -> Response) -> Response {
    match request.method {
        Method::Get | Method::Head => answer(),
        Method::Post => Response::text(405, "this is read only\n").with("Allow", "GET, HEAD"),
    }
}

fn nothing() -> Response {
    Response::text(404, "there is nothing here; see /catalog.json for what is published\n")
}

fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => Response::ok("application/json", text),
        Err(e) => Response::text(500, &format!("fault in the server: {e}\n")),
    }
}
