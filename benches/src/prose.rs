//! Text that looks like text and is the same every time.
//!
//! Leaves out what it is put into (`inputs`, `answers`).

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`; the bias is of no importance here.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let roll = self.roll() % end.max(1) as u64;
        usize::try_from(roll).unwrap_or_default()
    }
}

const WORDS: &[&str] = &[
    "the", "of", "and", "a", "to", "in", "was", "it", "that", "with", "as", "for", "his", "at",
    "which", "harbour", "ledger", "winter", "carried", "evening", "question", "between", "letters",
    "without", "measure", "station", "nothing", "answered", "through", "morning", "price", "river",
    "company", "figures", "against", "certain", "distance", "always", "remained", "silence",
];

/// One word in thirty: they need an escape in JSON or more than one byte.
const RARE: &[&str] = &[
    "\"so it seems\"",
    "\"no\"",
    "\"then\"",
    "“enough”",
    "café",
    "—",
    "naïve",
    "£17",
    "東京",
];

/// Appends about `bytes` bytes of sentences, a line break here and there.
pub(crate) fn write(dice: &mut Dice, bytes: usize, out: &mut String) {
    let end = out.len() + bytes;
    let mut sentence = 0;
    while out.len() < end {
        let words = if dice.below(30) == 0 { RARE } else { WORDS };
        out.push_str(words[dice.below(words.len())]);
        sentence += 1;
        let stops = sentence > 5 && dice.below(9) == 0;
        out.push_str(match (stops, dice.below(12)) {
            (true, 0) => ".\n\n",
            (true, _) => ". ",
            (false, 0) => ", ",
            (false, _) => " ",
        });
        if stops {
            sentence = 0;
        }
    }
    out.truncate(out.trim_end().len());
}
