//! `offpeak sim`: the simulated API over HTTP, for offpeak itself or any other client.
//!
//! Leaves out what is answered (`offpeak-sim`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use offpeak_client::clock::Clock;
use offpeak_core::units::Usd;
use offpeak_sim::World;
use offpeak_sim::server::serve;
use serde_json::json;
use tokio::net::TcpListener;

use crate::args::SimArgs;
use crate::commands::runtime;
use crate::env;
use crate::error::{Exit, ExpectedError};
use crate::settings::Settings;
use crate::simulated;

/// Real time between two steps of a clock that runs faster than real time.
const TICK: Duration = Duration::from_millis(2);

pub(crate) fn sim(args: &SimArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    // Faster time is paused time that is moved by hand.
    let runtime = runtime(args.speed > 1)?;
    let world = Arc::new(Mutex::new(World::new(simulated::config(
        args.seed,
        args.faults,
    ))));
    let served = runtime.block_on(listen(args, settings, Arc::clone(&world)));
    runtime.shutdown_background();
    served?;
    let world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let bill = world.bill();
    settings.printer.note(&format!(
        "billed {}: {} calls, {} rows in {} batches",
        Usd::from_pico(bill.total()),
        bill.calls(),
        bill.rows(),
        bill.batches()
    ));
    Ok(Exit::Success)
}

async fn listen(
    args: &SimArgs,
    settings: &Settings,
    world: Arc<Mutex<World>>,
) -> Result<(), ExpectedError> {
    let cannot = |error| {
        let message = format!("cannot listen on {}: {error}", args.listen);
        ExpectedError::usage(message).hint("choose another with `--listen 127.0.0.1:0`")
    };
    let listener = TcpListener::bind(args.listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    announce(address, settings)?;
    let clock = Clock::system();
    tokio::select! {
        served = serve(listener, world, Arc::new(move || clock.now())) => served.map_err(cannot),
        () = run_fast(args.speed), if args.speed > 1 => Ok(()),
        interrupt = tokio::signal::ctrl_c() => interrupt.map_err(cannot),
    }
}

fn announce(address: SocketAddr, settings: &Settings) -> Result<(), ExpectedError> {
    let (url, key) = (format!("http://{address}"), simulated::KEY);
    let printer = settings.printer;
    printer.say(&format!("export {}={url}", env::BASE_URL));
    printer.say(&format!("export {}={key}", env::API_KEY));
    printer.note("serving the simulated API; ctrl-c ends it");
    if printer.is_json() {
        printer.json(&json!({ "base_url": url, "api_key": key }))?;
    }
    Ok(())
}

/// Moves paused time on at `speed` times the pace of real time, for ever.
///
/// While a blocking thread is at work, here to measure out real time, the runtime does not skip
/// idle time by itself.
async fn run_fast(speed: u32) {
    loop {
        let tick = tokio::task::spawn_blocking(|| std::thread::sleep(TICK));
        tick.await.expect("sleeping does not fail");
        tokio::time::advance(TICK * speed).await;
    }
}
