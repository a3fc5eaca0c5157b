//! What makes two runs the same: digests of what a job is made of, and the id that follows from them.
//!
//! Leaves out what is done about a run that is the same, or is not (`start`).

use offpeak_core::job::shard::JobId;

use crate::error::EngineError;
use crate::ingest::IngestError;
use crate::spec::JobSpec;

/// Digest of everything that the requests are made from; the quick way to see that nothing changed.
pub(crate) fn source_digest(spec: &JobSpec) -> Result<String, EngineError> {
    let path = &spec.source.input;
    let unreadable = |source| IngestError::Read {
        path: path.clone(),
        source,
    };
    let mut hasher = blake3::Hasher::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    hasher.update_reader(file).map_err(unreadable)?;
    // The debug form of a shape names every setting in it; it only has to change when one does.
    hasher.update(format!("{:?}", spec.source.shape).as_bytes());
    Ok(hasher.finalize().to_hex().to_string())
}

/// The id of the nth run of the same requests under a name. Runs of other requests do not count: on an
/// empty disk, which knows of none of them, a job gets the same id and so finds the batches that it
/// made before.
pub(crate) fn job_id(name: &str, params_digest: &str, nth: u32) -> JobId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.update(params_digest.as_bytes());
    hasher.update(&nth.to_le_bytes());
    JobId::of_digest(hasher.finalize().as_bytes())
}

/// What a run sends that asks some rows again, with a larger `max_tokens`: `unsent` tells which it does not.
pub(crate) fn again_digest(unsent: Option<[u8; 32]>, max_tokens: u32) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&unsent.unwrap_or_default());
    hasher.update(&max_tokens.to_le_bytes());
    hasher.finalize().into()
}

/// A name as a file name, for what has no id yet.
pub(crate) fn short(name: &str) -> String {
    blake3::hash(name.as_bytes()).to_hex().as_str()[..16].to_owned()
}

/// A digest as text.
pub(crate) fn hex(digest: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}
