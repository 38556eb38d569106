use rand_core::Rng as _;

use super::super::tests::rng;
use super::*;

fn random(count: usize) -> Vec<u128> {
    let mut rng = rng(5);
    (0..count)
        .map(|_| u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
        .collect()
}

/// A binary matrix as the list of its rows' ones, applied to a vector.
type Matrix = Vec<Vec<usize>>;

fn times(matrix: &Matrix, x: &[u128]) -> Vec<u128> {
    matrix
        .iter()
        .map(|row| row.iter().fold(0, |sum, &place| sum ^ x[place]))
        .collect()
}

fn toggled(row: &mut Vec<usize>, places: &[usize]) {
    for place in places {
        match row.iter().position(|p| p == place) {
            Some(found) => drop(row.swap_remove(found)),
            None => row.push(*place),
        }
    }
}

/// Where the bits of a word point to, counted from the first element of the group of four: in `code.rs`
/// this is arithmetic, here it is written out.
const SOURCES: [[isize; 24]; 4] = [
    [
        -4, -3, -2, -1, -8, -7, -6, -5, -12, -11, -10, -9, -16, -15, -14, -13, -20, -19, -18, -17,
        -24, -23, -22, -21,
    ],
    [
        -4, -3, -2, -1, -8, -7, -6, -5, -12, -11, -10, -9, -16, -15, -14, -13, -20, -19, -18, -17,
        0, -23, -22, -21,
    ],
    [
        -4, -3, -2, -1, -8, -7, -6, -5, -12, -11, -10, -9, -16, -15, -14, -13, -20, -19, -18, -17,
        0, 1, -22, -21,
    ],
    [
        -4, -3, -2, -1, -8, -7, -6, -5, -12, -11, -10, -9, -16, -15, -14, -13, -20, -19, -18, -17,
        0, 1, 2, -21,
    ],
];

/// The window of an element is the 24 before it.
#[test]
fn the_bits_of_a_word_are_the_window() {
    for (within, sources) in (0..).zip(SOURCES) {
        let mut window = sources.to_vec();
        window.sort_unstable();
        assert!(window.into_iter().eq(within - 24..within));
    }
}

/// The convolution of one pass as a matrix, from AES-128 in counter mode alone.
fn convolution(length: usize, pass: u64) -> Matrix {
    let words = words(pass, length);
    let mut rows: Matrix = (0..length).map(|place| vec![place]).collect();
    let mut at_the_end = Vec::new();
    for (place, word) in (0..length).zip(words) {
        let within = place % 4;
        let window = SOURCES[within].iter().enumerate();
        let mut added: Vec<isize> = window
            .filter(|(bit, _)| word >> bit & 1 == 1)
            .map(|(_, source)| *source)
            .collect();
        added.push(within as isize - 25);
        for source in added {
            let source = (place - within) as isize + source;
            match usize::try_from(source) {
                Ok(source) => {
                    let source = rows[source].clone();
                    toggled(&mut rows[place], &source);
                }
                Err(_) => at_the_end.push((place, (length as isize + source) as usize)),
            }
        }
    }
    for (place, source) in at_the_end {
        let source = rows[source].clone();
        toggled(&mut rows[place], &source);
    }
    rows
}

fn words(stream: u64, count: usize) -> Vec<u32> {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    let cipher = aes::Aes128Enc::new(&SEED.to_le_bytes().into());
    (0..count.div_ceil(4) as u128)
        .flat_map(|counter| {
            let mut block = (u128::from(stream) << 64 | counter).to_le_bytes().into();
            cipher.encrypt_block(&mut block);
            let bytes: [u8; 16] = block.into();
            [0, 4, 8, 12].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
        })
        .collect()
}

fn expansion(outputs: usize, length: usize) -> Matrix {
    let words: Vec<u32> = (0..outputs.div_ceil(ROWS_BATCH))
        .flat_map(|batch| words(2 + batch as u64, 8 * ROWS_BATCH))
        .collect();
    let at = |word: u32, range: usize| (u64::from(word) * range as u64 / (1 << 32)) as usize;
    let rows = words.chunks(8).take(outputs).map(|words| {
        let quarter = length / 4;
        let mut row = Vec::new();
        for (j, word) in words[..4].iter().enumerate() {
            toggled(&mut row, &[j * quarter + at(*word, quarter)]);
        }
        for word in &words[4..7] {
            toggled(&mut row, &[at(*word, length)]);
        }
        row
    });
    rows.collect()
}

#[test]
fn compression_is_the_product_with_the_matrices() {
    for (k, n) in [(40, 100), (300, 601), (5_000, 5_300)] {
        let x = random(n);
        let (left, right) = x.split_at(k);
        let right = times(
            &convolution(n - k, 1),
            &times(&convolution(n - k, 0), right),
        );
        let added = times(&expansion(k, n - k), &right);
        let expected: Vec<u128> = left.iter().zip(added).map(|(a, b)| a ^ b).collect();

        let mut compressed = x;
        compress(&mut compressed, k);
        assert!(compressed[..k] == expected, "{k} of {n}");
        // Two vectors at once, as each of them alone.
        let mut both: Vec<Pair> = random(n).into_iter().map(|x| Pair(x, !x)).collect();
        let mut complement: Vec<u128> = both.iter().map(|pair| pair.1).collect();
        compress(&mut both, k);
        compress(&mut complement, k);
        let alone = expected
            .into_iter()
            .zip(complement)
            .map(|(a, b)| Pair(a, b));
        assert!(alone.eq(both.into_iter().take(k)), "{k} of {n}");
    }
}

/// From Python (AES-128 of `cryptography`, apart from this code), of the first halves of SHA-256 of 0 to 299 in decimal digits.
#[test]
fn compression_is_pinned() {
    use sha2::{Digest, Sha256};
    let mut x: Vec<u128> = (0..300)
        .map(|i: u32| super::super::direction::first_half(&Sha256::digest(i.to_string()).into()))
        .collect();
    compress(&mut x, 120);
    assert_eq!(x[0], 0x2dcd_72bb_667a_9c61_9081_c6a7_42af_c88a);
    assert_eq!(x[119], 0xe838_eafe_72fe_3dd9_21fb_12be_c36e_ab64);
    let bytes: Vec<u8> = x[..120].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(
        hex::encode(Sha256::digest(bytes)),
        "7c6ad305d5f322077a7439489ca4f520db4386b9ddd6431a76c0e0e34cd20ecd"
    );
}

/// No bound, but it would show a code that is broken outright: the weight of the sums of one, two
/// and three rows of the generator, of length n = 2k.
#[test]
fn sums_of_few_rows_have_large_weight() {
    let k = 1_000;
    let (expand, first, second) = (expansion(k, k), convolution(k, 0), convolution(k, 1));
    let mut rng = rng(6);
    let mut lightest = usize::MAX;
    for trial in 0..600 {
        // The transpose of the transposed code: which inputs reach a sum of outputs.
        let mut row = Vec::new();
        for _ in 0..1 + trial % 3 {
            toggled(&mut row, &expand[rng.next_u32() as usize % k]);
        }
        for pass in [&second, &first] {
            let mut before = Vec::new();
            for place in &row {
                toggled(&mut before, &pass[*place]);
            }
            row = before;
        }
        lightest = lightest.min(row.len());
    }
    // The code's distance is assumed to be 0.1 n, which is 200.
    assert!(lightest > 200, "{lightest}");
}
