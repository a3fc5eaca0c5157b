//! The referee against bills that are worked out by hand.

use super::*;
use crate::stamp::{self, HOUR};

const MODEL: &str = "claude-sonnet-4-5";

fn referee(profile: Profile) -> Referee {
    Referee::new(RefereeRules {
        seed: 1,
        profile,
        line: None,
        workers: 50,
        cache: CacheRules::default(),
        first_byte: 800_000,
        min_cacheable: None,
        limits: Limits::default(),
        outage: None,
        prices_at: stamp::midnight("2026-11-22").unwrap(),
    })
}

fn play<'a>(call: u64, blocks: &'a [(u64, u32)], marks: &'a [(usize, Ttl)]) -> Play<'a> {
    Play {
        call,
        model: MODEL,
        blocks,
        marks,
        output: 80,
    }
}

fn played(called: Result<Called, Foul>) -> Played {
    match called {
        Ok(Called::Played(played)) => played,
        other => panic!("{other:?}"),
    }
}

#[test]
fn above_a_limit_and_in_an_outage_calls_are_refused_and_cost_nothing() {
    let mut referee = Referee::new(RefereeRules {
        limits: Limits {
            messages: 60,
            ..Limits::start()
        },
        outage: Some(Outage {
            from: 100 * SECOND,
            to: 200 * SECOND,
        }),
        ..referee(Profile::Fast).rules
    });
    let blocks = [(1, 100)];
    let call = |referee: &mut Referee, at: i64| referee.call(at, &play(0, &blocks, &[]));
    for sent in 1..=60 {
        let left = played(call(&mut referee, 0)).left.expect("limits are told");
        let (limit, left) = (left[0].limit, left[0].left);
        assert_eq!((limit, left), (60, 60 - sent));
    }
    let billed = referee.total();
    let refused = |overloaded, retry_after, at| {
        Ok(Called::Refused(Refused {
            overloaded,
            retry_after,
            at,
        }))
    };
    let limited = refused(false, Some(SECOND), REFUSAL);
    assert_eq!(call(&mut referee, 0), limited);
    assert_eq!(referee.total(), billed);
    played(call(&mut referee, SECOND));
    let down = refused(true, None, 100 * SECOND + REFUSAL);
    assert_eq!(call(&mut referee, 100 * SECOND), down);
    played(call(&mut referee, 200 * SECOND));
}

#[test]
fn a_call_is_written_then_read_once_its_answer_has_begun() {
    let mut referee = referee(Profile::Fast);
    let (blocks, marks) = ([(1, 4_000), (2, 100)], [(0, Ttl::FiveMinutes)]);
    let read = |referee: &mut Referee, at| {
        let played = played(referee.call(at, &play(0, &blocks, &marks)));
        (played.tally.read, played.tally.write_5m, played.tally.input)
    };
    assert_eq!(read(&mut referee, 0), (0, 4_000, 100));
    assert_eq!(read(&mut referee, 799_999), (0, 4_000, 100));
    assert_eq!(read(&mut referee, 800_000), (4_000, 0, 100));
    assert_eq!(read(&mut referee, 300 * SECOND + 800_000), (0, 4_000, 100));
    let played = played(referee.call(0, &play(0, &[(7, 10)], &[])));
    assert_eq!(played.pico, 10 * 3_000_000 + 80 * 15_000_000);
    assert_eq!(played.ends, 800_000 + SECOND);
}

#[test]
fn below_the_minimum_and_beyond_the_look_back_nothing_is_read() {
    let mut referee = referee(Profile::Fast);
    let short = [(1, 1_000)];
    for at in [0, 10 * SECOND] {
        let played = played(referee.call(at, &play(0, &short, &[(0, Ttl::OneHour)])));
        assert_eq!(played.tally.input, 1_000);
    }
    let long: Vec<(u64, u32)> = (0..22).map(|n| (n, 1_024)).collect();
    let mark = |at: usize| [(at, Ttl::OneHour)];
    referee.call(0, &play(0, &long[..1], &mark(0))).unwrap();
    let at = |referee: &mut Referee, last: usize| {
        let blocks = &long[..=last];
        played(referee.call(SECOND, &play(0, blocks, &mark(last))))
            .tally
            .read
    };
    assert_eq!(at(&mut referee, 20), 0, "21 positions away");
    assert_eq!(at(&mut referee, 19), 1_024);
}

#[test]
fn rows_are_billed_at_half_when_their_batch_has_ended() {
    let mut referee = referee(Profile::Fast);
    let (blocks, marks) = ([(1, 4_000)], [(0, Ttl::OneHour)]);
    let plays: Vec<Play<'_>> = (0..70).map(|n| play(n, &blocks, &marks)).collect();
    let number = referee.submit(0, &plays).unwrap();
    let end = referee.next_end().unwrap();
    assert!(referee.advance(end - 1).is_empty());
    let ended = referee.advance(end);
    assert_eq!((ended.len(), ended[0].batch), (1, number));
    let written = ended[0]
        .rows
        .iter()
        .filter(|row| matches!(row, RowEnd::Succeeded { tally, .. } if tally.write_1h > 0));
    assert_eq!(written.count(), 50, "all that start together write");
    let pico = 50 * 4_000 * 3_000_000 + 20 * 4_000 * 150_000 + 70 * 80 * 7_500_000;
    assert_eq!(referee.total(), pico);
}

#[test]
fn what_is_given_up_costs_nothing() {
    let mut referee = referee(Profile::Dead);
    let blocks = [(1, 100)];
    referee.submit(0, &[play(0, &blocks, &[])]).unwrap();
    let canceled = referee.submit(0, &[play(1, &blocks, &[])]).unwrap();
    referee.cancel(HOUR, canceled);
    let ended = referee.advance(HOUR + CANCEL_SETTLES);
    assert_eq!(ended[0].rows, [RowEnd::Canceled]);
    assert_eq!(referee.advance(24 * HOUR)[0].rows, [RowEnd::Expired]);
    assert_eq!(referee.total(), 0);
}

#[test]
fn illegal_prompts_are_fouls() {
    let mut referee = referee(Profile::Fast);
    let blocks = [(1, 10), (2, 10), (3, 10), (4, 10), (5, 10)];
    let five = Ttl::FiveMinutes;
    let foul = |referee: &mut Referee, marks: &[(usize, Ttl)]| {
        referee.call(0, &play(0, &blocks, marks)).unwrap_err()
    };
    let all: Vec<(usize, Ttl)> = (0..5).map(|at| (at, five)).collect();
    assert_eq!(foul(&mut referee, &all), Foul::TooManyMarks(5));
    assert_eq!(foul(&mut referee, &[(5, five)]), Foul::MisplacedMark(5));
    assert_eq!(
        foul(&mut referee, &[(1, five), (1, five)]),
        Foul::MisplacedMark(1)
    );
    let mixed = [(1, five), (2, Ttl::OneHour)];
    assert_eq!(foul(&mut referee, &mixed), Foul::HourBelowFive(2));
    let unknown = Play {
        model: "claude-sonnet-9",
        ..play(0, &blocks, &[])
    };
    assert!(matches!(
        referee.call(0, &unknown),
        Err(Foul::UnknownModel(_))
    ));
    assert_eq!(referee.submit(0, &[]), Err(Foul::BatchSize(0)));
}
