//! A budget for calls: the worst case of each is set aside before it is sent, and given back but for its
//! price when it was answered. So no order and no length of answers can exceed the budget.
//!
//! Leaves out jobs, whose ledger is durable (`job`, budget), and what the worst case is (`price`).

use std::collections::BTreeMap;

use crate::units::Usd;

/// What may be spent, what was, and what is set aside.
#[derive(Debug, Clone)]
pub struct Purse {
    budget: Usd,
    spent: Usd,
    held: BTreeMap<u64, Usd>,
}

impl Purse {
    /// A full one.
    #[must_use]
    pub fn new(budget: Usd) -> Self {
        Self {
            budget,
            spent: Usd::ZERO,
            held: BTreeMap::new(),
        }
    }

    /// What is neither spent nor set aside.
    #[must_use]
    pub fn left(&self) -> Usd {
        self.budget - self.spent - self.held.values().copied().sum::<Usd>()
    }

    /// What was paid.
    #[must_use]
    pub fn spent(&self) -> Usd {
        self.spent
    }

    /// Whether nothing is set aside: then nothing will come back either.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.held.is_empty()
    }

    /// Sets the worst case of a call aside, if so much is left.
    ///
    /// # Panics
    ///
    /// When there is something set aside for it already.
    #[must_use]
    pub fn hold(&mut self, call: u64, worst: Usd) -> bool {
        let fits = worst <= self.left();
        if fits {
            let before = self.held.insert(call, worst);
            assert!(before.is_none(), "call {call} holds money already");
        }
        fits
    }

    /// A call was answered at that price. Nothing was set aside for calls that went out unasked.
    pub fn settle(&mut self, call: u64, price: Usd) {
        self.held.remove(&call);
        self.spent += price;
    }

    /// A call was not answered, and cost nothing.
    pub fn release(&mut self, call: u64) {
        self.held.remove(&call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_answers_cost_the_budget_holds_and_less_than_one_worst_case_is_left_over(
            budget in 1i128..2_000,
            calls in prop::collection::vec((1i128..100, 0.0f64..=1.0, any::<bool>()), 1..60),
            at_once in 1usize..10,
        ) {
            let usd = Usd::from_pico;
            let mut purse = Purse::new(usd(budget));
            let mut flying = std::collections::VecDeque::new();
            let mut refused: Option<i128> = None;
            let land = |purse: &mut Purse, (call, price, answered): (u64, i128, bool)| {
                if answered { purse.settle(call, usd(price)) } else { purse.release(call) }
            };
            for (number, (worst, share, answered)) in (0u64..).zip(calls) {
                while flying.len() >= at_once {
                    land(&mut purse, flying.pop_front().unwrap());
                }
                while !purse.hold(number, usd(worst)) {
                    match flying.pop_front() {
                        Some(landing) => land(&mut purse, landing),
                        None => {
                            refused = Some(refused.map_or(worst, |least| least.min(worst)));
                            break;
                        }
                    }
                }
                if purse.held.contains_key(&number) {
                    #[expect(clippy::cast_possible_truncation, reason = "below a hundred")]
                    let price = (worst as f64 * share) as i128;
                    flying.push_back((number, price, answered));
                }
                prop_assert!(purse.left() >= Usd::ZERO);
            }
            for landing in flying {
                land(&mut purse, landing);
            }
            prop_assert!(purse.is_settled());
            prop_assert!(purse.spent() <= usd(budget));
        }
    }

    #[test]
    fn what_comes_back_can_be_spent_again() {
        let usd = |cents: i128| Usd::from_pico(cents * 10_000_000_000);
        let mut purse = Purse::new(usd(100));
        assert!(purse.hold(1, usd(60)));
        assert!(!purse.hold(2, usd(60)));
        purse.settle(1, usd(10));
        assert_eq!((purse.left(), purse.spent()), (usd(90), usd(10)));
        assert!(purse.hold(2, usd(60)) && !purse.is_settled());
        purse.release(2);
        assert_eq!(purse.left(), usd(90));
    }
}
