//! What was seen before, in a fixed amount of memory: most levels are seen only once, and must cost
//! next to nothing.
//!
//! A Bloom filter (Bloom, 1970): it may take something new for known, never the other way round.
//! Leaves out what is done about it (`groups`).

/// Bits: 32 MiB, of which only touched pages are real memory. With ten million levels one in 200 is
/// taken for known, and then counted exactly.
const BITS: u64 = 1 << 28;

/// Remembers 64-bit digests.
#[derive(Debug)]
pub(super) struct Doorkeeper {
    words: Vec<u64>,
}

impl Default for Doorkeeper {
    fn default() -> Self {
        let words = usize::try_from(BITS / 64).expect("a small constant");
        Self {
            words: vec![0; words],
        }
    }
}

impl Doorkeeper {
    /// Whether a digest was probably here before; from now on it was. Digests must be evenly
    /// distributed.
    pub(super) fn pass(&mut self, digest: u64) -> bool {
        let bits = [digest % BITS, (digest >> 32) % BITS];
        let mut known = true;
        for bit in bits {
            let word = usize::try_from(bit / 64).expect("a small constant");
            let mask = 1 << (bit % 64);
            known &= self.words[word] & mask != 0;
            self.words[word] |= mask;
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_here_is_known_and_hardly_anything_else() {
        let digest = |number: u64| {
            let hash = blake3::hash(&number.to_le_bytes());
            u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap())
        };
        let mut door = Doorkeeper::default();
        let strangers = (0..300_000).filter(|number| door.pass(digest(*number)));
        assert!(strangers.count() < 300, "one in a thousand");
        assert!((0..300_000).all(|number| door.pass(digest(number))));
    }
}
