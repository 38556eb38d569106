//! The relay: passes Noise messages between two agents, which the broker cannot read.

use tokio::sync::mpsc;

use counterfoil_proto::limits::{NOISE_MESSAGE_BYTES_MAX, RELAY_FRAMES, ROWS_MAX};
use counterfoil_psi::Role;

/// A frame counts as this many bytes at least, so that empty ones are bounded too.
const FRAME_BYTES_MIN: u64 = 64;

/// Both directions of one flow. Each end can be taken once: a second connection for the same side is refused.
pub(crate) struct Relay {
    to_owner: Direction,
    to_recipient: Direction,
    bytes_max: u64,
}

struct Direction {
    sender: Option<mpsc::Sender<Vec<u8>>>,
    receiver: Option<mpsc::Receiver<Vec<u8>>>,
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
    /// More than a flow of this agreement can need.
    #[error("it sent more than a flow of this agreement can need")]
    TooMuch,
    /// The other side has left.
    #[error("the other side has left")]
    OtherSideLeft,
}

impl Relay {
    /// For a flow in which the recipient has at most `rows_max` identifiers.
    pub(crate) fn new(rows_max: u64) -> Self {
        Self {
            to_owner: Direction::new(),
            to_recipient: Direction::new(),
            bytes_max: bytes_max(rows_max),
        }
    }

    /// Takes one side's end, once.
    pub(crate) fn take(&mut self, role: Role) -> Option<RelayEnd> {
        let (from, to) = match role {
            Role::Owner => (&mut self.to_owner, &mut self.to_recipient),
            Role::Recipient => (&mut self.to_recipient, &mut self.to_owner),
        };
        Some(RelayEnd {
            receiver: from.receiver.take()?,
            sender: to.sender.take()?,
            bytes_left: self.bytes_max,
        })
    }
}

impl Direction {
    fn new() -> Self {
        let (sender, receiver) = mpsc::channel(RELAY_FRAMES);
        Self {
            sender: Some(sender),
            receiver: Some(receiver),
        }
    }
}

impl RelayEnd {
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
    async fn frames_arrive_in_order_and_each_end_is_taken_once() {
        let mut relay = Relay::new(10);
        let (mut owner, _) = relay.take(Role::Owner).unwrap().split();
        let (_, mut to_recipient) = relay.take(Role::Recipient).unwrap().split();
        assert!(relay.take(Role::Owner).is_none());
        assert!(relay.take(Role::Recipient).is_none());
        owner.send(vec![1]).await.unwrap();
        owner.send(vec![2]).await.unwrap();
        assert_eq!(to_recipient.recv().await, Some(vec![1]));
        assert_eq!(to_recipient.recv().await, Some(vec![2]));
    }

    #[tokio::test]
    async fn what_no_flow_needs_is_not_passed_on() {
        let mut relay = Relay::new(0);
        let (mut owner, _) = relay.take(Role::Owner).unwrap().split();
        let (_, mut to_recipient) = relay.take(Role::Recipient).unwrap().split();
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
