//! `offload image` as its users see it: processes, files and words.

mod support;

use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use support::{Place, await_that, disk_bytes, noise};

const MIB: usize = 1 << 20;

/// A directory with a little of everything.
fn tree(place: &Place, name: &str, bytes: usize) {
    place.write(&format!("{name}/etc/motd"), "welcome\n");
    place.write(&format!("{name}/data/noise"), noise(1, bytes));
    place.write(&format!("{name}/bin/run"), "#!/bin/sh\n");
    fs::set_permissions(place.path(&format!("{name}/bin/run")), fs::Permissions::from_mode(0o750))
        .unwrap();
    symlink("../etc/motd", place.path(&format!("{name}/data/link"))).unwrap();
}

#[track_caller]
fn assert_same(place: &Place, a: &str, b: &str) {
    let (a, b) = (place.path(a), place.path(b));
    let diff = std::process::Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([a, b])
        .output()
        .unwrap();
    assert!(diff.status.success(), "{}{}", support::text(&diff.stdout), support::text(&diff.stderr));
}

#[test]
fn a_directory_is_packed_served_and_staged_on_several_hosts() {
    let place = Place::new();
    tree(&place, "web", 8 * MIB);
    place.write("site/etc/motd", "welcome to this site\n");
    assert!(place.done(&["pack", "web", "web", "--compress", "zstd"]).starts_with("packed web: "));
    assert!(
        place.done(&["pack", "site", "site", "--override", "--for", "web"]).starts_with("packed site: ")
    );
    assert!(place.done(&["pack", "web", "web", "--compress", "zstd"]).starts_with("unchanged web: "));

    let mut server = place.serve(&[]);
    let hosts = (0..4).map(|n| place.stage(&server, "web", &format!("host{n}"), &["--poll", "1"]));
    let mut hosts: Vec<_> = hosts.collect();
    for host in &mut hosts {
        host.done();
    }
    place.write("web/etc/motd", "welcome to this site\n");
    for n in 0..4 {
        assert_same(&place, "web", &format!("host{n}"));
        let mode = fs::metadata(place.path(&format!("host{n}/bin/run"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o750);
        assert_eq!(disk_bytes(&place.path(&format!("pool-host{n}"))), 0, "packs are removed in the end");
    }

    let status = place.done(&[&["status", "--json"][..], &server.options()].concat());
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let clients = status["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 4, "{clients:#?}");
    assert!(
        clients.iter().all(|client| client["phase"] == "done" && client["image"] == "web"),
        "{clients:?}"
    );
    let table = place.done(&[&["status"][..], &server.options()].concat());
    assert_eq!(table.matches("done").count(), 4, "{table}");

    server.process.signal(Signal::TERM);
    server.process.done();
}

#[test]
fn a_host_that_was_killed_goes_on_with_what_it_had() {
    let place = Place::new();
    tree(&place, "web", 12 * MIB);
    place.done(&["pack", "web", "web"]);
    let server = place.serve(&["--upload-limit", "4MB/s"]);
    let mut first = place.stage(&server, "web", "out", &["--no-seed-wait"]);
    await_that("some of it is staged", || disk_bytes(&place.path("pool-out")) > 2 * MIB as u64);
    first.signal(Signal::KILL);
    first.end();
    assert!(!place.path("out").exists(), "a directory appears complete or not at all");

    let mut second = place.stage(&server, "web", "out", &["--no-seed-wait"]);
    let said = second.done();
    assert_same(&place, "web", "out");
    let words: Vec<&str> = said.split(' ').collect();
    let number = |after: &str| {
        let place = words.iter().position(|word| *word == after).unwrap() + 1;
        words[place].parse::<u64>().unwrap()
    };
    let (downloaded, all) = (number("entries;"), number("of"));
    assert!(downloaded < all, "what was verified is not fetched again: {said}");
}

#[test]
fn ctrl_c_ends_staging_and_says_how_to_go_on() {
    let place = Place::new();
    tree(&place, "web", 4 * MIB);
    place.done(&["pack", "web", "web"]);
    let server = place.serve(&["--upload-limit", "100KB/s"]);
    let mut host = place.stage(&server, "web", "out", &[]);
    await_that("it has begun", || place.path("pool-out").exists());
    host.signal(Signal::INT);
    let (status, _, said) = host.end();
    assert_eq!((status, said.contains("the same command goes on")), (Some(130), true), "{said}");
    assert!(!place.path("out").exists());
}

#[test]
fn the_tracker_and_the_server_may_restart_under_a_swarm() {
    let place = Place::new();
    tree(&place, "web", 6 * MIB);
    place.done(&["pack", "web", "web"]);
    let server = place.serve(&["--upload-limit", "2MB/s"]);
    let (port, seed) = (server.url.rsplit(':').next().unwrap().to_owned(), server.trust.clone());
    let mut host = place.stage(&server, "web", "out", &["--no-seed-wait"]);
    await_that("some of it is staged", || disk_bytes(&place.path("pool-out")) > MIB as u64);
    server.process.signal(Signal::KILL);
    drop(server);
    let again = place.serve_at(&port, &[]);
    assert_eq!(again.trust, seed, "its identity is kept");
    host.done();
    assert_same(&place, "web", "out");
}

#[test]
fn sealed_packs_and_keys_keep_strangers_out() {
    let place = Place::new();
    tree(&place, "web", MIB);
    let made = std::process::Command::new("age-keygen").arg("-o").arg(place.path("id")).output();
    let made = made.expect("age-keygen is missing: run scripts/setup.sh test");
    let recipient = support::text(&made.stderr).trim().rsplit(' ').next().unwrap().to_owned();
    place.write("recipients", recipient);
    place.write("key", "07".repeat(32) + "\n");
    place.write("other", "08".repeat(32) + "\n");
    for key in ["key", "other", "id"] {
        fs::set_permissions(place.path(key), fs::Permissions::from_mode(0o600)).unwrap();
    }
    place.done(&["pack", "web", "web", "--seal", "recipients"]);
    let server = place.serve(&["--key-file", "key"]);
    let stage = |more: &[&'static str]| {
        let base = ["stage", "web", "--into", "out", "--staging", "pool", "--no-seed-wait"];
        [&base[..], &server.options(), more]
            .concat()
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let refused = |more: &[&'static str]| {
        place.refused(&stage(more).iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(refused(&["--identity", "id"]).contains("401"));
    assert!(refused(&["--identity", "id", "--key-file", "other"]).contains("401"));
    assert!(
        refused(&["--key-file", "key"]).contains("--identity"),
        "known before anything is downloaded"
    );
    place.done(
        &stage(&["--identity", "id", "--key-file", "key"])
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    assert_same(&place, "web", "out");
    let pack = fs::read(place.path("offload-images/packs/web/web.tar.age")).unwrap();
    assert!(pack.starts_with(b"age-encryption.org/v1"));
}

#[test]
fn mistakes_are_named_before_anything_is_downloaded() {
    let place = Place::new();
    assert!(place.refused(&["serve", "--port", "0"]).contains("offload image pack NAME DIRECTORY"));
    assert!(place.refused(&["pack", "web", "nowhere"]).contains("nowhere"));
    tree(&place, "web", MIB);
    place.done(&["pack", "web", "web"]);
    let server = place.serve(&[]);
    let with = |before: &[&'static str], after: &[&'static str]| -> String {
        place.refused(&[before, &server.options(), after].concat())
    };
    let unknown = with(&["stage", "wbe"], &[]);
    assert!(unknown.contains("no image called wbe; it has: web"), "{unknown}");
    assert!(with(&["stage", "web"], &["--override", "site"]).contains("no override called site"));
    // "web" is there already: it is what was packed.
    assert!(with(&["stage", "web"], &[]).contains("choose another --into"));
    let wrong = "00".repeat(32);
    let stranger =
        place.refused(&["stage", "web", "--into", "x", "--from", &server.url, "--trust", &wrong]);
    assert!(stranger.contains("is not the one that is trusted"), "{stranger}");
    assert!(
        place
            .refused(&["stage", "web", "--into", "x", "--from", &server.url])
            .contains("--trust FINGERPRINT")
    );
    assert!(!place.path("x").exists());
    let free = place.refused(&[
        "stage",
        "web",
        "--into",
        "x",
        "--from",
        "https://127.0.0.1:1",
        "--trust",
        &wrong,
    ]);
    assert!(free.contains("is the image server running there"), "{free}");
}

#[test]
fn a_server_packs_again_what_was_named_and_nothing_that_a_link_leads_to() {
    let place = Place::new();
    tree(&place, "images/web", MIB);
    place.write("secret/key", "not to be published");
    place.done(&["pack", "web", "images/web"]);
    fs::rename(place.path("images/web"), place.path("images/old")).unwrap();
    symlink("../secret", place.path("images/web")).unwrap();
    let refused = place.refused(&["serve", "--port", "0", "--seed-port", "0"]);
    for clue in ["images/web is now ", "/secret by way of links", "offload image pack"] {
        assert!(refused.contains(clue), "{refused}");
    }
    let server = place.serve(&["--no-update"]);
    place.stage(&server, "web", "out", &["--no-seed-wait"]).done();
    assert_same(&place, "images/old", "out");
}

#[test]
fn numbers_with_a_bad_row_are_packed_and_the_row_is_named() {
    let place = Place::new();
    place.write("nums.csv", "1\n2\nthree\n4\n");
    let bad = format!("{}:3: \"three\" is not an integer", place.path("nums.csv").display());
    for state in ["packed", "unchanged"] {
        let output = place.image(&["pack", "nums", "nums.csv"]);
        let (out, err) = (support::text(&output.stdout), support::text(&output.stderr));
        assert!(output.status.success() && out.starts_with(state), "{out}{err}");
        assert_eq!(err, format!("{bad}: packed without a row index: it cannot be a dataset\n"));
    }
    place.write("nums.csv", "1\n2\n3\n4\n");
    let output = place.image(&["pack", "nums", "nums.csv"]);
    assert_eq!((output.status.code(), support::text(&output.stderr)), (Some(0), String::new()));
    let torrent = fs::read(place.path("offload-images/records/nums.torrent")).unwrap();
    assert!(torrent.windows(15).any(|key| key == b"12:offload rows"));
}

#[test]
fn a_plan_says_what_is_best_and_from_when_on() {
    let place = Place::new();
    let plan =
        |clients| place.done(&["plan", "--clients", clients, "--size", "606MB", "--rate", "1Gbit/s"]);
    assert!(plan("1").contains("until the last of 1 client has all:"));
    assert!(plan("50").contains("best: swarm"), "{}", plan("50"));
    let json =
        place.done(&["plan", "--clients", "50", "--size", "606MB", "--rate", "1Gbit/s", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["predicted"][0][0], "swarm");
    let usage = place.image(&["plan", "--clients", "50", "--size", "much", "--rate", "1Gbit/s"]);
    assert_eq!(usage.status.code(), Some(2), "an amount that is none is a mistake in the command");
}
