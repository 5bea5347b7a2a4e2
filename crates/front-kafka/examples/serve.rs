//! A node that speaks Kafka only, for trying clients: `cargo run -p bowline-front-kafka --example serve -- DIR PORT`.

use std::path::PathBuf;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let data_dir = PathBuf::from(args.next().expect("a directory"));
    let port = args.next().expect("a port");
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let options = bowline_replica::Options {
        data_dir,
        shards: Some(2),
        cache_bytes: 64 << 20,
        transient_bytes: 64 << 20,
        segment_bytes: 64 << 20,
        disk_reserve_bytes: 0,
        relaxed_flush: false,
        accept_loss: false,
        num_partitions: 1,
    };
    let (node, engine) = bowline_replica::start(options).expect("start");
    let (stop, shutdown) = tokio::sync::watch::channel(false);
    let limit = bowline_net::Limit::new(20_000);
    let mut servers = tokio::task::JoinSet::new();
    for listener in bowline_net::bind(&format!("localhost:{port}")).await.expect("bind") {
        println!("listening on {}", listener.local_addr().unwrap());
        let options = bowline_front_kafka::Options::default();
        servers.spawn(bowline_front_kafka::serve(
            listener,
            node.clone(),
            options,
            limit.clone(),
            shutdown.clone(),
        ));
    }
    tokio::signal::ctrl_c().await.unwrap();
    stop.send(true).unwrap();
    while servers.join_next().await.is_some() {}
    tokio::task::spawn_blocking(move || engine.stop()).await.unwrap().unwrap();
    println!("stopped");
}
