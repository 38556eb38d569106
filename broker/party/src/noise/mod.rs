//! The channel between the two agents: `Noise_KK_25519_AESGCM_SHA256`, end to end through the broker's relay.
//!
//! For [`crate::matching`], which moves the messages; nothing here does input or output. The Noise pattern is KK (Noise
//! Protocol Framework, revision 34, section 7.5): both sides know the other's static key beforehand, from the
//! agreement that both institutions signed, so a broker that puts itself in the middle fails the handshake. The
//! prologue binds the channel to one attempt at one flow under one agreement ([`Binding`]): two agents that disagree
//! on any of these never get a channel.
//!
//! KK's first message can be replayed by whoever recorded it (section 7.7: payload security 1, 2). Nothing is sent in
//! it, and nothing that follows opens without the ephemeral key of the answer, so a replay ends at the next message.
//!
//! Secrets are wiped when dropped, as far as they are ours: static and ephemeral keys, and the cipher keys. The
//! chaining key in snow's handshake state is not wiped by snow 0.10.

mod primitives;

#[cfg(test)]
mod tests;

use counterfoil_proto::limits::NOISE_MESSAGE_BYTES_MAX;
use snow::params::NoiseParams;
use x25519_dalek::{PublicKey, StaticSecret};

use primitives::Primitives;

/// The one pattern and suite that is spoken.
const PATTERN: &str = "Noise_KK_25519_AESGCM_SHA256";

/// Bytes that sealing adds: the tag of AES-GCM.
const TAG_BYTES: usize = 16;

/// Longest plaintext of one message, in bytes.
pub const PLAINTEXT_BYTES_MAX: usize = NOISE_MESSAGE_BYTES_MAX - TAG_BYTES;

/// Why there is no channel, or no longer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoiseError {
    /// The peer holds another static key than the agreement names, or means another flow, attempt or agreement, or
    /// somebody altered the message on its way.
    #[error(
        "the handshake fails: the other agent has another key than the agreement, or means another flow"
    )]
    Handshake,
    /// A message that was altered, replayed, left out or put in another order.
    #[error(
        "a message of the channel does not open: it was altered, repeated, left out or reordered"
    )]
    Message,
    /// More than one message can carry. Ours, not the peer's fault.
    #[error("a message of {0} bytes is longer than one Noise message can be")]
    TooLong(usize),
    /// The channel failed before, and stays failed.
    #[error("the channel failed before and takes no further message")]
    Dead,
    /// The operating system gave no randomness, or the library refuses its configuration.
    #[error("the channel cannot be set up: {0}")]
    Setup(&'static str),
}

/// What a channel is for. Both sides must mean the same, to the byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// SHA-256 of the canonical agreement.
    pub agreement: [u8; 32],
    /// SHA-256 of the canonical body of the signed request.
    pub request: [u8; 32],
    /// The flow.
    pub flow: [u8; 16],
    /// Names how the flow's sets are split; zeros where the agents meet to agree on that.
    pub plan: [u8; 32],
    /// Bucket of the flow's sets.
    pub bucket: u32,
    /// Attempt at that bucket, from 1.
    pub attempt: u32,
}

impl Binding {
    /// The prologue: every field has a fixed length, so that no two bindings have the same bytes.
    fn prologue(&self) -> Vec<u8> {
        let mut prologue = b"counterfoil channel v1".to_vec();
        prologue.extend_from_slice(&self.agreement);
        prologue.extend_from_slice(&self.request);
        prologue.extend_from_slice(&self.flow);
        prologue.extend_from_slice(&self.plan);
        prologue.extend_from_slice(&self.bucket.to_be_bytes());
        prologue.extend_from_slice(&self.attempt.to_be_bytes());
        prologue.extend_from_slice(b"initiator=recipient,responder=owner");
        prologue
    }
}

/// Own secret key and the peer's public one, both as pinned by the agreement.
#[derive(Clone, Copy)]
pub struct Statics<'k> {
    /// Own key.
    pub own: &'k StaticSecret,
    /// The other institution's key.
    pub peer: &'k PublicKey,
}

/// The recipient's side, between its first message and the answer to it.
pub struct Initiator(snow::HandshakeState);

impl Initiator {
    /// Starts a handshake; the bytes are for the peer.
    ///
    /// # Errors
    /// [`NoiseError::Setup`]; [`NoiseError::Handshake`] where the peer's static key is of low order.
    pub fn start(statics: Statics<'_>, binding: &Binding) -> Result<(Self, Vec<u8>), NoiseError> {
        let prologue = binding.prologue();
        let mut state = builder(statics, &prologue)?
            .build_initiator()
            .map_err(setup)?;
        let message = write_handshake(&mut state)?;
        Ok((Self(state), message))
    }

    /// Takes the peer's answer.
    ///
    /// # Errors
    /// [`NoiseError::Handshake`].
    pub fn finish(mut self, answer: &[u8]) -> Result<Channel, NoiseError> {
        read_handshake(&mut self.0, answer)?;
        Channel::new(self.0)
    }
}

/// The owner's side of the handshake.
pub struct Responder;

impl Responder {
    /// Answers the initiator's message; the bytes are for the peer. Until the first message of the channel opens,
    /// it is not known that the peer is there: see the module's note on replays.
    ///
    /// # Errors
    /// [`NoiseError::Handshake`], [`NoiseError::Setup`].
    pub fn answer(
        statics: Statics<'_>,
        binding: &Binding,
        message: &[u8],
    ) -> Result<(Channel, Vec<u8>), NoiseError> {
        let prologue = binding.prologue();
        let mut state = builder(statics, &prologue)?
            .build_responder()
            .map_err(setup)?;
        read_handshake(&mut state, message)?;
        let answer = write_handshake(&mut state)?;
        Ok((Channel::new(state)?, answer))
    }
}

/// An open channel. Messages open in the order in which they were sealed, each once.
pub struct Channel {
    state: snow::TransportState,
    dead: bool,
}

impl Channel {
    fn new(state: snow::HandshakeState) -> Result<Self, NoiseError> {
        let state = state.into_transport_mode().map_err(setup)?;
        Ok(Self { state, dead: false })
    }

    /// Seals one message for the peer, at most [`PLAINTEXT_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`NoiseError::TooLong`], [`NoiseError::Dead`].
    pub fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if self.dead {
            return Err(NoiseError::Dead);
        }
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(NoiseError::TooLong(plaintext.len()));
        }
        let mut message = vec![0; plaintext.len() + TAG_BYTES];
        let written = self
            .state
            .write_message(plaintext, &mut message)
            .map_err(|_| self.kill())?;
        if written != message.len() {
            return Err(self.kill());
        }
        Ok(message)
    }

    /// Opens the peer's next message. After one that does not open the channel is dead: a gap cannot be told from
    /// an attack.
    ///
    /// # Errors
    /// [`NoiseError::Message`], [`NoiseError::Dead`].
    pub fn open(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if self.dead {
            return Err(NoiseError::Dead);
        }
        let Some(len) = message.len().checked_sub(TAG_BYTES) else {
            return Err(self.kill());
        };
        let mut plaintext = vec![0; len];
        match self.state.read_message(message, &mut plaintext) {
            Ok(read) if read == len => Ok(plaintext),
            _ => Err(self.kill()),
        }
    }

    fn kill(&mut self) -> NoiseError {
        self.dead = true;
        NoiseError::Message
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("dead", &self.dead)
            .finish_non_exhaustive()
    }
}

fn builder<'b>(statics: Statics<'b>, prologue: &'b [u8]) -> Result<snow::Builder<'b>, NoiseError> {
    let params: NoiseParams = PATTERN.parse().map_err(setup)?;
    snow::Builder::with_resolver(params, Box::new(Primitives))
        .local_private_key(statics.own.as_bytes())
        .and_then(|builder| builder.remote_public_key(statics.peer.as_bytes()))
        .and_then(|builder| builder.prologue(prologue))
        .map_err(setup)
}

/// Handshake messages carry no payload: a peer that puts one in breaks the protocol.
fn write_handshake(state: &mut snow::HandshakeState) -> Result<Vec<u8>, NoiseError> {
    let mut message = vec![0; HANDSHAKE_BYTES];
    let written = state
        .write_message(&[], &mut message)
        .map_err(|error| match error {
            snow::Error::Rng => NoiseError::Setup("the operating system gives no randomness"),
            _ => NoiseError::Handshake,
        })?;
    message.truncate(written);
    Ok(message)
}

fn read_handshake(state: &mut snow::HandshakeState, message: &[u8]) -> Result<(), NoiseError> {
    if message.len() != HANDSHAKE_BYTES {
        return Err(NoiseError::Handshake);
    }
    let mut payload = [0; HANDSHAKE_BYTES];
    match state.read_message(message, &mut payload) {
        Ok(0) => Ok(()),
        _ => Err(NoiseError::Handshake),
    }
}

/// Each handshake message of KK: an ephemeral key and the tag of an empty payload.
const HANDSHAKE_BYTES: usize = 32 + TAG_BYTES;

fn setup(_: snow::Error) -> NoiseError {
    NoiseError::Setup("the library refuses its configuration")
}
