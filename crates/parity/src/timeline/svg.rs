//! As a drawing: plain SVG, a row for each member.
//!
//! All marks have a title, which browsers show under the pointer. Of those that would lie on one another one is
//! drawn, so that a drawing of a long run is not a long file.

use super::{Lane, Mark, Timeline};
use std::fmt::{self, Write};
use std::time::Duration;

const LEFT: f64 = 84.0;
const WIDTH: f64 = 860.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 40.0;
const ROW: f64 = 28.0;
/// Below the rows: an axis and the key.
const BELOW: f64 = 62.0;
/// Marks of one kind are no nearer than this.
const APART: f64 = 1.0;
const TICKS: f64 = 8.0;

const STYLE: &str = "\
text { font: 12px 'DejaVu Sans', Helvetica, Arial, sans-serif; fill: #24292f }
.title { font-size: 14px; font-weight: bold }
.lane { stroke: #8c959f; stroke-width: 2 }
.grid { stroke: #e4e7eb }
.back { fill: #f2b84b; fill-opacity: .55 }
.dead { stroke: #ffffff; stroke-width: 4 }
.gone { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 2 3 }
.taken { fill: #ffffff; stroke: #0969da; stroke-width: 1.5 }
.counts { stroke: #0969da; stroke-width: 2.5 }
.died { stroke: #cf222e; stroke-width: 2.5; fill: none }
.killed { fill: #cf222e }
.recovered { fill: #1a7f37 }
.rebuilt { fill: #1a7f37; stroke: #24292f }
";

impl Timeline {
    /// The drawing; the title is put over it.
    pub fn svg(&self, title: &str) -> String {
        let mut out = String::new();
        // A string takes all that is written.
        let _ = self.draw(&mut out, title);
        out
    }

    fn draw(&self, out: &mut String, title: &str) -> fmt::Result {
        let rows = TOP + ROW * self.lanes.len() as f64;
        let (width, height) = (LEFT + WIDTH + RIGHT, rows + BELOW);
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">\n<title>{0}</title>\n<style>\n{STYLE}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text class=\"title\" x=\"12\" y=\"22\">{0}</text>",
            escaped(title)
        )?;
        self.axis(out, rows)?;
        for (row, (member, lane)) in self.lanes.iter().enumerate() {
            let y = TOP + ROW * (row as f64 + 0.5);
            writeln!(out, "<text x=\"12\" y=\"{:.1}\">{member}</text>", y + 4.0)?;
            self.row(out, lane, y)?;
        }
        key(out, rows + 44.0)?;
        writeln!(out, "</svg>")
    }

    fn x(&self, at: Duration) -> f64 {
        let end = self.end.as_secs_f64().max(1e-9);
        LEFT + WIDTH * (at.as_secs_f64() / end).min(1.0)
    }

    fn axis(&self, out: &mut String, rows: f64) -> fmt::Result {
        let step = nice(self.end.as_secs_f64() / TICKS);
        let mut tick = 0.0;
        while tick <= self.end.as_secs_f64() {
            let x = self.x(Duration::from_secs_f64(tick));
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{rows}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
                rows + 16.0,
                (tick * 1e6).round() / 1e6
            )?;
            tick += step;
        }
        Ok(())
    }

    fn row(&self, out: &mut String, lane: &Lane, y: f64) -> fmt::Result {
        for (from, until, line) in &lane.rolled_back {
            let (x, end) = (self.x(*from), self.x(*until));
            writeln!(
                out,
                "<rect class=\"back\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\"><title>{:.3} s are done \
                 again, from {line}</title></rect>",
                y - 8.0,
                (end - x).max(1.0),
                until.saturating_sub(*from).as_secs_f64()
            )?;
        }
        let (first, last) = (self.x(Duration::ZERO), self.x(self.end));
        let line = |class: &str, from: f64, until: f64| {
            format!("<line class=\"{class}\" x1=\"{from:.1}\" x2=\"{until:.1}\" y1=\"{y}\" y2=\"{y}\"/>")
        };
        writeln!(out, "{}", line("lane", first, last))?;
        for (from, until) in &lane.dead {
            let (from, until) = (self.x(*from), self.x(*until));
            writeln!(out, "{}{}", line("dead", from, until), line("gone", from, until))?;
        }
        let kinds: [fn(Mark) -> bool; 5] = [
            |mark| matches!(mark, Mark::Taken(_)),
            |mark| matches!(mark, Mark::Committed(_)),
            |mark| matches!(mark, Mark::Recovered(_) | Mark::Rebuilt(_)),
            |mark| mark == Mark::Died,
            |mark| mark == Mark::Killed,
        ];
        for kind in kinds {
            let mut before = f64::NEG_INFINITY;
            for (at, mark) in lane.marks.iter().filter(|(_, mark)| kind(*mark)) {
                let x = self.x(*at);
                if x - before >= APART {
                    before = x;
                    let what = format!("{:.3} s: {}", at.as_secs_f64(), mark.words());
                    writeln!(out, "<g>{}<title>{what}</title></g>", mark.shape(x, y))?;
                }
            }
        }
        Ok(())
    }
}

impl Mark {
    fn words(self) -> String {
        match self {
            Mark::Taken(line) => format!("takes {line}"),
            Mark::Committed(line) => format!("{line} counts"),
            Mark::Killed => "is killed".into(),
            Mark::Died => "dies".into(),
            Mark::Recovered(line) => format!("goes back to {line}"),
            Mark::Rebuilt(line) => format!("is rebuilt, at {line}"),
        }
    }

    fn shape(self, x: f64, y: f64) -> String {
        match self {
            Mark::Taken(_) => format!("<circle class=\"taken\" cx=\"{x:.1}\" cy=\"{y}\" r=\"3\"/>"),
            Mark::Committed(_) => format!(
                "<line class=\"counts\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                y - 6.0,
                y + 6.0
            ),
            Mark::Killed => format!("<path class=\"killed\" d=\"M{x:.1} {:.1}l-4 -8h8z\"/>", y - 5.0),
            Mark::Died => {
                format!("<path class=\"died\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\"/>", x - 4.0, y - 4.0)
            }
            Mark::Recovered(_) | Mark::Rebuilt(_) => {
                let class = if matches!(self, Mark::Rebuilt(_)) { "rebuilt" } else { "recovered" };
                format!("<path class=\"{class}\" d=\"M{x:.1} {:.1}l8 5l-8 5z\"/>", y - 5.0)
            }
        }
    }
}

/// What the marks mean.
fn key(out: &mut String, y: f64) -> fmt::Result {
    let line = crate::id::Line(0);
    let marks = [
        (Mark::Taken(line), "checkpoint taken"),
        (Mark::Committed(line), "it counts"),
        (Mark::Killed, "killed"),
        (Mark::Died, "dies"),
        (Mark::Rebuilt(line), "rebuilt from parity"),
        (Mark::Recovered(line), "goes back"),
    ];
    let mut x = LEFT;
    for (mark, words) in marks {
        // That one is above its line.
        let down = if mark == Mark::Killed { 9.0 } else { 0.0 };
        writeln!(
            out,
            "{}<text x=\"{:.1}\" y=\"{:.1}\">{words}</text>",
            mark.shape(x, y + down),
            x + 14.0,
            y + 4.0
        )?;
        x += 32.0 + 7.0 * words.len() as f64;
    }
    let y = y - 8.0;
    writeln!(
        out,
        "<rect class=\"back\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"24\" height=\"16\"/><text x=\"{:.1}\" y=\"{:.1}\">work \
         done again</text>",
        x + 32.0,
        y + 12.0
    )
}

/// 1, 2 or 5 times a power of ten, that or a little more.
fn nice(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-6).log10().floor());
    let factors = [1.0, 2.0, 5.0];
    factors.into_iter().map(|factor| factor * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
