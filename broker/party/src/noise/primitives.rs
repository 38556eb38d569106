//! The primitives that snow calls, from the crates that the rest of the tree uses: snow's own defaults would bring
//! a second version of each.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _, Nonce, Tag};
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::{Digest as _, Sha256};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::TAG_BYTES;

/// X25519, AES-256-GCM and SHA-256; nothing else resolves.
pub(super) struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SystemRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::<X25519>::default()),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::SHA256 => Some(Box::<HashSha256>::default()),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::AESGCM => Some(Box::<AesGcm>::default()),
            _ => None,
        }
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        SysRng.try_fill_bytes(dest).map_err(|_| Error::Rng)
    }
}

/// A key pair; without one every operation fails.
#[derive(Default)]
struct X25519 {
    secret: Option<StaticSecret>,
    public: [u8; 32],
}

impl X25519 {
    fn install(&mut self, secret: StaticSecret) {
        self.public = PublicKey::from(&secret).to_bytes();
        self.secret = Some(secret);
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.secret = None;
        if let Ok(bytes) = <[u8; 32]>::try_from(privkey) {
            self.install(StaticSecret::from(*Zeroizing::new(bytes)));
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *bytes)?;
        self.install(StaticSecret::from(*bytes));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_ref().map_or(&[], |secret| secret.as_bytes())
    }

    /// RFC 7748, section 6.1, and Noise, section 12.1: an output of zeros comes only from a public key of low order,
    /// which no honest side has; it is refused.
    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let secret = self.secret.as_ref().ok_or(Error::Dh)?;
        let public = pubkey.first_chunk::<32>().ok_or(Error::Dh)?;
        let shared = secret.diffie_hellman(&PublicKey::from(*public));
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        *out.first_chunk_mut::<32>().ok_or(Error::Dh)? = *shared.as_bytes();
        Ok(())
    }
}

#[derive(Default)]
struct HashSha256(Sha256);

impl Hash for HashSha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Sha256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let digest = self.0.finalize_reset();
        for (to, from) in out.iter_mut().zip(digest) {
            *to = from;
        }
    }
}

/// AES-256-GCM; the key schedule is wiped when dropped (feature `zeroize` of aes-gcm).
#[derive(Default)]
struct AesGcm(Option<Aes256Gcm>);

impl AesGcm {
    /// Noise, section 12.3: 32 zero bits, then the counter big-endian.
    fn nonce(counter: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        for (to, from) in nonce.iter_mut().skip(4).zip(counter.to_be_bytes()) {
            *to = from;
        }
        nonce
    }

    fn try_encrypt(
        &self,
        counter: u64,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let (body, rest) = out.split_at_mut_checked(plaintext.len())?;
        let end = rest.first_chunk_mut::<TAG_BYTES>()?;
        let buffer = InOutBuf::new(plaintext, body).ok()?;
        let nonce = Nonce::from(Self::nonce(counter));
        let tag = self
            .0
            .as_ref()?
            .encrypt_inout_detached(&nonce, aad, buffer)
            .ok()?;
        *end = tag.into();
        Some(plaintext.len() + TAG_BYTES)
    }

    fn try_decrypt(
        &self,
        counter: u64,
        aad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let (body, tag) = ciphertext.split_last_chunk::<TAG_BYTES>()?;
        let plaintext = out.get_mut(..body.len())?;
        let buffer = InOutBuf::new(body, plaintext).ok()?;
        let nonce = Nonce::from(Self::nonce(counter));
        let tag = Tag::from(*tag);
        self.0
            .as_ref()?
            .decrypt_inout_detached(&nonce, aad, buffer, &tag)
            .ok()?;
        Some(body.len())
    }
}

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Some(Aes256Gcm::new(key.into()));
    }

    /// Returns 0, which the channel takes for a failure, where it cannot encrypt; `out` then holds no plaintext.
    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        self.try_encrypt(nonce, authtext, plaintext, out)
            .unwrap_or_else(|| {
                out.fill(0);
                0
            })
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        self.try_decrypt(nonce, authtext, ciphertext, out)
            .ok_or(Error::Decrypt)
    }
}
