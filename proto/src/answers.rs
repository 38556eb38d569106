//! The sealed answers of a measure flow. Every such delivery has one size, whatever was asked and whatever came out.
//!
//! Plaintext: `u32` length, so many bytes of what the policy defines, then zeros up to [`PLAINTEXT_BYTES`].

use rand_core::CryptoRng;

use crate::WireError;
use crate::delivery::{self, DeliveryContext, DeliverySecret};

/// Bytes of every plaintext: 4,096 numbers of at most 20 characters and a comma, the scales of 33 parts, the rest.
pub const PLAINTEXT_BYTES: usize = 128 * 1024;
/// Most bytes of a sealed one: plaintext, X-Wing's encapsulated key (1,120), the tag.
pub const SEALED_BYTES_MAX: u64 = PLAINTEXT_BYTES as u64 + 4096;

const LABEL: &[u8] = b"counterfoil answers v1";

/// Seals answers to the public key of the request.
///
/// # Errors
/// They are too long, or the key is not of [`delivery::SUITE`].
pub fn seal(
    answers: &[u8],
    public_key: &[u8],
    context: &DeliveryContext,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, WireError> {
    let too_large = || WireError::TooLarge {
        field: "answers",
        max: PLAINTEXT_BYTES as u64 - 4,
    };
    let length = u32::try_from(answers.len()).map_err(|_| too_large())?;
    if answers.len() > PLAINTEXT_BYTES - 4 {
        return Err(too_large());
    }
    let mut buffer = vec![0; delivery::room()];
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(answers);
    buffer.resize(delivery::room() + PLAINTEXT_BYTES, 0);
    delivery::seal_behind(buffer, public_key, &context.info_of(LABEL), rng)
}

/// Opens sealed answers.
///
/// # Errors
/// [`WireError::Unopenable`] for another key, flow or agreement or altered bytes; else what is malformed inside.
pub fn open(
    sealed: Vec<u8>,
    secret: &DeliverySecret,
    context: &DeliveryContext,
) -> Result<Vec<u8>, WireError> {
    let malformed = WireError::Malformed {
        field: "answers",
        why: "they are not of their one size, or their padding is not zero",
    };
    let bytes = delivery::open_behind(sealed, secret, &context.info_of(LABEL))?;
    let plaintext = bytes.get(delivery::room()..).unwrap_or_default();
    let Some((length, rest)) = plaintext.split_first_chunk::<4>() else {
        return Err(malformed);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let Some((answers, padding)) = rest.split_at_checked(length) else {
        return Err(malformed);
    };
    if plaintext.len() != PLAINTEXT_BYTES || padding.iter().any(|byte| *byte != 0) {
        return Err(malformed);
    }
    Ok(answers.to_vec())
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;

    const CONTEXT: DeliveryContext = DeliveryContext {
        flow: [1; 16],
        agreement: [2; 32],
    };

    #[test]
    fn answers_come_back_and_all_have_one_size() {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let secret = DeliverySecret::generate(&mut rng);
        let mut seal = |answers: &[u8]| seal(answers, &secret.public_bytes(), &CONTEXT, &mut rng);
        let sealed: Vec<_> = [&b""[..], b"{}", &[7; 100_000]]
            .into_iter()
            .map(|answers| {
                let sealed = seal(answers).unwrap();
                assert_eq!(open(sealed.clone(), &secret, &CONTEXT).unwrap(), answers);
                sealed.len()
            })
            .collect();
        assert!(sealed.iter().all(|bytes| *bytes == sealed[0]));
        assert!(sealed[0] as u64 <= SEALED_BYTES_MAX);
        assert!(seal(&vec![0; PLAINTEXT_BYTES - 3]).is_err());
    }

    #[test]
    fn what_is_sealed_for_something_else_stays_closed() {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let secret = DeliverySecret::generate(&mut rng);
        let sealed = seal(b"{}", &secret.public_bytes(), &CONTEXT, &mut rng).unwrap();
        let other = DeliveryContext {
            flow: [9; 16],
            ..CONTEXT
        };
        assert_eq!(
            open(sealed.clone(), &secret, &other),
            Err(WireError::Unopenable)
        );
        let mut altered = sealed;
        *altered.last_mut().unwrap() ^= 1;
        assert_eq!(open(altered, &secret, &CONTEXT), Err(WireError::Unopenable));
    }
}
