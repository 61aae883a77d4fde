//! Loops over many numbers, in the version that suits the processor.

/// Calls `f`: where the processor has vectors of 256 bits (x86-64-v3), in a version compiled for these.
///
/// That version is of what is inlined into `f`, so `f` and what it calls must be `#[inline(always)]`; what it gives is
/// the same. What a loop reads or adds up besides slices has to be `f`'s own (`move`, variables inside), or the loop's
/// stores might change it for all the compiler knows. A call costs a few nanoseconds: a loop over some dozens of numbers
/// is worth it.
#[inline(always)]
pub fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = fearless_simd::Level::new().as_avx2() {
        return fearless_simd::Simd::vectorize(avx2, f);
    }
    f()
}
