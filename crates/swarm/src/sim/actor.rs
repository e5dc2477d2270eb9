//! Who plays in a world: the real [`Session`], or a wrapper around one that lies or has a fault.

use crate::bitfield::Bitfield;
use crate::geometry::Block;
use crate::peer::{Conn, Input, Output, Progress, Session, Settings, Torrent};
use offload::rng::Rng;
use offload::time::Time;

/// What a world asks of its players: exactly what a driver asks of a [`Session`].
pub trait Actor {
    /// Takes in what has arrived.
    fn handle_input(&mut self, now: Time, input: Input<'_>);
    /// Takes in that time has passed.
    fn handle_timeout(&mut self, now: Time);
    /// The next thing to do; [`Output::Wake`] ends the round.
    fn poll_output(&mut self, now: Time) -> Output;
    /// Is the driver to keep this block's bytes?
    fn expects(&self, conn: Conn, block: Block) -> bool;
    /// Leaves the swarm.
    fn stop(&mut self, now: Time);
    /// How far it is.
    fn progress(&self) -> Progress;
    /// The verified pieces.
    fn have(&self) -> Option<&Bitfield>;
}

impl Actor for Session {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        Session::handle_input(self, now, input);
    }
    fn handle_timeout(&mut self, now: Time) {
        Session::handle_timeout(self, now);
    }
    fn poll_output(&mut self, now: Time) -> Output {
        Session::poll_output(self, now)
    }
    fn expects(&self, conn: Conn, block: Block) -> bool {
        Session::expects(self, conn, block)
    }
    fn stop(&mut self, now: Time) {
        Session::stop(self, now);
    }
    fn progress(&self) -> Progress {
        Session::progress(self)
    }
    fn have(&self) -> Option<&Bitfield> {
        Session::have(self)
    }
}

/// Makes the player at each start of a process.
pub type Make = Box<dyn Fn(Settings, Torrent, Rng) -> Box<dyn Actor>>;

/// A player that keeps the rules.
pub fn honest() -> Make {
    Box::new(|settings, torrent, rng| Box::new(Session::new(settings, torrent, rng)))
}
