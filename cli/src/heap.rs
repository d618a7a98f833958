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

/// Keeps a process that serves small, from now on.
///
/// It takes no huge pages: this allocator asks for them, and each one that a small value touches is resident as a whole, some
/// 25 MB of a service at rest. And glibc's allocator, which is that of the engines, has an arena for each core, not eight:
/// versions that are loaded and leave, each on other threads, leave gaps in every arena. After 40 swaps of a MiniLM on two
/// cores 195 MB were resident, with two arenas 168; a single one takes a tenth of the throughput.
pub fn stay_small() {
    #[cfg(target_os = "linux")]
    // SAFETY: it changes how this process maps memory, and none of what it reads there.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0)
    };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // SAFETY: any thread may set it at any time; arenas that are there already stay in use.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, cores.try_into().unwrap_or(i32::MAX)) };
    }
}
