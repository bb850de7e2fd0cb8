//! A proxy that delays what it passes on, in place of the kernel's `netem`. Knows bytes only.

use crate::clock;
use arbiter_core::Instant;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// Pieces on their way in one direction of one connection.
const PIECES_MAX: usize = 1024;
/// Bytes read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// A running proxy. Accepts no more once dropped.
#[derive(Debug)]
pub struct Proxy {
    stop: Arc<AtomicBool>,
    listen: SocketAddr,
}

impl Proxy {
    /// Pass connections to `listen` on to `to`, each byte `delay` late, in both directions.
    ///
    /// # Errors
    /// If `listen` cannot be bound.
    pub fn start(listen: SocketAddr, to: SocketAddr, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new().name("delay".into()).spawn(move || {
            for client in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::spawn(move || {
                    if let Ok(server) = TcpStream::connect_timeout(&to, Duration::from_secs(3)) {
                        join(client, server, delay);
                    }
                });
            }
        })?;
        Ok(Self { stop, listen })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accept call.
        let _ = TcpStream::connect_timeout(&self.listen, Duration::from_millis(100));
    }
}

fn join(client: TcpStream, server: TcpStream, delay: Duration) {
    for (from, to) in [(&client, &server), (&server, &client)] {
        let _ = to.set_nodelay(true);
        if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
            std::thread::spawn(move || pass(from, to, delay));
        }
    }
}

fn pass(mut from: TcpStream, to: TcpStream, delay: Duration) {
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    std::thread::spawn(move || write_late(to, receiver));
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(length) = io::Read::read(&mut from, &mut buffer) {
        let due = clock::now() + delay;
        if length == 0 || sender.send((due, buffer[..length].to_vec())).is_err() {
            break;
        }
    }
}

fn write_late(mut to: TcpStream, receiver: Receiver<(Instant, Vec<u8>)>) {
    for (due, piece) in receiver {
        std::thread::sleep(due.since(clock::now()));
        if io::Write::write_all(&mut to, &piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
