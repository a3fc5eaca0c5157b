//! Owns every random-looking choice: pure functions of (seed, purpose, numbers), and a small
//! sequence for shuffles and texts. Deliberately no shared mutable stream: one more request on
//! one endpoint must not change what happens on another.

/// What a roll is for; two purposes never see the same number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Organization = 1,
    RequestId,
    BatchId,
    MessageId,
    RowRequestId,
    StartDelay,
    Service,
    Pace,
    RunOrder,
    ResultOrder,
    ResultFault,
    RowFault,
    EndpointFault,
    FaultDetail,
    HiddenAtFirst,
    Latency,
    OutputLength,
    Text,
    Domain,
    Refusal,
    Rule,
    RuleRow,
    ReportKey,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: every input bit moves every output bit.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One 64-bit number for a purpose and two indices.
pub(crate) fn roll(seed: u64, purpose: Purpose, a: u64, b: u64) -> u64 {
    let mut x = mix(seed.wrapping_add((purpose as u64).wrapping_mul(GOLDEN)));
    x = mix(x.wrapping_add(GOLDEN) ^ a);
    mix(x.wrapping_add(GOLDEN) ^ b)
}

/// Maps a roll to [0, 1).
#[expect(
    clippy::cast_precision_loss,
    reason = "the top 53 bits fit a double exactly"
)]
pub(crate) fn unit(roll: u64) -> f64 {
    (roll >> 11) as f64 / (1u64 << 53) as f64
}

/// Maps a roll to `low..=high`, evenly up to one part in 2^64.
pub(crate) fn between(roll: u64, low: u64, high: u64) -> u64 {
    let width = u128::from(high.saturating_sub(low)) + 1;
    let offset = (u128::from(roll) * width) >> 64;
    low + u64::try_from(offset).expect("the product of a u64 and a 65-bit width, shifted by 64")
}

/// Whether an event of the given probability happens.
pub(crate) fn happens(roll: u64, probability: f64) -> bool {
    probability > 0.0 && unit(roll) < probability
}

/// SplitMix64 as a sequence, for shuffles and texts.
#[derive(Clone, Debug)]
pub(crate) struct Sequence(u64);

impl Sequence {
    pub(crate) fn new(state: u64) -> Self {
        Self(state)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in `0..n`; 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let roll = self.draw();
        let last = u64::try_from(n.saturating_sub(1)).expect("a count fits u64");
        usize::try_from(between(roll, 0, last)).expect("at most a usize")
    }
}

/// The numbers `0..n` in a seeded order.
pub(crate) fn shuffled(n: u32, state: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    let mut sequence = Sequence::new(state);
    for last in (1..order.len()).rev() {
        order.swap(last, sequence.below(last + 1));
    }
    order
}

/// `prefix` and 22 base-62 digits, the look of the API's ids.
pub(crate) fn id(prefix: &str, high: u64, low: u64) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyzIOl";
    let mut rest = (u128::from(high) << 64) | u128::from(low);
    let mut out = String::with_capacity(prefix.len() + 22);
    out.push_str(prefix);
    for _ in 0..22 {
        let digit = usize::try_from(rest % 62).expect("below 62");
        out.push(char::from(DIGITS[digit]));
        rest /= 62;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_splitmix64() {
        // Published test vector: seed 1234567.
        let mut sequence = Sequence::new(1_234_567);
        assert_eq!(sequence.draw(), 6_457_827_717_110_365_317);
        assert_eq!(sequence.draw(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn purposes_and_indices_are_independent() {
        let base = roll(7, Purpose::Latency, 1, 2);
        assert_ne!(base, roll(7, Purpose::Service, 1, 2));
        assert_ne!(base, roll(7, Purpose::Latency, 2, 1));
        assert_ne!(base, roll(8, Purpose::Latency, 1, 2));
        assert_eq!(base, roll(7, Purpose::Latency, 1, 2));
    }

    #[test]
    fn a_shuffle_keeps_every_number_once() {
        let mut order = shuffled(1_000, 3);
        assert_ne!(order, shuffled(1_000, 4));
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..1_000));
    }
}
