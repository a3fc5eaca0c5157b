//! Owns the signatures of thinking blocks: opaque text that only fits the thinking it came with,
//! so that a block that is sent back changed can be told. Not a secret: whoever reads this can
//! forge one, which no client has a reason to do.

use crate::dice::{self, Purpose};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Characters of the part that does not depend on the text.
const NONCE: usize = 24;
/// Characters of the shortest signature.
const SHORTEST: usize = 200;
/// A signature grows with the thinking it stands for, up to here.
const LONGEST: usize = 4_000;

pub(super) fn sign(seed: u64, tokens: u32, visible: &str) -> String {
    let thought = usize::try_from(tokens).unwrap_or(LONGEST);
    let length = (SHORTEST + thought.saturating_mul(2)).min(LONGEST) / 4 * 4;
    let roll = |b| dice::roll(seed, Purpose::Text, 0, b).to_le_bytes();
    let nonce: Vec<u8> = [roll(1), roll(2), roll(3)].concat();
    let nonce: String = nonce.iter().map(|&byte| digit(byte)).collect();
    let rest = rest(&nonce, visible, length - NONCE);
    nonce + &rest
}

/// Whether this simulator signed this text so.
pub(crate) fn is_ours(signature: &str, visible: &str) -> bool {
    let Some((nonce, given)) = signature.split_at_checked(NONCE) else {
        return false;
    };
    given.len() >= SHORTEST - NONCE
        && given.len() <= LONGEST
        && rest(nonce, visible, given.len()) == given
}

fn rest(nonce: &str, visible: &str, length: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(nonce.as_bytes());
    hasher.update(visible.as_bytes());
    let mut bytes = vec![0; length];
    hasher.finalize_xof().fill(&mut bytes);
    bytes.into_iter().map(digit).collect()
}

fn digit(byte: u8) -> char {
    char::from(DIGITS[usize::from(byte % 64)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_its_text_only() {
        let signature = sign(7, 90, "Let me see.");
        assert_eq!(signature.len() % 4, 0);
        assert!(is_ours(&signature, "Let me see."));
        assert!(!is_ours(&signature, "Let me sea."));
        assert!(!is_ours("", ""));
        assert!(!is_ours(&signature[..NONCE], ""));
        assert_ne!(signature, sign(8, 90, "Let me see."));
    }
}
