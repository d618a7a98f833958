//! Gives memory back to the system.

/// How memory that nobody needs goes back to the system, which allocators do when they come to it: a service that rests
/// would keep for hours what only a load needed, and a service grows with each change of its versions.
#[derive(Clone, Copy)]
pub(crate) struct GiveBack {
    /// What the allocator of the process is asked for.
    pub collect: fn(),
}

impl GiveBack {
    /// Gives back what this thread and others have freed, soon.
    pub fn soon(self) {
        let work = move || {
            (self.collect)();
            trim();
        };
        // It walks all that is kept, and who asks for it may be in the middle of an answer. Where there is no thread to be
        // had, the next one does it.
        let _ = std::thread::Builder::new().name("give-back".to_owned()).spawn(work);
    }
}

/// Belongs at the end of a struct: when it is dropped, memory of all fields before it is free, and goes back.
pub(crate) struct GivenBack(pub GiveBack);

impl Drop for GivenBack {
    fn drop(&mut self) {
        self.0.soon();
    }
}

/// The system's allocator is that of the engines, whatever the process has for itself. glibc keeps what was freed, some in
/// the arena of every thread that ever loaded a model or ran one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: any thread may call it at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
