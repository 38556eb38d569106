//! Vectors from Python's `cryptography` (AES-128 in ECB mode) over the definitions, apart from this code.

use super::*;

const KEY: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;

#[test]
fn the_fixed_key_hash_is_aes_plus_its_input() {
    // The third input under this key is the example of FIPS 197, appendix C.1: AES gives 69c4e0d8..c55a.
    let x = [0, 1, 0xffee_ddcc_bbaa_9988_7766_5544_3322_1100];
    let expected = [
        0x79d8_c8a1_6281_4f6f_825b_8f87_373b_a1c6,
        0x829c_e060_3e0e_ff9a_a087_7cdd_63d3_7ce2,
        0xa52b_69bc_3b1d_5450_4762_2e2e_ebc2_d569,
    ];
    let mut out = [0; 3];
    FixedKey::new(KEY).map(&x, &mut out);
    assert_eq!(out, expected);
    // Whatever the batch that an input falls into.
    let many: Vec<u128> = x.iter().copied().cycle().take(200).collect();
    let mut out = vec![0; 200];
    FixedKey::new(KEY).map(&many, &mut out);
    assert!(out.iter().eq(expected.iter().cycle().take(200)));
}

#[test]
fn a_stream_is_aes_of_number_and_counter() {
    let expected = [
        0x286e_f8bf_0717_884c_36a7_e5a2_33ed_4c78,
        0xfda5_7732_0ac3_daa1_3fba_c286_9456_31ef,
        0xb1b7_f069_9ff8_d2b7_58ca_eb7c_36cd_9b48,
    ];
    let mut out = [0; 3];
    Stream::new(KEY, 3).fill(&mut out);
    assert_eq!(out, expected);
    // Piece by piece, it is the same stream.
    let mut stream = Stream::new(KEY, 3);
    let (mut first, mut rest) = ([0; 1], [0; 2]);
    stream.fill(&mut first);
    stream.fill(&mut rest);
    assert_eq!([first[0], rest[0], rest[1]], expected);
}
