//! The help of every command: the interface, as it is documented.

use crate::sandbox::{Sandbox, assert_said};

#[test]
fn every_command_explains_itself() {
    let sandbox = Sandbox::new();
    assert_said("help", &sandbox.offpeak("--help"));
    for command in [
        "plan",
        "run",
        "jobs",
        "status",
        "cancel",
        "verify",
        "reconcile",
        "purge",
        "sim",
        "prices",
        "replay",
        "doctor",
    ] {
        assert_said(
            &format!("help_{command}"),
            &sandbox.offpeak(&format!("{command} --help")),
        );
    }
}

#[test]
fn what_is_typed_wrong_is_exit_2() {
    let sandbox = Sandbox::new();
    assert_said("typed_nothing", &sandbox.offpeak(""));
    for (name, arguments) in [
        ("typed_an_unknown_command", "rnu x.jsonl"),
        (
            "typed_two_needs",
            "run x.jsonl --needs seconds --deadline 8h",
        ),
        ("typed_a_wrong_deadline", "run x.jsonl --deadline soon"),
        ("typed_a_wrong_budget", "run x.jsonl --budget lots"),
        ("typed_a_seed_without_simulator", "run x.jsonl --sim-seed 1"),
        ("typed_a_wrong_day", "prices --at yesterday"),
    ] {
        let said = sandbox.offpeak(arguments);
        assert_eq!(said.exit, Some(2), "{arguments}");
        assert_said(name, &said);
    }
}
