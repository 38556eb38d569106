//! A broker on loopback, called over TLS as agents do.

mod agent;
mod calls;
mod flows;
mod scene;
