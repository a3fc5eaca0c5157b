//! The ordinary way, against a real HTTP server: headers, bodies, reuse of connections, redirects.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use offpeak_client::{Auth, BaseUrl, Body, Call, Client, Options, SecretString};
use tokio::net::TcpListener;

use crate::peer::{self, BATCHES};

type Seen = Arc<Mutex<Vec<(http::request::Parts, Bytes)>>>;

fn serve<S>(stream: S, seen: Seen)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a complete body").to_bytes();
            let status = if head.uri.path() == "/moved" {
                307
            } else {
                200
            };
            seen.lock().expect("not poisoned").push((head, body));
            let answer = Response::builder()
                .status(status)
                .header("location", "https://evil.example/steal")
                .header("request-id", "req_1")
                .body(Full::new(Bytes::from_static(b"{}")));
            Ok::<_, Infallible>(answer.expect("a legal answer"))
        }
    });
    tokio::spawn(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
    );
}

#[tokio::test]
async fn one_connection_carries_every_kind_of_call() {
    let (client, mut peers) = peer::client();
    let seen = Seen::default();
    let server = {
        let seen = seen.clone();
        tokio::spawn(async move {
            serve(peers.accept().await, seen);
            peers
        })
    };

    let mut call = Call::post(BATCHES, Body::Json(Bytes::from(vec![b'1'; 300_000])));
    call.betas = vec!["output-300k-2026-03-24".into(), "b".into()];
    let answer = client.send(call).await.unwrap();
    assert_eq!((answer.status, answer.request_id()), (200, Some("req_1")));
    assert_eq!(answer.body.collect(2).await.unwrap(), "{}");
    peer::settle().await;

    let (call, producer) = peer::stream(200_000);
    let feed = async move {
        for chunk in [vec![b'2'; 150_000], vec![], vec![b'3'; 50_000], vec![]] {
            producer.send(Ok(Bytes::from(chunk))).await.unwrap();
        }
    };
    let (answer, ()) = tokio::join!(client.send(call), feed);
    answer.unwrap().body.collect(2).await.unwrap();
    peer::settle().await;

    // From a task of its own, as drivers do it.
    let own = client.clone();
    let cancel = Call::post("/v1/messages/batches/msgbatch_1/cancel", Body::Empty);
    let cancel = async move { own.send(cancel).await?.body.collect(2).await };
    tokio::spawn(cancel).await.unwrap().unwrap();
    peer::settle().await;
    let results = Call::get("https://api.anthropic.com/v1/messages/batches/msgbatch_1/results");
    client
        .send(results)
        .await
        .unwrap()
        .body
        .collect(2)
        .await
        .unwrap();

    assert!(
        server.await.unwrap().none_left(),
        "one connection is enough"
    );
    let seen = seen.lock().unwrap();
    let header = |index: usize, name: &str| {
        let values: Vec<_> = seen[index].0.headers.get_all(name).iter().collect();
        values
            .iter()
            .map(|v| v.to_str().unwrap())
            .collect::<Vec<_>>()
            .join("|")
    };
    let paths: Vec<_> = seen.iter().map(|(head, _)| head.uri.to_string()).collect();
    assert_eq!(paths[0], BATCHES);
    assert_eq!(paths[3], "/v1/messages/batches/msgbatch_1/results");
    for index in 0..4 {
        assert_eq!(header(index, "host"), "api.anthropic.com");
        assert_eq!(header(index, "x-api-key"), peer::KEY);
        assert_eq!(header(index, "anthropic-version"), "2023-06-01");
        assert_eq!(
            header(index, "user-agent"),
            concat!("offpeak/", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(header(index, "transfer-encoding"), "");
        assert_eq!(header(index, "authorization"), "");
    }
    assert_eq!(header(0, "anthropic-beta"), "output-300k-2026-03-24,b");
    assert_eq!(header(0, "content-type"), "application/json");
    let lengths: Vec<_> = (0..4)
        .map(|index| header(index, "content-length"))
        .collect();
    assert_eq!(lengths, ["300000", "200000", "0", ""]);
    assert_eq!(seen[0].1, vec![b'1'; 300_000]);
    assert_eq!(
        seen[1].1,
        [vec![b'2'; 150_000], vec![b'3'; 50_000]].concat()
    );
}

#[tokio::test]
async fn over_a_socket_with_a_prefix_and_a_token() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/proxy/", listener.local_addr().unwrap());
    let seen = Seen::default();
    let server = async {
        serve(listener.accept().await.unwrap().0, seen.clone());
        io::Result::Ok(())
    };
    let auth = Auth::Bearer(SecretString::from("token"));
    let client = Client::https(BaseUrl::parse(&base).unwrap(), auth, Options::default()).unwrap();
    let (answer, _) = tokio::join!(client.send(peer::post(10)), server);
    assert_eq!(answer.unwrap().body.collect(10).await.unwrap(), "{}");
    let (head, body) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(head.uri, "/proxy/v1/messages/batches");
    assert_eq!(head.headers["authorization"], "Bearer token");
    assert!(!head.headers.contains_key("x-api-key"));
    assert_eq!(body, "7777777777");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (client, mut peers) = peer::client();
    let (answer, ()) = tokio::join!(client.send(Call::get("/moved")), async {
        serve(peers.accept().await, Seen::default());
    });
    assert_eq!(answer.unwrap().status, 307);
    peer::settle().await;
    assert!(peers.none_left());
}
