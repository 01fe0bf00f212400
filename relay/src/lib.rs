//! The relay: reads the log, decides which rooms get which message, and is the only program that posts there.
//!
//! ```text
//!  HAL_OPS ──inbox──▶ engine ──▶ queues ──▶ worker ──▶ room
//!  (the log)          (pure fold)  (a room each)  │      (adapter: render, send, classify)
//!     ▲                                           └──▶ HAL_SENT receipts, HAL_DEAD dead letters
//!     └── tick, config, retry: only entries of the log change the engine
//! ```
//!
//! One relay leads (`lease`), the others stand by. The engine does no I/O and knows no clock but the
//! log's; adapters never retry, sleep or route; `deliver` holds the only retry loop.

pub mod admin;
pub mod bus;
pub mod config;
pub mod deliver;
pub mod delivery;
pub mod engine;
pub mod index;
pub mod lead;
pub mod page;
pub mod render;
pub mod room;
pub mod status;
