//! What a task looks at beside its state and its mail: the world outside, and a word that it has changed.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Tells a member that the world outside, which its task looks at in each step, has changed.
#[derive(Clone, Default)]
pub struct Outside(Arc<(AtomicBool, Mutex<Option<Wake>>)>);

type Wake = Box<dyn Fn() + Send>;

impl Outside {
    /// It has. Never blocks.
    pub fn changed(&self) {
        self.0.0.store(true, Ordering::Release);
        if let Some(wake) = &*self.0.1.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }

    pub(super) fn wake_by(&self, wake: Wake) {
        *self.0.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
    }

    pub(super) fn take(&self) -> bool {
        self.0.0.swap(false, Ordering::Acquire)
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}
