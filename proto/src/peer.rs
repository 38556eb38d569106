//! What the two agents say to each other inside the Noise channel: one type byte, then a body.

use prost::Message as _;

use crate::v1::{PeerAbort, PeerHello};
use crate::{WireError, fixed};

/// Longest checkpoint text that is read, in bytes.
const CHECKPOINT_BYTES_MAX: usize = 4096;

/// One message between the agents.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerMessage {
    /// First message of each side.
    Hello(Hello),
    /// A chunk of the sender's own blinded points.
    Blinded(Vec<u8>),
    /// The answer to a chunk, in the same order.
    Evaluated(Vec<u8>),
    /// A piece of what the `vole` protocol sends.
    Piece(Vec<u8>),
    /// The sender has on disk what was agreed in the greetings.
    Ready,
    /// The sender stops, and says why.
    Abort(PeerAbort),
}

/// What each side says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Fresh; both sides' nonces go into the session.
    pub nonce: [u8; 32],
    /// Items that the sender will match, dummies among them.
    pub set_size: u64,
    /// Latest log checkpoint that the sender holds (signed-note text), for fork detection.
    pub checkpoint: Option<String>,
}

const HELLO: u8 = 1;
const BLINDED: u8 = 2;
const EVALUATED: u8 = 3;
const ABORT: u8 = 4;
const PIECE: u8 = 5;
const READY: u8 = 6;

impl PeerMessage {
    /// Bytes for one Noise message. The psi crate's chunk bound keeps them under the channel's.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Hello(hello) => (
                HELLO,
                PeerHello {
                    nonce: hello.nonce.to_vec(),
                    set_size: hello.set_size,
                    checkpoint: hello.checkpoint.clone().unwrap_or_default(),
                }
                .encode_to_vec(),
            ),
            Self::Blinded(points) => (BLINDED, points.clone()),
            Self::Evaluated(points) => (EVALUATED, points.clone()),
            Self::Piece(piece) => (PIECE, piece.clone()),
            Self::Ready => (READY, Vec::new()),
            Self::Abort(abort) => (ABORT, abort.encode_to_vec()),
        };
        let mut out = Vec::with_capacity(1 + body.len());
        out.push(kind);
        out.extend_from_slice(&body);
        out
    }

    /// Reads one Noise message's plaintext.
    ///
    /// # Errors
    /// An unknown type, or a body that is not of its type.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (kind, body) = bytes.split_first().ok_or(malformed("it is empty"))?;
        match *kind {
            HELLO => {
                let hello = PeerHello::decode(body).map_err(|_| malformed("not a hello"))?;
                if hello.checkpoint.len() > CHECKPOINT_BYTES_MAX {
                    return Err(malformed("the checkpoint is too long"));
                }
                Ok(Self::Hello(Hello {
                    nonce: fixed("nonce", &hello.nonce)?,
                    set_size: hello.set_size,
                    checkpoint: Some(hello.checkpoint).filter(|text| !text.is_empty()),
                }))
            }
            BLINDED => Ok(Self::Blinded(body.to_vec())),
            EVALUATED => Ok(Self::Evaluated(body.to_vec())),
            PIECE => Ok(Self::Piece(body.to_vec())),
            READY if body.is_empty() => Ok(Self::Ready),
            ABORT => Ok(Self::Abort(
                PeerAbort::decode(body).map_err(|_| malformed("not an abort"))?,
            )),
            _ => Err(malformed("its type is unknown")),
        }
    }
}

fn malformed(why: &'static str) -> WireError {
    WireError::Malformed {
        field: "message of the other agent",
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_come_back_as_they_were_sent() {
        for message in [
            PeerMessage::Hello(Hello {
                nonce: [3; 32],
                set_size: 12,
                checkpoint: None,
            }),
            PeerMessage::Blinded(vec![1; 64]),
            PeerMessage::Evaluated(vec![]),
            PeerMessage::Piece(vec![2; 48]),
            PeerMessage::Ready,
            PeerMessage::Abort(PeerAbort {
                code: "cap".into(),
                message: "over it".into(),
            }),
        ] {
            assert_eq!(PeerMessage::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn short_nonce_and_unknown_type_are_refused() {
        let hello = PeerHello {
            nonce: vec![0; 31],
            set_size: 1,
            checkpoint: String::new(),
        };
        let mut bytes = vec![HELLO];
        bytes.extend(hello.encode_to_vec());
        assert!(matches!(
            PeerMessage::decode(&bytes),
            Err(WireError::Length {
                want: 32,
                got: 31,
                ..
            })
        ));
        assert!(PeerMessage::decode(&[9]).is_err());
        assert!(PeerMessage::decode(&[READY, 0]).is_err());
        assert!(PeerMessage::decode(&[]).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = PeerMessage::decode(&bytes);
        }
    }
}
