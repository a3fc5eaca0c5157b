//! What is believed about an answer: its end, its size, its headers.

use std::time::Duration;

use bytes::Bytes;
use offpeak_client::{Answer, Call, SendError, SendErrorKind as Kind, Sent};

use crate::peer;

/// The answer to one call when the server writes `text` and hangs up.
async fn answer(text: &str) -> Result<Answer, SendError> {
    let (client, mut peers) = peer::client();
    let (answer, ()) = tokio::join!(client.send(peer::post(3)), async {
        let mut peer = peers.accept().await;
        peer::read_head(&mut peer).await;
        peer::read_exactly(&mut peer, 3).await;
        peer::write(&mut peer, text).await;
    });
    answer
}

async fn body(text: &str) -> Result<Bytes, SendError> {
    let answer = answer(text).await.expect("a head");
    answer.body.collect(1000).await
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_cut_answer_is_an_error() {
    let sized = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n";
    for (head, rest) in [
        (sized, ""),
        (sized, "half"),
        (CHUNKED, ""),
        (CHUNKED, "4\r\nhalf\r\n"),
        (CHUNKED, "4\r\nhalf\r\n0\r\n"),
        (CHUNKED, "4\r\nha"),
    ] {
        let error = body(&format!("{head}{rest}")).await.unwrap_err();
        assert!(matches!(error.kind, Kind::Reset), "{rest:?}: {error:?}");
        assert_eq!(error.sent, Sent::Whole);
    }
    assert_eq!(body(&format!("{sized}complete")).await.unwrap(), "complete");
    assert_eq!(
        body(&format!("{CHUNKED}8\r\ncomplete\r\n0\r\n\r\n"))
            .await
            .unwrap(),
        "complete"
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_is_said_once_and_then_the_body_is_over() {
    let mut body = answer(&format!("{CHUNKED}4\r\nhalf\r\n"))
        .await
        .unwrap()
        .body;
    assert_eq!(body.next().await.unwrap().unwrap(), "half");
    assert!(body.next().await.unwrap().is_err());
    assert!(body.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_success_without_an_announced_end_is_not_believed() {
    let error = body("HTTP/1.1 200 OK\r\n\r\nall?").await.unwrap_err();
    assert!(matches!(error.kind, Kind::Protocol), "{error:?}");
    // An error page of an old proxy is only shown, never counted.
    assert_eq!(
        body("HTTP/1.0 502 Bad Gateway\r\n\r\n<html>")
            .await
            .unwrap(),
        "<html>"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_http_is_a_protocol_error() {
    let error = answer("SSH-2.0-OpenSSH_9.6\r\n\r\n").await.unwrap_err();
    assert!(matches!(error.kind, Kind::Protocol), "{error:?}");
    assert_eq!(error.sent, Sent::Whole);
}

#[tokio::test(start_paused = true)]
async fn collect_has_a_limit() {
    let text = format!("{CHUNKED}4\r\n0123\r\n4\r\n4567\r\n0\r\n\r\n");
    assert_eq!(
        answer(&text).await.unwrap().body.collect(8).await.unwrap(),
        "01234567"
    );
    let error = answer(&text)
        .await
        .unwrap()
        .body
        .collect(7)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, Kind::TooLarge { limit: 7 }),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_headers_that_steer_pace_and_time() {
    let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let soon = "retry-after: Sun, 06 Nov 1994 08:50:07 GMT\r\n";
    let past = "retry-after: Sun, 06 Nov 1994 08:49:07 GMT\r\n";
    for (headers, wait) in [
        (String::new(), None),
        ("retry-after: 10\r\n".into(), Some(Duration::from_secs(10))),
        (
            "retry-after: 0.5\r\n".into(),
            Some(Duration::from_millis(500)),
        ),
        (
            "retry-after: 7\r\nretry-after-ms: 250\r\n".into(),
            Some(Duration::from_millis(250)),
        ),
        ("retry-after: -1\r\n".into(), None),
        ("retry-after: NaN\r\n".into(), None),
        ("retry-after: soon\r\n".into(), None),
        (soon.into(), None),
        (format!("{date}{soon}"), Some(Duration::from_secs(30))),
        (format!("{date}{past}"), Some(Duration::ZERO)),
    ] {
        let text = format!("HTTP/1.1 429 Slow\r\ncontent-length: 0\r\n{headers}\r\n");
        assert_eq!(
            answer(&text).await.unwrap().retry_after(),
            wait,
            "{headers}"
        );
    }
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{date}request-id: req_9\r\n\r\n");
    let answer = answer(&text).await.unwrap();
    assert_eq!(answer.server_date_micros(), Some(784_111_777_000_000));
    assert_eq!(answer.request_id(), Some("req_9"));
    assert!(
        answer
            .header_pairs()
            .any(|pair| pair == ("request-id", "req_9"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_unread_answer_frees_nothing_it_should_not() {
    // A call after an answer that was dropped unread must not read the old answer's bytes.
    let (client, mut peers) = peer::client();
    let (first, mut old) = tokio::join!(client.send(Call::get("/v1/models")), async {
        let mut peer = peers.accept().await;
        peer::read_head(&mut peer).await;
        peer::write(
            &mut peer,
            "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nold",
        )
        .await;
        peer
    });
    drop(first.unwrap());
    peer::settle().await;
    let (second, ()) = tokio::join!(client.send(Call::get("/v1/models")), async {
        let mut peer = peers.accept().await;
        peer::read_head(&mut peer).await;
        peer::answer(&mut peer, "200 OK", "new").await;
    });
    assert_eq!(second.unwrap().body.collect(9).await.unwrap(), "new");
    assert_eq!(peer::drain(&mut old).await, 0);
}
