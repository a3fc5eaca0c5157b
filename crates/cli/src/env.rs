//! Every environment variable that offpeak reads, in one list; nothing else reads the environment.
//!
//! An empty variable counts as unset. Leaves out what the values mean (`settings`), and the
//! platform's own variables for the place of data (`directories`).

use std::path::PathBuf;

use offpeak_client::SecretString;

use crate::error::{Exit, ExpectedError};

/// The key of the API. It has no option: arguments are seen by every user of the machine.
pub(crate) const API_KEY: &str = "ANTHROPIC_API_KEY";
/// The key of the organisation's reports, which can do nothing else. It has no option either.
pub(crate) const ADMIN_KEY: &str = "ANTHROPIC_ADMIN_KEY";
/// Where the API is.
pub(crate) const BASE_URL: &str = "ANTHROPIC_BASE_URL";
/// Where jobs are kept.
pub(crate) const DATA_DIR: &str = "OFFPEAK_DATA_DIR";
/// Prices that are laid over the built-in ones.
pub(crate) const PRICE_BOOK: &str = "OFFPEAK_PRICE_BOOK";

/// The environment, read once.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) api_key: Option<SecretString>,
    pub(crate) admin_key: Option<SecretString>,
    pub(crate) base_url: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) price_book: Option<PathBuf>,
}

impl Env {
    /// Reads every variable of the list.
    pub(crate) fn read() -> Result<Self, ExpectedError> {
        Ok(Self {
            api_key: text(API_KEY)?.map(SecretString::from),
            admin_key: text(ADMIN_KEY)?.map(SecretString::from),
            base_url: text(BASE_URL)?,
            data_dir: path(DATA_DIR),
            price_book: path(PRICE_BOOK),
        })
    }
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn text(name: &str) -> Result<Option<String>, ExpectedError> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.into_string() {
        Ok(text) => Ok(Some(text)),
        // The value stays unsaid: it may be a key.
        Err(_) => Err(
            ExpectedError::new(Exit::Usage, format!("`{name}` is not text"))
                .hint(format!("set it again: export {name}=…")),
        ),
    }
}
