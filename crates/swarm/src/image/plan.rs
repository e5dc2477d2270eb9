//! Which transport to stage with, before anything is staged.
//!
//! The lesson: three ways to bring S bytes to N clients over links of R bytes a second differ in how N
//! enters. S/R is what any of them takes at the least; let L be that.
//!
//! | transport | time until the last client is done |
//! |---|---|
//! | one server (rsync, HTTP) | `fixed + N * c * L` |
//! | multicast with FEC | `fixed + rounds(N) * c * L / share` |
//! | swarm | `fixed + L * (1 + a + b * log2 N)` |
//!
//! One server sends everything N times. Multicast sends it once, and again as long as a client misses a
//! packet that FEC could not mend: where a client misses one in a round with probability p, the number of
//! rounds is the longest of N geometric waits, `sum over k >= 0 of 1 - (1 - p^k)^N`. FEC sends redundant
//! packets too, so `share` of the link is left for data. In a swarm everybody serves what he has, and pieces
//! spread by doubling, hence the logarithm.
//!
//! The constants are [`Costs`]: the paper's and ours, in one table, each with its source. What is left out:
//! slow switches, and peers that leave the swarm at once (the paper's 150 clients took 6 minutes by that;
//! with seed wait it does not happen).

use crate::limits::MAX_PLANNED_CLIENTS;
use serde::Serialize;
use std::fmt;

/// How the bytes could travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Every client fetches from the same host.
    OneServer,
    /// One sender to a group, with forward error correction.
    Multicast,
    /// BitTorrent.
    Swarm,
}

impl Transport {
    const ALL: [Transport; 3] = [Transport::OneServer, Transport::Multicast, Transport::Swarm];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::OneServer => "one server",
            Transport::Multicast => "multicast",
            Transport::Swarm => "swarm",
        })
    }
}

/// What each transport costs. See the module's documentation for the formulas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// One server's `fixed`, in seconds.
    pub server_fixed: f64,
    /// Its `c`.
    pub server_factor: f64,
    /// Multicast's `fixed`, in seconds.
    pub multicast_fixed: f64,
    /// Its `c`.
    pub multicast_factor: f64,
    /// What FEC leaves of the link.
    pub fec_share: f64,
    /// The probability that a client misses, in a gigabyte (10^9 bytes), a packet that FEC cannot mend.
    pub miss_per_gigabyte: f64,
    /// The swarm's `fixed`, in seconds.
    pub swarm_fixed: f64,
    /// Its `a`.
    pub swarm_overhead: f64,
    /// Its `b`.
    pub swarm_doubling: f64,
}

/// Beyond so many rounds nobody waits for their exact number.
const MOST_ROUNDS: f64 = 1e4;
/// What FEC leaves with udp-sender's usual 8 redundant packets to 128.
const FEC_SHARE: f64 = 128.0 / 136.0;

impl Costs {
    /// The paper's: gigabit, packed 606 MB (2.1 GB unpacked), so L = 4.85 s. The times are until a host is
    /// *installed*, so `fixed` holds booting, partitioning and unpacking.
    ///
    /// - one server: 270 s at 15 clients and 780 s at 50 make a slope of 14.6 s = 3.0 L (rsync sends 2.1 GB
    ///   and not 606 MB) and 51.4 s fixed;
    /// - multicast: 16 minutes on average, constant up to 50 clients and doubled or tripled by lost packets
    ///   beyond 100; the paper has 8 to 10 % of clients miss a packet in 2.5 GB without FEC, and the tenth
    ///   of that is taken with FEC, which makes a second round as likely as not at 300 clients of 606 MB and
    ///   at 90 of 2.1 GB. Its sender was slow for reasons that the paper does not know: `c` is what 16
    ///   minutes leave, and that would not grow less on a faster link;
    /// - swarm: 270 s at 15 clients and "4 to 5 minutes" at 50 and 100: growth by 15 s from 15 to 100 is the
    ///   middle of what that allows. A host unpacks after staging and not during it, so `fixed` is larger.
    pub const PAPER: Costs = Costs {
        server_fixed: 51.4,
        server_factor: 3.006,
        multicast_fixed: 51.4,
        multicast_factor: 170.8,
        fec_share: FEC_SHARE,
        miss_per_gigabyte: 0.0036,
        swarm_fixed: 244.1,
        swarm_overhead: 0.05,
        swarm_doubling: 1.10,
    };

    /// Ours, until the last client *has the bytes*: 64 MiB at 100 Mbit/s, by `make bench-swarm`.
    ///
    /// - one server: HTTP took 1.05, 2.09, 4.19, 8.37 and 16.74 L for 1, 2, 4, 8 and 16 clients, rsync as much;
    /// - multicast: udpcast with FEC took 1.64 L for one client and 1.79 L for 16; no packet was lost there, so
    ///   what clients miss is the paper's;
    /// - swarm: 1.05, 1.06, 1.08, 1.12 and 1.14 L; the line is at most 0.02 above.
    pub const MEASURED: Costs = Costs {
        server_fixed: 0.0,
        server_factor: 1.05,
        multicast_fixed: 0.0,
        multicast_factor: 1.64 * FEC_SHARE,
        swarm_fixed: 0.0,
        swarm_overhead: 0.05,
        swarm_doubling: 0.025,
        ..Costs::PAPER
    };

    /// Seconds until the last of `clients` is done, at least one being asked for. `line` is size over rate.
    fn seconds(&self, transport: Transport, clients: u64, size_bytes: u64, line: f64) -> f64 {
        let n = clients.max(1) as f64;
        match transport {
            Transport::OneServer => self.server_fixed + n * self.server_factor * line,
            Transport::Multicast => {
                let miss = 1.0 - (1.0 - self.miss_per_gigabyte).powf(size_bytes as f64 / 1e9);
                let once = self.multicast_factor * line / self.fec_share;
                self.multicast_fixed + rounds(miss, n) * once
            }
            Transport::Swarm => {
                let spread = 1.0 + self.swarm_overhead + self.swarm_doubling * n.log2();
                self.swarm_fixed + spread * line
            }
        }
    }
}

/// How often a sender has to send before all have it, on average: the mean of the longest of `n` geometric
/// waits.
fn rounds(miss: f64, n: f64) -> f64 {
    let mut sum = 0.0;
    let mut missed = 1.0;
    // The terms fall at least as fast as n * miss^k; what is below a millionth does not show.
    while missed * n > 1e-6 && sum < MOST_ROUNDS {
        sum += 1.0 - (1.0 - missed).powf(n);
        missed *= miss;
    }
    sum.min(MOST_ROUNDS)
}

/// What is to be expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// How many clients it is for.
    pub clients: u64,
    /// Seconds by each transport, the best first.
    pub predicted: Vec<(Transport, f64)>,
    /// The smallest number of clients for which a swarm is faster than one server; `None` beyond
    /// [`MAX_PLANNED_CLIENTS`].
    pub crossover: Option<u64>,
}

impl Plan {
    /// The fastest.
    pub fn best(&self) -> Transport {
        self.predicted.first().map_or(Transport::OneServer, |(transport, _)| *transport)
    }
}

/// Predicts how long `size_bytes` (packed) take to `clients` hosts over links of `rate` bytes a second.
/// A rate or a number of clients of 0 is taken for 1.
pub fn plan(clients: u64, size_bytes: u64, rate: u64, costs: &Costs) -> Plan {
    let clients = clients.clamp(1, MAX_PLANNED_CLIENTS);
    let line = size_bytes as f64 / rate.max(1) as f64;
    let seconds = |transport, n| costs.seconds(transport, n, size_bytes, line);
    let mut predicted: Vec<_> =
        Transport::ALL.iter().map(|transport| (*transport, seconds(*transport, clients))).collect();
    predicted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let faster = |n: &u64| seconds(Transport::Swarm, *n) < seconds(Transport::OneServer, *n);
    // One server's line is steeper than the swarm's curve from the first client on (c > b / ln 2 in every
    // row of costs), so once the swarm is faster, it stays so.
    let crossover = first(MAX_PLANNED_CLIENTS, faster);
    Plan { clients, predicted, crossover }
}

/// The smallest of 1 to `most` for which it holds, where it holds for all beyond that one.
fn first(most: u64, holds: impl Fn(&u64) -> bool) -> Option<u64> {
    let (mut below, mut at) = (0, most);
    while at - below > 1 {
        let middle = below + (at - below) / 2;
        if holds(&middle) { at = middle } else { below = middle }
    }
    holds(&at).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIGABIT: u64 = 125_000_000;
    const IMAGE: u64 = 606_000_000;

    fn seconds(plan: &Plan, transport: Transport) -> f64 {
        plan.predicted.iter().find(|(t, _)| *t == transport).unwrap().1
    }

    fn paper(clients: u64) -> Plan {
        plan(clients, IMAGE, GIGABIT, &Costs::PAPER)
    }

    fn near(value: f64, expected: f64, tolerance: f64) {
        assert!((value - expected).abs() <= tolerance, "{value} is not {expected} +- {tolerance}");
    }

    #[test]
    fn the_papers_points_come_out() {
        // 15 clients: 4.5 min by both, to the 10 s that the paper states.
        near(seconds(&paper(15), Transport::OneServer), 270.0, 10.0);
        near(seconds(&paper(15), Transport::Swarm), 270.0, 10.0);
        near(seconds(&paper(50), Transport::OneServer), 780.0, 15.0);
        for clients in [50, 100] {
            near(seconds(&paper(clients), Transport::Swarm), 270.0, 30.0);
        }
        near(seconds(&paper(15), Transport::Multicast), 960.0, 60.0);
        for clients in [1, 15, 50] {
            near(seconds(&paper(clients), Transport::Multicast), 960.0, 360.0);
        }
        assert_eq!(paper(50).best(), Transport::Swarm);
        assert_eq!(paper(5).best(), Transport::OneServer);
    }

    #[test]
    fn the_papers_crossover_is_at_15_clients() {
        let crossover = paper(1).crossover.unwrap();
        assert!((15..=16).contains(&crossover), "{crossover}");
        assert_eq!(paper(crossover - 1).best(), Transport::OneServer);
        assert_eq!(paper(crossover).best(), Transport::Swarm);
    }

    #[test]
    fn lost_packets_cost_multicast_rounds_as_clients_grow_many() {
        near(rounds(0.0, 1e6), 1.0, 1e-9);
        near(rounds(0.5, 1.0), 2.0, 1e-5);
        assert!(rounds(0.002, 15.0) < 1.05 && rounds(0.002, 1000.0) > 1.8);
        // Without FEC a tenth of the clients misses a packet: a second round is sure, a third likely.
        assert!((2.5..3.5).contains(&rounds(0.09, 100.0)));
    }

    #[test]
    fn our_measured_points_come_out() {
        let (size, rate) = (64 << 20, 12_500_000);
        let limit = f64::from(size) / f64::from(rate);
        let of = |clients, transport| {
            let plan = plan(clients, size as u64, rate as u64, &Costs::MEASURED);
            seconds(&plan, transport) / limit
        };
        for (clients, ratio) in [(1, 1.05), (2, 1.06), (4, 1.08), (8, 1.12), (16, 1.14)] {
            near(of(clients, Transport::Swarm), ratio, 0.025);
        }
        for (clients, ratio) in [(1, 1.05), (2, 2.09), (4, 4.19), (8, 8.37), (16, 16.74)] {
            near(of(clients, Transport::OneServer), ratio, 0.02 * ratio);
        }
        for (clients, ratio) in [(1, 1.64), (16, 1.79)] {
            near(of(clients, Transport::Multicast), ratio, 0.16);
        }
        assert_eq!(plan(3, 1 << 30, GIGABIT, &Costs::MEASURED).crossover, Some(2));
    }

    #[test]
    fn nothing_and_nobody_are_no_trouble() {
        for (clients, size, rate) in [(0, 0, 0), (u64::MAX, u64::MAX, 1), (1, 0, u64::MAX)] {
            let plan = plan(clients, size, rate, &Costs::PAPER);
            assert_eq!(plan.predicted.len(), 3);
            assert!(plan.predicted.iter().all(|(_, s)| s.is_finite() && *s >= 0.0), "{plan:?}");
        }
    }

    proptest! {
        #[test]
        fn more_clients_or_bytes_never_take_less(
            clients in 1u64..100_000, size in 1u64..1 << 42, rate in 1u64..1 << 34,
        ) {
            for costs in [Costs::PAPER, Costs::MEASURED] {
                let small = plan(clients, size, rate, &costs);
                for more in [plan(clients * 2, size, rate, &costs), plan(clients, size * 2, rate, &costs)] {
                    for transport in Transport::ALL {
                        prop_assert!(seconds(&more, transport) >= seconds(&small, transport) * (1.0 - 1e-6));
                    }
                }
                prop_assert!(small.predicted.is_sorted_by(|a, b| a.1 <= b.1));
                let swarm_wins = seconds(&small, Transport::Swarm) < seconds(&small, Transport::OneServer);
                prop_assert_eq!(swarm_wins, small.crossover.is_some_and(|n| clients >= n));
            }
        }
    }
}
