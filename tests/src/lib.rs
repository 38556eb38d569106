//! Whole-system tests: the real command, each side a process of its own, on real files.
//!
//! This library is what the tests share: where the binary is, and a [`World`] with a broker and two institutions that have
//! joined, confirmed each other and signed an agreement. What is tested stands in the files beside `src`, one a theme.

pub mod ask;
pub mod background;
pub mod data;
pub mod hand;
pub mod measuring;
pub mod memory;
pub mod process;
pub mod proxy;
pub mod usage;
pub mod world;

pub use process::{Done, Serving, counterfoil, run};
pub use world::World;
