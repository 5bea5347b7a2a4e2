//! From a listener to connections.

use crate::connection;
use crate::fetch_sessions::FetchSessions;
use crate::options::Options;
use crate::session::{Broker, Peer, Session};
use bowline_net::{Limit, Listener, Shutdown, Stream};
use bowline_replica::Node;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A connection that is turned away is kept for this long at most.
const TURNED_AWAY_MAX: Duration = Duration::from_secs(10);

/// Serves Kafka clients on `listener` until `shutdown`, then lets what was produced be answered. Returns when the last
/// connection has ended.
pub async fn serve(listener: Listener, node: Node, options: Options, limit: Limit, shutdown: Shutdown) {
    let large_requests =
        Arc::new(Semaphore::new(connection::budget_units(options.limits.large_requests_bytes_max)));
    let broker = Arc::new(Broker {
        cluster_id: node.cluster_id().to_owned(),
        data_shards: node.data_shards(),
        catalog: Box::new(node.clone()),
        accounts: Box::new(node.clone()),
        options,
        fetch_sessions: FetchSessions::default(),
        clock: Box::new(Instant::now),
    });
    let stop = shutdown.clone();
    let handler = move |stream: Stream, address: SocketAddr| {
        let (broker, node) = (broker.clone(), node.clone());
        let (large_requests, stop) = (large_requests.clone(), stop.clone());
        async move {
            let peer = match peer(&stream, address, &broker.options) {
                Ok(peer) => peer,
                Err(error) => return tracing::debug!(%address, %error, "the connection was gone at once"),
            };
            let too_early = broker.options.meters.connection(&*broker.catalog, peer.ip(), Instant::now());
            if !too_early.is_zero() {
                return turn_away(too_early, address, stop).await;
            }
            let options = broker.options.clone();
            let link = node.connect();
            let session = Session::new(broker, peer, link.id());
            let ended = connection::run(stream, session, link, options, large_requests, stop).await;
            match ended.is_our_fault() {
                true => tracing::error!(%address, %ended, "Kafka connection closed"),
                false => tracing::debug!(%address, %ended, "Kafka connection closed"),
            }
        }
    };
    bowline_net::serve(listener, limit, shutdown, handler).await;
}

/// A connection too many of an address that has a quota: it is kept until it would have been in time and then closed,
/// as in Kafka, so that the client does not come again at once.
async fn turn_away(too_early: Duration, address: SocketAddr, mut stop: Shutdown) {
    tracing::debug!(%address, wait_ms = too_early.as_millis(), "Kafka connection beyond its address's quota");
    tokio::select! {
        () = tokio::time::sleep(too_early.min(TURNED_AWAY_MAX)) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

fn peer(stream: &Stream, address: SocketAddr, options: &Options) -> std::io::Result<Peer> {
    let advertised = match &options.advertised {
        Some(advertised) => advertised.clone(),
        None => {
            let dialled = stream.local_addr()?;
            (plain(dialled.ip()).to_string(), dialled.port())
        }
    };
    let certified = stream.identity().and_then(|identity| identity.user(options.certificate_user));
    let ip = plain(address.ip());
    Ok(Peer {
        client_host: format!("/{ip}"),
        port: address.port(),
        is_loopback: ip.is_loopback(),
        advertised,
        certified,
    })
}

/// An IPv4 address that came in over IPv6 is shown as what it is.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
