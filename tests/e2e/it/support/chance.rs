//! Random choices that a seed reproduces.

/// A generator, xorshift64*: the same sequence for the same seed.
pub struct Chance(u64);

impl Chance {
    /// Returns a generator. Small seeds are spread over all bits, which the algorithm needs.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// Returns a place in a list of this length; `None` if the list is empty.
    pub fn place(&mut self, length: usize) -> Option<usize> {
        (length > 0).then(|| usize::try_from(self.below(length as u64)).unwrap())
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.place(last + 1).unwrap());
        }
    }
}
