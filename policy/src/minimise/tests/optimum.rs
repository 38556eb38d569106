//! The loss, beside the least loss that there is, found by trying everything.
//!
//! Both keep large groups as they are and move the rows of a small group together, so the
//! optimum is the best set partition of the small groups into parts of k rows or more.

use super::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// Added loss of a result, over all rows and tags, in parts per million of a cell.
fn added(tags: &[Tag], rows: &Rows, result: &Minimised) -> u64 {
    let loss = |tag: &Tag, text: &str| u64::from(tag.loss_ppm(&tag.admit(text).unwrap()));
    let of_row = |(index, cells): (u32, Vec<String>)| -> u64 {
        let cells = tags.iter().zip(rows[index as usize].iter().zip(&cells));
        cells
            .map(|(tag, (old, new))| loss(tag, new) - loss(tag, old))
            .sum()
    };
    delivered(result).into_iter().map(of_row).sum()
}

type Group = (Vec<crate::tag::Value>, u64);

fn loss_of_part(tags: &[Tag], part: &[&Group]) -> u64 {
    let mut sum = 0;
    for (at, tag) in tags.iter().enumerate() {
        let mut common = part[0].0[at].clone();
        while !part
            .iter()
            .all(|(cells, _)| is_ancestor(tag, cells[at].as_str(), common.as_str()))
        {
            common = tag.coarser(&common).unwrap();
        }
        for (cells, rows) in part {
            sum += rows * u64::from(tag.loss_ppm(&common) - tag.loss_ppm(&cells[at]));
        }
    }
    sum
}

/// Least loss over all partitions of `groups` in which each part has `k` rows.
fn optimum(tags: &[Tag], groups: &[Group], k: u64) -> u64 {
    fn place<'g>(
        tags: &[Tag],
        groups: &'g [Group],
        k: u64,
        parts: &mut Vec<Vec<&'g Group>>,
    ) -> u64 {
        let Some((group, others)) = groups.split_first() else {
            let large = |part: &Vec<&Group>| part.iter().map(|group| group.1).sum::<u64>() >= k;
            if !parts.iter().all(large) {
                return u64::MAX;
            }
            return parts.iter().map(|part| loss_of_part(tags, part)).sum();
        };
        let mut best = u64::MAX;
        for at in 0..parts.len() {
            parts[at].push(group);
            best = best.min(place(tags, others, k, parts));
            parts[at].pop();
        }
        parts.push(vec![group]);
        best = best.min(place(tags, others, k, parts));
        parts.pop();
        best
    }
    place(tags, groups, k, &mut Vec::new())
}

#[test]
fn the_loss_is_near_the_least_there_is() {
    let tags = tags();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (mut found, mut least, mut worst) = (0_u64, 0_u64, 0.0_f64);
    let mut exact = 0;
    const TABLES: u32 = 300;
    for table in 0..TABLES {
        let k = 2 + table % 3;
        let mut counts: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        while counts.len() < 8 {
            let cells = tags.iter().map(|tag| {
                let values = values(tag);
                // The product of two draws favours the first values, as real columns do.
                let draw = rng.random::<f64>() * rng.random::<f64>();
                values[(draw * values.len() as f64) as usize].clone()
            });
            let cells = cells.collect();
            counts.insert(cells, rng.random_range(1..u64::from(k)));
        }
        let mut rows = Rows::new();
        for (cells, count) in &counts {
            rows.extend((0..*count).map(|_| cells.clone()));
        }
        let admitted = |cells: &Vec<String>| {
            let cells = tags.iter().zip(cells);
            cells.map(|(tag, cell)| tag.admit(cell).unwrap()).collect()
        };
        let groups: Vec<Group> = counts
            .iter()
            .map(|(cells, count)| (admitted(cells), *count))
            .collect();
        let ours = added(&tags, &rows, &minimise(&tags, &rows, k));
        let best = optimum(&tags, &groups, k.into());
        assert!(best <= ours);
        found += ours;
        least += best;
        exact += u32::from(ours == best);
        worst = worst.max(ours as f64 / best as f64);
    }
    let ratio = found as f64 / least as f64;
    println!(
        "{exact} of {TABLES} optimal, loss {ratio:.3} of the optimum together, {worst:.2} at worst"
    );
    assert!(ratio < 1.205, "{ratio}");
    assert!(worst < 2.445, "{worst}");
}
