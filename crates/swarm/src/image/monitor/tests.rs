use super::*;
use crate::limits::{FORGOTTEN_AFTER, MAX_MONITORED, MAX_MONITORED_PER_ADDRESS};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn report(host: &str, phase: Phase, done: u64) -> Report {
    Report {
        host: host.to_owned(),
        image: "web".to_owned(),
        port: 6881,
        phase,
        done_bytes: done,
        total_bytes: 100 * MIB,
        down_rate: 10 * MIB,
        up_rate: MIB,
        uptime_seconds: 60,
        version: "0.1.0".to_owned(),
    }
}

fn peer(address: &str, left_bytes: u64) -> ObservedPeer {
    ObservedPeer { address: address.parse().unwrap(), left_bytes }
}

#[test]
fn each_client_is_shown_with_what_is_left_of_its_time() {
    let mut monitor = Monitor::new(None);
    monitor.report(at(1), ip(2), report("b", Phase::Failed("disk full".into()), 7 * MIB));
    monitor.report(at(1), ip(1), report("a", Phase::Staging, 25 * MIB));
    let status = monitor.snapshot(at(2));
    let [a, b] = &status.clients[..] else { panic!("{status:?}") };
    assert_eq!((a.host.as_str(), a.address.as_str(), a.phase.as_str()), ("a", "192.0.2.1", "staging"));
    assert_eq!((a.percent, a.seconds_left, a.uptime_seconds), (Some(25.0), Some(8), Some(60)));
    assert_eq!((b.phase.as_str(), b.why.as_str(), b.down_rate), ("failed", "disk full", None));
    assert_eq!((status.down_rate, status.up_rate), (10 * MIB, MIB), "who failed moves nothing");
    assert_eq!(status.swarms.len(), 1);
    assert_eq!((status.swarms[0].leechers, status.swarms[0].seeders), (1, 0));
}

#[test]
fn who_does_not_report_is_known_by_the_tracker() {
    let mut monitor = Monitor::new(None);
    monitor.report(at(1), ip(1), report("a", Phase::Seeding, 100 * MIB));
    monitor.observe(vec![Observed {
        image: "web".to_owned(),
        total_bytes: 100 * MIB,
        copies: Some(1.5),
        peers: vec![
            peer("[::ffff:192.0.2.1]:6881", 0),
            peer("192.0.2.1:6999", 50 * MIB),
            peer("[2001:db8::1]:6881", 0),
            peer("192.0.2.9:1", 200 * MIB),
        ],
    }]);
    let status = monitor.snapshot(at(2));
    let shown: Vec<_> =
        status.clients.iter().map(|c| (c.host.as_str(), c.address.as_str(), c.percent)).collect();
    // The first of the peers is the client that reports.
    assert_eq!(
        shown,
        [
            ("", "192.0.2.1", Some(50.0)),
            ("", "192.0.2.9", Some(0.0)),
            ("", "2001:db8::1", Some(100.0)),
            ("a", "192.0.2.1", Some(100.0)),
        ]
    );
    let swarm = &status.swarms[0];
    assert_eq!((swarm.seeders, swarm.leechers, swarm.copies), (2, 2, Some(1.5)));
    monitor.observe(Vec::new());
    assert_eq!(monitor.snapshot(at(2)).clients.len(), 1, "the newer view counts");
}

#[test]
fn who_falls_silent_is_marked_then_forgotten() {
    let mut monitor = Monitor::new(None);
    monitor.report(at(0), ip(1), report("a", Phase::Staging, MIB));
    monitor.report(at(0), ip(2), report("b", Phase::Done, 100 * MIB));
    let marked = |monitor: &mut Monitor, now| {
        monitor.snapshot(now).clients.iter().map(|c| (c.silent, c.down_rate)).collect::<Vec<_>>()
    };
    let later = Time::ZERO + SILENT_AFTER;
    assert_eq!(marked(&mut monitor, later), [(false, Some(10 * MIB)), (false, None)]);
    let later = later + Duration::from_secs(1);
    assert_eq!(marked(&mut monitor, later), [(true, None), (false, None)], "who is done may be silent");
    assert_eq!(monitor.snapshot(later).swarms[0].leechers, 0);
    let later = Time::ZERO + FORGOTTEN_AFTER;
    assert_eq!(marked(&mut monitor, later).len(), 2);
    assert_eq!(marked(&mut monitor, later + Duration::from_secs(1)), []);
    // A client that comes back is a client again.
    assert_eq!(monitor.report(at(9999), ip(1), report("a", Phase::Staging, MIB)), Taken::Shown);
}

#[test]
fn the_ratio_is_time_over_what_the_links_would_need() {
    // Two links of 10 MiB/s; one client gets 10, the other 5 a second, both for 10 s.
    for (given, rate_given) in [(Some(10 * MIB), true), (None, false)] {
        let mut monitor = Monitor::new(given);
        assert_eq!(monitor.snapshot(at(0)).limit, None);
        for step in 0..=10 {
            monitor.report(at(step), ip(1), report("a", Phase::Staging, step * 10 * MIB));
            monitor.report(at(step), ip(2), report("b", Phase::Staging, step * 5 * MIB + MIB));
        }
        let limit = monitor.snapshot(at(10)).limit.unwrap();
        assert_eq!((limit.rate, limit.rate_given), (10 * MIB, rate_given));
        assert_eq!((limit.gained_bytes, limit.leecher_seconds), (150 * MIB, 20.0));
        assert!((limit.ratio - 20.0 / 15.0).abs() < 1e-9, "{limit:?}");
    }
}

#[test]
fn only_staging_counts_for_the_ratio_and_silence_for_a_while() {
    let mut monitor = Monitor::new(Some(MIB));
    monitor.report(at(0), ip(1), report("a", Phase::Staging, 90 * MIB));
    monitor.report(at(10), ip(1), report("a", Phase::Extracting, 100 * MIB));
    monitor.report(at(500), ip(1), report("a", Phase::Seeding, 100 * MIB));
    let limit = monitor.snapshot(at(500)).limit.unwrap();
    assert_eq!((limit.ratio, limit.gained_bytes), (1.0, 10 * MIB));
    // Begun anew: bytes that are lost are not gained, and a long silence is not all its time.
    monitor.report(at(501), ip(1), report("a", Phase::Staging, 50 * MIB));
    monitor.report(at(5000), ip(1), report("a", Phase::Staging, 10 * MIB));
    let limit = monitor.snapshot(at(5000)).limit.unwrap();
    assert_eq!(limit.gained_bytes, 10 * MIB);
    assert_eq!(limit.leecher_seconds, 10.0 + SILENT_AFTER.as_secs_f64());
}

#[test]
fn one_address_fills_its_share_and_no_more() {
    let mut monitor = Monitor::new(None);
    let invented = |port: u16, phase| Report { port, ..report("x", phase, 0) };
    for port in 0..2 * MAX_MONITORED_PER_ADDRESS as u16 {
        let expected =
            if usize::from(port) < MAX_MONITORED_PER_ADDRESS { Taken::Shown } else { Taken::Full };
        assert_eq!(monitor.report(at(0), ip(1), invented(port, Phase::Staging)), expected);
    }
    assert_eq!(monitor.report(at(0), ip(2), report("b", Phase::Staging, 0)), Taken::Shown);
    assert_eq!(monitor.snapshot(at(0)).clients.len(), MAX_MONITORED_PER_ADDRESS + 1);
    // Who is done makes room for who comes.
    monitor.report(at(1), ip(1), invented(0, Phase::Done));
    assert_eq!(monitor.report(at(1), ip(1), invented(9000, Phase::Staging)), Taken::Shown);
    assert_eq!(monitor.report(at(1), ip(1), invented(9001, Phase::Staging)), Taken::Full);
    assert_eq!(monitor.snapshot(at(1)).clients.len(), MAX_MONITORED_PER_ADDRESS + 1);
}

#[test]
fn all_addresses_together_meet_the_bound_and_the_silent_make_room() {
    let mut monitor = Monitor::new(None);
    let from = |i: usize| IpAddr::from((10 << 24 | i as u32).to_be_bytes());
    for i in 0..MAX_MONITORED {
        assert_eq!(monitor.report(at(0), from(i), report("x", Phase::Staging, 0)), Taken::Shown);
    }
    assert_eq!(monitor.report(at(1), ip(1), report("late", Phase::Staging, 0)), Taken::Full);
    assert_eq!(monitor.report(at(60), ip(1), report("late", Phase::Staging, 0)), Taken::Shown);
    let observed = Observed {
        image: "web".to_owned(),
        total_bytes: 1,
        copies: None,
        peers: vec![peer("192.0.2.77:1", 1); MAX_OBSERVED + 5],
    };
    monitor.observe(vec![observed.clone(), observed]);
    assert_eq!(monitor.snapshot(at(60)).clients.len(), MAX_MONITORED + MAX_OBSERVED);
}

#[test]
fn what_a_client_says_acts_on_nothing() {
    let mut monitor = Monitor::new(None);
    let mut hostile =
        report("\u{1b}[2J<b>\u{202e}evil\u{200b}\n", Phase::Failed("\0".repeat(9999)), u64::MAX);
    hostile.version = "v".repeat(9999);
    hostile.down_rate = u64::MAX;
    hostile.total_bytes = 5;
    monitor.report(at(0), ip(1), hostile.clone());
    hostile.phase = Phase::Staging;
    hostile.port = 1;
    monitor.report(at(0), ip(1), hostile.clone());
    hostile.port = 2;
    monitor.report(at(0), ip(1), hostile);
    let status = monitor.snapshot(at(0));
    let client = status.clients.iter().find(|client| client.phase == "failed").unwrap();
    assert_eq!(client.host, "\u{fffd}[2J<b>\u{fffd}evil\u{fffd}\u{fffd}");
    assert_eq!(client.version.chars().count(), MAX_REPORTED_CHARS);
    assert!(
        client.why.chars().all(|c| c == '\u{fffd}') && client.why.chars().count() == MAX_REASON_CHARS
    );
    assert_eq!(client.percent, Some(100.0), "no more than all");
    assert_eq!(status.down_rate, u64::MAX);
}

#[test]
fn status_is_what_it_was_when_it_was_sent() {
    let mut monitor = Monitor::new(None);
    monitor.report(at(0), ip(1), report("a", Phase::Staging, MIB));
    monitor.report(at(3), ip(1), report("a", Phase::Staging, 7 * MIB));
    let status = monitor.snapshot(at(4));
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    let phases = serde_json::to_string(&[Phase::Staging, Phase::Failed("why".into())]).unwrap();
    assert_eq!(phases, r#"["staging",{"failed":"why"}]"#);
}

proptest! {
    #[test]
    fn no_reports_break_it(
        steps in prop::collection::vec(
            (0u64..10_000, 0u8..4, 0u16..3, 0usize..6, any::<u64>(), any::<u64>(), any::<u64>()), 0..60),
        given in prop::option::of(any::<u64>()),
    ) {
        let mut monitor = Monitor::new(given);
        for (now, from, port, phase, done, total, rate) in steps {
            let phases = [
                Phase::Staging, Phase::Extracting, Phase::Finalizing, Phase::Seeding, Phase::Done,
                Phase::Failed(String::new()),
            ];
            let said = Report {
                port, done_bytes: done, total_bytes: total, down_rate: rate, up_rate: rate,
                ..report("h", phases[phase].clone(), 0)
            };
            prop_assert_eq!(monitor.report(at(now), ip(from), said), Taken::Shown);
            let status = monitor.snapshot(at(now));
            prop_assert!(status.clients.iter().all(|c| c.percent.is_none_or(|p| (0.0..=100.0).contains(&p))));
            prop_assert!(status.limit.is_none_or(|l| l.ratio.is_finite() && l.ratio >= 0.0));
            prop_assert!(status.clients.len() <= 12);
        }
    }
}
