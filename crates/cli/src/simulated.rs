//! The upstream within the process: a simulated world, reached over in-process connections, on
//! virtual time. A day of batches passes in moments, and the same seed gives the same run.
//!
//! Leaves out what the world does (`offpeak-sim`) and the serving over HTTP (`commands::sim`).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use offpeak_client::clock::Clock;
use offpeak_client::{Auth, BaseUrl, BoxFuture, Client, Connector, Io, Options, SecretString};
use offpeak_core::price::Book;
use offpeak_core::units::{Timestamp, Usd};
use offpeak_engine::finish::Manifest;
use offpeak_sim::server::Upstream;
use offpeak_sim::{Config, Faults, World};

/// A key that the simulator takes, as it takes any.
pub(crate) const KEY: &str = "sk-ant-simulated";

/// Another that it takes for that of an administrator.
pub(crate) const ADMIN_KEY: &str = "sk-ant-admin-simulated";

/// When simulated runs begin: the day that the prices were read, the one day on which every model
/// of the book that can be called has a price.
pub(crate) fn start() -> Timestamp {
    Timestamp::of_day(Book::embedded().as_of()).expect("a book that was read has a day")
}

/// How a simulated world behaves.
pub(crate) fn config(seed: u64, faults: bool) -> Config {
    let faults = if faults {
        Faults::rough(seed)
    } else {
        Faults::none()
    };
    Config {
        seed,
        faults,
        ..Config::default()
    }
}

/// A simulated upstream and the clock that it lives by.
#[derive(Debug)]
pub(crate) struct Simulation {
    world: Arc<Mutex<World>>,
    pub(crate) clock: Clock,
}

impl Simulation {
    /// A new world. Call it in a runtime whose time is paused.
    pub(crate) fn begin(seed: u64, faults: bool) -> Self {
        let world = World::new(config(seed, faults));
        let clock = Clock::starting_at(start().as_micros());
        Self {
            world: Arc::new(Mutex::new(world)),
            clock,
        }
    }

    /// A client whose every connection leads into the world.
    pub(crate) fn client(&self, key: &str) -> Client {
        let clock = self.clock;
        let upstream = Upstream::new(Arc::clone(&self.world), Arc::new(move || clock.now()));
        let connect: Connector = Arc::new(move || -> BoxFuture<_> {
            let stream: Box<dyn Io> = Box::new(upstream.connect());
            Box::pin(async move { Ok(stream) })
        });
        let key = Auth::ApiKey(SecretString::from(key));
        Client::over(connect, BaseUrl::anthropic(), key, Options::default())
    }

    /// What the world billed so far, by its own account.
    pub(crate) fn bill(&self) -> Usd {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        Usd::from_pico(world.bill().total())
    }
}

/// Whether a simulated run wrote this output: the manifest beside it says so, and the file is still
/// the one that it describes.
pub(crate) fn wrote(output: &Path) -> bool {
    let Ok(manifest) = std::fs::read(Manifest::path_beside(output)) else {
        return false;
    };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&manifest) else {
        return false;
    };
    let mut hasher = blake3::Hasher::new();
    let same =
        std::fs::File::open(output).and_then(|file| Ok(hasher.update_reader(file)?.finalize()));
    manifest.upstream_bill_picousd.is_some()
        && same.is_ok_and(|digest| digest.to_hex().as_str() == manifest.output_blake3)
}
