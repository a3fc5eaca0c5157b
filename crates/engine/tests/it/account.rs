//! Batches are pinned to the account that they were made in: with the key of another one they can
//! neither be fetched nor be proved absent.

use std::time::Duration;

use offpeak_core::job::event::Stop;
use offpeak_engine::run::RunEnd;
use offpeak_sim::Config;

use crate::lab::{Lab, Life, rows};

const OTHER: &str = "sk-ant-api03-another-account";

#[test]
fn the_key_of_another_account_pays_nothing_again_whenever_the_first_run_died() {
    let (mut stopped, mut unsent) = (0, 0);
    for millis in (0..600).step_by(40) {
        let mut lab = Lab::new(30, Config::default(), &rows(30, 40));
        assert!(matches!(
            lab.live(Some(Duration::from_millis(millis))),
            Life::Crashed
        ));
        let right = std::mem::replace(&mut lab.key, OTHER);
        let manifest = match lab.live(None) {
            // Nothing had been sent with the first key.
            Life::Finished(manifest) => {
                unsent += 1;
                manifest
            }
            Life::Ended(end) => {
                let RunEnd::Stopped {
                    stop: Stop::OtherAccount { theirs, ours, .. },
                    ..
                } = *end
                else {
                    panic!("{end:?}");
                };
                assert!(!ours.sees_batches_of(&theirs));
                stopped += 1;
                lab.key = right;
                match lab.live(None) {
                    Life::Finished(manifest) => manifest,
                    other => panic!("{other:?}"),
                }
            }
            Life::Crashed => unreachable!("it was left in peace"),
        };
        lab.check(&manifest, 40);
    }
    assert!(stopped > 0 && unsent > 0, "{stopped} {unsent}");
}
