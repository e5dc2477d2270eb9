//! Answers, and the head they are sent with.

use std::fmt::Write;
use std::sync::Arc;

/// What is answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// RFC 9110 §15.
    pub status: u16,
    /// Of the body, with its character set.
    pub content_type: &'static str,
    /// Headers besides those that every answer has.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Shared, since a hundred clients may fetch the same torrent of 32 MiB at once.
    pub body: Arc<[u8]>,
}

impl Response {
    /// 200 with a body.
    pub fn ok(content_type: &'static str, body: impl Into<Arc<[u8]>>) -> Response {
        Response { status: 200, content_type, headers: Vec::new(), body: body.into() }
    }

    /// Words for a person, or for the log of a program.
    pub fn text(status: u16, words: &str) -> Response {
        let content_type = "text/plain; charset=utf-8";
        Response { status, ..Response::ok(content_type, words.as_bytes()) }
    }

    /// The same with one header more.
    pub fn with(mut self, name: &'static str, value: &'static str) -> Response {
        self.headers.push((name, value));
        self
    }

    /// What a connection gets that finds the queue full.
    pub(super) fn busy() -> Response {
        Response::text(503, "").with("Retry-After", "5")
    }

    /// Status line and headers.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len()
        );
        for (name, value) in &self.headers {
            // Writing to a string does not fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// Only people read it.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Answer",
    }
}
