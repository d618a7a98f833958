//! The matrix unit: a 32 x 32 block of the product from packed panels (Intel SDM volume 1, chapter 18).

use std::arch::asm;
use std::sync::OnceLock;

/// Rows or columns of a block: two tiles of 16.
pub const BLOCK: usize = 32;
/// Inner elements that one step multiplies: what a tile row holds.
pub const STEP: usize = 32;
/// 16-bit elements of one tile.
pub const TILE: usize = 16 * STEP;
/// 16-bit elements of one step of a panel: two tiles, each with its high and its low part.
pub const PANEL_STEP: usize = 4 * TILE;

/// Fetches eight lines of the right panel, `$at` bytes ahead: the next steps wait for the second-level cache otherwise.
/// What lies behind the panel's end is fetched for nothing and harms nothing.
macro_rules! prefetch {
    ($at:literal) => {
        concat!(
            "prefetcht0 [{b} + ",
            $at,
            "]\n",
            "prefetcht0 [{b} + ",
            $at,
            " + 64]\n",
            "prefetcht0 [{b} + ",
            $at,
            " + 128]\n",
            "prefetcht0 [{b} + ",
            $at,
            " + 192]\n",
            "prefetcht0 [{b} + ",
            $at,
            " + 256]\n",
            "prefetcht0 [{b} + ",
            $at,
            " + 320]\n",
            "prefetcht0 [{b} + ",
            $at,
            " + 384]\n",
            "prefetcht0 [{b} + ",
            $at,
            " + 448]",
        )
    };
}

/// Whether this CPU has the matrix unit and the vectors that packing uses, and the kernel lets this process
/// use them.
pub fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && is_permitted())
}

fn has_instructions() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let features = if __cpuid(0).eax >= 7 { __cpuid_count(7, 0).edx } else { 0 };
    features & AMX_BF16 != 0
        && features & AMX_TILE != 0
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// The state of the tiles is large, so Linux keeps it only for a process that asked for it.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const REQUEST_PERMISSION: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call has no memory operands; an old kernel answers with an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// All eight tiles as 16 rows of 64 bytes, for as long as this value lives on its thread.
pub struct Configured(std::marker::PhantomData<*const ()>);

#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configured {
    /// # Panics
    /// When the matrix unit is not available.
    pub fn new() -> Self {
        assert!(is_available(), "no matrix unit");
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        config.bytes[..8].fill(64);
        config.rows[..8].fill(16);
        // SAFETY: the unit is available, and the configuration is one that palette 1 allows.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        Self(std::marker::PhantomData)
    }

    /// `c (+)= a b` for a block of 32 x 32 floats, `c` with `stride` elements between rows. `a` and `b` are
    /// panels of `steps` steps, each `[high of both tiles, low of both tiles]`; the product of the two low
    /// parts, some 2^-18 of the whole, is left out. Of each step every tile is loaded once: a load takes longer than a
    /// product where other programs share the core.
    ///
    /// # Safety
    /// `a` and `b` must hold `steps * PANEL_STEP` elements, `c` 32 rows of 32 elements.
    pub unsafe fn block(
        &self,
        a: *const u16,
        b: *const u16,
        steps: usize,
        c: *mut f32,
        stride: usize,
        accumulate: bool,
    ) {
        // SAFETY: the caller vouches for the pointers; the tiles are configured and are clobbered.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "test {accumulate:e}, {accumulate:e}",
                "jz 2f",
                "tileloadd tmm0, [{c} + {row}]",
                "tileloadd tmm1, [{c} + {row} + 64]",
                "tileloadd tmm2, [{lower} + {row}]",
                "tileloadd tmm3, [{lower} + {row} + 64]",
                "2:",
                prefetch!(8192),
                "tileloadd tmm4, [{a} + {line}]",
                "tileloadd tmm6, [{b} + {line} + 2048]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                prefetch!(8704),
                "tileloadd tmm5, [{a} + {line} + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm7, [{b} + {line} + 3072]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm6, [{b} + {line}]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                prefetch!(10240),
                "tileloadd tmm7, [{b} + {line} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm4, [{a} + {line} + 2048]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                prefetch!(10752),
                "tileloadd tmm5, [{a} + {line} + 3072]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 4096",
                "add {b}, 4096",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c} + {row}], tmm0",
                "tilestored [{c} + {row} + 64], tmm1",
                "tilestored [{lower} + {row}], tmm2",
                "tilestored [{lower} + {row} + 64], tmm3",
                accumulate = in(reg) u32::from(accumulate),
                a = inout(reg) a => _,
                b = inout(reg) b => _,
                steps = inout(reg) steps => _,
                c = in(reg) c,
                lower = in(reg) c.wrapping_add(16 * stride),
                row = in(reg) stride * size_of::<f32>(),
                line = in(reg) 64usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: the unit is available; the tiles hold nothing that is needed.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
