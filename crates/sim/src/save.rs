//! Owns a world as bytes, so that it survives its process: a world that is saved and loaded answers
//! everything afterwards as the one that went on, byte for byte. Files are not its matter.
//!
//! The configuration is not saved, except for fault plans that were put in later: it is given
//! again, and only the seed has to be the same. What follows from the seed is not saved either.
//! Models are kept by their ids, since their numbers change with the price book.

use offpeak_wire::error::ErrorKind;
use offpeak_wire::request::Ttl;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::batch::Batch;
use crate::bill::Ledger;
use crate::book::Book;
use crate::cache::{self, Cache};
use crate::config::Config;
use crate::fault::Endpoint;
use crate::log::Log;
use crate::rate::{self, Buckets};
use crate::rule::Count;
use crate::world::World;

/// How every saved state begins; the format's number and a line break follow.
const MAGIC: &[u8] = b"offpeak-sim state ";
/// Goes up whenever what is saved changes its form.
const FORMAT: &[u8] = b"1";
/// Bytes of the checksum between the first line and the content.
const CHECK: usize = 32;

/// Why a saved state cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// It is something else.
    #[error(
        "this is no saved state of the simulator; name another file, or remove it to start afresh"
    )]
    Foreign,
    /// Another version of the simulator wrote it.
    #[error(
        "this state has format {0}, and this version reads format 1; use the version that wrote \
         it, or remove it to start afresh"
    )]
    Format(String),
    /// Some of it is missing or not what was written.
    #[error("this state is damaged; put a copy in its place, or remove it to start afresh")]
    Damaged,
    /// Ids and answers follow from the seed.
    #[error(
        "this state was made with seed {0}; start with that seed, or remove it to start afresh"
    )]
    Seed(u64),
    /// A call or row in it was billed for a model that the price book no longer has.
    #[error(
        "this state has calls to `{0}`, which is not in the price book; remove it to start afresh"
    )]
    Model(String),
    /// A fault plan in it cannot be read by this version.
    #[error("this state has fault rules that cannot be read: {0}; remove it to start afresh")]
    Rules(String),
}

/// What is saved: borrowed on the way out, owned on the way in.
#[derive(Serialize, Deserialize)]
struct State<B, L, G> {
    seed: u64,
    now: i64,
    began: Option<i64>,
    /// Ids by number, at the time of saving.
    models: Vec<String>,
    batches: B,
    cache: (Vec<(u64, cache::Entry)>, usize),
    ledger: L,
    buckets: rate::Kept,
    seen: Vec<u64>,
    requests: u64,
    counts: Vec<Count>,
    faults: Vec<String>,
    log: G,
    revision: u64,
}

impl World {
    /// The whole world as bytes.
    ///
    /// # Panics
    ///
    /// When there is no memory for them.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let state = State {
            seed: self.config.seed,
            now: self.now,
            began: self.began,
            models: Book::embedded().ids().map(str::to_owned).collect(),
            batches: &self.batches,
            cache: self.cache.kept(),
            ledger: &self.ledger,
            buckets: self.buckets.kept(),
            seen: self.seen.to_vec(),
            requests: self.requests,
            counts: self.counts.clone(),
            faults: self.replaced_faults.clone(),
            log: &self.log,
            revision: self.revision,
        };
        let content = postcard::to_allocvec(&state).expect("plain structs serialise");
        let mut bytes = Vec::with_capacity(content.len() + 64);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(FORMAT);
        bytes.push(b'\n');
        bytes.extend_from_slice(blake3::hash(&content).as_bytes());
        bytes.extend_from_slice(&content);
        bytes
    }

    /// The world of these bytes, under a configuration of the same seed.
    ///
    /// # Errors
    ///
    /// When they are damaged, of another format, or do not go with the configuration.
    pub fn load(bytes: &[u8], config: Config) -> Result<Self, BadState> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(BadState::Foreign)?;
        let end = rest.iter().take(16).position(|&byte| byte == b'\n');
        let (format, rest) = rest.split_at(end.ok_or(BadState::Foreign)?);
        if format != FORMAT {
            let format = String::from_utf8_lossy(format).into_owned();
            return Err(BadState::Format(format));
        }
        let (check, content) = rest[1..].split_at_checked(CHECK).ok_or(BadState::Damaged)?;
        if blake3::hash(content).as_bytes() != check {
            return Err(BadState::Damaged);
        }
        let state: State<Vec<Batch>, Ledger, Log> =
            postcard::from_bytes(content).map_err(|_| BadState::Damaged)?;
        if state.seed != config.seed {
            return Err(BadState::Seed(state.seed));
        }
        Self::restored(state, config)
    }

    fn restored(state: State<Vec<Batch>, Ledger, Log>, config: Config) -> Result<Self, BadState> {
        let present = |old: u16| {
            let id = state
                .models
                .get(usize::from(old))
                .ok_or(BadState::Damaged)?;
            let found = (0..)
                .zip(Book::embedded().ids())
                .find(|(_, known)| known == id);
            found
                .map(|(new, _)| new)
                .ok_or_else(|| BadState::Model(id.clone()))
        };
        // Every row asks, so each model is looked for once.
        let mut known = std::collections::BTreeMap::new();
        let mut model = |old: u16| -> Result<u16, BadState> {
            if let Some(&new) = known.get(&old) {
                return Ok(new);
            }
            let new = present(old)?;
            known.insert(old, new);
            Ok(new)
        };
        let (cache, limits) = (config.cache, config.limits);
        let mut world = Self::new(config);
        for plan in &state.faults {
            let plan = world.apply_faults(plan.as_bytes());
            plan.map_err(BadState::Rules)?;
        }
        if state.counts.len() == world.counts.len() {
            world.counts = state.counts;
        }
        world.ledger = state.ledger;
        world.ledger.restore(&mut model)?;
        world.batches = state.batches;
        for (number, batch) in (0..).zip(&mut world.batches) {
            batch.restore(&mut model)?;
            world.by_id.insert(batch.id().to_owned(), number);
            if !batch.has_ended() {
                world.running.push(number);
            }
        }
        for number in world.running.clone() {
            world.schedule(number);
        }
        world.now = state.now;
        world.began = state.began;
        world.cache = Cache::restored(cache, state.cache);
        world.buckets = Buckets::restored(limits, state.buckets);
        let seen: Result<[u64; Endpoint::ALL.len()], _> = state.seen.try_into();
        world.seen = seen.map_err(|_| BadState::Damaged)?;
        world.requests = state.requests;
        world.log = state.log;
        world.revision = state.revision;
        Ok(world)
    }
}

/// An error's kind, by what it is called.
pub(crate) mod kind {
    use super::{Deserialize, Deserializer, ErrorKind, Serialize, Serializer};

    const SPEND_LIMIT: &str = "spend_limit";
    const OWN_SPEND_LIMIT: &str = "own_spend_limit";

    pub(crate) fn serialize<S: Serializer>(
        kind: &ErrorKind,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match kind {
            ErrorKind::SpendLimit => SPEND_LIMIT.serialize(serializer),
            ErrorKind::OwnSpendLimit => OWN_SPEND_LIMIT.serialize(serializer),
            kind => kind.as_str().serialize(serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ErrorKind, D::Error> {
        Ok(match String::deserialize(from)?.as_str() {
            SPEND_LIMIT => ErrorKind::SpendLimit,
            OWN_SPEND_LIMIT => ErrorKind::OwnSpendLimit,
            name => ErrorKind::from_type(name),
        })
    }
}

/// A lifetime, as whether it is an hour.
pub(crate) mod ttl {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Ttl};

    pub(crate) fn serialize<S: Serializer>(ttl: &Ttl, serializer: S) -> Result<S::Ok, S::Error> {
        (*ttl == Ttl::OneHour).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ttl, D::Error> {
        Ok(of(bool::deserialize(from)?))
    }

    pub(super) fn of(hour: bool) -> Ttl {
        if hour { Ttl::OneHour } else { Ttl::FiveMinutes }
    }
}

/// A cache mark, if there is one.
pub(crate) mod mark {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Ttl, ttl};

    #[expect(clippy::ref_option, reason = "serde asks for a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(mark: &Option<Ttl>, to: S) -> Result<S::Ok, S::Error> {
        mark.map(|ttl| ttl == Ttl::OneHour).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Ttl>, D::Error> {
        Ok(Option::<bool>::deserialize(from)?.map(ttl::of))
    }
}
