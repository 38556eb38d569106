//! The meeting of two agents before a flow's first bucket: they tell their sizes and make the bucket key, and each keeps both
//! on disk before anything is matched.

use counterfoil_proto::peer::PeerMessage;
use counterfoil_psi::BucketKey;

use super::{MatchError, Met, Phase, leave};

impl Met {
    /// The key that both sides' greetings make; the broker does not learn it.
    #[must_use]
    pub fn bucket_key(&self) -> BucketKey {
        self.bucket_key.clone()
    }

    /// Tells the peer that this side has kept what was agreed, and leaves.
    ///
    /// # Errors
    /// [`MatchError`]; the peer has then heard nothing, and meets again.
    pub async fn ready(mut self) -> Result<(), MatchError> {
        self.link.send(&PeerMessage::Ready, Phase::Hello).await
    }

    /// Waits for [`Met::ready`] of the peer.
    ///
    /// # Errors
    /// [`MatchError`]; the peer has then been told why, if it is still there.
    pub async fn peer_ready(mut self) -> Result<(), MatchError> {
        match self.link.receive(Phase::Hello).await {
            Ok(PeerMessage::Ready) => Ok(()),
            Ok(_) => {
                let error =
                    MatchError::Misbehaved("its second message is not that it is ready".to_owned());
                Err(leave(self.link, error).await)
            }
            Err(error) => Err(leave(self.link, error).await),
        }
    }
}
