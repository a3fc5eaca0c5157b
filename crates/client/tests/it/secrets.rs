//! The key is in the header and nowhere else.

use std::sync::Arc;

use bytes::Bytes;
use offpeak_client::{
    Auth, BaseUrl, Body, Call, CallError, Client, ClientError, Connector, Options, SecretString,
    SendErrorKind as Kind, Sent,
};

use crate::peer::{self, KEY};

#[tokio::test]
async fn no_text_of_ours_holds_the_key() {
    let (client, mut peers) = peer::client();
    let call = Call::post("/v1/x", Body::Json(Bytes::from_static(b"body-zebra")));
    let mut texts = vec![
        format!(
            "{:?} {:#?}",
            peer::auth(),
            Auth::Bearer(SecretString::from(KEY))
        ),
        format!("{client:?} {client:#?}"),
        format!("{call:?} {call:#?}"),
    ];
    let (answer, ()) = tokio::join!(client.send(call), async {
        let mut peer = peers.accept().await;
        assert!(peer::read_head(&mut peer).await.contains(KEY));
        peer::write(&mut peer, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut").await;
    });
    let answer = answer.unwrap();
    texts.push(format!("{answer:?} {:?}", answer.body));
    texts.push(peer::chain(&answer.body.collect(10).await.unwrap_err()));
    let (error, ()) = tokio::join!(client.send(peer::post(3)), async {
        drop(peers.accept().await);
    });
    texts.push(peer::chain(&error.unwrap_err()));
    for text in texts {
        assert!(!text.contains("zebra"), "{text}");
    }
}

#[tokio::test]
async fn a_broken_key_is_refused_before_a_connection_and_not_shown() {
    let connect: Connector = Arc::new(|| panic!("no connection is wanted"));
    for (key, fault) in [
        ("sk-zebra\nx", ClientError::KeyLineBreak),
        ("sk-zebra\u{e4}", ClientError::KeyCharacter),
        ("", ClientError::KeyEmpty),
    ] {
        let auth = || Auth::ApiKey(SecretString::from(key));
        let made = Client::https(BaseUrl::anthropic(), auth(), Options::default());
        assert_eq!(made.unwrap_err(), fault);
        let client = Client::over(
            connect.clone(),
            BaseUrl::anthropic(),
            auth(),
            Options::default(),
        );
        let error = client.send(Call::get("/v1/models")).await.unwrap_err();
        assert!(!peer::chain(&error).contains("zebra"));
        let Kind::Call(CallError::Auth(found)) = error.kind else {
            panic!("{error:?}");
        };
        assert_eq!((error.sent, found), (Sent::Nothing, fault));
    }
}

#[test]
fn a_client_refuses_clear_text_off_the_machine() {
    let base = || BaseUrl::parse("http://gw.example:8080").unwrap();
    let refused = Client::https(base(), peer::auth(), Options::default());
    let host = "gw.example".to_owned();
    assert_eq!(refused.unwrap_err(), ClientError::PlainHttp { host });
    let options = Options {
        allow_plain_http: true,
        ..Options::default()
    };
    assert!(Client::https(base(), peer::auth(), options).is_ok());
}
