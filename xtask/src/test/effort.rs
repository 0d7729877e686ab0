//! The extent of a test run, for tests that find more in more time.

/// The extent of the tests that depend on chance or time.
#[derive(Clone, Copy)]
pub struct Effort {
    pub fuzz_seconds: u32,
    /// How long the random clients of the end-to-end tests run.
    pub storm_seconds: u32,
    /// How often the end-to-end tests kill the auth service at an arbitrary moment.
    pub crash_rounds: u32,
    /// With N, the end-to-end tests kill it at every Nth database packet.
    pub crash_stride: u32,
    /// The number of random policies for which `explain` is compared with the edge.
    pub explained_policies: u32,
    /// How long the soak runs, which needs the machine for itself.
    pub soak_seconds: u32,
    /// The requests that it sends in a second. Two cores also run its clients and all servers.
    pub soak_per_second: u32,
    /// Whether a test that waits for a minute runs, too, and the example of a Worker in Rust, and
    /// on memcached the tests that depend little on the store.
    pub is_long: bool,
}

/// Fits, with a cold build, into the 40 minutes that a change may wait.
pub const DEFAULT: Effort = Effort {
    fuzz_seconds: 5,
    storm_seconds: 10,
    crash_rounds: 12,
    crash_stride: 3,
    explained_policies: 8,
    soak_seconds: 120,
    soak_per_second: 200,
    is_long: false,
};

/// The long run. It adds some 20 minutes: 9 fuzz targets, two storms, two series of crashes, and
/// the soak.
pub const LONG: Effort = Effort {
    fuzz_seconds: 60,
    storm_seconds: 60,
    crash_rounds: 200,
    crash_stride: 1,
    explained_policies: 50,
    soak_seconds: 240,
    soak_per_second: 200,
    is_long: true,
};
