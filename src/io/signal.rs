//! Ctrl-C ends a process at once.
//!
//! There is nothing to tidy up: the kernel closes the sockets, and every peer must cope with a process
//! that dies at any moment anyway. One way to end, always tested.

/// Exit status of a process that Ctrl-C ended: 128 + SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// From now on, SIGINT ends this process with status 130.
///
/// # Errors
/// When the handler cannot be installed.
pub fn exit_on_interrupt() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| std::process::exit(INTERRUPTED))
}
