//! Reliable UDP.
