//! The best instruction set of this machine, chosen at run time.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

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

/// The transpose of 16 x 16 elements of 32 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn transpose(r: [__m512i; 16]) -> [__m512i; 16] {
    let mut t = r;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    let mut u = t;
    for i in 0..4 {
        u[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        u[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    // Now u[4 i + j] holds, in its four quarters q, column 4 q + j of rows 4 i to 4 i + 3.
    for j in 0..4 {
        let low = _mm512_shuffle_i32x4::<0x88>(u[j], u[4 + j]);
        let high = _mm512_shuffle_i32x4::<0xdd>(u[j], u[4 + j]);
        let low_after = _mm512_shuffle_i32x4::<0x88>(u[8 + j], u[12 + j]);
        let high_after = _mm512_shuffle_i32x4::<0xdd>(u[8 + j], u[12 + j]);
        t[j] = _mm512_shuffle_i32x4::<0x88>(low, low_after);
        t[8 + j] = _mm512_shuffle_i32x4::<0xdd>(low, low_after);
        t[4 + j] = _mm512_shuffle_i32x4::<0x88>(high, high_after);
        t[12 + j] = _mm512_shuffle_i32x4::<0xdd>(high, high_after);
    }
    t
}
