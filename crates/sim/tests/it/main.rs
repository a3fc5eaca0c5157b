//! The simulated API from the outside: requests in, replies out, virtual time.
//!
//! The modules are marked as tests so that lints treat their helpers as such.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod billing;
#[cfg(test)]
mod caching;
#[cfg(test)]
mod conform;
#[cfg(test)]
mod determinism;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod organisation;
#[cfg(test)]
mod play;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod saving;
#[cfg(feature = "server")]
#[cfg(test)]
mod server;
#[cfg(feature = "server")]
#[cfg(test)]
mod serving;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod structured;
#[cfg(test)]
mod validation;
#[cfg(test)]
mod worked_table;
