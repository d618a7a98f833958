//! The best instruction set of this machine, chosen at run time.

/// Elements that one task works on: large enough to hide the cost of a task, small enough for the caches.
pub const CHUNK: usize = 16 * 1024;

/// Runs `f` compiled for the widest vectors that this CPU has; loops in `f` and in whatever is inlined
/// into it are vectorized by the compiler. `f` should be an `#[inline(always)]` closure.
#[inline(always)]
pub fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the features were just detected.
            return unsafe { avx512(f) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features were just detected.
            return unsafe { avx2(f) };
        }
    }
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma,avx2")]
unsafe fn avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "fma,avx2")]
unsafe fn avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}
