//! Configuration: the assignment's ports from an ID, and `offload.toml` for whoever wants more.
//!
//! Without a file everything is as the assignment has it. With one, each value is checked here, once,
//! and an error names the file, the line, the key and the rule. [`Config::resolve`] then turns names
//! into addresses, and refuses to leave loopback without a key. `offload.sample.toml` documents every
//! key. What is left out: reloading while running, and command-line switches (the assignment's servers
//! take no arguments).

mod key;
mod staging;
mod topology;

pub use key::{Key, recipe};
pub use staging::Stage;
pub use topology::{Backend, Topology};

use crate::limits;
use crate::screen::Transcript;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// The file's name, in each of the places where it is looked for.
pub const FILE_NAME: &str = "offload.toml";
/// Overrides `transcript`.
pub const TRANSCRIPT_VARIABLE: &str = "OFFLOAD_TRANSCRIPT";
/// The last three digits of the ID in the assignment's example.
const DEFAULT_ID: u16 = 319;
const DEFAULT_HOST: &str = "localhost";
const RESTART_WAIT_KEY: &str = "deadlines.restart_wait_s";
const CLIENT_STALL_KEY: &str = "deadlines.client_stall_s";

/// Why there is no configuration to work with. Each is shown to a person as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there, but cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// No TOML, an unknown key, or a value of another type.
    #[error("{at}: {reason}")]
    Syntax { at: String, reason: String },
    /// A value that breaks a rule; `at` is the file, with the line where the value is in it.
    #[error("{at}: {key} = {value}: {rule}")]
    Value { at: String, key: String, value: String, rule: String },
    /// An environment variable with a value that means nothing.
    #[error("the environment variable {variable} is {value:?}: {rule}")]
    Environment { variable: &'static str, value: String, rule: &'static str },
    /// The key file is missing, readable by others, or no key.
    #[error("key file {}: {reason}", path.display())]
    KeyFile { path: PathBuf, reason: String },
    /// An address off loopback, and no key.
    #[error(
        "{at}: {key} = {value} is not on loopback and there is no key, so anyone who reaches it could \
         read the numbers and forge the answers; this process does not start. Make a key with: \
         {}; give every machine a copy, and set key_file = \"offload.key\" in each {FILE_NAME}",
        recipe(Path::new("offload.key"))
    )]
    Exposed { at: String, key: String, value: String },
}

/// What a process is told from outside, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The last three digits of the ID, 0 to 999.
    pub id: u16,
    /// Which wording the screens have.
    pub transcript: Transcript,
    /// The secret that all processes share; mandatory off loopback.
    pub key: Option<Key>,
    /// UDP payload size in bytes, where it is set; [`Topology::datagram_bytes`] is what holds.
    pub datagram_bytes: Option<usize>,
    /// Where AWS is.
    pub aws: Aws,
    /// Where the backends are, in the order of their shards: 1 to [`limits::MAX_BACKENDS`].
    pub backends: Vec<Host>,
    /// How long is waited for others.
    pub deadlines: Deadlines,
    /// The numbers that are staged, not sent: a .torrent file's path or a magnet link.
    pub dataset: Option<String>,
    /// How much of it a backend stages.
    pub stage: Stage,
    /// Whether backends are checkpointed.
    pub checkpoint: bool,
    /// Where the values are from, for errors.
    origin: String,
}

/// Where AWS is, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// A name or an address.
    pub host: String,
    /// Where clients connect.
    pub tcp_port: u16,
    /// Where backends answer.
    pub udp_port: u16,
}

/// Where a backend is, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As on screens: 1 to 8 of A-Z and 0-9, unique.
    pub name: String,
    /// A name or an address.
    pub host: String,
    /// UDP.
    pub port: u16,
}

/// How long others are waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// How long a job waits for a backend that does not answer.
    pub restart_wait: Duration,
    /// How long a client may take over one frame.
    pub client_stall: Duration,
}

impl Config {
    /// Reads `offload.toml` from the first of these directories that has one; the assignment's values
    /// where none has.
    ///
    /// # Errors
    /// When the file or the key file that it names cannot be read or breaks a rule.
    pub fn load(places: &[PathBuf]) -> Result<Config, Error> {
        for place in places {
            let path = place.join(FILE_NAME);
            let refuse = |e: io::Error| Error::Unreadable { path: path.clone(), reason: e.to_string() };
            match open(&path) {
                Ok(file) => return parse(&path, &read_text(file).map_err(refuse)?),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(refuse(e)),
            }
        }
        let nowhere = Source { path: None, text: "" };
        build(Raw::default(), &nowhere)
    }

    /// Applies the environment: `get` is `std::env::var` in a binary.
    ///
    /// # Errors
    /// When `OFFLOAD_TRANSCRIPT` is neither `tables` nor `example`.
    pub fn with_env(mut self, get: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
        self.transcript = match get(TRANSCRIPT_VARIABLE).as_deref() {
            None => self.transcript,
            Some("tables") => Transcript::Tables,
            Some("example") => Transcript::Example,
            Some(other) => {
                return Err(Error::Environment {
                    variable: TRANSCRIPT_VARIABLE,
                    value: other.to_owned(),
                    rule: "it has to be tables or example, or not to be set",
                });
            }
        };
        Ok(self)
    }
}

/// The name of the backend with this index: A to Z, AA, AB and so on, as in spreadsheets.
fn default_name(index: usize) -> String {
    let (mut letters, mut rest) = (Vec::new(), index + 1);
    while rest > 0 {
        letters.push(char::from(b'A' + ((rest - 1) % 26) as u8));
        rest = (rest - 1) / 26;
    }
    letters.into_iter().rev().collect()
}

/// Opens a regular file: anything else might block for ever, or never end.
fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    File::open(path)
}

/// Reads a small UTF-8 file whole.
fn read_text(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(limits::MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits::MAX_CONFIG_BYTES {
        let most = limits::MAX_CONFIG_BYTES;
        return Err(io::Error::other(format!("it is longer than {most} bytes, which nobody meant")));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = 1 + count_newlines(&e.as_bytes()[..e.utf8_error().valid_up_to()]);
        io::Error::other(format!("line {line} is not UTF-8"))
    })
}

fn count_newlines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

/// The file as it is written: all optional, nothing checked but types. Numbers are wide here, so that a
/// rule of ours refuses those out of range, not a message about Rust's types.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    id: Option<Spanned<i64>>,
    transcript: Option<Transcript>,
    key_file: Option<Spanned<PathBuf>>,
    datagram_bytes: Option<Spanned<i64>>,
    aws: RawAws,
    backend: Option<Vec<RawBackend>>,
    deadlines: RawDeadlines,
    dataset: Option<Spanned<String>>,
    stage: Option<Stage>,
    checkpoint: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAws {
    host: Option<Spanned<String>>,
    tcp_port: Option<Spanned<i64>>,
    udp_port: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBackend {
    name: Option<Spanned<String>>,
    host: Option<Spanned<String>>,
    port: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDeadlines {
    restart_wait_s: Option<Spanned<f64>>,
    client_stall_s: Option<Spanned<f64>>,
}

/// Where values come from, so that an error can say where it is.
struct Source<'a> {
    path: Option<&'a Path>,
    text: &'a str,
}

impl Source<'_> {
    fn origin(&self) -> String {
        match self.path {
            Some(path) => path.display().to_string(),
            None => format!("default values (there is no {FILE_NAME})"),
        }
    }

    fn at(&self, span: Range<usize>) -> String {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        format!("{}:{}", self.origin(), 1 + count_newlines(before))
    }

    /// Refuses a value, shown as it is written.
    fn refuse(&self, span: Range<usize>, key: &str, rule: impl Into<String>) -> Error {
        let value = self.text.get(span.clone()).unwrap_or_default().to_owned();
        Error::Value { at: self.at(span), key: key.to_owned(), value, rule: rule.into() }
    }

    fn integer(
        &self,
        key: &str,
        written: Option<Spanned<i64>>,
        allowed: RangeInclusive<u16>,
    ) -> Result<Option<u16>, Error> {
        let Some(written) = written else { return Ok(None) };
        match u16::try_from(*written.get_ref()) {
            Ok(value) if allowed.contains(&value) => Ok(Some(value)),
            _ => {
                let rule = format!("it has to be {} to {}", allowed.start(), allowed.end());
                Err(self.refuse(written.span(), key, rule))
            }
        }
    }

    fn port(&self, key: &str, written: Option<Spanned<i64>>) -> Result<Option<u16>, Error> {
        self.integer(key, written, 1..=u16::MAX)
    }

    fn host(&self, key: &str, written: Option<Spanned<String>>) -> Result<String, Error> {
        let Some(written) = written else { return Ok(DEFAULT_HOST.to_owned()) };
        if written.get_ref().is_empty() {
            return Err(self.refuse(written.span(), key, "it has to be a name or an address"));
        }
        Ok(written.into_inner())
    }

    fn seconds(
        &self,
        key: &str,
        written: Option<Spanned<f64>>,
        default: Duration,
    ) -> Result<Duration, Error> {
        let Some(written) = written else { return Ok(default) };
        if !(0.1..=86_400.0).contains(written.get_ref()) {
            return Err(self.refuse(written.span(), key, "it has to be 0.1 to 86400 seconds"));
        }
        Ok(Duration::from_secs_f64(written.into_inner()))
    }
}

fn parse(path: &Path, text: &str) -> Result<Config, Error> {
    let source = Source { path: Some(path), text };
    let raw = toml::from_str(text).map_err(|e| Error::Syntax {
        at: e.span().map_or_else(|| source.origin(), |span| source.at(span)),
        reason: e.message().replace('\n', "; "),
    })?;
    build(raw, &source)
}

fn build(raw: Raw, source: &Source<'_>) -> Result<Config, Error> {
    let id = source.integer("id", raw.id, 0..=999)?.unwrap_or(DEFAULT_ID);
    let deadlines = raw.deadlines;
    let config = Config {
        id,
        transcript: raw.transcript.unwrap_or_default(),
        datagram_bytes: datagram_bytes(raw.datagram_bytes, source)?,
        aws: Aws {
            host: source.host("aws.host", raw.aws.host)?,
            tcp_port: source.port("aws.tcp_port", raw.aws.tcp_port)?.unwrap_or(25_000 + id),
            udp_port: source.port("aws.udp_port", raw.aws.udp_port)?.unwrap_or(24_000 + id),
        },
        backends: backends(raw.backend, id, source)?,
        deadlines: Deadlines {
            restart_wait: source.seconds(
                RESTART_WAIT_KEY,
                deadlines.restart_wait_s,
                limits::RESTART_WAIT,
            )?,
            client_stall: source.seconds(
                CLIENT_STALL_KEY,
                deadlines.client_stall_s,
                limits::CLIENT_STALL,
            )?,
        },
        dataset: staging::dataset(raw.dataset, source)?,
        stage: raw.stage.unwrap_or_default(),
        checkpoint: raw.checkpoint,
        key: key_of(raw.key_file, source)?,
        origin: source.origin(),
    };
    refuse_shared_ports(&config)?;
    Ok(config)
}

/// Numbers are sent whole, so a datagram holds a multiple of eight bytes.
fn datagram_bytes(written: Option<Spanned<i64>>, source: &Source<'_>) -> Result<Option<usize>, Error> {
    let (least, most) = (limits::MIN_DATAGRAM_BYTES, limits::LOOPBACK_DATAGRAM_BYTES);
    let Some(written) = written else { return Ok(None) };
    match usize::try_from(*written.get_ref()) {
        Ok(bytes) if (least..=most).contains(&bytes) && bytes.is_multiple_of(8) => Ok(Some(bytes)),
        _ => {
            let rule = format!("it has to be a multiple of 8 from {least} to {most}");
            Err(source.refuse(written.span(), "datagram_bytes", rule))
        }
    }
}

fn backends(written: Option<Vec<RawBackend>>, id: u16, source: &Source<'_>) -> Result<Vec<Host>, Error> {
    let written = written.unwrap_or_else(|| (0..3).map(|_| RawBackend::default()).collect());
    if !(1..=limits::MAX_BACKENDS).contains(&written.len()) {
        return Err(Error::Value {
            at: source.origin(),
            key: "number of [[backend]]".to_owned(),
            value: written.len().to_string(),
            rule: format!("it has to be 1 to {}", limits::MAX_BACKENDS),
        });
    }
    let mut backends: Vec<Host> = Vec::with_capacity(written.len());
    for (index, raw) in written.into_iter().enumerate() {
        let backend = backend(index, raw, id, source)?;
        if backends.iter().any(|b| b.name == backend.name) {
            return Err(Error::Value {
                at: source.origin(),
                key: format!("backend {}: name", index + 1),
                value: format!("{:?}", backend.name),
                rule: "an earlier backend has this name".to_owned(),
            });
        }
        backends.push(backend);
    }
    Ok(backends)
}

fn backend(index: usize, raw: RawBackend, id: u16, source: &Source<'_>) -> Result<Host, Error> {
    let name = match raw.name {
        None => default_name(index),
        Some(name) if is_name(name.get_ref()) => name.into_inner(),
        Some(name) => {
            let key = format!("backend {}: name", index + 1);
            return Err(source.refuse(name.span(), &key, "it has to be 1 to 8 of A-Z and 0-9"));
        }
    };
    let host = source.host(&format!("backend {name}: host"), raw.host)?;
    let port_key = format!("backend {name}: port");
    let port = match (source.port(&port_key, raw.port)?, index) {
        (Some(port), _) => port,
        // Table 3; 24000 + id is AWS's own.
        (None, 0..3) => 21_000 + 1000 * index as u16 + id,
        (None, _) => {
            return Err(Error::Value {
                at: source.origin(),
                key: port_key,
                value: "(not set)".to_owned(),
                rule: "only the first three backends have a default port".to_owned(),
            });
        }
    };
    Ok(Host { name, host, port })
}

fn is_name(name: &str) -> bool {
    (1..=8).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn key_of(written: Option<Spanned<PathBuf>>, source: &Source<'_>) -> Result<Option<Key>, Error> {
    let Some(written) = written else { return Ok(None) };
    if written.get_ref().as_os_str().is_empty() {
        return Err(source.refuse(written.span(), "key_file", "it has to be a path"));
    }
    let directory = source.path.and_then(Path::parent).unwrap_or(Path::new(""));
    Key::read(&directory.join(written.get_ref())).map(Some)
}

/// Ports are distinct on each host, TCP and UDP alike: one number, one process.
fn refuse_shared_ports(config: &Config) -> Result<(), Error> {
    let Config { aws, backends, .. } = config;
    let mut taken = vec![
        ("aws.tcp_port".to_owned(), aws.host.as_str(), aws.tcp_port),
        ("aws.udp_port".to_owned(), aws.host.as_str(), aws.udp_port),
    ];
    taken.extend(backends.iter().map(|b| (format!("backend {}: port", b.name), &*b.host, b.port)));
    for (i, (key, host, port)) in taken.iter().enumerate() {
        let same = |other: &&(String, &str, u16)| other.2 == *port && other.1.eq_ignore_ascii_case(host);
        if let Some((earlier, ..)) = taken[..i].iter().find(same) {
            return Err(Error::Value {
                at: config.origin.clone(),
                key: key.clone(),
                value: port.to_string(),
                rule: format!("{earlier} is the same on {host}; ports of one host have to differ"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A directory of a test's own, removed at its end.
    pub(super) struct Folder(pub PathBuf);

    impl Folder {
        pub fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("offload-config-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        pub fn write(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }

        pub fn load(&self, toml: &str) -> Result<Config, Error> {
            self.write(FILE_NAME, toml, 0o644);
            Config::load(std::slice::from_ref(&self.0))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A valid configuration from this text.
    pub(super) fn config(toml: &str) -> Config {
        Folder::new().load(toml).unwrap()
    }

    fn defaults() -> Config {
        Config::load(&[]).unwrap()
    }

    /// What a user sees, from the file's name on.
    fn refusal(toml: &str) -> String {
        let folder = Folder::new();
        let text = folder.load(toml).expect_err(toml).to_string();
        text.replace(&format!("{}/", folder.0.display()), "")
    }

    fn host(name: &str, host: &str, port: u16) -> Host {
        Host { name: name.into(), host: host.into(), port }
    }

    #[test]
    fn without_a_file_all_is_as_the_assignment_has_it() {
        let folder = Folder::new();
        for places in [vec![], vec![folder.0.clone(), folder.0.join("nowhere")]] {
            let c = Config::load(&places).unwrap();
            assert_eq!((c.id, c.transcript, c.datagram_bytes), (319, Transcript::Tables, None));
            assert!(c.key.is_none());
            assert_eq!((c.dataset, c.stage), (None, Stage::Whole));
            assert_eq!(c.aws, Aws { host: "localhost".into(), tcp_port: 25319, udp_port: 24319 });
            let expected = [("A", 21319), ("B", 22319), ("C", 23319)];
            assert_eq!(c.backends, expected.map(|(name, port)| host(name, "localhost", port)));
            assert_eq!(c.deadlines.restart_wait, Duration::from_secs(30));
            assert_eq!(c.deadlines.client_stall, Duration::from_secs(10));
        }
    }

    #[test]
    fn the_first_place_that_has_the_file_counts() {
        let (first, second) = (Folder::new(), Folder::new());
        let places = [first.0.clone(), second.0.clone()];
        second.write(FILE_NAME, "id = 2", 0o644);
        assert_eq!(Config::load(&places).unwrap().id, 2);
        first.write(FILE_NAME, "id = 1", 0o644);
        assert_eq!(Config::load(&places).unwrap().id, 1);
    }

    #[test]
    fn every_key_is_taken() {
        let c = config(
            "id = 7\ntranscript = \"example\"\ndatagram_bytes = 1024\n\
             dataset = \"magnet:?xt=urn:btih:00\"\nstage = \"shard\"\n\
             [aws]\nhost = \"::1\"\ntcp_port = 1\nudp_port = 65535\n\
             [[backend]]\nname = \"X9\"\nhost = \"127.0.0.2\"\nport = 5\n[[backend]]\n\
             [deadlines]\nrestart_wait_s = 0.5\nclient_stall_s = 86400\n",
        );
        assert_eq!((c.id, c.transcript, c.datagram_bytes), (7, Transcript::Example, Some(1024)));
        assert_eq!(c.dataset.as_deref(), Some("magnet:?xt=urn:btih:00"));
        assert_eq!(c.stage, Stage::Shard);
        assert_eq!(c.aws, Aws { host: "::1".into(), tcp_port: 1, udp_port: 65535 });
        assert_eq!(c.backends, [host("X9", "127.0.0.2", 5), host("B", "localhost", 22007)]);
        assert_eq!(c.deadlines.restart_wait, Duration::from_millis(500));
        assert_eq!(c.deadlines.client_stall, Duration::from_secs(86400));
    }

    #[test]
    fn the_id_moves_every_default_port() {
        let c = config("id = 0");
        assert_eq!((c.aws.tcp_port, c.aws.udp_port), (25000, 24000));
        assert_eq!(c.backends.iter().map(|b| b.port).collect::<Vec<_>>(), [21000, 22000, 23000]);
        assert_eq!(config("id = 999").backends[2].port, 23999);
    }

    #[test]
    fn backends_are_named_as_in_a_spreadsheet() {
        let names = [0, 1, 25, 26, 27, 51, 52, 255].map(default_name);
        assert_eq!(names, ["A", "B", "Z", "AA", "AB", "AZ", "BA", "IV"]);
        let many = |k: u32| (0..k).map(|i| format!("[[backend]]\nport = {}\n", 100 + i)).collect();
        let text: String = many(256);
        assert_eq!(config(&text).backends[27], host("AB", "localhost", 127));
        let text: String = many(257);
        assert_eq!(refusal(&text), "offload.toml: number of [[backend]] = 257: it has to be 1 to 256");
    }

    #[test]
    fn what_breaks_a_rule_is_refused_with_its_line_and_value() {
        for (toml, message) in [
            ("\nid = 1000", "offload.toml:2: id = 1000: it has to be 0 to 999"),
            ("id = -1", "offload.toml:1: id = -1: it has to be 0 to 999"),
            ("id = 4294967296", "offload.toml:1: id = 4294967296: it has to be 0 to 999"),
            ("[aws]\n\ntcp_port = 0", "offload.toml:3: aws.tcp_port = 0: it has to be 1 to 65535"),
            (
                "aws.udp_port = 0x1_0000",
                "offload.toml:1: aws.udp_port = 0x1_0000: it has to be 1 to 65535",
            ),
            (
                "[[backend]]\n[[backend]]\nport = 0",
                "offload.toml:3: backend B: port = 0: it has to be 1 to 65535",
            ),
            ("[aws]\nhost = \"\"", "offload.toml:2: aws.host = \"\": it has to be a name or an address"),
            (
                "[[backend]]\nhost = ''",
                "offload.toml:2: backend A: host = '': it has to be a name or an address",
            ),
            (
                "[[backend]]\nname = \"b\"",
                "offload.toml:2: backend 1: name = \"b\": it has to be 1 to 8 of A-Z and 0-9",
            ),
            (
                "[[backend]]\nname = \"\"",
                "offload.toml:2: backend 1: name = \"\": it has to be 1 to 8 of A-Z and 0-9",
            ),
            (
                "[[backend]]\nname = \"ABCDEFGHI\"",
                "offload.toml:2: backend 1: name = \"ABCDEFGHI\": it has to be 1 to 8 of A-Z and 0-9",
            ),
            (
                "[[backend]]\nname = \"B\"\n[[backend]]",
                "offload.toml: backend 2: name = \"B\": an earlier backend has this name",
            ),
            ("backend = []", "offload.toml: number of [[backend]] = 0: it has to be 1 to 256"),
            (
                "[[backend]]\n[[backend]]\n[[backend]]\n[[backend]]",
                "offload.toml: backend D: port = (not set): only the first three backends have a \
                 default port",
            ),
            ("key_file = \"\"", "offload.toml:1: key_file = \"\": it has to be a path"),
            (
                "\ndataset = \"nums.csv\"",
                "offload.toml:2: dataset = \"nums.csv\": it has to be a path that ends with .torrent or a \
                 link, magnet:?...",
            ),
        ] {
            assert_eq!(refusal(toml), message);
        }
    }

    #[test]
    fn deadlines_are_a_tenth_of_a_second_to_a_day() {
        for key in ["restart_wait_s", "client_stall_s"] {
            for value in ["0", "0.09", "-1", "86400.1", "nan", "inf", "1e300"] {
                assert_eq!(
                    refusal(&format!("[deadlines]\n{key} = {value}")),
                    format!(
                        "offload.toml:2: deadlines.{key} = {value}: it has to be 0.1 to 86400 seconds"
                    )
                );
            }
            config(&format!("[deadlines]\n{key} = 0.1"));
        }
    }

    #[test]
    fn datagrams_are_multiples_of_eight_within_bounds() {
        for value in ["0", "248", "255", "1470", "65507", "65512", "-8"] {
            assert_eq!(
                refusal(&format!("datagram_bytes = {value}")),
                format!(
                    "offload.toml:1: datagram_bytes = {value}: it has to be a multiple of 8 from 256 to \
                     65504"
                )
            );
        }
        for value in [256, 1472, 65504] {
            assert_eq!(config(&format!("datagram_bytes = {value}")).datagram_bytes, Some(value));
        }
    }

    #[test]
    fn ports_of_one_host_differ() {
        assert_eq!(
            refusal("[[backend]]\nport = 24319"),
            "offload.toml: backend A: port = 24319: aws.udp_port is the same on localhost; ports of one \
             host have to differ"
        );
        assert_eq!(
            refusal("aws.tcp_port = 9\naws.udp_port = 9"),
            "offload.toml: aws.udp_port = 9: aws.tcp_port is the same on localhost; ports of one host \
             have to differ"
        );
        assert_eq!(
            refusal("[[backend]]\nhost = \"LOCALHOST\"\nport = 5\n[[backend]]\nport = 5"),
            "offload.toml: backend B: port = 5: backend A: port is the same on localhost; ports of one \
             host have to differ"
        );
        config("[[backend]]\nport = 5\n[[backend]]\nhost = \"127.0.0.2\"\nport = 5");
    }

    #[test]
    fn what_is_no_toml_of_ours_is_refused_with_its_line() {
        for (toml, begins, holds) in [
            ("id = 3\nid = 4", "offload.toml:2: ", "duplicate key"),
            ("id = \"3\"", "offload.toml:1: ", "expected i64"),
            ("id = 3\n\nports = 4", "offload.toml:3: unknown field `ports`", "`datagram_bytes`"),
            ("[aws]\nport = 4", "offload.toml:2: unknown field `port`", "`tcp_port`"),
            ("[[backend]]\nip = 4", "offload.toml:2: unknown field `ip`", "`host`"),
            ("[deadlines]\nrestart_wait = 4", "offload.toml:2: unknown field `restart_wait`", "_s`"),
            ("id = 3\nstage = \"some\"", "offload.toml:2: unknown variant `some`", "`shard`"),
            ("transcript = \"tabels\"", "offload.toml:1: unknown variant `tabels`", "`example`"),
            ("id = 3\nwhat is this", "offload.toml:2: ", "expected"),
        ] {
            let message = refusal(toml);
            assert!(message.starts_with(begins) && message.contains(holds), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_never_passed_over() {
        let folder = Folder::new();
        let refusal = || {
            let text = Config::load(std::slice::from_ref(&folder.0)).unwrap_err().to_string();
            text.replace(&format!("{}/", folder.0.display()), "")
        };
        folder.write(FILE_NAME, "x = 1\n".repeat(1 << 14), 0o644);
        assert_eq!(refusal(), "offload.toml: it is longer than 65536 bytes, which nobody meant");
        folder.write(FILE_NAME, b"id = 3\n# \xff", 0o644);
        assert_eq!(refusal(), "offload.toml: line 2 is not UTF-8");
        fs::remove_file(folder.0.join(FILE_NAME)).unwrap();
        fs::create_dir(folder.0.join(FILE_NAME)).unwrap();
        assert_eq!(refusal(), "offload.toml: it is not a file");
    }

    #[test]
    fn the_environment_overrides_the_transcript() {
        let with = |toml: &str, value: Option<&'static str>| {
            let get = move |name: &str| (name == "OFFLOAD_TRANSCRIPT").then_some(value?.to_owned());
            config(toml).with_env(get)
        };
        let example = "transcript = \"example\"";
        assert_eq!(with("", None).unwrap().transcript, Transcript::Tables);
        assert_eq!(with(example, None).unwrap().transcript, Transcript::Example);
        assert_eq!(with(example, Some("tables")).unwrap().transcript, Transcript::Tables);
        assert_eq!(with("", Some("example")).unwrap().transcript, Transcript::Example);
        assert_eq!(
            with("", Some("Example")).unwrap_err().to_string(),
            "the environment variable OFFLOAD_TRANSCRIPT is \"Example\": it has to be tables or \
             example, or not to be set"
        );
    }

    #[test]
    fn a_key_file_is_relative_to_the_configuration() {
        let folder = Folder::new();
        folder.write("my.key", "0f".repeat(32), 0o600);
        let key = folder.load("key_file = \"my.key\"").unwrap().key.unwrap();
        assert_eq!(key.bytes(), &[15; 32]);
        let missing = folder.load("key_file = \"no.key\"").unwrap_err().to_string();
        let path = folder.0.join("no.key");
        assert!(missing.starts_with(&format!("key file {}: it does not exist", path.display())));
    }

    /// The sample states the defaults, except for these three, which have none to state.
    #[test]
    fn the_sample_is_valid_as_it_is_and_with_every_key_set() {
        let sample = include_str!("../offload.sample.toml");
        let is_key = |line: &str| {
            let key = line.strip_prefix("# ").and_then(|l| l.split_once(" = ")).map(|(key, _)| key);
            key.is_some_and(|k| k.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        };
        let uncommented: Vec<&str> =
            sample.lines().map(|l| if is_key(l) { &l[2..] } else { l }).collect();
        let folder = Folder::new();
        folder.write("offload.key", "a5".repeat(32), 0o600);
        for (text, all) in [(sample, false), (uncommented.join("\n").as_str(), true)] {
            let mut c = folder.load(text).unwrap();
            assert_eq!(c.key.take().map(|k| *k.bytes()), all.then_some([0xa5; 32]));
            assert_eq!(c.datagram_bytes.take(), all.then_some(limits::NETWORK_DATAGRAM_BYTES));
            let dataset = folder.0.join("nums.csv.torrent").display().to_string();
            assert_eq!(c.dataset.take(), all.then_some(dataset));
            c.origin = defaults().origin;
            assert_eq!(format!("{c:?}"), format!("{:?}", defaults()));
        }
        // Every key that there is: each name that serde would accept is in the sample.
        for (table, keys) in [
            (
                "",
                "`id`, `transcript`, `key_file`, `datagram_bytes`, `aws`, `backend`, `deadlines`, \
                 `dataset`, `stage`, `checkpoint`",
            ),
            ("[aws]\n", "`host`, `tcp_port`, `udp_port`"),
            ("[[backend]]\n", "`name`, `host`, `port`"),
            ("[deadlines]\n", "`restart_wait_s` or `client_stall_s`"),
        ] {
            let message = refusal(&format!("{table}no_such_key = 1"));
            assert!(message.ends_with(keys), "{message}");
            for key in keys.split('`').skip(1).step_by(2) {
                let [set, head] = [format!("\n{key} = "), format!("[{key}]")];
                let text = uncommented.join("\n");
                assert!(text.contains(&set) || text.contains(&head), "{key} is not in the sample");
            }
        }
    }
}
