//! The relay: passes Noise messages between two agents, which the broker cannot read.

use tokio::sync::mpsc;

use counterfoil_proto::limits::{NOISE_MESSAGE_BYTES_MAX, RELAY_FRAMES, ROWS_MAX};

/// A frame counts as this many bytes at least, so that empty ones are bounded too.
const FRAME_BYTES_MIN: u64 = 64;

/// Both directions of one session.
pub(crate) struct Relay {
    owner: RelayEnd,
    recipient: RelayEnd,
}

/// One side's end of a relay.
pub(crate) struct RelayEnd {
    /// Towards the other side.
    sender: mpsc::Sender<Vec<u8>>,
    /// From the other side.
    pub(crate) receiver: mpsc::Receiver<Vec<u8>>,
    bytes_left: u64,
}

/// Why a frame was not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RelayError {
    /// Longer than a Noise message can be.
    #[error("a frame is longer than a Noise message")]
    FrameTooLong,
    /// More than a session of this agreement can need.
    #[error("it sent more than a session of this agreement can need")]
    TooMuch,
    /// The other side has left.
    #[error("the other side has left")]
    OtherSideLeft,
}

impl Relay {
    /// For a session in which the recipient has at most `rows_max` identifiers.
    pub(crate) fn new(rows_max: u64) -> Self {
        let (to_owner, at_owner) = mpsc::channel(RELAY_FRAMES);
        let (to_recipient, at_recipient) = mpsc::channel(RELAY_FRAMES);
        let bytes_left = bytes_max(rows_max);
        Self {
            owner: RelayEnd {
                sender: to_recipient,
                receiver: at_owner,
                bytes_left,
            },
            recipient: RelayEnd {
                sender: to_owner,
                receiver: at_recipient,
                bytes_left,
            },
        }
    }

    /// The owner's end and the recipient's.
    pub(crate) fn split(self) -> (RelayEnd, RelayEnd) {
        (self.owner, self.recipient)
    }
}

impl RelayEnd {
    /// Nobody will take what this end sends.
    pub(crate) fn other_has_left(&self) -> bool {
        self.sender.is_closed()
    }

    /// Splits into what sends and what receives.
    pub(crate) fn split(self) -> (RelaySender, mpsc::Receiver<Vec<u8>>) {
        let sender = RelaySender {
            sender: self.sender,
            bytes_left: self.bytes_left,
        };
        (sender, self.receiver)
    }
}

/// The sending half of a [`RelayEnd`].
pub(crate) struct RelaySender {
    sender: mpsc::Sender<Vec<u8>>,
    bytes_left: u64,
}

impl RelaySender {
    /// Passes one frame on, waiting while the other side is slow.
    pub(crate) async fn send(&mut self, frame: Vec<u8>) -> Result<(), RelayError> {
        if frame.len() > NOISE_MESSAGE_BYTES_MAX {
            return Err(RelayError::FrameTooLong);
        }
        self.bytes_left = self
            .bytes_left
            .checked_sub(FRAME_BYTES_MIN.max(frame.len() as u64))
            .ok_or(RelayError::TooMuch)?;
        self.sender
            .send(frame)
            .await
            .map_err(|_| RelayError::OtherSideLeft)
    }
}

/// What one side sends at the most: its own points and its answers, 32 bytes each, 2,000 in a frame with some 20
/// bytes of overhead (so 1/64 is ample), and a mebibyte for handshake, hello and abort. An agreement caps what the
/// recipient brings; the owner's whole dataset takes part, whatever its size.
fn bytes_max(rows_max: u64) -> u64 {
    let points = rows_max.saturating_add(ROWS_MAX).saturating_mul(32);
    points.saturating_add(points / 64).saturating_add(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_in_order() {
        let (owner, recipient) = Relay::new(10).split();
        let (mut owner, _) = owner.split();
        let (_, mut to_recipient) = recipient.split();
        owner.send(vec![1]).await.unwrap();
        owner.send(vec![2]).await.unwrap();
        assert_eq!(to_recipient.recv().await, Some(vec![1]));
        assert_eq!(to_recipient.recv().await, Some(vec![2]));
    }

    #[tokio::test]
    async fn what_no_flow_needs_is_not_passed_on() {
        let (owner, recipient) = Relay::new(0).split();
        let (mut owner, _) = owner.split();
        let (_, mut to_recipient) = recipient.split();
        let long = vec![0; NOISE_MESSAGE_BYTES_MAX + 1];
        assert_eq!(owner.send(long).await, Err(RelayError::FrameTooLong));
        owner.bytes_left = 64 + 65 + 64;
        for len in [0, 65, 1] {
            assert_eq!(owner.send(vec![0; len]).await, Ok(()));
            to_recipient.recv().await.unwrap();
        }
        assert_eq!(owner.send(vec![]).await, Err(RelayError::TooMuch));
        owner.bytes_left = 64;
        drop(to_recipient);
        assert_eq!(owner.send(vec![1]).await, Err(RelayError::OtherSideLeft));
    }

    #[test]
    fn an_owner_whose_dataset_is_larger_than_the_recipients_cap_can_match() {
        let of = |rows: u64| rows * 32 + rows.div_ceil(2000) * 20;
        assert!(bytes_max(100_000) >= of(ROWS_MAX) + of(100_000));
        assert!(bytes_max(ROWS_MAX) >= 2 * of(ROWS_MAX));
    }
}
