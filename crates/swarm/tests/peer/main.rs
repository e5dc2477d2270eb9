//! Peers on real sockets and files: nodes in this process, and the example `peer` where one must die.

mod files;
mod process;
mod swarm;

use offload::rng::Rng;
use offload_swarm::id::PeerId;
use offload_swarm::io::node::{Handle, Job, Node, NodeSettings, What};
use offload_swarm::metainfo::{Metainfo, Recipe, build};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A test that takes longer is broken.
const LONG: Option<Duration> = Some(Duration::from_secs(120));

/// A torrent, and its content on disk.
struct Packed {
    place: TempDir,
    metainfo: Arc<Metainfo>,
}

impl Packed {
    /// A directory of these files.
    fn new(name: &str, files: &[(&str, usize)]) -> Packed {
        Packed::with_trackers(name, files, Vec::new())
    }

    fn with_trackers(name: &str, files: &[(&str, usize)], trackers: Vec<Vec<String>>) -> Packed {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join(name);
        for (path, length) in files {
            let path = if path.is_empty() { root.clone() } else { root.join(path) };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = vec![0; *length];
            Rng::from_seed(*length as u64 ^ name.len() as u64).fill(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
        let recipe = Recipe { name: name.into(), trackers, ..Recipe::default() };
        let metainfo = build(&root, recipe, &mut |_, _| {}).unwrap();
        Packed { place, metainfo: Arc::new(metainfo) }
    }

    fn what(&self) -> What {
        What::Metainfo(self.metainfo.clone())
    }

    /// The same files with the same bytes, and no others.
    fn assert_same(&self, directory: &Path) {
        for file in &self.metainfo.files {
            let (here, there) = (self.place.path().join(&file.path), directory.join(&file.path));
            assert!(
                fs::read(&here).unwrap() == fs::read(&there).unwrap(),
                "{} differs",
                there.display()
            );
        }
    }
}

fn settings(seed: u64) -> NodeSettings {
    let mut settings = NodeSettings::new(PeerId::random(&mut Rng::from_seed(seed)));
    settings.listen = "127.0.0.1:0".parse().unwrap();
    settings.discovery = false;
    settings
}

fn node(seed: u64) -> Node {
    Node::start(settings(seed), Rng::from_seed(seed)).unwrap()
}

fn add(node: &Node, what: What, directory: &Path, peers: &[SocketAddr]) -> Handle {
    let (directory, peers) = (directory.to_owned(), peers.to_vec());
    node.add(Job { what, directory, super_seed: false, wanted: None, peers }).unwrap()
}

/// A node that has all of it.
fn seeder(packed: &Packed) -> (Node, Handle) {
    let node = node(1);
    let handle = add(&node, packed.what(), packed.place.path(), &[]);
    handle.wait_complete(LONG).unwrap();
    (node, handle)
}

/// Waits for what a handle cannot be asked to wait for.
fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG.unwrap(), "waited in vain");
        std::thread::yield_now();
    }
}
