//! Where file and store work is done: on a thread of its own, or, on a single-threaded runtime, in
//! place.
//!
//! Simulated runs use a single-threaded runtime with virtual time. Done in place, their work is
//! always finished in the same order, which is what makes a seed give the same bytes twice; and
//! nobody is kept waiting, because no time passes meanwhile.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs work that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.expect("file and store work does not panic")
}
