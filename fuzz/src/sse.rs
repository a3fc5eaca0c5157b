//! The decoder of event streams, in any pieces, against a reading of the whole that goes line by line.

use offpeak_wire::sse::{Decoder, Event};

/// `Decoder`, over any bytes; the first says how long the pieces are.
///
/// # Panics
///
/// Where pieces make a difference, or the decoder disagrees with the plain reading.
pub fn sse(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else {
        return;
    };
    let expected = plainly(stream);
    for step in [usize::from(first).max(1), 1, stream.len().max(1)] {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in stream.chunks(step) {
            decoder
                .push(piece, &mut events)
                .expect("a fuzzer's events are short");
        }
        assert_eq!(events, expected, "in pieces of {step}");
        if stream.ends_with(b"data\n\n") {
            assert!(decoder.is_between_events());
        }
    }
}

/// The standard's own steps, over the whole stream.
fn plainly(stream: &[u8]) -> Vec<Event> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    for line in lines(stream) {
        if line.is_empty() {
            let name = std::mem::take(&mut name);
            events.extend(data.take().map(|data| Event { name, data }));
            continue;
        }
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let field = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match (field, &mut data) {
            (b"event", _) => name = value.to_vec(),
            (b"data", Some(data)) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            (b"data", none) => *none = Some(value.to_vec()),
            _ => {}
        }
    }
    events
}

/// The lines that have ended, by any of the three line breaks.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
    while at < stream.len() {
        let broken = match stream[at..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => 0,
        };
        if broken > 0 {
            lines.push(&stream[start..at]);
            start = at + broken;
        }
        at += broken.max(1);
    }
    lines
}
