//! Time limits, under paused time: no test here takes longer than its computation.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offpeak_client::clock::Clock;
use offpeak_client::{BaseUrl, Call, Client, Connector, Options, SendErrorKind as Kind, Sent};

use crate::peer;

const SECOND: i64 = 1_000_000;

#[tokio::test(start_paused = true)]
async fn no_connection_within_ten_seconds() {
    let connect: Connector = Arc::new(|| Box::pin(pending()));
    let client = Client::over(
        connect,
        BaseUrl::anthropic(),
        peer::auth(),
        Options::default(),
    );
    let clock = Clock::starting_at(0);
    for call in [peer::post(3), Call::get("/v1/models")] {
        let start = clock.now();
        let error = client.send(call).await.unwrap_err();
        assert!(matches!(error.kind, Kind::Connect), "{error:?}");
        assert_eq!(error.sent, Sent::Nothing);
        assert_eq!((clock.now() - start) / SECOND, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_leaves_the_outcome_open() {
    let (client, mut peers) = peer::client();
    let clock = Clock::starting_at(0);
    let (error, mut peer) = tokio::join!(client.send(peer::post(3)), async {
        let mut peer = peers.accept().await;
        peer::read_head(&mut peer).await;
        peer::read_exactly(&mut peer, 3).await;
        peer
    });
    let error = error.unwrap_err();
    assert!(matches!(error.kind, Kind::Timeout), "{error:?}");
    assert_eq!(error.sent, Sent::Whole);
    assert_eq!(clock.now() / SECOND, 600);
    assert_eq!(
        peer::drain(&mut peer).await,
        0,
        "the connection is closed, not kept"
    );
    assert!(peers.none_left());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_upload_proves_a_part_and_no_byte_follows() {
    const MANY: usize = 4_000_000;
    let (client, mut peers) = peer::client();
    let (error, mut peer) = tokio::join!(client.send(peer::post(MANY)), async {
        let mut peer = peers.accept().await;
        peer::read_head(&mut peer).await;
        peer
    });
    let error = error.unwrap_err();
    assert!(matches!(error.kind, Kind::Timeout), "{error:?}");
    assert_eq!(error.sent, Sent::Part);
    // The server wakes up and reads on; the proof must not become untrue.
    let arrived = peer::drain(&mut peer).await;
    assert!(arrived < MANY, "{arrived} bytes arrived");
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_that_moves_is_not_timed_out() {
    let (client, mut peers) = peer::client();
    let (call, producer) = peer::stream(500);
    let clock = Clock::starting_at(0);
    let feed = async move {
        for _ in 0..5 {
            producer
                .send(Ok(Bytes::from(vec![b'7'; 100])))
                .await
                .unwrap();
            tokio::time::advance(Duration::from_secs(400)).await;
        }
    };
    let server = async {
        let mut peer = peers.accept().await;
        peer::read_head(&mut peer).await;
        peer::read_exactly(&mut peer, 500).await;
        peer::answer(&mut peer, "200 OK", "{}").await;
    };
    let (answer, (), ()) = tokio::join!(client.send(call), feed, server);
    assert_eq!(answer.unwrap().status, 200);
    assert!(clock.now() / SECOND >= 2000);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stalls_is_an_error() {
    let (client, mut peers) = peer::client();
    let clock = Clock::starting_at(0);
    let (answer, peer) = tokio::join!(client.send(peer::post(3)), async {
        let mut peer = peers.accept().await;
        peer::read_head(&mut peer).await;
        peer::write(
            &mut peer,
            "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf",
        )
        .await;
        peer
    });
    let error = answer.unwrap().body.collect(100).await.unwrap_err();
    assert!(matches!(error.kind, Kind::Timeout), "{error:?}");
    assert_eq!(error.sent, Sent::Whole);
    assert_eq!(clock.now() / SECOND, 120);
    drop(peer);
}
