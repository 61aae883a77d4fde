//! Random numbers that are the same for the same seed on every machine, and how many seeds to try.

/// splitmix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x1000_0000_01B3) + 1)
    }

    /// A number in `[0, below)`.
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    /// Up to `len_max` random bytes.
    pub(crate) fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        (0..self.roll(len_max + 1)).map(|_| self.roll(256) as u8).collect()
    }
}

/// `usual` seeds, or `slow` with `RUN_SLOW_TESTS` set.
#[expect(
    clippy::disallowed_methods,
    reason = "the switch for slow tests is an environment variable"
)]
pub(crate) fn seeds(usual: u64, slow: u64) -> u64 {
    if std::env::var("RUN_SLOW_TESTS").is_ok() { slow } else { usual }
}
