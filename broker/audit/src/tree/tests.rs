use ct_merkle::{HashableLeaf, mem_backed_tree::MemoryBackedTree};
use proptest::prelude::*;

use super::*;

const SIZE_MAX: u64 = 130;

/// The eight leaf inputs of RFC 6962's reference tests, as in Certificate Transparency's
/// `merkle_tree_test`.
const INPUTS: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [(u64, &str); 6] = [
    (
        0,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    (
        1,
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    ),
    (
        2,
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    ),
    (
        3,
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    ),
    (
        5,
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    ),
    (
        8,
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
];

struct Leaf(Vec<u8>);

impl HashableLeaf for Leaf {
    fn hash<H: sha2::digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

fn data(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

fn tree(size: u64) -> Tree {
    let mut tree = Tree::new();
    (0..size).for_each(|index| tree.push(Hash::leaf(&data(index))));
    tree
}

/// `MTH` word for word as RFC 6962 section 2.1 defines it.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::empty(),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            Hash::node(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

#[test]
fn roots_are_those_of_the_reference_vectors() {
    let mut tree = Tree::new();
    for input in INPUTS {
        tree.push(Hash::leaf(&hex::decode(input).unwrap()));
    }
    for (size, root) in ROOTS {
        assert_eq!(tree.root_at(size).unwrap().to_string(), root, "size {size}");
    }
}

#[test]
fn roots_and_proofs_are_those_of_ct_merkle() {
    let full = tree(SIZE_MAX);
    let mut theirs = MemoryBackedTree::<sha2::Sha256, Leaf>::new();
    for size in 1..=SIZE_MAX {
        theirs.push(Leaf(data(size - 1)));
        let root = full.root_at(size).unwrap();
        assert_eq!(
            root.as_bytes().as_slice(),
            theirs.root().as_bytes().as_slice()
        );
        for index in 0..size {
            let ours = full.inclusion(index, size).unwrap();
            let theirs = theirs.prove_inclusion(index as usize);
            assert_eq!(
                concat(ours.hashes()),
                theirs.as_bytes(),
                "{index} in {size}"
            );
        }
        for old in 1..size {
            let ours = full.consistency(old, size).unwrap();
            let theirs = theirs.prove_consistency((size - old) as usize);
            assert_eq!(concat(ours.hashes()), theirs.as_bytes(), "{old} to {size}");
        }
    }
}

fn concat(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

#[test]
fn all_ways_to_a_root_agree() {
    let full = tree(SIZE_MAX);
    let leaves: Vec<_> = (0..SIZE_MAX)
        .map(|index| Hash::leaf(&data(index)))
        .collect();
    let mut builder = RootBuilder::new();
    for size in 0..=SIZE_MAX {
        let root = naive_root(&leaves[..size as usize]);
        assert_eq!(full.root_at(size).unwrap(), root);
        assert_eq!(tree(size).root(), root);
        assert_eq!(builder.root(), root);
        assert_eq!(builder.size(), size);
        builder.push(Hash::leaf(&data(size)));
    }
}

#[test]
fn every_inclusion_proof_verifies_and_no_other_leaf_does() {
    let full = tree(SIZE_MAX);
    for size in 1..=SIZE_MAX {
        let root = full.root_at(size).unwrap();
        for index in 0..size {
            let proof = full.inclusion(index, size).unwrap();
            let leaf = full.leaf(index).unwrap();
            assert_eq!(proof.verify(&leaf, index, size, &root), Ok(()));
            let other = Hash::leaf(b"other");
            assert_eq!(
                proof.verify(&other, index, size, &root),
                Err(ProofError::Root)
            );
            for wrong in (0..size).filter(|wrong| *wrong != index) {
                assert!(
                    proof.verify(&leaf, wrong, size, &root).is_err(),
                    "{index} as {wrong}"
                );
            }
            // Neighbouring sizes can share a path's shape, so there the root must differ.
            for wrong in [size - 1, size + 1] {
                let wrong_root = full.root_at(wrong.min(SIZE_MAX)).unwrap();
                if wrong_root != root {
                    assert!(proof.verify(&leaf, index, wrong, &wrong_root).is_err());
                }
            }
        }
    }
}

#[test]
fn every_consistency_proof_verifies_and_no_other_root_does() {
    let full = tree(SIZE_MAX);
    let other = Hash::leaf(b"other");
    for new in 0..=SIZE_MAX {
        let new_root = full.root_at(new).unwrap();
        for old in 0..=new {
            let old_root = full.root_at(old).unwrap();
            let proof = full.consistency(old, new).unwrap();
            assert_eq!(
                proof.verify(old, &old_root, new, &new_root),
                Ok(()),
                "{old} to {new}"
            );
            assert!(proof.verify(old, &other, new, &new_root).is_err());
            // Any tree begins with the empty one.
            assert_eq!(
                proof.verify(old, &old_root, new, &other).is_ok(),
                old == 0 && new > 0
            );
            if old < new {
                assert!(proof.verify(new, &new_root, old, &old_root).is_err());
            }
        }
    }
}

#[test]
fn must_fail_proofs_with_a_hash_altered_missing_or_added() {
    let full = tree(SIZE_MAX);
    for (low, size) in [
        (0, 1),
        (3, 7),
        (6, 7),
        (64, 100),
        (99, 100),
        (128, 130),
        (64, 128),
    ] {
        let (root, leaf) = (full.root_at(size).unwrap(), full.leaf(low).unwrap());
        let path = full.inclusion(low, size).unwrap().hashes().to_vec();
        for path in spoiled(&path) {
            let proof = InclusionProof::from_hashes(path).unwrap();
            assert!(
                proof.verify(&leaf, low, size, &root).is_err(),
                "{low} in {size}"
            );
        }
        let old_root = full.root_at(low).unwrap();
        let path = full.consistency(low, size).unwrap().hashes().to_vec();
        for path in spoiled(&path) {
            let proof = ConsistencyProof::from_hashes(path).unwrap();
            assert!(
                proof.verify(low, &old_root, size, &root).is_err(),
                "{low} to {size}"
            );
        }
    }
}

/// A path with each hash altered, each left out, and one added at each place.
fn spoiled(path: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..=path.len() {
        let mut added = path.to_vec();
        added.insert(at, Hash::leaf(b"added"));
        all.push(added);
        if at < path.len() {
            let mut altered = path.to_vec();
            altered[at].0[31] ^= 1;
            all.push(altered);
            let mut missing = path.to_vec();
            missing.remove(at);
            all.push(missing);
        }
    }
    all
}

#[test]
fn must_fail_out_of_range() {
    let tree = tree(5);
    assert!(tree.root_at(6).is_err());
    assert!(tree.inclusion(5, 5).is_err());
    assert!(tree.inclusion(0, 6).is_err());
    assert!(tree.inclusion(0, 0).is_err());
    assert!(tree.consistency(3, 6).is_err());
    assert!(tree.consistency(4, 3).is_err());
    let proof = InclusionProof::default();
    let root = tree.root();
    assert_eq!(
        proof.verify(&root, 5, 5, &root),
        Err(ProofError::Index { index: 5, size: 5 })
    );
    assert_eq!(
        InclusionProof::from_hashes(vec![root; 66]),
        Err(ProofError::Length)
    );
}

#[test]
fn an_inner_node_is_no_leaf() {
    // Second preimage: the bytes under a node, offered as an entry.
    let tree = tree(2);
    let mut data = vec![1];
    data.extend(concat(&[tree.leaf(0).unwrap(), tree.leaf(1).unwrap()]));
    assert!(
        InclusionProof::default()
            .verify(&Hash::leaf(&data), 0, 1, &tree.root())
            .is_err()
    );
    assert!(
        InclusionProof::default()
            .verify(&Hash::leaf(&data[1..]), 0, 1, &tree.root())
            .is_err()
    );
}

proptest! {
    #[test]
    fn large_trees_prove_and_verify(size in 1..5_000_u64, low in any::<prop::sample::Index>()) {
        let tree = tree(size);
        let low = low.index(size as usize) as u64;
        let leaf = tree.leaf(low).unwrap();
        let proof = tree.inclusion(low, size).unwrap();
        prop_assert_eq!(proof.verify(&leaf, low, size, &tree.root()), Ok(()));
        let proof = tree.consistency(low, size).unwrap();
        prop_assert_eq!(proof.verify(low, &tree.root_at(low).unwrap(), size, &tree.root()), Ok(()));
    }

    #[test]
    fn no_proof_makes_verification_panic(
        hashes in prop::collection::vec(any::<[u8; 32]>(), 0..66),
        low in any::<u64>(),
        high in any::<u64>(),
    ) {
        let hashes: Vec<_> = hashes.into_iter().map(Hash).collect();
        let root = Hash::empty();
        if let Ok(proof) = InclusionProof::from_hashes(hashes.clone()) {
            prop_assert!(proof.verify(&root, low, high, &root).is_err());
        }
        if let Ok(proof) = ConsistencyProof::from_hashes(hashes) {
            let _ = proof.verify(low, &root, high, &root);
        }
    }
}
