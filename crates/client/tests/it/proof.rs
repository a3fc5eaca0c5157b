//! What a failed attempt proves: `Nothing`, `Part` or `Whole`, for every way a connection can fail. Where no socket is
//! involved, time is paused, so that an attempt that should have failed and waits instead fails its test at once.

use std::io;

use bytes::Bytes;
use offpeak_client::{
    BaseUrl, Body, Call, CallError, Client, Options, SendErrorKind as Kind, Sent,
};
use tokio::net::TcpListener;

use crate::peer::{self, BATCHES};

const MANY: usize = 4_000_000;

#[tokio::test]
async fn refused_and_unusable_connections_prove_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = |scheme: &str| {
        let base = BaseUrl::parse(&format!("{scheme}://{address}")).unwrap();
        Client::https(base, peer::auth(), Options::default()).unwrap()
    };
    // A server that does not speak TLS.
    let tls = client("https");
    let (error, ()) = tokio::join!(tls.send(peer::post(10)), async {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"hello")
            .await
            .unwrap();
    });
    let error = error.unwrap_err();
    assert!(matches!(error.kind, Kind::Connect), "{error:?}");
    assert_eq!(error.sent, Sent::Nothing);

    drop(listener);
    for call in [peer::post(10), Call::get("/v1/models")] {
        let error = client("http").send(call).await.unwrap_err();
        assert!(matches!(error.kind, Kind::Connect), "{error:?}");
        assert_eq!(error.sent, Sent::Nothing);
        assert!(error.source.is_some() && error.proves_absence());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_middle_proves_a_part() {
    let (client, mut peers) = peer::client();
    let (error, ()) = tokio::join!(client.send(peer::post(MANY)), async {
        let mut peer = peers.accept().await;
        peer::read_head(&mut peer).await;
        peer::read_exactly(&mut peer, MANY / 2).await;
    });
    let error = error.unwrap_err();
    assert!(matches!(error.kind, Kind::Reset), "{error:?}");
    assert_eq!(error.sent, Sent::Part);
    assert!(peers.none_left(), "one attempt is one connection");
}

#[tokio::test]
async fn a_real_reset_in_the_middle_proves_a_part() {
    // More than the kernel's buffers hold.
    const HUGE: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let base = BaseUrl::parse(&base).unwrap();
    let client = Client::https(base, peer::auth(), Options::default()).unwrap();
    let (error, ()) = tokio::join!(client.send(peer::post(HUGE)), async {
        let (mut socket, _) = listener.accept().await.unwrap();
        peer::read_exactly(&mut socket, 1 << 20).await;
        // Closed with unread data: the kernel sends a reset.
    });
    let error = error.unwrap_err();
    assert!(matches!(error.kind, Kind::Reset), "{error:?}");
    assert_eq!(error.sent, Sent::Part);
}

#[tokio::test(start_paused = true)]
async fn a_reset_after_the_last_byte_proves_nothing_about_the_server() {
    let body = |call: Call| async {
        let (client, mut peers) = peer::client();
        let len = match &call.body {
            Body::Json(bytes) => bytes.len(),
            Body::Empty | Body::Stream { .. } => 0,
        };
        let (error, ()) = tokio::join!(client.send(call), async {
            let mut peer = peers.accept().await;
            peer::read_head(&mut peer).await;
            peer::read_exactly(&mut peer, len).await;
        });
        assert!(
            peers.none_left(),
            "an answer that never came must not start a second attempt"
        );
        error.unwrap_err()
    };
    let cancel = Call::post("/v1/messages/batches/msgbatch_1/cancel", Body::Empty);
    for call in [peer::post(MANY), peer::post(3), cancel, Call::get(BATCHES)] {
        let error = body(call).await;
        assert!(matches!(error.kind, Kind::Reset), "{error:?}");
        assert_eq!(error.sent, Sent::Whole);
        assert!(!error.proves_absence());
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_delivered() {
    for close in [true, false] {
        let (client, mut peers) = peer::client();
        let (answer, peer) = tokio::join!(client.send(peer::post(MANY)), async {
            let mut peer = peers.accept().await;
            peer::read_head(&mut peer).await;
            peer::read_exactly(&mut peer, 100_000).await;
            peer::answer(&mut peer, "413 Payload Too Large", "<html>too big</html>").await;
            (!close).then_some(peer)
        });
        let answer = answer.unwrap();
        assert_eq!(answer.status, 413);
        if close {
            assert_eq!(answer.body.stop_upload(), Sent::Part);
        }
        assert_eq!(
            answer.body.collect(100).await.unwrap(),
            "<html>too big</html>"
        );
        if let Some(mut peer) = peer {
            let rest = peer::drain(&mut peer).await;
            assert!(
                rest + 100_000 < MANY,
                "the upload ends with its reader, but {rest} more came"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_is_an_error_that_proves_nothing_was_sent() {
    for (second, third) in [
        (peer::post(10), peer::post(10)),
        (Call::get(BATCHES), Call::get(BATCHES)),
    ] {
        let (client, mut peers) = peer::client();
        let (answer, mut first) = tokio::join!(client.send(peer::post(10)), async {
            let mut peer = peers.accept().await;
            peer::read_head(&mut peer).await;
            peer::read_exactly(&mut peer, 10).await;
            peer::answer(&mut peer, "200 OK", "{}").await;
            peer
        });
        answer.unwrap().body.collect(10).await.unwrap();
        peer::settle().await;

        // The server hangs up; the client has had no chance to notice when it sends again.
        tokio::io::AsyncWriteExt::shutdown(&mut first)
            .await
            .unwrap();
        let error = client.send(second).await.unwrap_err();
        assert_eq!(error.sent, Sent::Nothing);
        assert!(
            matches!(error.kind, Kind::Reset | Kind::Connect),
            "{error:?}"
        );
        assert_eq!(
            peer::drain(&mut first).await,
            0,
            "not even a head was written"
        );
        assert!(
            peers.none_left(),
            "no second attempt behind the caller's back"
        );

        // The caller may decide to send it again.
        let (answer, ()) = tokio::join!(client.send(third), async {
            let mut peer = peers.accept().await;
            peer::read_head(&mut peer).await;
            peer::answer(&mut peer, "200 OK", "{}").await;
        });
        assert_eq!(answer.unwrap().status, 200);
    }
}

/// Sends what `chunks` produce for a body announced with `len` bytes; the error, and the body bytes that arrived.
async fn produced(len: u64, chunks: Vec<io::Result<Bytes>>) -> (offpeak_client::SendError, usize) {
    let (client, mut peers) = peer::client();
    let (call, producer) = peer::stream(len);
    let feed = async move {
        for chunk in chunks {
            if producer.send(chunk).await.is_err() {
                return;
            }
        }
    };
    let server = async {
        let mut peer = peers.accept().await;
        peer::drain_body(&mut peer).await
    };
    let (error, (), arrived) = tokio::join!(client.send(call), feed, server);
    (error.expect_err("an incomplete request"), arrived)
}

#[tokio::test(start_paused = true)]
async fn a_failing_producer_never_makes_a_complete_request() {
    let bytes = |count: usize| Ok(Bytes::from(vec![b'7'; count]));
    let fault = || Err(io::Error::other("disk gone"));
    for (name, chunks, word) in [
        ("short", vec![bytes(600), bytes(399)], "ended after 999"),
        ("fails", vec![bytes(600), fault()], "disk gone"),
        (
            "fails at the very end",
            vec![bytes(600), bytes(400), fault()],
            "disk gone",
        ),
        (
            "too much",
            vec![bytes(600), bytes(401)],
            "more than the announced 1000",
        ),
        (
            "too much, late",
            vec![bytes(600), bytes(400), bytes(1)],
            "more than the announced 1000",
        ),
    ] {
        let (error, arrived) = produced(1000, chunks).await;
        let Kind::Body(fault) = &error.kind else {
            panic!("{name}: {error:?}");
        };
        assert!(fault.to_string().contains(word), "{name}: {fault}");
        assert_eq!(error.sent, Sent::Part, "{name}");
        assert!(arrived < 1000, "{name}: {arrived} bytes arrived");
    }
    for chunks in [vec![], vec![fault()], vec![bytes(1001)]] {
        let (error, arrived) = produced(1000, chunks).await;
        assert!(matches!(error.kind, Kind::Body(_)), "{error:?}");
        assert_eq!((error.sent, arrived), (Sent::Nothing, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_of_an_empty_body_may_not_give_a_byte() {
    let (client, mut peers) = peer::client();
    let (call, producer) = peer::stream(0);
    producer.try_send(Ok(Bytes::from_static(b"x"))).unwrap();
    drop(producer);
    let error = client.send(call).await.unwrap_err();
    assert!(matches!(error.kind, Kind::Body(_)), "{error:?}");
    assert_eq!(error.sent, Sent::Nothing);
    assert!(peers.none_left());
}

#[tokio::test(start_paused = true)]
async fn an_impossible_call_opens_no_connection() {
    let (client, mut peers) = peer::client();
    let error = client
        .send(Call::get("https://evil.example/v1/results"))
        .await
        .unwrap_err();
    let host = "evil.example".to_owned();
    let Kind::Call(fault) = error.kind else {
        panic!("{error:?}");
    };
    assert_eq!(
        (error.sent, fault),
        (Sent::Nothing, CallError::ForeignHost { host })
    );
    assert!(peers.none_left());
}
