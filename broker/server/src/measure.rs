//! Measure flows at the broker: noise from OpenDP, and nothing else that touches exact figures.
//!
//! **Where randomness comes from.** OpenDP is built without OpenSSL, which this project does not link. It then draws from `rand`'s thread
//! generator: ChaCha20, seeded from the operating system and again after each 64 KiB. OpenDP's own documentation calls that insecure for
//! want of a statement about `rand`; the generator is a cryptographic one by its authors' word and design (`rand` 0.7, `ThreadRng`;
//! eprint 2019/1492 on its 20 rounds), not shared between threads, and its state never leaves the process. Its samplers are exact:
//! integers and rationals, no floats (Canonne, Kamath and Steinke, The discrete Gaussian for differential privacy, 2020), so that
//! there is no attack by low bits (Mironov, On significance of the least significant bits for differential privacy, CCS 2012).
//! They do not run in constant time; when a flow is released tells how long noise took, to the resolution of everything else that a
//! broker does, and that is not counted in the guarantee.
//!
//! **Where decimals become floats.** OpenDP takes scales as floats. [`noise::Noises::of`] turns an exact epsilon into a float below it,
//! and takes the least scale at which OpenDP's own privacy map, which rounds up, stays at or below that.

pub(crate) mod noise;
