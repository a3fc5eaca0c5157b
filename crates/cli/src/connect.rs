//! The way upstream that the settings ask for: the API, or a simulated one in this process.
//!
//! Leaves out which calls are made (`offpeak-engine`).

use std::path::PathBuf;
use std::sync::Arc;

use offpeak_client::clock::{Clock, entropy};
use offpeak_client::{Client, Options};
use offpeak_core::price::Book;
use offpeak_engine::disk::Disk;
use offpeak_engine::start::Engine;

use crate::commands::open_store;
use crate::error::ExpectedError;
use crate::settings::UpstreamSettings;
use crate::simulated::{self, Simulation};

/// A client, the clock it lives by, and the seed of its dice.
pub(crate) struct Connection {
    client: Client,
    admin: Option<Client>,
    clock: Clock,
    seed: u64,
    /// The world at the other end, if it is one of ours.
    pub(crate) simulation: Option<Simulation>,
}

impl Connection {
    /// Nothing is sent yet. With a simulated upstream, call it in a runtime whose time is paused.
    pub(crate) fn open(upstream: UpstreamSettings) -> Result<Self, ExpectedError> {
        Ok(match upstream {
            UpstreamSettings::Api {
                base_url,
                auth,
                admin,
            } => Self {
                client: Client::https(base_url.clone(), auth, Options::default())?,
                admin: match admin {
                    Some(key) => Some(Client::https(base_url, key, Options::default())?),
                    None => None,
                },
                clock: Clock::system(),
                seed: entropy(),
                simulation: None,
            },
            UpstreamSettings::Simulated { seed, faults } => {
                let simulation = Simulation::begin(seed, faults);
                Self {
                    client: simulation.client(simulated::KEY),
                    admin: Some(simulation.client(simulated::ADMIN_KEY)),
                    clock: simulation.clock,
                    seed,
                    simulation: Some(simulation),
                }
            }
        })
    }

    /// The engine at this end of it, over the jobs of a data directory, which is made if it is missing.
    pub(crate) fn engine(
        &self,
        data_dir: PathBuf,
        book: Arc<Book>,
    ) -> Result<Engine, ExpectedError> {
        Ok(Engine {
            store: Arc::new(open_store(&data_dir)?),
            client: self.client.clone(),
            admin: self.admin.clone(),
            clock: self.clock,
            book,
            data_dir,
            seed: self.seed,
            disk: Disk::default(),
        })
    }
}
