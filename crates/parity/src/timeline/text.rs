//! As text: a line for each member, a character for each part of the time.

use super::{Mark, Timeline};
use std::fmt;
use std::time::Duration;

const WIDTH: usize = 64;

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end.as_secs_f64();
        let place = |at: Duration| {
            let share = if end > 0.0 { at.as_secs_f64() / end } else { 0.0 };
            ((share * WIDTH as f64) as usize).min(WIDTH - 1)
        };
        let end_s = format!("{end:.3} s");
        writeln!(f, "{:10}  0 s{end_s:>width$}", "", width = WIDTH - 3)?;
        for (member, lane) in &self.lanes {
            let mut cells = ['-'; WIDTH];
            // What matters more is drawn later.
            for (from, until, _) in &lane.rolled_back {
                cells[place(*from)..=place(*until)].fill('~');
            }
            for (from, until) in &lane.dead {
                cells[place(*from)..=place(*until)].fill('.');
            }
            for what in ['c', 'R', 'X'] {
                for (at, mark) in &lane.marks {
                    if mark.letter() == Some(what) {
                        cells[place(*at)] = what;
                    }
                }
            }
            writeln!(f, "{:10}  {}", member.to_string(), cells.iter().collect::<String>())?;
        }
        let (lost, deaths) = self.lost();
        write!(f, "{:10}  c checkpoint counts", "")?;
        if deaths == 0 {
            return writeln!(f);
        }
        writeln!(
            f,
            "   X dies   . is gone   R goes back   ~ done again: {:.3} s of all workers",
            lost.as_secs_f64()
        )
    }
}

impl Mark {
    fn letter(self) -> Option<char> {
        match self {
            Mark::Committed(_) => Some('c'),
            Mark::Died => Some('X'),
            Mark::Recovered(_) | Mark::Rebuilt(_) => Some('R'),
            Mark::Taken(_) | Mark::Killed => None,
        }
    }
}
