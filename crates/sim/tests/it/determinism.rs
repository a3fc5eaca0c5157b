//! The same seed and the same requests at the same instants give the same answers, log and bill.

use offpeak_sim::World;
use proptest::prelude::*;

use crate::play::{Player, account, config, deeds};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn everything_is_the_same_twice(deeds in deeds(), seed: u64) {
        let run = || {
            let mut world = World::new(config(seed));
            let mut player = Player::new();
            let mut told: Vec<String> =
                deeds.iter().map(|deed| player.play(&mut world, deed)).collect();
            told.push(account(&mut world, player.now));
            told
        };
        prop_assert_eq!(run(), run());
    }
}
