//! The status page: live where scripts run, a table where they do not.
//!
//! The lesson: a page that shows what strangers say of themselves has two doors for a string that acts, the
//! template and the script. The template escapes, the script only ever sets text, and the page's own policy
//! allows no script but the one whose hash it names, so that a door left open would still lead nowhere.
//! Nothing is loaded but `status.json`, each second; without scripts the page loads itself anew.
//!
//! Left out: curves over time, and more than [`MAX_PAGE_ROWS`] rows (`status.json` has all).

use super::http::Response;
use super::monitor::{Client, Limit, Status};
use crate::limits::MAX_PAGE_ROWS;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use sha2::{Digest, Sha256};

const TEMPLATE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");

/// The page as it is answered.
pub fn response(status: &Status) -> Response {
    Response::ok("text/html; charset=utf-8", page(status).into_bytes())
}

/// The page, complete.
pub fn page(status: &Status) -> String {
    let shown = &status.clients[..status.clients.len().min(MAX_PAGE_ROWS)];
    let over = |client: &&Client| matches!(client.phase.as_str(), "seeding" | "done");
    let values = context! {
        script => SCRIPT,
        script_hash => STANDARD.encode(Sha256::digest(SCRIPT)),
        most_rows => MAX_PAGE_ROWS,
        ready => status.clients.iter().filter(over).count(),
        clients => status.clients.len(),
        rate => rate(status.down_rate),
        limit => status.limit.map(ratio),
        limit_words => limit_words(status.limit),
        uptime => duration(status.seconds),
        swarms => status.swarms.iter().map(|swarm| context! {
            image => swarm.image,
            leechers => swarm.leechers,
            seeders => swarm.seeders,
            copies => swarm.copies.map_or("–".to_owned(), |copies| format!("{copies:.1}")),
        }).collect::<Vec<_>>(),
        rows => shown.iter().map(Row::of).collect::<Vec<_>>(),
    };
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_trim_blocks(true);
    templates.set_lstrip_blocks(true);
    let rendered = templates
        .add_template("page.html", TEMPLATE)
        .and_then(|()| templates.get_template("page.html")?.render(values));
    // The template is part of the program, so that only a mistake in it can fail; then the page says so.
    rendered.unwrap_or_else(|e| {
        let text = minijinja::HtmlEscape(&format!("{e:#}")).to_string();
        format!(
            "<!doctype html><meta charset=\"utf-8\"><title>fault</title><p>fault in the page: {text}"
        )
    })
}

/// A client as the template shows it, `page.js` in the same words.
#[derive(Serialize)]
struct Row {
    name: String,
    under: String,
    image: String,
    /// The row's class in the style sheet.
    looks: &'static str,
    phase: String,
    percent: Option<f64>,
    down: String,
    up: String,
    left: String,
    uptime: String,
}

impl Row {
    fn of(client: &Client) -> Row {
        let reports = !client.host.is_empty() || client.uptime_seconds.is_some();
        let (name, under) = if client.host.is_empty() {
            let under = if reports { "" } else { "does not report" };
            (client.address.clone(), under.to_owned())
        } else {
            (client.host.clone(), client.address.clone())
        };
        let mut phase = client.phase.clone();
        if client.silent {
            phase.push_str(", silent");
        }
        if !client.why.is_empty() {
            phase = format!("{phase}: {}", client.why);
        }
        Row {
            name,
            under,
            image: client.image.clone(),
            looks: match client.phase.as_str() {
                "failed" => "bad",
                _ if client.silent => "mild",
                "seeding" | "done" => "good",
                _ => "going",
            },
            phase,
            percent: client.percent,
            down: client.down_rate.map_or_else(none, rate),
            up: client.up_rate.map_or_else(none, rate),
            left: client.seconds_left.map_or_else(none, duration),
            uptime: client.uptime_seconds.map_or_else(none, duration),
        }
    }
}

fn none() -> String {
    "–".to_owned()
}

/// Bytes a second, for people.
fn rate(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB/s", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB/s", bytes as f64 / 1e6),
        _ => format!("{:.2} GB/s", bytes as f64 / 1e9),
    }
}

/// Seconds, for people.
fn duration(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        1..100 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => "> 99 h".to_owned(),
    }
}

fn ratio(limit: Limit) -> String {
    format!("{:.2}", limit.ratio)
}

fn limit_words(limit: Option<Limit>) -> String {
    match limit {
        None => "times as long as the links need: nobody has staged yet".to_owned(),
        Some(limit) => {
            let whence = if limit.rate_given { "given" } else { "the best seen" };
            format!("times as long as the links need ({} each, {whence})", rate(limit.rate))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::monitor::Swarm;

    fn client(host: &str, phase: &str) -> Client {
        Client {
            host: host.to_owned(),
            address: "192.0.2.1".to_owned(),
            image: "web".to_owned(),
            phase: phase.to_owned(),
            why: String::new(),
            percent: Some(25.0),
            down_rate: Some(12_500_000),
            up_rate: Some(999),
            seconds_left: Some(3725),
            uptime_seconds: Some(59),
            version: String::new(),
            silent: false,
        }
    }

    fn status(clients: Vec<Client>) -> Status {
        let swarm = Swarm { image: "web".to_owned(), seeders: 1, leechers: 2, copies: Some(1.25) };
        Status { seconds: 7, clients, swarms: vec![swarm], down_rate: 1, up_rate: 1, limit: None }
    }

    #[test]
    fn without_a_script_the_page_has_all() {
        let mut failed = client("b", "failed");
        failed.why = "disk full".to_owned();
        failed.down_rate = None;
        let mut unknown = client("", "staging");
        unknown.uptime_seconds = None;
        let mut silent = client("c", "staging");
        silent.silent = true;
        let html = page(&status(vec![client("a", "staging"), failed, unknown, silent]));
        for part in [
            "a<small>192.0.2.1</small>",
            "192.0.2.1<small>does not report</small>",
            "12.5 MB&#x2f;s",
            "1 kB&#x2f;s",
            "1:02:05",
            "0:59",
            "<progress max=\"100\" value=\"25.0\">",
            "failed: disk full",
            "staging, silent",
            "nobody has staged yet",
            "<td class=\"number\">1.2</td>",
        ] {
            assert!(html.contains(part), "{part} is not in\n{html}");
        }
        assert!(!html.contains("fault in the page"));
    }

    #[test]
    fn text_never_becomes_part_of_the_page() {
        let hostile = "</td><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}\"'";
        let mut client = client(hostile, hostile);
        client.why = hostile.to_owned();
        client.image = hostile.to_owned();
        client.address = hostile.to_owned();
        let mut status = status(vec![client]);
        status.swarms[0].image = hostile.to_owned();
        let html = page(&status);
        assert_eq!(html.matches("<script").count(), 1);
        assert!(!html.contains("<img") && html.contains("{{ 7*7 }}"));
        let hash = STANDARD.encode(Sha256::digest(SCRIPT));
        assert!(html.contains(&format!("script-src 'sha256-{hash}'")));
        // The script ends where it should, and sets text only.
        assert!(!SCRIPT.contains("</") && !SCRIPT.contains("innerHTML"));
    }

    #[test]
    fn the_page_asks_nobody_else_and_has_a_bound() {
        let html = page(&status(vec![client("a", "staging"); MAX_PAGE_ROWS + 5]));
        for part in ["http://", "https://", "url(", "@import", " src=", " href="] {
            assert!(!html.contains(part), "{part}");
        }
        assert_eq!(html.matches("does not report").count(), 1, "in the script only");
        assert_eq!(html.matches("<progress").count(), MAX_PAGE_ROWS);
        assert!(html.len() < 2 << 20, "{} bytes", html.len());
    }
}
