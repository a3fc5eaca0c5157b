//! Files that a user writes for the simulator: answers and faults. What cannot be read is refused with its line, and what
//! can be read can be used.

use offpeak_sim::{AnswerRules, Config, Faults, Request, World};

/// The readers of both files, over any text.
///
/// # Panics
///
/// When a reader does, or a world that follows what was read.
pub fn rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut config = Config::default();
    let mut usable = false;
    match AnswerRules::parse(text) {
        Ok(rules) => {
            usable |= !rules.is_empty();
            config.answers.rules = rules;
        }
        Err(error) => assert!((1..=text.matches('\n').count() + 1).contains(&error.line)),
    }
    if let Ok(faults) = Faults::parse(text) {
        assert_eq!(Faults::parse(text).as_ref(), Ok(&faults));
        usable = true;
        config.faults = faults;
    }
    if let Ok(faults) = Faults::from_json(data) {
        usable = true;
        config.faults = faults;
    }
    if usable {
        let mut world = World::new(config);
        let ask = br#"{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        let request = Request::new("POST", "/v1/messages")
            .signed("sk-fuzz")
            .body(*ask);
        for now in 0..3 {
            let _ = world.handle(now, &request).body.collect();
        }
    }
}
