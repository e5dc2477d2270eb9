//! A thread that asks a torrent's trackers (BEP 3, by HTTP or HTTPS) and reports what they say.
//!
//! BEP 12: tiers in order, the trackers of a tier in a random one; the tracker that has answered is asked
//! first the next time. A tracker sees our address by itself, so it is asked directly, not by a proxy.

use super::{Error, refused};
use crate::id::{InfoHash, PeerId};
use crate::limits::{MAX_TRACKER_ANSWER_BYTES, PARTING_LIMIT, TRACKER_LIMIT};
use crate::peer::{AnnounceEvent, Announced, Progress};
use crate::tracker::Announce;
use crate::tracker::client::{announce_url, parse_answer};
use offload::rng::Rng;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use ureq::Agent;

/// Who announces what.
pub struct Subject {
    /// The torrent.
    pub info_hash: InfoHash,
    /// We.
    pub peer_id: PeerId,
    /// Where we listen.
    pub port: u16,
    /// URLs, by tier.
    pub trackers: Vec<Vec<String>>,
}

/// The thread's own.
struct Asker {
    agent: Agent,
    subject: Subject,
    /// By this a tracker knows us again at another address.
    key: String,
}

/// What became of an announce.
pub struct Told {
    /// What was announced.
    pub event: AnnounceEvent,
    /// The answer; or why there is none, tracker by tracker.
    pub answer: Result<Announced, String>,
}

/// The thread.
pub struct Announcer {
    asks: Sender<(AnnounceEvent, Progress)>,
    thread: JoinHandle<()>,
}

impl Announcer {
    /// A thread that calls `report` for each announce.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        mut subject: Subject,
        mut rng: Rng,
        report: impl Fn(Told) + Send + 'static,
    ) -> Result<Announcer, Error> {
        let (asks, queue) = channel();
        let work = move || {
            for tier in &mut subject.trackers {
                for last in (1..tier.len()).rev() {
                    tier.swap(last, rng.below(last as u64 + 1) as usize);
                }
            }
            let key = format!("{:08x}", rng.below(1 << 32));
            let mut asker = Asker { agent: agent(), subject, key };
            while let Ok((event, progress)) = queue.recv() {
                let answer = asker.ask_all(event, progress);
                report(Told { event, answer });
            }
        };
        let thread = Builder::new().name("announcer".into()).spawn(work);
        Ok(Announcer { asks, thread: thread.map_err(|e| refused("a thread to ask trackers", e))? })
    }

    /// Asks, after what was asked before.
    pub fn ask(&self, event: AnnounceEvent, progress: Progress) {
        // The thread lives as long as `self`.
        let _ = self.asks.send((event, progress));
    }

    /// Ends the thread; it must have reported all.
    pub fn join(self) {
        drop(self.asks);
        let _ = self.thread.join();
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(3)
        .max_idle_connections(0)
        .user_agent(concat!("offload/", env!("CARGO_PKG_VERSION")))
        .build();
    config.into()
}

impl Asker {
    /// Asks one after the other until one answers.
    fn ask_all(&mut self, event: AnnounceEvent, progress: Progress) -> Result<Announced, String> {
        // Who leaves does not wait long for it.
        let (limit, all) = match event {
            AnnounceEvent::Stopped => (PARTING_LIMIT, PARTING_LIMIT),
            _ => (TRACKER_LIMIT, Duration::MAX),
        };
        let (start, mut reasons) = (Instant::now(), Vec::new());
        let tiers = self.subject.trackers.iter().enumerate();
        let all_trackers =
            tiers.flat_map(|(tier, urls)| (0..urls.len()).map(move |index| (tier, index)));
        for (tier, index) in all_trackers.collect::<Vec<_>>() {
            let Some(rest) = all.checked_sub(start.elapsed()) else { break };
            let tracker = &self.subject.trackers[tier][index];
            match self.ask(tracker, event, progress, limit.min(rest)) {
                Ok(answer) => {
                    self.subject.trackers[tier][..=index].rotate_right(1);
                    return Ok(answer);
                }
                Err(reason) => reasons.push(format!("{tracker}: {reason}")),
            }
        }
        Err(reasons.join("; "))
    }

    fn ask(
        &self,
        tracker: &str,
        event: AnnounceEvent,
        progress: Progress,
        limit: Duration,
    ) -> Result<Announced, String> {
        let announce = Announce {
            info_hash: self.subject.info_hash,
            peer_id: self.subject.peer_id,
            port: self.subject.port,
            uploaded: progress.uploaded_bytes,
            downloaded: progress.downloaded_bytes,
            left: progress.left_bytes,
            event,
            wanted: None,
            compact: true,
            ip: None,
            key: Some(self.key.clone()),
        };
        let url = announce_url(tracker, &announce).map_err(|e| e.to_string())?;
        let request = self.agent.get(url.as_str()).config().timeout_global(Some(limit)).build();
        let mut answer = request.call().map_err(|e| e.to_string())?;
        let body = answer.body_mut().with_config().limit(MAX_TRACKER_ANSWER_BYTES as u64).read_to_vec();
        let answer = parse_answer(&body.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        let interval = answer.interval.max(answer.min_interval.unwrap_or_default());
        Ok(Announced { interval, peers: answer.peers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::Receiver;

    /// A tracker that answers each request so, and gives away what it was asked. An empty answer: silence.
    fn tracker(answer: &'static str) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/announce", listener.local_addr().unwrap());
        let (heard, asked) = channel();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                lines.find(|line| line.as_ref().unwrap().is_empty());
                if answer.is_empty() {
                    held.push(stream);
                } else {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                    stream.write_all((head + answer).as_bytes()).unwrap();
                }
                if heard.send(first).is_err() {
                    return;
                }
            }
        });
        (url, asked)
    }

    fn start(trackers: Vec<Vec<String>>) -> (Announcer, Receiver<Told>) {
        let (report, reports) = channel();
        let subject =
            Subject { info_hash: InfoHash([b'%'; 20]), peer_id: PeerId([b'p'; 20]), port: 7, trackers };
        let report = move |told| drop(report.send(told));
        (Announcer::start(subject, Rng::from_seed(1), report).unwrap(), reports)
    }

    const GOOD: &str = "d8:intervali60e5:peers6:\x7f\0\0\x01\x1a\x2be";

    #[test]
    fn a_tracker_is_told_of_us_and_tells_of_others() {
        let (url, asked) = tracker(GOOD);
        let (announcer, reports) = start(vec![vec![url]]);
        let progress =
            Progress { uploaded_bytes: 1, downloaded_bytes: 2, left_bytes: 3, ..Progress::default() };
        announcer.ask(AnnounceEvent::Started, progress);
        let told = reports.recv().unwrap();
        let peers = vec!["127.0.0.1:6699".parse().unwrap()];
        assert_eq!(told.answer, Ok(Announced { interval: Duration::from_secs(60), peers }));
        let asked = asked.recv().unwrap();
        for part in
            ["info_hash=%25%25", "port=7", "uploaded=1", "downloaded=2", "left=3", "event=started"]
        {
            assert!(asked.contains(part), "{part}: {asked}");
        }
        announcer.join();
    }

    #[test]
    fn the_next_tracker_is_asked_where_one_fails_and_first_the_next_time() {
        let (refuses, asked) = tracker("d14:failure reason4:shute");
        let (good, found) = tracker(GOOD);
        let nobody = "http://127.0.0.1:1/announce".to_owned();
        let (announcer, reports) = start(vec![vec![nobody.clone(), refuses.clone()], vec![good]]);
        announcer.ask(AnnounceEvent::Started, Progress::default());
        assert!(reports.recv().unwrap().answer.is_ok());
        assert!(asked.recv().is_ok() && found.recv().is_ok());

        let (good, _found) = tracker(GOOD);
        let (refusing, asked) = tracker("d14:failure reason4:shute");
        let (announcer, reports) = start(vec![vec![refusing, good, nobody]]);
        for _ in 0..20 {
            announcer.ask(AnnounceEvent::Regular, Progress::default());
            assert!(reports.recv().unwrap().answer.is_ok());
        }
        assert!(asked.try_iter().count() <= 1);
    }

    #[test]
    fn no_answer_is_told_with_the_reasons() {
        let (refuses, _asked) = tracker("d14:failure reason7:go awaye");
        let (page, _asked) = tracker("<html>");
        let (announcer, reports) =
            start(vec![vec![refuses], vec![page], vec!["udp://127.0.0.1:1".into()]]);
        announcer.ask(AnnounceEvent::Started, Progress::default());
        let reason = reports.recv().unwrap().answer.unwrap_err();
        assert!(reason.contains("go away") && reason.contains("udp://127.0.0.1:1"), "{reason}");
    }

    #[test]
    fn who_leaves_does_not_wait_for_a_silent_tracker() {
        let (silent, asked) = tracker("");
        let (announcer, reports) = start(vec![vec![silent.clone()], vec![silent]]);
        announcer.ask(AnnounceEvent::Stopped, Progress::default());
        assert!(reports.recv().unwrap().answer.is_err());
        assert_eq!(asked.try_iter().count(), 1, "the second has no time left");
        announcer.join();
    }
}
