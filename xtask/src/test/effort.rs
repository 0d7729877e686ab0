//! How much a test run tries where more time finds more.

/// How much of what depends on chance or time a run tries.
#[derive(Clone, Copy)]
pub struct Effort {
    pub fuzz_seconds: u32,
    /// How long the random clients of the end-to-end tests run.
    pub storm_seconds: u32,
    /// How often the end-to-end tests kill the auth service at an arbitrary moment.
    pub crash_rounds: u32,
    /// They kill it at every database packet, or at one of this many.
    pub crash_stride: u32,
    /// Before how many random policies `explain` is compared with the edge.
    pub explained_policies: u32,
    /// Whether what takes minutes by itself runs, too: the soak, a test that waits for a minute, and
    /// on memcached the tests that depend little on the store.
    pub is_long: bool,
}

/// Fits, with a cold build, into the 25 minutes that a change may wait.
pub const DEFAULT: Effort = Effort {
    fuzz_seconds: 5,
    storm_seconds: 10,
    crash_rounds: 12,
    crash_stride: 3,
    explained_policies: 8,
    is_long: false,
};

/// Adds some 20 minutes to the default run: 9 fuzz targets, two storms, two series of crashes, the
/// soak.
pub const LONG: Effort = Effort {
    fuzz_seconds: 60,
    storm_seconds: 60,
    crash_rounds: 200,
    crash_stride: 1,
    explained_policies: 50,
    is_long: true,
};
