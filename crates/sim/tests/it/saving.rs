//! A world that is saved and loaded goes on as if nothing had happened.

use offpeak_sim::{BadState, Config, World};
use proptest::prelude::*;

use crate::harness::{Client, HOUR, rows};
use crate::play::{Player, account, config, deeds};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_loaded_world_answers_as_the_one_that_went_on(
        before in deeds(), after in deeds(), seed in 0u64..1_000,
    ) {
        let mut world = World::new(config(seed));
        let mut player = Player::new();
        for deed in &before {
            player.play(&mut world, deed);
        }
        let saved = world.save();
        let mut loaded = World::load(&saved, config(seed)).unwrap();
        prop_assert!(loaded.save() == saved);
        let mut double = player.clone();
        for deed in &after {
            let told = player.play(&mut world, deed);
            prop_assert_eq!(double.play(&mut loaded, deed), told);
        }
        player.now += HOUR;
        prop_assert_eq!(account(&mut loaded, player.now), account(&mut world, player.now));
        prop_assert!(loaded.save() == world.save());
    }

    #[test]
    fn a_damaged_state_is_refused(at in any::<prop::sample::Index>(), bit in 0u8..8, cut: bool) {
        let mut client = Client::new(Config::default());
        client.create(&rows(3));
        let mut bytes = client.world.save();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        prop_assert!(World::load(&bytes, Config::default()).is_err());
    }
}

#[test]
fn what_does_not_fit_is_said_with_what_to_do() {
    let saved = World::new(Config::default()).save();
    let load = |bytes: &[u8], seed| {
        let config = Config {
            seed,
            ..Config::default()
        };
        World::load(bytes, config).unwrap_err()
    };
    assert_eq!(load(&saved, 1), BadState::Seed(0));
    assert_eq!(load(b"{}", 0), BadState::Foreign);
    assert_eq!(load(&saved[..saved.len() - 1], 0), BadState::Damaged);
    let newer = [b"offpeak-sim state 2\n", &saved[20..]].concat();
    let error = load(&newer, 0);
    assert_eq!(error, BadState::Format("2".to_owned()));
    assert!(error.to_string().contains("remove it to start afresh"));
}

#[test]
fn a_state_is_small() {
    let mut client = Client::new(Config::default());
    client.create(&rows(10_000));
    client.wait(HOUR);
    client.world.advance(client.now);
    let bytes = client.world.save().len();
    assert!(bytes < 10_000 * 60, "{bytes} bytes for 10,000 rows");
}
