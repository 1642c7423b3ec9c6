//! A broker that is there and says that it cannot do just now what it is asked, as RabbitMQ does while it starts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use stillpoint_events::{JobEnded, Outgoing};
use stillpoint_model::ErrorKind;
use stillpoint_tests::servers::rabbitmq;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
};

use crate::bench::{Bench, publisher};

/// A frame with the method `connection.close`: 541, INTERNAL_ERROR, because of `queue.declare`.
const INTERNAL_ERROR: &[u8] = b"\x01\x00\x00\x00\x00\x00\x19\x00\x0a\x00\x32\x02\x1d\x0eINTERNAL_ERROR\x00\x32\x00\x0a\xce";
/// The method `queue.declare` at the beginning of a frame's payload.
const QUEUE_DECLARE: [u8; 4] = [0, 50, 0, 10];
/// What a client says before its first frame.
const GREETING: usize = 8;

/// One frame, whole.
async fn frame(client: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 7];
    client.read_exact(&mut frame).await?;
    let length = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]) as usize;
    frame.resize(7 + length + 1, 0);
    client.read_exact(&mut frame[7..]).await?;
    Ok(frame)
}

/// Passes on what both say; with `refuse`, the first queue that is declared is answered here.
async fn between(client: TcpStream, node: SocketAddr, refuse: bool) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_node, mut to_node) = TcpStream::connect(node).await?.into_split();
    let answers = tokio::spawn(async move {
        drop(copy(&mut from_node, &mut to_client).await);
        to_client
    });
    let mut greeting = [0; GREETING];
    from_client.read_exact(&mut greeting).await?;
    to_node.write_all(&greeting).await?;
    loop {
        let frame = frame(&mut from_client).await?;
        if refuse && frame[7..].starts_with(&QUEUE_DECLARE) {
            break;
        }
        to_node.write_all(&frame).await?;
    }
    // The node ends, with everything answered so far, when its client has gone.
    drop(to_node);
    let mut to_client = answers.await?;
    to_client.write_all(INTERNAL_ERROR).await?;
    // The client says that it has understood.
    frame(&mut from_client).await.map(drop)
}

/// The URL of a broker whose first `refusals` connections end so, and how many there were.
async fn momentarily_unable(url: &str, refusals: usize) -> (String, Arc<AtomicUsize>) {
    let mut parsed = url::Url::parse(url).expect("a broker's URL");
    let node: SocketAddr = format!("127.0.0.1:{}", parsed.port().expect("a port")).parse().expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    parsed.set_port(Some(listener.local_addr().expect("it listens").port())).expect("URLs have ports");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(between(client, node, counted.fetch_add(1, Relaxed) < refusals));
        }
    });
    (parsed.to_string(), connections)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_waits_for_a_broker_that_cannot_declare_queues_yet() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let job = bench.job().await.id;
    let (url, connections) = momentarily_unable(bench.url(), 3).await;
    let publisher = publisher(&url);
    publisher.ready(None).await.unwrap_or_else(|error| panic!("{}", error.one_line()));
    assert_eq!(connections.load(Relaxed), 4);
    publisher.publish(&[Outgoing::new(&JobEnded { job })]).await.unwrap();
    assert_eq!(connections.load(Relaxed), 4, "over the connection that was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_says_what_a_broker_says_that_never_can() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let (url, connections) = momentarily_unable(bench.url(), usize::MAX).await;
    let error = publisher(&url).within(Duration::from_secs(2)).ready(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.one_line().contains("cannot declare queues on") && error.one_line().contains("INTERNAL"),
        "{}",
        error.one_line()
    );
    assert!(connections.load(Relaxed) > 1);
}
