//! Ports for servers that cannot report a port of their own choice, or that need the same port after a restart.
//!
//! A port is outside the range that the kernel gives to clients, so that it stays free while the server is down, and it
//! is held by a lock file, so that tests in other processes choose other ports.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port of the loopback interface that is this process's until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// A free port.
    pub fn free() -> Port {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let dir = lock_dir();
        // Processes start their search far apart, and a process continues where it stopped.
        let start = u16::try_from(std::process::id().wrapping_mul(997) % u32::from(COUNT)).unwrap_or(0);
        for _ in 0..COUNT {
            let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start) % COUNT;
            let number = FIRST + offset;
            let Ok(lock) = OpenOptions::new().create(true).append(true).open(dir.join(number.to_string()))
            else {
                continue;
            };
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port from {FIRST} on; {} holds the locks", dir.display());
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1` and the port.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

fn lock_dir() -> PathBuf {
    let user = std::env::var("USER").unwrap_or_else(|_| "anyone".into());
    let dir = std::env::temp_dir().join(format!("tellhal-test-ports-{user}"));
    std::fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    dir
}
