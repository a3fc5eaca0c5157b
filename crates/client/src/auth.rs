//! How a call proves who pays for it, and the check that a key can travel in a header at all.
//!
//! Leaves out where keys come from (arguments, files, environment: the command line's business).

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::error::ClientError;

/// A secret and the header it travels in. `Debug` never shows the secret.
#[derive(Debug, Clone)]
pub enum Auth {
    /// An API key, sent as `x-api-key`.
    ApiKey(SecretString),
    /// A token, sent as `authorization: Bearer …`.
    Bearer(SecretString),
}

impl Auth {
    /// First 16 hexadecimal digits of a digest of the secret: tells keys apart and gives none away, as they are
    /// random and long.
    pub(crate) fn digest(&self) -> String {
        let (Self::ApiKey(secret) | Self::Bearer(secret)) = self;
        let secret = secret.expose_secret().as_bytes();
        let digest = blake3::derive_key("offpeak 2026-11-26 identity of an API key", secret);
        blake3::Hash::from_bytes(digest).to_hex()[..16].to_owned()
    }

    /// The header of this secret, marked sensitive. The error names the fault without quoting the secret.
    pub(crate) fn header(&self) -> Result<(HeaderName, HeaderValue), ClientError> {
        let (name, prefix, secret) = match self {
            Self::ApiKey(key) => (HeaderName::from_static("x-api-key"), "", key),
            Self::Bearer(token) => (AUTHORIZATION, "Bearer ", token),
        };
        let secret = secret.expose_secret();
        check(secret)?;
        let mut value = HeaderValue::try_from(format!("{prefix}{secret}"))
            .map_err(|_| ClientError::KeyCharacter)?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}

fn check(secret: &str) -> Result<(), ClientError> {
    if secret.is_empty() {
        return Err(ClientError::KeyEmpty);
    }
    if secret.contains(['\r', '\n']) {
        return Err(ClientError::KeyLineBreak);
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::KeyCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(secret: &str) -> String {
        let fault = Auth::ApiKey(SecretString::from(secret))
            .header()
            .unwrap_err();
        format!("{fault} {fault:?}")
    }

    #[test]
    fn a_key_that_cannot_be_a_header_is_named_but_not_shown() {
        for (key, word) in [
            ("", "empty"),
            ("sk-zebra\n", "line break"),
            ("sk-zebra\r\nx-evil: 1", "line break"),
            ("sk-zebra\u{e9}", "ASCII"),
            (" sk-zebra", "space"),
            ("sk-\0zebra", "ASCII"),
        ] {
            let text = fault(key);
            assert!(text.contains(word), "{text}");
            assert!(!text.contains("zebra"), "{text}");
        }
    }

    #[test]
    fn a_digest_tells_keys_apart_and_shows_none() {
        let digest = |key: &str| Auth::ApiKey(SecretString::from(key)).digest();
        assert_eq!(digest("sk-zebra-1").len(), 16);
        assert_ne!(digest("sk-zebra-1"), digest("sk-zebra-2"));
        let token = Auth::Bearer(SecretString::from("sk-zebra-1"));
        assert_eq!(digest("sk-zebra-1"), token.digest());
    }

    #[test]
    fn each_kind_has_its_header() {
        let (name, value) = Auth::Bearer(SecretString::from("tok")).header().unwrap();
        assert_eq!(
            (name.as_str(), value.as_bytes()),
            ("authorization", &b"Bearer tok"[..])
        );
        assert_eq!(format!("{value:?}"), "Sensitive");
        let (name, value) = Auth::ApiKey(SecretString::from("key")).header().unwrap();
        assert_eq!(
            (name.as_str(), value.as_bytes()),
            ("x-api-key", &b"key"[..])
        );
        assert!(value.is_sensitive());
    }
}
