//! The allocator's habits: serving gives memory back, training keeps it for the next step.

#[cfg(feature = "train")]
use std::ffi::{c_int, c_long};

unsafe extern "C" {
    /// Sets an option of the allocator (`mimalloc.h`).
    #[cfg(feature = "train")]
    fn mi_option_set(option: c_int, value: c_long);
    /// Gives back what is free; all of it when forced (`mimalloc.h`).
    fn mi_collect(force: bool);
}

/// `mi_option_purge_delay`: -1 keeps freed memory.
#[cfg(feature = "train")]
const PURGE_DELAY: c_int = 15;

/// Keeps freed memory from now on: page faults are a third of a training step otherwise.
#[cfg(feature = "train")]
pub fn keep() {
    // SAFETY: the option exists in every 2.x and 3.x version, and any number is a valid value.
    unsafe { mi_option_set(PURGE_DELAY, -1) };
}

/// Gives back what this thread has freed, and all that others have given up.
pub fn collect() {
    // SAFETY: any thread may call it at any time.
    unsafe { mi_collect(true) };
}

/// Takes no huge pages from now on: the allocator asks for them, and each one that a small value touches is resident as a
/// whole, some 25 MB of a service at rest.
#[cfg(target_os = "linux")]
pub fn without_huge_pages() {
    // SAFETY: it changes how this process maps memory, and none of what it reads there.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Only Linux has been seen to do so.
#[cfg(not(target_os = "linux"))]
pub fn without_huge_pages() {}
