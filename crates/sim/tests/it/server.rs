//! The world over HTTP: in process with a paused clock, and on a real socket.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use offpeak_sim::server::{Clock, Upstream, serve};
use offpeak_sim::{Config, Endpoint, Fault, Faults, ResultFaults, StreamFault, World};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::harness::{BATCHES, START, envelope, params, rows};

/// Wall time that follows tokio's clock, which a test may have paused.
fn clock() -> Clock {
    let zero = now();
    Arc::new(move || {
        let elapsed = now() - zero;
        START + i64::try_from(elapsed.as_micros()).unwrap()
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests' one reading of tokio's clock"
)]
fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn upstream(faults: Faults) -> (Arc<Mutex<World>>, Upstream) {
    let config = Config {
        faults,
        ..Config::default()
    };
    let world = Arc::new(Mutex::new(World::new(config)));
    let upstream = Upstream::new(Arc::clone(&world), clock());
    (world, upstream)
}

type Answer = (u16, Result<Bytes, hyper::Error>);

async fn exchange(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    target: &str,
    body: impl Into<Bytes>,
) -> Result<Answer, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    let request = http::Request::builder()
        .method(method)
        .uri(target)
        .header("host", "sim.test")
        .header("x-api-key", "key")
        .header("anthropic-version", "2023-06-01")
        .body(Full::new(body.into()))
        .unwrap();
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    loop {
        match body.frame().await {
            None => return Ok((status, Ok(bytes.into()))),
            Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            // What came before the break is lost on purpose: nobody may rely on it.
            Some(Err(error)) => return Ok((status, Err(error))),
        }
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(answer.1.as_ref().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_batch_from_create_to_results_under_paused_time() {
    let (world, upstream) = upstream(Faults::none());
    let created = exchange(upstream.connect(), "POST", BATCHES, envelope(&rows(2_000))).await;
    let id = json(&created.unwrap())["id"].as_str().unwrap().to_owned();
    tokio::time::advance(Duration::from_secs(1_800)).await;
    let target = format!("{BATCHES}/{id}");
    let batch = json(
        &exchange(upstream.connect(), "GET", &target, "")
            .await
            .unwrap(),
    );
    assert_eq!(batch["processing_status"], "ended");
    let url = format!("http://sim.test{target}/results");
    assert_eq!(batch["results_url"], url);
    let target = format!("{target}/results");
    let (status, lines) = exchange(upstream.connect(), "GET", &target, "")
        .await
        .unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        lines.unwrap().iter().filter(|&&b| b == b'\n').count(),
        2_000
    );
    assert_eq!(world.lock().unwrap().bill().rows(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_its_time() {
    let (_, upstream) = upstream(Faults::none());
    let before = now();
    let body = params("Hello.").to_string();
    let answer = exchange(upstream.connect(), "POST", "/v1/messages", body)
        .await
        .unwrap();
    assert_eq!(answer.0, 200);
    let tokens = json(&answer)["usage"]["output_tokens"].as_u64().unwrap();
    let elapsed = before.elapsed().as_millis();
    let wanted = u128::from(tokens) * 1_000 / 80 + 800;
    assert!(
        elapsed.abs_diff(wanted) <= 210,
        "{elapsed} ms, wanted {wanted}"
    );
}

fn streamed() -> String {
    let mut params = params("Hello.");
    params["stream"] = Value::from(true);
    params.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_stream_takes_the_time_of_its_tokens() {
    let (_, upstream) = upstream(Faults::none());
    let before = now();
    let answer = exchange(upstream.connect(), "POST", "/v1/messages", streamed()).await;
    let (status, body) = answer.unwrap();
    assert_eq!(status, 200);
    let text = String::from_utf8(body.unwrap().to_vec()).unwrap();
    assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    let usage = text.rsplit_once("\"output_tokens\":").unwrap().1;
    let tokens: u128 = usage.split(',').next().unwrap().parse().unwrap();
    let (elapsed, wanted) = (before.elapsed().as_millis(), tokens * 1_000 / 80 + 800);
    assert!(
        elapsed.abs_diff(wanted) <= 210,
        "{elapsed} ms, wanted {wanted}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_or_stalls() {
    let (truncated, stalled) = (
        StreamFault::Truncated { after_percent: 40 },
        StreamFault::Stalled { after_percent: 40 },
    );
    let faults = Faults::none()
        .at(Endpoint::Messages, 0, Fault::Stream(truncated))
        .at(Endpoint::Messages, 1, Fault::Stream(stalled));
    let (world, upstream) = upstream(faults);
    let (status, body) = exchange(upstream.connect(), "POST", "/v1/messages", streamed())
        .await
        .unwrap();
    assert_eq!(status, 200);
    assert!(body.is_err(), "cut off, not ended");
    let call = exchange(upstream.connect(), "POST", "/v1/messages", streamed());
    let hours = tokio::time::timeout(Duration::from_secs(7_200), call).await;
    assert!(hours.is_err(), "nothing more ever comes");
    assert_eq!(world.lock().unwrap().bill().calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn broken_connections_break() {
    let faults = Faults::none()
        .at(Endpoint::Create, 0, Fault::ResetBeforeAccept)
        .at(Endpoint::Create, 1, Fault::ResetAfterAccept);
    let (world, upstream) = upstream(faults);
    for batches in [0, 1] {
        let io = upstream.connect();
        let error = exchange(io, "POST", BATCHES, envelope(&rows(2)))
            .await
            .unwrap_err();
        assert!(!error.is_user(), "{error:?}");
        assert_eq!(world.lock().unwrap().bill().batches(), batches);
    }
    let answer = exchange(upstream.connect(), "POST", BATCHES, envelope(&rows(2)))
        .await
        .unwrap();
    assert_eq!(answer.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_cut_download_is_an_error_not_an_end() {
    let results = ResultFaults {
        truncated: 1.0,
        ..ResultFaults::default()
    };
    let (_, upstream) = upstream(Faults {
        results,
        ..Faults::none()
    });
    let created = exchange(upstream.connect(), "POST", BATCHES, envelope(&rows(300))).await;
    let id = json(&created.unwrap())["id"].as_str().unwrap().to_owned();
    tokio::time::advance(Duration::from_secs(1_800)).await;
    let target = format!("{BATCHES}/{id}/results");
    let (status, body) = exchange(upstream.connect(), "GET", &target, "")
        .await
        .unwrap();
    assert_eq!(status, 200);
    assert!(body.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_body_above_the_limit_is_refused() {
    let (_, upstream) = upstream(Faults::none());
    let body = vec![b' '; 32_000_100];
    let answer = exchange(upstream.connect(), "POST", "/v1/messages", body)
        .await
        .unwrap();
    assert_eq!(answer.0, 413);
}

#[tokio::test]
async fn a_real_socket() {
    let (_, upstream) = upstream(Faults::none());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, upstream));
    let io = tokio::net::TcpStream::connect(address).await.unwrap();
    let answer = exchange(io, "POST", BATCHES, envelope(&rows(1)))
        .await
        .unwrap();
    assert_eq!(
        (answer.0, json(&answer)["type"].as_str()),
        (200, Some("message_batch"))
    );
    let io = tokio::net::TcpStream::connect(address).await.unwrap();
    let bill = json(&exchange(io, "GET", "/_sim/bill", "").await.unwrap());
    assert_eq!(
        (&bill["total_picousd"], &bill["batches"]),
        (&Value::from("0"), &Value::from(1))
    );
    server.abort();
}
