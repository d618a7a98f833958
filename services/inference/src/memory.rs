//! Gives memory back to the system.

/// Belongs at the end of a struct: when it is dropped, memory of all fields before it is free, and goes back to the
/// system. glibc keeps it otherwise, some in the arena of every thread that ever loaded a model or ran one, and a
/// service grows with each change of its versions.
pub(crate) struct GivenBack;

impl Drop for GivenBack {
    fn drop(&mut self) {
        // Walks all arenas, and whoever drops a version last may be in the middle of an answer. Where there is no thread
        // to be had, the next version does it.
        let _ = std::thread::Builder::new().name("give-back".to_owned()).spawn(trim);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: any thread may call it at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
