use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::samples::*;

fn origin() -> KeyName {
    KeyName::new(ORIGIN).unwrap()
}

/// The story as a file of batches of 1, 2, 3, ... entries, and where each frame begins.
fn file() -> (Vec<u8>, Vec<(u64, u64)>) {
    let mut bytes = encode_file_header(&origin());
    let (mut starts, mut rest, mut index) = (Vec::new(), story_entries(), 0);
    for size in 1.. {
        let batch: Vec<_> = rest.drain(..size.min(rest.len())).collect();
        if batch.is_empty() {
            break;
        }
        starts.push((bytes.len() as u64, index));
        bytes.extend(encode_batch(index, &batch).unwrap());
        index += batch.len() as u64;
    }
    starts.push((bytes.len() as u64, index));
    (bytes, starts)
}

fn read(bytes: &[u8]) -> Result<(Vec<EntryBytes>, End), ScanError> {
    let mut scan = Scan::open(Cursor::new(bytes))?;
    let mut entries = Vec::new();
    loop {
        match scan.step()? {
            Step::Batch(batch) => {
                assert_eq!(batch.first_index, entries.len() as u64);
                entries.extend(batch.entries);
            }
            Step::End(end) => {
                assert_eq!(scan.step()?, Step::End(end), "the end is not final");
                return Ok((entries, end));
            }
        }
    }
}

#[test]
fn a_file_reads_back_in_its_batches() {
    let (bytes, starts) = file();
    let (entries, end) = read(&bytes).unwrap();
    assert_eq!(entries, story_entries());
    assert_eq!(
        end,
        End::Clean {
            offset: bytes.len() as u64,
            entries: 19
        }
    );
    assert_eq!(starts.len(), 7, "batches of 1 to 5 and a rest of 4");
    let scan = Scan::open(Cursor::new(&bytes)).unwrap();
    assert!(scan.expect_origin(&origin()).is_ok());
    assert!(scan.expect_origin(&KeyName::new("other").unwrap()).is_err());
}

#[test]
fn written_form_is_fixed() {
    let entry = EntryBytes::new(*b"{}").unwrap();
    let mut bytes = encode_file_header(&KeyName::new("o").unwrap());
    bytes.extend(encode_batch(0, &[entry]).unwrap());
    // SHA-256 checks computed with Python's hashlib over the parts before them.
    let expected = EXPECTED_HEX.replace(['\n', ' '], "");
    assert_eq!(hex::encode(bytes), expected);
}

const EXPECTED_HEX: &str = "
    43464c4f470d0a00000100016fe1f1f926e6e3a03cff43463100000004000000010000000000
    0000009c24f1ac66235f2395c0aeafa929607a1675765e77b9e95300027b7d
";

#[test]
fn truncation_at_every_byte_gives_a_correct_prefix_and_a_clean_cut() {
    let (bytes, starts) = file();
    let story = story_entries();
    let header = encode_file_header(&origin()).len();
    for len in 0..bytes.len() {
        let result = read(&bytes[..len]);
        if len < header {
            assert!(matches!(result, Err(ScanError::Header)), "{len}");
            continue;
        }
        let (entries, end) = result.unwrap();
        let (offset, count) = *starts
            .iter()
            .rev()
            .find(|(at, _)| *at <= len as u64)
            .unwrap();
        assert_eq!(entries, story[..count as usize]);
        if offset == len as u64 {
            assert_eq!(
                end,
                End::Clean {
                    offset,
                    entries: count
                },
                "{len}"
            );
        } else {
            assert_eq!(
                end,
                End::Torn {
                    offset,
                    entries: count
                },
                "{len}"
            );
            assert_eq!(plan_recovery(&end, None), Ok(Recovery::CutTo { offset }));
            let cut = read(&bytes[..offset as usize]).unwrap();
            assert_eq!(
                cut,
                (
                    entries,
                    End::Clean {
                        offset,
                        entries: count
                    }
                )
            );
        }
    }
}

#[test]
fn every_flipped_bit_is_corruption_and_never_a_cut() {
    let (bytes, starts) = file();
    let story = story_entries();
    let header = encode_file_header(&origin()).len();
    for bit in 0..bytes.len() * 8 {
        let at = bit / 8;
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (bit % 8);
        let result = read(&flipped);
        if at < header {
            assert!(result.is_err(), "bit {bit}");
            continue;
        }
        let (offset, count) = *starts
            .iter()
            .rev()
            .find(|(start, _)| *start <= at as u64)
            .unwrap();
        let (entries, end) = result.unwrap();
        assert_eq!(entries, story[..count as usize]);
        assert!(
            matches!(end, End::Corrupt { offset: o, entries: e, .. } if (o, e) == (offset, count)),
            "bit {bit}: {end:?}"
        );
        assert!(plan_recovery(&end, None).is_err());
    }
}

#[test]
fn a_flip_in_an_earlier_frame_of_a_cut_file_is_corruption() {
    let (bytes, starts) = file();
    let last = starts[starts.len() - 2].0 as usize;
    for at in (starts[1].0 as usize..last).step_by(7) {
        let mut damaged = bytes[..last + 100].to_vec();
        damaged[at] ^= 0x10;
        assert!(
            matches!(read(&damaged).unwrap().1, End::Corrupt { .. }),
            "byte {at}"
        );
    }
}

#[test]
fn a_power_cut_that_lost_sectors_of_the_last_frame_is_torn() {
    let (bytes, starts) = file();
    let (offset, entries) = starts[starts.len() - 2];
    let first = (offset as usize).next_multiple_of(512);
    assert!(first + 512 < bytes.len(), "the last frame spans sectors");
    let mut lost = Vec::new();
    // Each sector alone, the first part, and all of it.
    for start in std::iter::once(offset as usize).chain((first..bytes.len()).step_by(512)) {
        let end = (start + 1).next_multiple_of(512).min(bytes.len());
        lost.push(start..end);
    }
    lost.push(offset as usize..bytes.len());
    for range in lost {
        let mut damaged = bytes.clone();
        damaged[range.clone()].fill(0);
        let (_, end) = read(&damaged).unwrap();
        assert_eq!(end, End::Torn { offset, entries }, "{range:?}");
    }
    // The file grew by more than the frame's own length, with nothing in it.
    let mut grown = bytes[..offset as usize].to_vec();
    grown.resize(bytes.len() + 5_000, 0);
    assert_eq!(read(&grown).unwrap().1, End::Torn { offset, entries });
}

#[test]
fn the_same_loss_in_an_earlier_frame_is_corruption() {
    let (bytes, starts) = file();
    let (offset, next) = (starts[4].0 as usize, starts[5].0 as usize);
    let first = offset.next_multiple_of(512);
    for range in [offset..first, first..first + 512, offset..next] {
        let mut damaged = bytes.clone();
        damaged[range].fill(0);
        assert!(matches!(read(&damaged).unwrap().1, End::Corrupt { .. }));
    }
}

#[test]
fn must_fail_files_put_together_wrongly() {
    let (bytes, starts) = file();
    let part = |at: usize| &bytes[starts[at].0 as usize..starts[at + 1].0 as usize];
    let head = &bytes[..starts[0].0 as usize];
    let rest = &bytes[starts[3].0 as usize..];
    let two_in_one = encode_batch(0, &story_entries()[..1]).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("frame_missing", [head, part(0), part(2), rest].concat()),
        (
            "frames_swapped",
            [head, part(1), part(0), part(2), rest].concat(),
        ),
        ("frame_twice", [head, part(0), part(0), rest].concat()),
        (
            "first_frame_twice_at_end",
            [&bytes[..], two_in_one.as_slice()].concat(),
        ),
        ("text_after", [&bytes[..], b"text"].concat()),
        (
            "old_tail_of_a_reused_disk",
            [&bytes[..], &part(1)[60..]].concat(),
        ),
        (
            "zeros_in_the_middle",
            [head, part(0), &[0; 600], part(1), rest].concat(),
        ),
    ];
    for (name, bytes) in cases {
        assert!(
            matches!(read(&bytes).unwrap().1, End::Corrupt { .. }),
            "{name}"
        );
    }
    let long = [&bytes[..], &vec![0; BATCH_BYTES_MAX + FRAME_START_LEN + 1]].concat();
    assert!(
        matches!(read(&long).unwrap().1, End::Corrupt { .. }),
        "longer than any frame"
    );
}

#[test]
fn nothing_is_cut_below_the_last_checkpoint() {
    let entries = story_entries();
    let signed = sign(&tree_of(&entries[..10]));
    let torn = |entries| End::Torn {
        offset: 5_000,
        entries,
    };
    let clean = |entries| End::Clean {
        offset: 5_000,
        entries,
    };
    let below = |entries| {
        Err(RecoveryError::BelowCheckpoint {
            entries,
            signed: 10,
        })
    };
    assert_eq!(
        plan_recovery(&torn(10), Some(&signed)),
        Ok(Recovery::CutTo { offset: 5_000 })
    );
    assert_eq!(plan_recovery(&torn(9), Some(&signed)), below(9));
    assert_eq!(plan_recovery(&clean(10), Some(&signed)), Ok(Recovery::Keep));
    assert_eq!(plan_recovery(&clean(9), Some(&signed)), below(9));
    assert_eq!(plan_recovery(&clean(0), None), Ok(Recovery::Keep));
}

#[test]
fn batches_are_bounded() {
    assert_eq!(encode_batch(0, &[]), Err(FrameError::Empty));
    let largest = EntryBytes::new(vec![b'x'; crate::entry::ENTRY_BYTES_MAX]).unwrap();
    // 65,537 bytes with its length: 255 fit 16 MiB, 256 do not.
    let fits = vec![largest; 256];
    let bytes = encode_batch(0, &fits[..255]).unwrap();
    let file = [encode_file_header(&origin()), bytes].concat();
    assert_eq!(read(&file).unwrap().0.len(), 255);
    assert!(matches!(
        encode_batch(0, &fits),
        Err(FrameError::Size { .. })
    ));
}

#[test]
fn must_fail_file_headers() {
    let (bytes, _) = file();
    let mut newer = FILE_MAGIC.to_vec();
    newer.extend([0, 2, 0, 1, b'o']);
    newer.extend(check::<CHECK_LEN>(&newer));
    assert!(matches!(read(&newer), Err(ScanError::Version { found: 2 })));
    assert!(matches!(read(&[]), Err(ScanError::Header)));
    assert!(matches!(
        read(b"PK\x03\x04 some other file, quite long"),
        Err(ScanError::Header)
    ));
    // As a transfer that changes line ends would leave it.
    let text = bytes
        .iter()
        .copied()
        .filter(|byte| *byte != b'\r')
        .collect::<Vec<_>>();
    assert!(matches!(read(&text), Err(ScanError::Header)));
}

proptest! {
    #[test]
    fn no_bytes_make_the_scan_panic(tail in prop::collection::vec(any::<u8>(), 0..2_000), cut in any::<prop::sample::Index>()) {
        let _ = read(&tail);
        let (bytes, _) = file();
        let mut spoiled = bytes[..cut.index(bytes.len())].to_vec();
        spoiled.extend(tail);
        let _ = read(&spoiled);
    }

    #[test]
    fn any_batches_round_trip(sizes in prop::collection::vec(1..5_usize, 0..8), seed in "[ -~]{1,80}") {
        let mut bytes = encode_file_header(&origin());
        let mut all = Vec::new();
        for size in sizes {
            let batch: Vec<_> = (0..size).map(|n| EntryBytes::new(format!("{seed}{n}").into_bytes()).unwrap()).collect();
            bytes.extend(encode_batch(all.len() as u64, &batch).unwrap());
            all.extend(batch);
        }
        let (entries, end) = read(&bytes).unwrap();
        prop_assert_eq!(end, End::Clean { offset: bytes.len() as u64, entries: all.len() as u64 });
        prop_assert_eq!(entries, all);
    }
}
