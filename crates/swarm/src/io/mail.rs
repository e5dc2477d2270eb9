//! What other threads have to say to the one that waits in `poll`: a queue, and a descriptor that wakes it.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The reader's end.
pub struct Mailbox<T> {
    queue: Receiver<T>,
    bell: Arc<OwnedFd>,
}

/// A writer's end.
pub struct Post<T> {
    queue: Sender<T>,
    bell: Arc<OwnedFd>,
}

/// Both ends.
///
/// # Errors
/// The system gives no descriptor.
pub fn mailbox<T>() -> io::Result<(Mailbox<T>, Post<T>)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, queue) = channel();
    Ok((Mailbox { queue, bell: bell.clone() }, Post { queue: sender, bell }))
}

impl<T> Mailbox<T> {
    /// Readable when something has come.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The next letter, if one is there. After `None` the bell is quiet until another comes.
    pub fn take(&mut self) -> Option<T> {
        self.queue.try_recv().ok()
    }

    /// Before [`Mailbox::take`]: silences the bell.
    pub fn open(&mut self) {
        let _ = read(&self.bell, &mut [0; 8]);
    }
}

impl<T> Post<T> {
    /// False: nobody reads any more.
    pub fn send(&self, letter: T) -> bool {
        let sent = self.queue.send(letter).is_ok();
        let _ = write(&self.bell, &1u64.to_ne_bytes());
        sent
    }
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Post<T> {
        Post { queue: self.queue.clone(), bell: self.bell.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn rings<T>(mailbox: &Mailbox<T>) -> bool {
        let bell = mailbox.bell();
        poll(&mut [PollFd::new(&bell, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
            .unwrap()
            > 0
    }

    #[test]
    fn the_bell_rings_until_the_box_is_opened() {
        let (mut mailbox, post) = mailbox().unwrap();
        assert!(!rings(&mailbox));
        assert!(post.send(1) && post.clone().send(2));
        assert!(rings(&mailbox));
        mailbox.open();
        assert!(!rings(&mailbox));
        assert_eq!((mailbox.take(), mailbox.take(), mailbox.take()), (Some(1), Some(2), None));
        drop(mailbox);
        assert!(!post.send(3));
    }
}
