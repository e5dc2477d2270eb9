//! Who may have torrents, the status and a place in the swarm, where a key file is set.
//!
//! The lesson: a secret that is sent is a secret that leaks, so the key itself never travels. Two tokens are
//! derived from it, each good for one thing only:
//!
//! - the *bearer* token (RFC 6750) opens torrents, status and reports. It is refused over plain HTTP, where
//!   anybody on the wire could read it;
//! - the *pass* is part of the announce URL in the torrents that authorised clients get. Foreign clients
//!   announce in plain HTTP, so whoever reads the wire can read it, and then learns from the tracker what
//!   the wire shows anyway: the peers' addresses. It opens nothing else.
//!
//! A browser cannot be told a bearer token; it asks for a name and a password (RFC 7617), which are
//! `offload` and the same token.
//!
//! Left out: users, and taking a token back (make a new key).

use super::http::{Request, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use offload::config::Key;
use sha2::{Digest, Sha256};
use std::fmt;
use std::hint::black_box;

/// What a key opens.
#[derive(Clone)]
pub struct Access {
    bearer: String,
    bearer_header: String,
    basic_header: String,
    pass: String,
}

impl Access {
    /// What this key opens.
    pub fn new(key: &Key) -> Access {
        let bearer = derive(key, "offload image server, bearer token, v1\0");
        let mut pass = derive(key, "offload image server, announce pass, v1\0");
        // Long enough not to be guessed, short enough for an announce URL.
        pass.truncate(32);
        let bearer_header = format!("Bearer {bearer}");
        let basic_header = format!("Basic {}", STANDARD.encode(format!("offload:{bearer}")));
        Access { bearer, bearer_header, basic_header, pass }
    }

    /// The token, for a person who opens the status page in a browser.
    pub fn bearer(&self) -> &str {
        &self.bearer
    }

    /// What a client sends as `Authorization`, by TLS only.
    pub fn bearer_header(&self) -> &str {
        &self.bearer_header
    }

    /// The first part of the announce URL's path: `/PASS/announce`. In front, so that BEP 48's rule, the
    /// last part `announce` made `scrape`, still holds.
    pub fn pass(&self) -> &str {
        &self.pass
    }

    /// Is this the announce URL's pass?
    pub fn is_pass(&self, part: &str) -> bool {
        same(part, &self.pass)
    }

    /// `None` where the request may have what it asks for, else what it is told.
    pub fn refusal(&self, request: &Request) -> Option<Response> {
        if !request.secure {
            // Not even looked at: a client must not get used to sending it this way.
            return Some(Response::text(403, "this server has a key: come by https://\n"));
        }
        let given = request.authorization.as_deref().unwrap_or_default();
        if same(given, &self.bearer_header) | same(given, &self.basic_header) {
            return None;
        }
        let words = "give the key file that the image server was given (--key-file)\n";
        let challenge = "Basic realm=\"offload: name offload, password the token\", charset=\"UTF-8\"";
        Some(Response::text(401, words).with("WWW-Authenticate", challenge))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(..)")
    }
}

/// SHA-256 of a text of our own and the key: 32 random bytes need no more (the text ends in a zero byte, so
/// that no two of them can be confused).
fn derive(key: &Key, domain: &str) -> String {
    let digest = Sha256::new_with_prefix(domain).chain_update(key.bytes()).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Equality whose time says nothing of where the first difference is. The length is no secret.
fn same(a: &str, b: &str) -> bool {
    let differences = a.bytes().zip(b.bytes()).fold(0, |all, (x, y)| black_box(all | (x ^ y)));
    a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::http::Method;

    fn request(authorization: Option<&str>, secure: bool) -> Request {
        Request {
            method: Method::Get,
            path: Vec::new(),
            query: String::new(),
            authorization: authorization.map(str::to_owned),
            body: Vec::new(),
            from: "192.0.2.1:1".parse().unwrap(),
            secure,
        }
    }

    #[test]
    fn tokens_differ_by_key_and_purpose_and_are_not_the_key() {
        let (one, other) = (Access::new(&Key::new([7; 32])), Access::new(&Key::new([8; 32])));
        let digits = "07".repeat(32);
        assert_ne!(one.bearer(), other.bearer());
        assert_ne!(one.pass(), other.pass());
        assert!(!one.bearer().starts_with(one.pass()));
        assert!(one.bearer() != digits && one.bearer().len() == 64 && one.pass().len() == 32);
        assert_eq!(one.bearer(), Access::new(&Key::new([7; 32])).bearer());
        assert_eq!(format!("{one:?}"), "Access(..)");
    }

    #[test]
    fn only_the_token_opens_and_only_by_tls() {
        let access = Access::new(&Key::new([7; 32]));
        let status = |authorization: Option<&str>, secure| {
            access.refusal(&request(authorization, secure)).map(|response| response.status)
        };
        let bearer = format!("Bearer {}", access.bearer());
        let basic = format!("Basic {}", STANDARD.encode(format!("offload:{}", access.bearer())));
        for right in [&bearer, &basic] {
            assert_eq!(status(Some(right), true), None);
            assert_eq!(status(Some(right), false), Some(403));
        }
        let longer = format!("{bearer}0");
        for wrong in
            ["", "Bearer ", &bearer[..bearer.len() - 1], &longer, access.bearer(), access.pass()]
        {
            assert_eq!(status(Some(wrong), true), Some(401), "{wrong}");
        }
        assert_eq!(status(None, true), Some(401));
        assert!(
            access.is_pass(access.pass()) && !access.is_pass("") && !access.is_pass(access.bearer())
        );
    }
}
