//! Traffic as public traces of chat services have it. No fixed way of marking may be cheaper than offpeak's
//! own decision, which knows none of this.

use offpeak_replay::{PolicyName, Workload};

use crate::played::{quiet, under};

const FIXED: [PolicyName; 4] = [
    PolicyName::Sync,
    PolicyName::LastBlock5m,
    PolicyName::LastBlock1h,
    PolicyName::Second5m,
];

#[test]
fn no_fixed_way_of_marking_is_cheaper() {
    for seed in 0..3 {
        for named in [true, false] {
            let mut trace = Workload::W11.generate(seed);
            if !named {
                let blocks = trace.calls.iter_mut().flat_map(|call| &mut call.blocks);
                blocks.for_each(|block| block.role = None);
            }
            let auto = under(&trace, PolicyName::Auto, &quiet());
            for policy in FIXED {
                let fixed = under(&trace, policy, &quiet());
                assert!(
                    auto.realised < fixed.realised,
                    "seed {seed}, named {named}: {} of naive, {policy} {}",
                    auto.realised_to_naive,
                    fixed.realised_to_naive
                );
            }
        }
    }
}
