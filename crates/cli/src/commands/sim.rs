//! `offpeak sim`: the simulated API over HTTP, for offpeak itself or any other client.
//!
//! Leaves out what is answered (`offpeak-sim`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use offpeak_client::clock::Clock;
use offpeak_core::units::Usd;
use offpeak_sim::server::{Keeper, Time, Upstream, serve};
use offpeak_sim::{AnswerRules, Config, Faults, Limits, World};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{ClockKind, FaultPlan, SimArgs, Tier};
use crate::commands::runtime;
use crate::env;
use crate::error::{Exit, ExpectedError};
use crate::settings::Settings;
use crate::simulated;

/// How often a world that is kept in a file is looked at for changes.
const KEEP_EVERY: Duration = Duration::from_secs(3);

pub(crate) fn sim(args: &SimArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    if args.print_env {
        return print_env(args.listen, settings);
    }
    let config = config(args)?;
    let keeper = args.state.clone().map(Keeper::new);
    let world = Arc::new(Mutex::new(begin(config, keeper.as_ref())?));
    let runtime = runtime(false)?;
    let served = runtime.block_on(listen(args, settings, &world, keeper.as_ref()));
    runtime.shutdown_background();
    served?;
    if let Some(keeper) = &keeper {
        keep(&world, keeper)?;
    }
    let world = lock(&world);
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

/// The limits of a tier; without one, none is enforced.
pub(crate) fn limits(tier: Tier) -> Limits {
    match tier {
        Tier::None => Limits::default(),
        Tier::Start => Limits::start(),
        Tier::Build => Limits::build(),
        Tier::Scale => Limits::scale(),
    }
}

fn config(args: &SimArgs) -> Result<Config, ExpectedError> {
    let limits = limits(args.tier);
    let mut config = Config {
        seed: args.seed,
        faults: faults(args)?,
        limits: Limits {
            spend_cap_usd: args.spend_cap.or(limits.spend_cap_usd),
            ..limits
        },
        ..Config::default()
    };
    config.answers.rules = answers(args)?;
    for text in &args.assume {
        config.assume(text).map_err(|error| {
            ExpectedError::because(Exit::Usage, &error)
                .hint("`offpeak sim --help` lists what can be assumed")
        })?;
    }
    Ok(config)
}

fn faults(args: &SimArgs) -> Result<Faults, ExpectedError> {
    let path = match &args.faults {
        None => return Ok(Faults::none()),
        Some(FaultPlan::Rough) => return Ok(Faults::rough(args.seed)),
        Some(FaultPlan::File(path)) => path,
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        ExpectedError::usage(format!("{}: {error}", path.display()))
            .hint("`--faults` takes a file of rules, or `rough`")
    })?;
    Faults::parse(&text)
        .map_err(|error| ExpectedError::usage(format!("{}: {error}", path.display())))
}

fn answers(args: &SimArgs) -> Result<AnswerRules, ExpectedError> {
    let Some(path) = &args.answers else {
        return Ok(AnswerRules::default());
    };
    let wrong = |error: &dyn std::fmt::Display| {
        ExpectedError::usage(format!("{}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    AnswerRules::parse(&text).map_err(|error| {
        let found = wrong(&error);
        match error.hint {
            Some(hint) => found.hint(hint),
            None => found,
        }
    })
}

/// The world as it was kept, or a new one.
fn begin(config: Config, keeper: Option<&Keeper>) -> Result<World, ExpectedError> {
    let Some(keeper) = keeper else {
        return Ok(World::new(config));
    };
    let name = keeper.path().display();
    let kept = keeper.read();
    let kept = kept.map_err(|error| ExpectedError::usage(format!("{name}: {error}")))?;
    match kept {
        None => Ok(World::new(config)),
        Some(bytes) => World::load(&bytes, config)
            .map_err(|error| ExpectedError::usage(format!("{name}: {error}"))),
    }
}

async fn listen(
    args: &SimArgs,
    settings: &Settings,
    world: &Arc<Mutex<World>>,
    keeper: Option<&Keeper>,
) -> Result<(), ExpectedError> {
    let cannot = |error| {
        let message = format!("cannot listen on {}: {error}", args.listen);
        ExpectedError::usage(message).hint("choose another with `--listen 127.0.0.1:0`")
    };
    // Before anybody is told where to connect: whoever ends the server then ends it in order.
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let listener = TcpListener::bind(args.listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    announce(address, settings)?;
    let time = time(args, lock(world).now());
    let mut upstream = Upstream::on(Arc::clone(world), time);
    if let Some(keeper) = keeper {
        upstream = upstream.kept(keeper.clone());
    }
    tokio::select! {
        served = serve(listener, upstream) => served.map_err(cannot),
        kept = keep_on(world, keeper) => kept,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Time goes on from where a kept world is, if that is later than now.
fn time(args: &SimArgs, kept: Option<i64>) -> Time {
    let kept = kept.unwrap_or(i64::MIN);
    match args.clock {
        ClockKind::Virtual => Time::by_hand(simulated::start().as_micros().max(kept)),
        ClockKind::Real => {
            let clock = Clock::system();
            let from = clock.now().max(kept);
            Time::scaled(Arc::new(move || clock.now()), from, args.speed)
        }
    }
}

fn announce(address: SocketAddr, settings: &Settings) -> Result<(), ExpectedError> {
    let printer = settings.printer;
    for line in exports(address) {
        printer.say(&line);
    }
    printer.note("serving the simulated API; ctrl-c ends it");
    if printer.is_json() {
        printer.json(&as_json(address))?;
    }
    Ok(())
}

fn print_env(address: SocketAddr, settings: &Settings) -> Result<Exit, ExpectedError> {
    if address.port() == 0 {
        return Err(ExpectedError::usage(
            "`--print-env` needs the port, and port 0 is any that is free",
        )
        .hint("name one: offpeak sim --print-env --listen 127.0.0.1:4010"));
    }
    let lines = exports(address).join("\n");
    let text = |_| format!("{lines}\n");
    settings.printer.answer(text, &as_json(address))?;
    Ok(Exit::Success)
}

fn exports(address: SocketAddr) -> [String; 2] {
    [
        format!("export {}=http://{address}", env::BASE_URL),
        format!("export {}={}", env::API_KEY, simulated::KEY),
    ]
}

fn as_json(address: SocketAddr) -> serde_json::Value {
    json!({ "base_url": format!("http://{address}"), "api_key": simulated::KEY })
}

/// Keeps a world in its file for ever; without a file it waits for ever.
async fn keep_on(world: &Arc<Mutex<World>>, keeper: Option<&Keeper>) -> Result<(), ExpectedError> {
    let Some(keeper) = keeper else {
        return std::future::pending().await;
    };
    let mut kept = lock(world).revision();
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        let now = lock(world).revision();
        if now == kept {
            continue;
        }
        let (world, keeper) = (Arc::clone(world), keeper.clone());
        let task = tokio::task::spawn_blocking(move || keep(&world, &keeper));
        task.await.expect("keeping does not panic")?;
        kept = now;
    }
}

fn keep(world: &Mutex<World>, keeper: &Keeper) -> Result<(), ExpectedError> {
    keeper.write(|| lock(world).save()).map_err(|error| {
        ExpectedError::new(
            Exit::Interrupted,
            format!("{}: cannot be written: {error}", keeper.path().display()),
        )
        .hint("name another file with `--state FILE`")
    })
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
