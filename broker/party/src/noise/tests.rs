use super::*;

fn unhex(text: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.as_bytes().chunks(2).map(digits).collect()
}

fn key(fill: u8) -> StaticSecret {
    StaticSecret::from([fill; 32])
}

fn binding() -> Binding {
    Binding {
        agreement: [1; 32],
        request: [2; 32],
        flow: [3; 16],
        plan: [4; 32],
        bucket: 0,
        attempt: 1,
    }
}

fn pair() -> (Channel, Channel) {
    connect(&key(1), &key(2), &binding(), &binding()).unwrap()
}

fn connect(
    recipient: &StaticSecret,
    owner: &StaticSecret,
    recipient_means: &Binding,
    owner_means: &Binding,
) -> Result<(Channel, Channel), NoiseError> {
    let (recipient_public, owner_public) = (PublicKey::from(&key(1)), PublicKey::from(&key(2)));
    let (initiator, first) = Initiator::start(
        Statics {
            own: recipient,
            peer: &owner_public,
        },
        recipient_means,
    )?;
    let (responder, answer) = Responder::answer(
        Statics {
            own: owner,
            peer: &recipient_public,
        },
        owner_means,
        &first,
    )?;
    Ok((initiator.finish(&answer)?, responder))
}

/// `Noise_KK_25519_AESGCM_SHA256` of the cacophony vectors: <https://github.com/haskell-cryptography/cacophony>,
/// `vectors/cacophony.txt`, as distributed with snow (`tests/vectors/cacophony.txt` at 2fcd3e2d).
mod cacophony {
    pub(super) const PROLOGUE: &str = "4a6f686e2047616c74";
    pub(super) const INIT_STATIC: &str =
        "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
    pub(super) const INIT_EPHEMERAL: &str =
        "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
    pub(super) const INIT_PUBLIC: &str =
        "6bc3822a2aa7f4e6981d6538692b3cdf3e6df9eea6ed269eb41d93c22757b75a";
    pub(super) const RESP_STATIC: &str =
        "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
    pub(super) const RESP_EPHEMERAL: &str =
        "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
    pub(super) const RESP_PUBLIC: &str =
        "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
    pub(super) const HASH: &str =
        "c03693acd830588fac76dd414c9e100e8c601d27511de855100239f7705fa3f2";
    /// Payload and message, in turns from the initiator.
    pub(super) const MESSAGES: [(&str, &str); 6] = [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79448564738a841228e693caeec4c497a8bd562231c3e51a1f03c4fd45dfe3a67870",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843b94504c4d83506f5dd2568b68490eba8ed6f9cf2cca194a273c56d7ae3c558",
        ),
        (
            "462e20412e20486179656b",
            "6a5c10a201d4e3a08f79f64949e55731f774913a4d949bda3fcebf",
        ),
        (
            "4361726c204d656e676572",
            "4e8a1bf06926fdd74e2f516e2b0c11cc1dc3387fadeb75389d4342",
        ),
        (
            "4a65616e2d426170746973746520536179",
            "c1df7194ca8ea51d4dd99059bc9b90288112d47237d8481f1773fb26a31629a05c",
        ),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "3edba4feaf590ee88dd8f5fba51db4bee651cf41afd410fe476c524ac9b1db24252fc55ff8",
        ),
    ];
}

fn vector_side(initiator: bool) -> snow::HandshakeState {
    let (own, ephemeral, peer) = if initiator {
        (
            cacophony::INIT_STATIC,
            cacophony::INIT_EPHEMERAL,
            cacophony::RESP_PUBLIC,
        )
    } else {
        (
            cacophony::RESP_STATIC,
            cacophony::RESP_EPHEMERAL,
            cacophony::INIT_PUBLIC,
        )
    };
    let (own, ephemeral, prologue) = (unhex(own), unhex(ephemeral), unhex(cacophony::PROLOGUE));
    let own = StaticSecret::from(<[u8; 32]>::try_from(own).unwrap());
    let peer = PublicKey::from(<[u8; 32]>::try_from(unhex(peer)).unwrap());
    let builder = builder(
        Statics {
            own: &own,
            peer: &peer,
        },
        &prologue,
    )
    .unwrap()
    .fixed_ephemeral_key_for_testing_only(&ephemeral);
    if initiator {
        builder.build_initiator()
    } else {
        builder.build_responder()
    }
    .unwrap()
}

#[test]
fn primitives_reproduce_the_published_vector() {
    let (mut initiator, mut responder) = (vector_side(true), vector_side(false));
    let mut buffer = [0; 256];
    for (turn, (payload, message)) in cacophony::MESSAGES.iter().take(2).enumerate() {
        let (from, to) = if turn == 0 {
            (&mut initiator, &mut responder)
        } else {
            (&mut responder, &mut initiator)
        };
        let written = from.write_message(&unhex(payload), &mut buffer).unwrap();
        assert_eq!(
            buffer[..written],
            unhex(message),
            "handshake message {turn}"
        );
        let read = to.read_message(&unhex(message), &mut buffer).unwrap();
        assert_eq!(buffer[..read], unhex(payload));
    }
    assert_eq!(initiator.get_handshake_hash(), unhex(cacophony::HASH));
    let (mut initiator, mut responder) = (
        Channel::new(initiator).unwrap(),
        Channel::new(responder).unwrap(),
    );
    for (turn, (payload, message)) in cacophony::MESSAGES.iter().enumerate().skip(2) {
        let (from, to) = if turn % 2 == 0 {
            (&mut initiator, &mut responder)
        } else {
            (&mut responder, &mut initiator)
        };
        assert_eq!(
            from.seal(&unhex(payload)).unwrap(),
            unhex(message),
            "message {turn}"
        );
        assert_eq!(to.open(&unhex(message)).unwrap(), unhex(payload));
    }
}

#[test]
fn messages_of_every_length_go_both_ways() {
    let (mut recipient, mut owner) = pair();
    for len in [0, 1, 15, 16, 17, 4096, PLAINTEXT_BYTES_MAX] {
        let text = vec![0xA5; len];
        let sealed = recipient.seal(&text).unwrap();
        assert!(sealed.len() <= NOISE_MESSAGE_BYTES_MAX);
        assert_eq!(owner.open(&sealed).unwrap(), text);
        let sealed = owner.seal(&text).unwrap();
        assert_eq!(recipient.open(&sealed).unwrap(), text);
    }
    let over = vec![0; PLAINTEXT_BYTES_MAX + 1];
    assert_eq!(recipient.seal(&over), Err(NoiseError::TooLong(over.len())));
}

#[test]
fn another_binding_gives_no_channel() {
    let mut others = [binding(); 5];
    others[0].agreement[31] ^= 1;
    others[1].request[0] ^= 1;
    others[2].flow[15] ^= 1;
    others[3].bucket = 1;
    others[4].attempt = 2;
    for other in others {
        let result = connect(&key(1), &key(2), &binding(), &other);
        assert_eq!(result.err(), Some(NoiseError::Handshake), "{other:?}");
    }
    assert!(connect(&key(1), &key(2), &others[0], &others[0]).is_ok());
}

#[test]
fn another_static_key_gives_no_channel() {
    for (recipient, owner) in [(key(9), key(2)), (key(1), key(9))] {
        let result = connect(&recipient, &owner, &binding(), &binding());
        assert_eq!(result.err(), Some(NoiseError::Handshake));
    }
}

#[test]
fn a_public_key_of_low_order_is_refused() {
    // 0 and 1 as u-coordinates: orders 2 and 4 on curve or twist; every product with them is zero.
    for low in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let peer = PublicKey::from(low);
        let result = Initiator::start(
            Statics {
                own: &key(1),
                peer: &peer,
            },
            &binding(),
        );
        assert_eq!(result.err(), Some(NoiseError::Handshake));
    }
    let mut first = vec![0; HANDSHAKE_BYTES];
    first[0] = 1;
    let peer = PublicKey::from(&key(1));
    let result = Responder::answer(
        Statics {
            own: &key(2),
            peer: &peer,
        },
        &binding(),
        &first,
    );
    assert_eq!(result.err(), Some(NoiseError::Handshake));
}

#[test]
fn handshake_messages_altered_cut_or_long_are_refused() {
    let (recipient, owner) = (key(1), key(2));
    let (recipient_public, owner_public) = (PublicKey::from(&recipient), PublicKey::from(&owner));
    let statics = Statics {
        own: &owner,
        peer: &recipient_public,
    };
    let (_, first) = Initiator::start(
        Statics {
            own: &recipient,
            peer: &owner_public,
        },
        &binding(),
    )
    .unwrap();
    for at in [0, 31, 32, 47] {
        let mut altered = first.clone();
        altered[at] ^= 1;
        let result = Responder::answer(statics, &binding(), &altered);
        assert_eq!(result.err(), Some(NoiseError::Handshake), "byte {at}");
    }
    let long = [first.as_slice(), &[0]].concat();
    for wrong in [&first[..47], &long, &[]] {
        let result = Responder::answer(statics, &binding(), wrong);
        assert_eq!(result.err(), Some(NoiseError::Handshake));
    }
    assert!(Responder::answer(statics, &binding(), &first).is_ok());
}

#[test]
fn a_replayed_handshake_opens_nothing() {
    let (recipient, owner) = (key(1), key(2));
    let (recipient_public, owner_public) = (PublicKey::from(&recipient), PublicKey::from(&owner));
    let statics = Statics {
        own: &owner,
        peer: &recipient_public,
    };
    let (initiator, first) = Initiator::start(
        Statics {
            own: &recipient,
            peer: &owner_public,
        },
        &binding(),
    )
    .unwrap();
    let (_, answer) = Responder::answer(statics, &binding(), &first).unwrap();
    let recorded = initiator.finish(&answer).unwrap().seal(b"hello").unwrap();
    let (mut second, _) = Responder::answer(statics, &binding(), &first).unwrap();
    assert_eq!(second.open(&recorded), Err(NoiseError::Message));
}

#[test]
fn replayed_reordered_altered_or_cut_messages_kill_the_channel() {
    type Attack = fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>;
    let hits: [(&str, Attack); 5] = [
        ("replayed", |m| vec![m[0].clone(), m[0].clone()]),
        ("reordered", |m| vec![m[1].clone()]),
        ("altered", |mut m| {
            m[0][2] ^= 1;
            vec![m[0].clone()]
        }),
        ("cut", |m| vec![m[0][..m[0].len() - 1].to_vec()]),
        ("tiny", |_| vec![vec![0; TAG_BYTES - 1]]),
    ];
    for (name, attack) in hits {
        let (mut recipient, mut owner) = pair();
        let sealed = vec![
            recipient.seal(b"first").unwrap(),
            recipient.seal(b"second").unwrap(),
        ];
        let results: Vec<_> = attack(sealed.clone())
            .iter()
            .map(|m| owner.open(m))
            .collect();
        assert_eq!(results.last().unwrap(), &Err(NoiseError::Message), "{name}");
        assert_eq!(owner.open(&sealed[0]), Err(NoiseError::Dead), "{name}");
        assert_eq!(owner.seal(b"x"), Err(NoiseError::Dead), "{name}");
    }
}

#[test]
fn a_message_does_not_open_on_its_senders_side() {
    let (mut recipient, _) = pair();
    let own = recipient.seal(b"mirror").unwrap();
    assert_eq!(recipient.open(&own), Err(NoiseError::Message));
}
