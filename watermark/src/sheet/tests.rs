use super::*;
use crate::keys::MasterKey;
use crate::position::Lanes;
use crate::tag::TagBits;

/// Any read of two lanes: of each, bias and colour, or nothing.
fn read(at: u32) -> [Option<(Params, bool)>; LANES] {
    let of = |draw: u32| {
        let params = Params {
            bias: (draw % 3) as u8,
            tie: false,
            class: Class::Recipient,
        };
        (!draw.is_multiple_of(7)).then_some((params, draw % 5 < 2))
    };
    [of(at.wrapping_mul(2_654_435_761) >> 7), of(at / 3 + 11)]
}

/// More than one call of blocks is counted as one symbol after the other would be.
#[test]
fn matches_are_those_that_are_counted_one_by_one() {
    let key = MasterKey::from_bytes([1; 32]).recipient("lineage", "recipient");
    let symbols = Symbols::new(&key);
    let bits = TagBits::new(20).unwrap();
    for (blocks, lanes) in [(0, 2), (1, 2), (255, 1), (256, 2), (257, 1), (2_000, 2)] {
        let mut sheet = Sheet::new(3);
        let mut plain = [Counts::default(); 3];
        for at in 0..blocks {
            let prefix = prefix(MarkTag::new(at, bits).unwrap(), &[9; 11]);
            let mut drawn = [Lanes::default(); BATCH];
            symbols.lanes(&[prefix], &mut drawn);
            let (mut slots, mut chances) = ([None; LANES], [0; LANES]);
            for (lane, read) in read(at).into_iter().enumerate().take(lanes) {
                let Some((params, colour)) = read else {
                    continue;
                };
                let chance = usize::from(if colour { params.bias } else { 2 - params.bias });
                (slots[lane], chances[lane]) = (Some(Slot::new(params, colour)), chance);
                let symbol = drawn[0][lane] < params.threshold();
                plain[1 + lane][chance] += u32::from(symbol == colour);
            }
            sheet.push(1, lanes, &prefix, slots, chances);
        }
        let mut matches = [Counts::default(); 3];
        sheet.count(&symbols, &mut matches);
        assert_eq!(matches, plain, "{blocks} blocks of {lanes} lanes");
        let reads: u64 = matches.iter().flatten().map(|n| u64::from(*n)).sum();
        assert!(reads <= sheet.reads_sum());
    }
}
