//! A tap between gateway and broker: every connection, and every byte of both directions.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Result;

use super::netns::Place;

/// One connection through the tap.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// From the gateway to the broker.
    pub up: Vec<u8>,
    /// From the broker to the gateway.
    pub down: Vec<u8>,
}

/// Listens in front of a broker and passes everything on, until it is dropped.
#[derive(Debug)]
pub struct Tap {
    /// Where to connect to instead of the broker.
    pub address: SocketAddr,
    tapes: Arc<Mutex<Vec<Tape>>>,
    place: Place,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// In front of `broker`.
    pub fn start(place: &Place, broker: SocketAddr) -> Result<Self> {
        let listener = place.run(|| Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))?;
        let mut tap = Self {
            address: listener.local_addr()?,
            tapes: Arc::default(),
            place: place.clone(),
            stop: Arc::default(),
            thread: None,
        };
        let (tapes, place, stop) = (Arc::clone(&tap.tapes), place.clone(), Arc::clone(&tap.stop));
        tap.thread = Some(thread::spawn(move || {
            for gateway in listener.incoming().flatten() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                pass_on(gateway, broker, &place, &tapes);
            }
        }));
        Ok(tap)
    }

    /// All connections so far, in the order in which they were made.
    pub fn tapes(&self) -> Vec<Tape> {
        lock(&self.tapes).clone()
    }

    /// The connections on which the gateway said something. Now and then it opens one and says
    /// nothing, to see whether the broker is there.
    pub fn sessions(&self) -> Vec<Tape> {
        let mut tapes = self.tapes();
        tapes.retain(|tape| !tape.up.is_empty());
        tapes
    }

    /// Whether these bytes went to the broker, on any connection.
    pub fn went_up(&self, bytes: &[u8]) -> bool {
        lock(&self.tapes)
            .iter()
            .any(|tape| tape.up.windows(bytes.len()).any(|window| window == bytes))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread, which holds on to the namespace, out of its accept.
        let woken = self.place.run(|| Ok(TcpStream::connect(self.address)?));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Starts two threads that end with the connection.
fn pass_on(gateway: TcpStream, broker: SocketAddr, place: &Place, tapes: &Arc<Mutex<Vec<Tape>>>) {
    let number = {
        let mut tapes = lock(tapes);
        tapes.push(Tape::default());
        tapes.len() - 1
    };
    // Without a broker the gateway finds its connection closed.
    let Ok(broker) = place.run(|| Ok(TcpStream::connect(broker)?)) else {
        return;
    };
    let (Ok(gateway_back), Ok(broker_back)) = (gateway.try_clone(), broker.try_clone()) else {
        return;
    };
    let (up, down) = (Arc::clone(tapes), Arc::clone(tapes));
    thread::spawn(move || {
        copy(gateway, broker, |bytes| {
            if let Some(tape) = lock(&up).get_mut(number) {
                tape.up.extend(bytes);
            }
        });
    });
    thread::spawn(move || {
        copy(broker_back, gateway_back, |bytes| {
            if let Some(tape) = lock(&down).get_mut(number) {
                tape.down.extend(bytes);
            }
        });
    });
}

fn lock(tapes: &Mutex<Vec<Tape>>) -> MutexGuard<'_, Vec<Tape>> {
    tapes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut record: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        let bytes = buffer.get(..size).unwrap_or_default();
        // Recorded first: a test that saw the effect finds the cause.
        record(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
