//! `kill -9` at chosen moments of a run over HTTP, then the same command again: the same answers, and
//! no batch row paid twice.
//!
//! Between the binary and the simulator stands a proxy that knows which byte is on its way when the
//! process dies; so the moments are exact and nothing waits for the clock.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::over_http::{Server, ask, to};
use crate::sandbox::Sandbox;

/// Which exchange the process dies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    List,
    Create,
    Poll,
    Results,
    Message,
}

/// How far the exchange has come by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// Its first bytes have left; the upstream has none of them.
    Begun,
    /// Half of its body is upstream.
    HalfSent,
    /// The upstream has acted and answered; none of the answer arrived.
    Unanswered,
    /// Half of the answer arrived.
    HalfAnswered,
    /// The answer arrived.
    Answered,
}

/// A moment: the `nth` exchange of a kind (from 0), and how far it has come.
pub(crate) type Moment = (Call, u32, Point);

const BATCH_MOMENTS: [Moment; 10] = [
    (Call::List, 0, Point::Unanswered),
    (Call::Create, 0, Point::Begun),
    (Call::Create, 0, Point::Unanswered),
    (Call::Create, 0, Point::Answered),
    (Call::Poll, 0, Point::Unanswered),
    (Call::Results, 0, Point::HalfAnswered),
    (Call::Create, 1, Point::HalfSent),
    (Call::Create, 1, Point::Unanswered),
    (Call::Results, 1, Point::HalfAnswered),
    (Call::Results, 1, Point::Answered),
];

const ROWS: usize = 60;

#[test]
fn ten_kills_of_a_batch_job_pay_no_row_twice() {
    let reference = answers_without_a_kill("");
    std::thread::scope(|scope| {
        let kills = BATCH_MOMENTS.map(|moment| scope.spawn(move || killed_at(moment, "")));
        for (moment, kill) in BATCH_MOMENTS.iter().zip(kills) {
            let (answers, manifest, bill) = kill.join().unwrap();
            assert_eq!(answers, reference, "{moment:?}");
            assert_eq!(bill["duplicates"], 0, "{moment:?}: {bill}");
            assert_eq!(bill["rows"], ROWS, "{moment:?}: {bill}");
            assert_eq!(
                bill["total_picousd"], manifest["cost_picousd"],
                "{moment:?}"
            );
            assert_eq!(manifest["unknown_calls"], 0, "{moment:?}");
        }
    });
}

#[test]
fn a_kill_of_a_synchronous_job_holds_what_nobody_knows() {
    let options = "--needs seconds";
    let reference = answers_without_a_kill(options);
    let pico = |value: &Value| value.as_str().unwrap().parse::<i128>().unwrap();
    for point in [Point::Begun, Point::Unanswered, Point::HalfAnswered] {
        let (answers, manifest, bill) = killed_at((Call::Message, 20, point), options);
        assert_eq!(answers, reference, "{point:?}");
        let lost = pico(&bill["total_picousd"]) - pico(&manifest["cost_picousd"]);
        assert!(
            lost >= 0 && lost <= pico(&manifest["unknown_picousd"]),
            "{point:?}: {lost}"
        );
        let calls = manifest["unknown_calls"].as_u64().unwrap();
        assert!(
            (1..=128).contains(&calls),
            "{point:?}: at most what was in flight, not {calls}"
        );
    }
}

fn command(options: &str) -> String {
    format!("run rows.jsonl --yes --json -q --past-guard {options}")
}

fn prepared() -> Sandbox {
    let sandbox = Sandbox::new();
    let preamble = "Label the topic of the sentence with one word. ".repeat(100);
    let row = |n| {
        format!(
            "{{\"custom_id\":\"r{n}\",\"params\":{{\"model\":\"claude-haiku-5-5\",\
             \"max_tokens\":300,\"system\":\"{preamble}\",\
             \"messages\":[{{\"role\":\"user\",\"content\":\"sentence {n}\"}}]}}}}\n"
        )
    };
    sandbox.write("rows.jsonl", (0..ROWS).map(row).collect::<String>());
    sandbox
}

fn answers_without_a_kill(options: &str) -> Vec<(Value, Value, Value)> {
    let sandbox = prepared();
    let (_server, url) = Server::simulator(&sandbox, "--speed 600");
    let run = to(&url, &sandbox, &command(options)).output().unwrap();
    assert_eq!(
        run.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    answers(&sandbox)
}

fn answers(sandbox: &Sandbox) -> Vec<(Value, Value, Value)> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (
            line["key"].clone(),
            line["status"].clone(),
            line["text"].clone(),
        )
    };
    sandbox.read("rows.out.jsonl").lines().map(line).collect()
}

type Ended = (Vec<(Value, Value, Value)>, Value, Value);

/// Runs until the moment, kills, runs again to the end.
fn killed_at(moment: Moment, options: &str) -> Ended {
    let sandbox = prepared();
    let (_server, upstream) = Server::simulator(&sandbox, "--speed 600");
    let (url, reached) = Proxy::start(&upstream, moment);
    let mut run = to(&url, &sandbox, &command(options)).spawn().unwrap();
    reached.recv().unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(
        !sandbox.path("rows.out.jsonl").exists(),
        "{moment:?}: it had not finished"
    );
    let again = to(&url, &sandbox, &command(options)).output().unwrap();
    let told = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(0), "{moment:?}: {told}");
    let manifest = serde_json::from_slice(&again.stdout).unwrap();
    (answers(&sandbox), manifest, ask(&upstream, "/_sim/bill"))
}

/// Passes exchanges on, except that it stops for ever at its moment, once.
pub(crate) struct Proxy {
    upstream: String,
    moment: Moment,
    /// Exchanges seen of the kind of the moment.
    seen: AtomicU32,
    reached: Mutex<Sender<()>>,
}

/// Why a connection ends.
enum End {
    /// The moment came, or somebody closed.
    Over,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Over
    }
}

impl Proxy {
    pub(crate) fn start(upstream: &str, moment: Moment) -> (String, Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, receiver) = channel();
        let proxy = Arc::new(Self {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            moment,
            seen: AtomicU32::new(0),
            reached: Mutex::new(sender),
        });
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (proxy, client) = (Arc::clone(&proxy), client.unwrap());
                std::thread::spawn(move || proxy.carry(client));
            }
        });
        (url, receiver)
    }

    fn carry(&self, mut client: TcpStream) {
        let mut server = TcpStream::connect(&self.upstream).unwrap();
        while let Ok(()) = self.exchange(&mut client, &mut server) {}
    }

    fn exchange(&self, client: &mut TcpStream, server: &mut TcpStream) -> Result<(), End> {
        let head = read_head(client)?;
        let point = self.point_of(&head);
        self.stop_at(point, Point::Begun)?;
        server.write_all(head.as_bytes())?;
        let body = content_length(&head).unwrap_or(0);
        pass_on(client, server, body / 2)?;
        self.stop_at(point, Point::HalfSent)?;
        pass_on(client, server, body - body / 2)?;
        let answer = read_answer(server)?;
        self.stop_at(point, Point::Unanswered)?;
        let (first, second) = answer.split_at(answer.len() / 2);
        client.write_all(first)?;
        self.stop_at(point, Point::HalfAnswered)?;
        client.write_all(second)?;
        self.stop_at(point, Point::Answered)
    }

    /// Where this exchange is to stop, if it is the one.
    fn point_of(&self, head: &str) -> Option<Point> {
        let (call, nth, point) = self.moment;
        let line = head.lines().next().unwrap_or_default();
        let is_it = kind_of(line) == Some(call) && self.seen.fetch_add(1, Ordering::SeqCst) == nth;
        is_it.then_some(point)
    }

    fn stop_at(&self, chosen: Option<Point>, here: Point) -> Result<(), End> {
        if chosen != Some(here) {
            return Ok(());
        }
        self.reached.lock().unwrap().send(()).unwrap();
        // The connection stays open until the process is dead: closing it would tell the process.
        loop {
            std::thread::park();
        }
    }
}

fn kind_of(line: &str) -> Option<Call> {
    let (method, path) = line.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
    Some(match (method, path) {
        ("POST", "/v1/messages") => Call::Message,
        ("POST", "/v1/messages/batches") => Call::Create,
        ("GET", _) if path.ends_with("/results") => Call::Results,
        ("GET", _) if path.starts_with("/v1/messages/batches?") => Call::List,
        ("GET", _) if path.starts_with("/v1/messages/batches/") => Call::Poll,
        _ => return None,
    })
}

fn read_head(from: &mut TcpStream) -> Result<String, End> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn content_length(head: &str) -> Option<usize> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    found.1.parse().ok()
}

/// Passes so many bytes on.
fn pass_on(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) -> Result<(), End> {
    let mut body = vec![0; bytes];
    from.read_exact(&mut body)?;
    Ok(to.write_all(&body)?)
}

/// A whole answer: of a known length, or in chunks.
fn read_answer(server: &mut TcpStream) -> Result<Vec<u8>, End> {
    let head = read_head(server)?;
    let mut answer = head.clone().into_bytes();
    if let Some(length) = content_length(&head) {
        let start = answer.len();
        answer.resize(start + length, 0);
        server.read_exact(&mut answer[start..])?;
        return Ok(answer);
    }
    let mut byte = [0];
    while !answer.ends_with(b"\r\n0\r\n\r\n") {
        server.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    Ok(answer)
}
