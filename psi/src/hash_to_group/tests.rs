//! Vectors of the RFCs. They can be had as JSON from the repositories of the drafts,
//! cfrg/draft-irtf-cfrg-hash-to-curve (`expand_message_xmd_SHA512_38.json`) and
//! cfrg/draft-irtf-cfrg-voprf (`allVectors.json`).

use curve25519_dalek::Scalar;

use super::*;

/// RFC 9380 appendix K.3: DST of all its vectors.
const XMD_DST: Dst = Dst::new(b"QUUX-V01-CS02-with-expander-SHA512-256");

/// RFC 9380 appendix K.3, `len_in_bytes` = 0x20: message, output. `Q128` and `A512` stand for
/// the messages `q128_` with 128 times `q` and `a512_` with 512 times `a`.
const XMD_32: [(&str, &str); 5] = [
    (
        "",
        "6b9a7312411d92f921c6f68ca0b6380730a1a4d982c507211a90964c394179ba",
    ),
    (
        "abc",
        "0da749f12fbe5483eb066a5f595055679b976e93abe9be6f0f6318bce7aca8dc",
    ),
    (
        "abcdef0123456789",
        "087e45a86e2939ee8b91100af1583c4938e0f5fc6c9db4b107b83346bc967f58",
    ),
    (
        "Q128",
        "7336234ee9983902440f6bc35b348352013becd88938d2afec44311caf8356b3",
    ),
    (
        "A512",
        "57b5f7e766d5be68a6bfe1768e3c2b7f1228b3e4b3134956dd73a59b954c66f4",
    ),
];

/// RFC 9380 appendix K.3, `len_in_bytes` = 0x80.
const XMD_128: [(&str, &str); 5] = [
    (
        "",
        "41b037d1734a5f8df225dd8c7de38f851efdb45c372887be655212d07251b921\
         b052b62eaed99b46f72f2ef4cc96bfaf254ebbbec091e1a3b9e4fb5e5b619d2e\
         0c5414800a1d882b62bb5cd1778f098b8eb6cb399d5d9d18f5d5842cf5d13d7e\
         b00a7cff859b605da678b318bd0e65ebff70bec88c753b159a805d2c89c55961",
    ),
    (
        "abc",
        "7f1dddd13c08b543f2e2037b14cefb255b44c83cc397c1786d975653e36a6b11\
         bdd7732d8b38adb4a0edc26a0cef4bb45217135456e58fbca1703cd6032cb134\
         7ee720b87972d63fbf232587043ed2901bce7f22610c0419751c065922b48843\
         1851041310ad659e4b23520e1772ab29dcdeb2002222a363f0c2b1c972b3efe1",
    ),
    (
        "abcdef0123456789",
        "3f721f208e6199fe903545abc26c837ce59ac6fa45733f1baaf0222f8b7acb04\
         24814fcb5eecf6c1d38f06e9d0a6ccfbf85ae612ab8735dfdf9ce84c372a77c8\
         f9e1c1e952c3a61b7567dd0693016af51d2745822663d0c2367e3f4f0bed827f\
         eecc2aaf98c949b5ed0d35c3f1023d64ad1407924288d366ea159f46287e61ac",
    ),
    (
        "Q128",
        "b799b045a58c8d2b4334cf54b78260b45eec544f9f2fb5bd12fb603eaee70db7\
         317bf807c406e26373922b7b8920fa29142703dd52bdf280084fb7ef69da78af\
         df80b3586395b433dc66cde048a258e476a561e9deba7060af40adf30c64249c\
         a7ddea79806ee5beb9a1422949471d267b21bc88e688e4014087a0b592b695ed",
    ),
    (
        "A512",
        "05b0bfef265dcee87654372777b7c44177e2ae4c13a27f103340d9cd11c86cb2\
         426ffcad5bd964080c2aee97f03be1ca18e30a1f14e27bc11ebbd650f305269c\
         c9fb1db08bf90bfc79b42a952b46daf810359e7bc36452684784a64952c343c5\
         2e5124cd1f71d474d5197fefc571a92929c9084ffe1112cf5eea5192ebff330b",
    ),
];

fn message(name: &str) -> String {
    match name {
        "Q128" => format!("q128_{}", "q".repeat(128)),
        "A512" => format!("a512_{}", "a".repeat(512)),
        plain => plain.to_owned(),
    }
}

#[test]
fn expansion_agrees_with_rfc_9380() {
    for (name, expected) in XMD_32 {
        let got = expand_message_xmd::<0x20>(message(name).as_bytes(), XMD_DST);
        assert_eq!(hex::encode(got), expected, "{name}, 0x20");
    }
    for (name, expected) in XMD_128 {
        let got = expand_message_xmd::<0x80>(message(name).as_bytes(), XMD_DST);
        assert_eq!(hex::encode(got), expected, "{name}, 0x80");
    }
}

/// RFC 9497 section 4.1: `HashToGroup-` and the context string, modes OPRF (0) and VOPRF (1).
const OPRF_DST: Dst = Dst::new(b"HashToGroup-OPRFV1-\x00-ristretto255-SHA512");
const VOPRF_DST: Dst = Dst::new(b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512");

/// The blind of every vector below.
const BLIND: &str = "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706";
const OPRF_KEY: &str = "5ebcea5ee37023ccb9fc2d2019f9d7737be85591ae8652ffa9ef0f4d37063b0e";
const VOPRF_KEY: &str = "e6f73f344b79b379f1a0dd37e07ff62e38d9f71345ce62ae3a9bc60b04ccd909";

/// RFC 9497 appendix A.1: tag, key, input, blinded element, evaluation element.
const RFC_9497: [(Dst, &str, &str, &str, &str); 4] = [
    (
        OPRF_DST,
        OPRF_KEY,
        "00",
        "609a0ae68c15a3cf6903766461307e5c8bb2f95e7e6550e1ffa2dc99e412803c",
        "7ec6578ae5120958eb2db1745758ff379e77cb64fe77b0b2d8cc917ea0869c7e",
    ),
    (
        OPRF_DST,
        OPRF_KEY,
        "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
        "da27ef466870f5f15296299850aa088629945a17d1f5b7f5ff043f76b3c06418",
        "b4cbf5a4f1eeda5a63ce7b77c7d23f461db3fcab0dd28e4e17cecb5c90d02c25",
    ),
    (
        VOPRF_DST,
        VOPRF_KEY,
        "00",
        "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945",
        "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e",
    ),
    (
        VOPRF_DST,
        VOPRF_KEY,
        "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
        "cc0b2a350101881d8a4cba4c80241d74fb7dcbfde4a61fde2f91443c2bf9ef0c",
        "60a59a57208d48aca71e9e850d22674b611f752bed48b36f7a91b372bd7ad468",
    ),
];

fn scalar(encoded: &str) -> Scalar {
    let bytes = hex::decode(encoded).unwrap().try_into().unwrap();
    Scalar::from_canonical_bytes(bytes).unwrap()
}

#[test]
fn hashing_agrees_with_rfc_9497() {
    for (dst, key, input, blinded, evaluated) in RFC_9497 {
        let point = hash_to_ristretto255(&hex::decode(input).unwrap(), dst) * scalar(BLIND);
        assert_eq!(
            hex::encode(point.compress().as_bytes()),
            blinded,
            "blinded {input}"
        );
        let point = point * scalar(key);
        assert_eq!(
            hex::encode(point.compress().as_bytes()),
            evaluated,
            "evaluated {input}"
        );
    }
}

#[test]
fn the_tag_separates() {
    let ours = hash_to_ristretto255(b"phone\0+8613812345678", ITEM_DST);
    assert_ne!(
        ours,
        hash_to_ristretto255(b"phone\0+8613812345678", OPRF_DST)
    );
    assert_ne!(
        ours,
        hash_to_ristretto255(b"phone\0+8613812345679", ITEM_DST)
    );
}
