//! Server-sent events: framing by the standard, and the same events whatever the pieces.

use offpeak_wire::sse::{Decoder, Event, EventTooLong};
use proptest::prelude::*;

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Decoder) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        decoder
            .push(piece, &mut events)
            .expect("no event is that long");
    }
    (events, decoder)
}

fn event(name: &str, data: &str) -> Event {
    Event {
        name: name.into(),
        data: data.into(),
    }
}

#[test]
fn the_framing_of_the_standard() {
    let cases: [(&str, Vec<Event>); 9] = [
        ("event: ping\ndata: {}\n\n", vec![event("ping", "{}")]),
        ("data: a\r\ndata: b\r\n\r\n", vec![event("", "a\nb")]),
        (
            "data: a\rdata\r\rdata:b\r\r",
            vec![event("", "a\n"), event("", "b")],
        ),
        (": a comment\n\ndata: x\n\n", vec![event("", "x")]),
        (
            "event: nothing\n\ndata:  two spaces\n\n",
            vec![event("", " two spaces")],
        ),
        (
            "id: 7\nretry: 10\nwhat: ever\ndata: x\n\n",
            vec![event("", "x")],
        ),
        ("\u{feff}data: x\n\n", vec![event("", "x")]),
        ("data: \u{feff}é\n\n", vec![event("", "\u{feff}é")]),
        ("data: cut short\n", vec![]),
    ];
    for (text, wanted) in cases {
        assert_eq!(decode([text.as_bytes()]).0, wanted, "{text:?}");
    }
}

#[test]
fn an_end_in_the_middle_can_be_told() {
    assert!(decode([&b"data: x\n\n"[..]]).1.is_between_events());
    assert!(decode([&b"data: x\r\n\r"[..]]).1.is_between_events());
    for cut in ["data: x\n", "da", "event: ping\n"] {
        assert!(!decode([cut.as_bytes()]).1.is_between_events(), "{cut:?}");
    }
}

#[test]
fn memory_is_bounded() {
    let mut decoder = Decoder::with_limit(100);
    let mut events = Vec::new();
    for _ in 0..10 {
        decoder.push(b"data: 0123456789\n\n", &mut events).unwrap();
    }
    assert_eq!(events.len(), 10);
    let line = [b'x'; 60];
    assert_eq!(decoder.push(&line, &mut events), Ok(()));
    assert_eq!(
        decoder.push(&line, &mut events),
        Err(EventTooLong { limit: 100 })
    );
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\r\n".to_owned()),
        Just("data: ".to_owned()),
        Just("event:".to_owned()),
        Just(":".to_owned()),
        ".{0,5}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_events(bytes in stream(), cuts in prop::collection::vec(0usize..200, 0..12)) {
        let whole = decode([&bytes[..]]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        let parts = decode(pieces);
        prop_assert_eq!(&whole.0, &parts.0);
        prop_assert_eq!(whole.1.is_between_events(), parts.1.is_between_events());
        let single = decode(bytes.chunks(1));
        prop_assert_eq!(whole.0, single.0);
    }

    #[test]
    fn data_comes_out_byte_for_byte(lines in prop::collection::vec("[^\r\n]{0,20}", 1..5), name in "[a-z_]{1,20}") {
        let mut text = format!("event: {name}\n");
        for line in &lines {
            text += &format!("data: {line}\n");
        }
        text += "\n";
        prop_assert_eq!(decode([text.as_bytes()]).0, vec![event(&name, &lines.join("\n"))]);
    }
}
