//! Whose batches: the account of the key that made them, as far as it can be told without the key.
//!
//! A batch is seen by every key of its workspace and by no other (Anthropic docs, batch processing), so a
//! listing made with the key of another account proves nothing: a batch that it does not show may exist
//! and be paid for. Leaves out where the facts come from (`upstream`, in `offpeak-engine`).

use serde::{Deserialize, Serialize};

/// An account, as the store pins it to each batch. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// First 16 hexadecimal digits of a digest of the key.
    pub key: String,
    /// Organization and workspace, as the upstream names them with each answer; `None` if it does not, as
    /// behind some gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

impl Account {
    /// Whether a key of this account sees the batches of `other`.
    #[must_use]
    pub fn sees_batches_of(&self, other: &Self) -> bool {
        match (&self.workspace, &other.workspace) {
            (Some(this), Some(other)) => this == other,
            _ => self.key == other.key,
        }
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.workspace {
            // Organizations have long names, and workspaces names of their own.
            Some(workspace) => {
                let name = workspace.rsplit('/').next().unwrap_or(workspace);
                write!(f, "workspace {name}")
            }
            None => write!(f, "that of the key {}", self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(key: &str, workspace: Option<&str>) -> Account {
        let (key, workspace) = (key.to_owned(), workspace.map(str::to_owned));
        Account { key, workspace }
    }

    #[test]
    fn another_key_of_the_workspace_sees_its_batches() {
        let old = account("a", Some("org/one"));
        assert!(account("b", Some("org/one")).sees_batches_of(&old));
        assert!(!account("b", Some("org/two")).sees_batches_of(&old));
        // The same key is always the same account, whatever else is known.
        assert!(account("a", None).sees_batches_of(&old));
        assert!(!account("b", None).sees_batches_of(&old));
    }
}
