//! TLS on a non-blocking socket. rustls turns octets into octets; this moves them, in large pieces: its own reads are
//! 4 KiB each, so ciphertext is read into a buffer of the thread and handed over from there.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::Identity;

/// One read of ciphertext takes at most this much.
const READ_BYTES: usize = 128 * 1024;
/// Plaintext that is encrypted ahead of the socket.
const AHEAD_BYTES: usize = 256 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

pub struct Encrypted {
    tcp: TcpStream,
    tls: ServerConnection,
    /// Ciphertext that came and was not decrypted, because there was no room for what it says.
    carry: Vec<u8>,
    /// The peer has closed, with or without saying so.
    ended: bool,
    identity: Option<Identity>,
}

/// The socket as rustls wants it.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.try_write(octets)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encrypted {
    /// Shakes hands.
    ///
    /// # Errors
    /// The peer does not speak TLS, shows no certificate that we trust where it must, or goes away.
    pub(crate) async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Encrypted> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(AHEAD_BYTES));
        let mut stream = Encrypted { tcp, tls, carry: Vec::new(), ended: false, identity: None };
        loop {
            stream.try_flush()?;
            if !stream.tls.is_handshaking() && stream.is_flushed() {
                break;
            }
            if !stream.is_flushed() {
                stream.tcp.writable().await?;
                continue;
            }
            stream.tcp.readable().await?;
            match stream.fill(&mut ReadBuf::new(&mut [])) {
                Ok(()) if stream.ended => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // The alert that tells the peer why.
                    let _ = stream.try_flush();
                    return Err(error);
                }
            }
        }
        let certificate = stream.tls.peer_certificates().and_then(|chain| chain.first());
        stream.identity = certificate.and_then(|certificate| Identity::of(certificate));
        Ok(stream)
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            match self.tcp.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// `WouldBlock` when there is nothing; no octet when the peer has closed.
    pub(crate) fn try_read(&mut self, room: &mut ReadBuf<'_>) -> io::Result<()> {
        let before = room.filled().len();
        self.take_plaintext(room)?;
        while room.remaining() > 0 && !self.ended {
            match self.fill(room) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if room.filled().len() == before {
                        return Err(error);
                    }
                    break;
                }
                Err(error) => {
                    let _ = self.try_flush();
                    return Err(error);
                }
            }
        }
        // Answers of the protocol itself, such as a new key.
        self.try_flush()
    }

    /// Reads ciphertext once and decrypts it into `room` as far as there is some.
    fn fill(&mut self, room: &mut ReadBuf<'_>) -> io::Result<()> {
        if !self.carry.is_empty() {
            let carried = std::mem::take(&mut self.carry);
            let used = self.decrypt(&carried, room)?;
            self.carry = carried[used..].to_vec();
            return Ok(());
        }
        READ.with_borrow_mut(|buffer| {
            let read = self.tcp.try_read(buffer)?;
            if read == 0 {
                self.ended = true;
                return Ok(());
            }
            let used = self.decrypt(&buffer[..read], room)?;
            self.carry.extend_from_slice(&buffer[used..read]);
            Ok(())
        })
    }

    /// How much of the ciphertext was used: all of it, unless `room` is full.
    fn decrypt(&mut self, ciphertext: &[u8], room: &mut ReadBuf<'_>) -> io::Result<usize> {
        let mut left = ciphertext;
        while !left.is_empty() {
            self.tls.read_tls(&mut left)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            let has_plaintext = state.plaintext_bytes_to_read() > 0;
            self.take_plaintext(room)?;
            if self.ended || (has_plaintext && room.remaining() == 0) {
                break;
            }
        }
        Ok(ciphertext.len() - left.len())
    }

    /// Moves what is decrypted.
    fn take_plaintext(&mut self, room: &mut ReadBuf<'_>) -> io::Result<()> {
        while room.remaining() > 0 {
            match self.tls.reader().read(room.initialize_unfilled()) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(read) => room.advance(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Both protocols say goodbye by themselves: a missing one of TLS changes nothing.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.ended = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a read would find something without the socket.
    pub(crate) fn has_input(&self) -> bool {
        self.ended || !self.carry.is_empty()
    }

    pub(crate) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_flush()?;
        if !self.is_flushed() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = self.tls.writer().write_vectored(slices)?;
        self.try_flush()?;
        Ok(taken)
    }

    pub(crate) fn is_flushed(&self) -> bool {
        !self.tls.wants_write()
    }

    pub(crate) fn try_flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(&self.tcp)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        loop {
            self.try_flush()?;
            if self.is_flushed() {
                break;
            }
            self.tcp.writable().await?;
        }
        self.tcp.shutdown().await
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.tcp
    }

    pub(crate) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}
