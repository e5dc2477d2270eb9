//! The one way in which `ureq` connects here: TCP, and TLS with a configuration of ours.
//!
//! `ureq`'s own TLS knows authorities and "trust anybody", not pins; its `unversioned` interface is the way
//! to bring another. It may change with a minor release, for which the manifest holds it to one.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector, Transport,
    TransportAdapter,
};
use ureq::{Agent, Error};

/// An agent that speaks plain HTTP, and HTTPS where a configuration is given.
pub(super) fn agent(config: Option<Arc<ClientConfig>>) -> Agent {
    let settings = Agent::config_builder()
        .https_only(config.is_some())
        .http_status_as_error(false)
        .max_redirects(0)
        // The server closes anyway.
        .max_idle_connections(0)
        // What the environment names is for the way out of this network.
        .proxy(None)
        .user_agent(concat!("offload-image/", env!("CARGO_PKG_VERSION")))
        .build();
    let connector = ().chain(TcpConnector::default()).chain(Tls(config));
    Agent::with_parts(settings, connector, DefaultResolver::default())
}

/// Wraps connections for `https://`.
#[derive(Debug)]
struct Tls(Option<Arc<ClientConfig>>);

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, Wrapped>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        let config = match (&self.0, details.needs_tls()) {
            (_, false) => return Ok(Some(Either::A(transport))),
            (None, true) => return Err(Error::Tls("no trust was given for TLS")),
            (Some(config), true) => Arc::clone(config),
        };
        let host = details.uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| Error::HostNotFound)?;
        let conn = ClientConnection::new(config, name)?;
        let mut sock = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        sock.set_timeout(details.timeout);
        let mut stream = StreamOwned { conn, sock };
        // Now, so that a stranger's certificate is told apart from a connection that breaks.
        stream.conn.complete_io(&mut stream.sock)?;
        let sizes = (details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Wrapped { buffers: LazyBuffers::new(sizes.0, sizes.1), stream })))
    }
}

/// A connection with TLS.
struct Wrapped {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrapped(..)")
    }
}

impl Transport for Wrapped {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
