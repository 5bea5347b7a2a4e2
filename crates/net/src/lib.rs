//! Listeners, connection limits and encryption, once for every front end.
//!
//! A front end gives [`serve`] a [`Listener`] and a function that runs one connection. `serve` accepts, shakes hands,
//! bounds how many run at a time, survives "too many open files", and stops when told.

mod encrypted;
mod stream;
pub mod tls;

pub use stream::Stream;
pub use tls::Tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// Connections waiting to be accepted, as the kernel keeps them.
const BACKLOG: u32 = 4096;

/// Binds every address that `address` (`host:port`) resolves to: `localhost` is 127.0.0.1 and, where there is
/// one, ::1. Port 0 picks a free port, the same for all. At least one must bind; an address family that the
/// machine lacks is no error, an address in use is.
pub async fn bind(address: &str) -> io::Result<Vec<TcpListener>> {
    let mut resolved: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
    resolved.sort_by_key(|a| !a.is_ipv4());
    resolved.dedup();
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut failure = None;
    for mut address in resolved {
        if let (0, Some(first)) = (address.port(), listeners.first()) {
            address.set_port(first.local_addr()?.port());
        }
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => return Err(e),
            Err(e) => failure = Some(e),
        }
    }
    match (listeners.is_empty(), failure) {
        (false, _) => Ok(listeners),
        (true, Some(e)) => Err(e),
        (true, None) => Err(io::Error::new(io::ErrorKind::NotFound, "the name resolves to no address")),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Where clients come in, and whether what they say is encrypted.
pub struct Listener {
    pub socket: TcpListener,
    pub tls: Option<Tls>,
}

/// How many connections may run at a time, over all listeners that share it, and where they run.
#[derive(Clone)]
pub struct Limit {
    permits: Arc<Semaphore>,
    threads: Option<Threads>,
}

impl Limit {
    /// They run in the listener's runtime.
    pub fn new(connections: u32) -> Limit {
        Limit { permits: Arc::new(Semaphore::new(connections as usize)), threads: None }
    }

    /// They run on `threads`.
    pub fn on(self, threads: Threads) -> Limit {
        Limit { threads: Some(threads), ..self }
    }
}

/// Threads that run connections, each with a scheduler and an event queue of its own. A connection stays with its
/// thread: waking it wakes that thread and no other. A scheduler that shares its tasks between threads wakes a second
/// one to look for work each time, which on a quiet broker is most of what it does.
#[derive(Clone)]
pub struct Threads(Arc<[Thread]>);

struct Thread {
    handle: Handle,
    /// Connections that it runs.
    connections: AtomicUsize,
}

/// A connection's place on a thread.
struct Seat {
    threads: Threads,
    at: usize,
}

impl Threads {
    /// Starts `count` threads (at least one). They end with the process.
    ///
    /// # Errors
    /// The system gives no thread or no event queue.
    pub fn start(count: usize) -> io::Result<Threads> {
        let mut threads = Vec::new();
        for n in 0..count.max(1) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            threads.push(Thread { handle: runtime.handle().clone(), connections: AtomicUsize::new(0) });
            let run = move || runtime.block_on(std::future::pending::<()>());
            std::thread::Builder::new().name(format!("session-{n}")).spawn(run)?;
        }
        Ok(Threads(threads.into()))
    }

    /// On the thread with the fewest connections.
    fn seat(&self) -> Seat {
        let load = |at: &usize| self.0[*at].connections.load(Ordering::Relaxed);
        let at = (0..self.0.len()).min_by_key(load).unwrap_or(0);
        self.0[at].connections.fetch_add(1, Ordering::Relaxed);
        Seat { threads: self.clone(), at }
    }
}

impl Seat {
    fn handle(&self) -> Handle {
        self.threads.0[self.at].handle.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.threads.0[self.at].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Becomes true once: stop accepting and close connections cleanly.
pub type Shutdown = watch::Receiver<bool>;

/// Accepts until `shutdown`. Each connection runs `handler` in a task of its own; over the limit a new connection
/// waits in the kernel's backlog until another one ends. Returns when every connection has ended.
pub async fn serve<H, F>(listener: Listener, limit: Limit, mut shutdown: Shutdown, handler: H)
where
    H: Fn(Stream, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let Listener { socket: listener, tls } = listener;
    let handler = move |stream, peer| {
        let (handler, tls) = (handler.clone(), tls.clone());
        async move {
            match tls {
                None => handler(Stream::Plain(stream), peer).await,
                // Boxed, so that a connection that lives does not hold the room for its beginning.
                Some(tls) => match Box::pin(tls.accept(stream)).await {
                    Ok(stream) => handler(stream, peer).await,
                    Err(error) => tracing::info!(%peer, %error, "no TLS handshake"),
                },
            }
        }
    };
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => break,
            // Reaping keeps the set from growing with every connection there ever was.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &limit) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let _ = stream.set_nodelay(true);
                let Some(threads) = &limit.threads else {
                    let connection = handler(stream, peer);
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                    continue;
                };
                // The socket changes over to the event queue of its thread.
                let handler = handler.clone();
                let moved = stream.into_std();
                let seat = threads.seat();
                let thread = seat.handle();
                let connection = async move {
                    match moved.and_then(TcpStream::from_std) {
                        Ok(stream) => Box::pin(handler(stream, peer)).await,
                        Err(error) => tracing::warn!(%peer, %error, "a connection cannot be served"),
                    }
                    drop((seat, permit));
                };
                connections.spawn_on(connection, &thread);
            }
            Err(error) => {
                // Out of descriptors or memory: nothing to do but to let some connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    limit: &Limit,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = limit.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Ok((stream, peer, permit)),
            // The peer was gone before we looked: not our trouble.
            Err(e)
                if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(e) => return Err(e),
        }
    }
}
