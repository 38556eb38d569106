//! What a session of `vole` allocates on a peer's word alone. A binary of its own, and one test in it: the allocator that counts
//! is that of the whole program.

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use counterfoil_psi::vole::{Error, PeerFault, Session};
    use counterfoil_psi::{IdentifierKind, IdentifierSet, Normaliser, Role, SessionId, dh};
    use peak_alloc::PeakAlloc;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    #[global_allocator]
    static HEAP: PeakAlloc = PeakAlloc;

    /// A full piece, as `Session::next_piece` says.
    const PIECE: usize = 64_000;
    /// The points that the second message begins with: one of 32 bytes for each of 128 transfers.
    const OFFER: usize = 128 * 32;
    const OWN: u32 = 16;

    fn set(items: u32) -> Arc<IdentifierSet> {
        let normaliser = Normaliser::new(IdentifierKind::Email, None);
        let mut set = IdentifierSet::new(IdentifierKind::Email, &mut ChaCha20Rng::seed_from_u64(0));
        for number in 0..items {
            let identifier = normaliser.normalise(&format!("{number}@example.com"));
            set.insert(&identifier.unwrap()).unwrap();
        }
        Arc::new(set)
    }

    fn begin(role: Role, own: &Arc<IdentifierSet>, announced: u32) -> Session {
        let id = SessionId::from_bytes([1; 32]);
        let rng = &mut ChaCha20Rng::seed_from_u64(7);
        Session::begin(id, role, own.clone(), announced, rng).unwrap()
    }

    /// The most bytes that `work` held at a time, beyond those that were held before.
    fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let result = work();
        (HEAP.peak_usage() - before, result)
    }

    /// An owner that was told of `announced` items gets a proper opening and offer, and then pieces of random bytes, the last one of
    /// `last` bytes.
    fn lied_to(announced: u32, offer: &[u8], opening: &[u8], full: usize, last: usize) -> Error {
        let mut owner = begin(Role::Owner, &set(OWN), announced);
        owner.next_piece().unwrap().unwrap();
        owner.receive(opening).unwrap();
        while owner.next_piece().unwrap().is_some() {}
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        for number in 0..=full {
            let mut piece = vec![0; if number < full { PIECE } else { last }];
            rng.fill_bytes(&mut piece);
            if number == 0 {
                piece[..OFFER].copy_from_slice(offer);
            }
            if let Err(error) = owner.receive(&piece) {
                return error;
            }
            while owner.next_piece().unwrap().is_some() {}
        }
        panic!("random transfers were accepted");
    }

    #[test]
    fn memory_for_the_announced_items_is_taken_after_the_extension_check() {
        // What an honest peer of a small set sends first is what one of a large set would.
        let mut peer = begin(Role::Recipient, &set(OWN), OWN);
        let opening = peer.next_piece().unwrap().unwrap();
        let mut owner = begin(Role::Owner, &set(OWN), OWN);
        peer.receive(&owner.next_piece().unwrap().unwrap()).unwrap();
        owner.receive(&opening).unwrap();
        let offer = peer.next_piece().unwrap().unwrap()[..OFFER].to_vec();

        // The error for a piece that is too long says what was due: so the test need not know the length.
        let announced = dh::ITEMS_MAX;
        let error = lied_to(announced, &offer, &opening, 1 << 10, 0);
        let Error::Peer(PeerFault::PieceLength {
            round: 2,
            got: PIECE,
            expected,
        }) = error
        else {
            panic!("{error}");
        };
        let full = (0..)
            .find(|full| {
                let error = lied_to(announced, &offer, &opening, *full, expected);
                error == Error::Peer(PeerFault::ExtensionCheck)
            })
            .unwrap();
        let (most, error) = peak(|| lied_to(announced, &offer, &opening, full, expected));
        assert_eq!(error, Error::Peer(PeerFault::ExtensionCheck));
        // 1.9 MB of transfers, in the few forms that the check takes them through: less than one byte for each item.
        assert!(most < announced as usize, "{most}");

        // And the measure sees what is taken when the peer computes: 45 bytes for each item.
        let items = 1 << 19;
        let sets = [set(OWN), set(items)];
        let mut peer = begin(Role::Recipient, &sets[1], OWN);
        let mut owner = begin(Role::Owner, &sets[0], items);
        let mut largest = 0;
        while !owner.is_complete() {
            while let Some(piece) = owner.next_piece().unwrap() {
                peer.receive(&piece).unwrap();
            }
            while let Some(piece) = peer.next_piece().unwrap() {
                let (more, result) = peak(|| owner.receive(&piece));
                result.unwrap();
                largest = largest.max(more);
            }
        }
        let each = largest as f64 / f64::from(items);
        // And the transfers besides, which are 8 bytes for each here.
        assert!((40.0..56.0).contains(&each), "{each} bytes for each item");
    }
}
