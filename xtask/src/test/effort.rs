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
    /// Whether the soak runs.
    pub soaks: bool,
}

/// Fits, with a cold build, into the 25 minutes that a change may wait.
pub const DEFAULT: Effort =
    Effort { fuzz_seconds: 5, storm_seconds: 15, crash_rounds: 40, crash_stride: 3, soaks: false };

/// Adds some 15 minutes to the default run: 9 fuzz targets, two storms, two series of crashes.
pub const LONG: Effort =
    Effort { fuzz_seconds: 60, storm_seconds: 60, crash_rounds: 200, crash_stride: 1, soaks: true };
