//! What becomes of a connection while its process is frozen, as AWS Lambda freezes it between events: times a publish after a
//! freeze, on the connection that was kept and on a new one. Decision 0007 rests on it.
//!
//! `cargo run --release -p stillpoint-broker --example freeze -- URL SECONDS`, where the broker can be reached without TLS.
//! Each case runs against the broker itself, which closes what falls silent, and through a gateway that forgets connections
//! without a word, as those of networks do.

use std::{
    error::Error,
    io::{Read, Write, stdout},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use stillpoint_broker::{Broker, Publisher, Topology};
use stillpoint_events::{JobEnded, Outgoing};
use stillpoint_model::JobId;
use stillpoint_ports::ulid;
use stillpoint_system::{SystemClock, SystemRandom};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A gateway that forwards connections of the newest generation, and swallows what older ones say.
fn gateway(to: String, generation: Arc<AtomicU32>) -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&to) else { continue };
            let born = generation.load(SeqCst);
            for (from, into) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))] {
                let (Ok(from), Ok(into), generation) = (from, into, Arc::clone(&generation)) else { continue };
                thread::spawn(move || forward(from, into, || generation.load(SeqCst) == born));
            }
        }
    });
    Ok(port)
}

fn forward(mut from: TcpStream, mut into: TcpStream, known: impl Fn() -> bool) {
    let mut bytes = [0; 4096];
    while let Ok(count) = from.read(&mut bytes) {
        if count == 0 && known() {
            drop(into.shutdown(std::net::Shutdown::Write));
        }
        if count == 0 || (known() && into.write_all(&bytes[..count]).is_err()) {
            break;
        }
    }
    // A connection that is forgotten stays open on both sides.
    while !known() {
        thread::sleep(Duration::from_secs(1));
    }
}

fn freeze(seconds: u64) -> Outcome<()> {
    let own = std::process::id();
    // It stops this process only after it was started, and is not stopped itself.
    let script = format!("sleep 0.1; kill -STOP {own}; sleep {seconds}; kill -CONT {own}");
    let ended = Command::new("sh").args(["-c", &script]).status()?;
    if ended.success() { Ok(()) } else { Err("cannot freeze".into()) }
}

async fn publish(publisher: &Publisher, idle_max: Option<Duration>) -> Outcome<f64> {
    let event = Outgoing::new(&JobEnded { job: JobId::new(ulid(&SystemClock, &SystemRandom::new())) });
    let begun = Instant::now();
    publisher.ready(idle_max).await?;
    publisher.publish(&[event]).await?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

async fn measure(url: &str, seconds: u64, forget: impl Fn()) -> Outcome<()> {
    let publisher = || -> Outcome<Publisher> {
        let topology = Arc::new(Topology::of("freeze".parse()?));
        Ok(Publisher::new(
            Broker::new(url, None)?,
            topology,
            "stillpoint/freeze",
            Arc::new(SystemClock),
            Arc::new(SystemRandom::new()),
        ))
    };
    let first = publisher()?;
    let (cold, warm) = (publish(&first, None).await?, publish(&first, None).await?);
    writeln!(stdout(), "  connection, queues and publish {cold:.1} ms; publish alone {warm:.1} ms")?;
    for (name, idle_max) in [("kept", None), ("new", Some(Duration::ZERO))] {
        let frozen = publisher()?;
        publish(&frozen, None).await?;
        freeze(seconds)?;
        forget();
        let after = publish(&frozen, idle_max).await?;
        writeln!(stdout(), "  {name} after {seconds} s frozen: {after:.1} ms")?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(seconds)) = (arguments.next(), arguments.next()) else { return Err("give URL and SECONDS".into()) };
    let seconds = seconds.parse()?;
    writeln!(stdout(), "the broker itself")?;
    measure(&url, seconds, || {}).await?;
    let (before, rest) = url.split_once('@').ok_or("the URL has no user")?;
    let (address, vhost) = rest.split_once('/').ok_or("the URL has no virtual host")?;
    let generation = Arc::new(AtomicU32::new(0));
    let port = gateway(address.to_owned(), Arc::clone(&generation))?;
    writeln!(stdout(), "through a gateway that forgets")?;
    measure(&format!("{before}@127.0.0.1:{port}/{vhost}"), seconds, || _ = generation.fetch_add(1, SeqCst)).await
}
