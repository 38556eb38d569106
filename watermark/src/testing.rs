//! A small lineage and its deliveries, for tests.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::{
    Assignment, Budget, Column, DatasetKey, Embedder, Form, Leak, Lineage, MarkTag, MasterKey,
    Suspect, TagBits, Trace, assignments,
};

pub(crate) const NAME: &str = "bank/customers";
pub(crate) const VALUES: [&str; 5] = ["1", "2", "3", "4", "5"];

pub(crate) type Table = Vec<Vec<Box<str>>>;

/// Customers of one owner, and the broker's keys.
pub(crate) struct World {
    pub(crate) lineage: Lineage,
    pub(crate) tags: Vec<MarkTag>,
    pub(crate) held: Table,
    pub(crate) rng: ChaCha20Rng,
}

impl World {
    /// Two ordinals that change `ppm` cells in a million, a score and an amount.
    pub(crate) fn new(rows: usize, ppm: u32, seed: u64) -> Self {
        let bits = TagBits::new(24).unwrap();
        let column = |name, form| {
            let budget = Budget::new(ppm, 1 << 40).unwrap();
            Column::new(name, form, budget, bits).unwrap()
        };
        let number = |text: &str| text.parse().unwrap();
        let domain = Some((number("0"), number("1000")));
        let columns = vec![
            column("tier", Form::ordinal(&VALUES, None).unwrap()),
            column("risk", Form::ordinal(&VALUES, None).unwrap()),
            column("score", Form::score(number("3"), domain).unwrap()),
            column("aum", Form::amount(number("1000000")).unwrap()),
        ];
        Self::with(Lineage::new(columns, bits).unwrap(), rows, seed)
    }

    /// One ordinal alone, of which every cell carries a symbol.
    pub(crate) fn ordinal(rows: usize, seed: u64) -> Self {
        let bits = TagBits::new(24).unwrap();
        let form = Form::ordinal(&VALUES, None).unwrap();
        let column = Column::new("tier", form, Budget::new(20_000, 1 << 40).unwrap(), bits);
        let column = column.unwrap().with_selected(1 << 16);
        Self::with(Lineage::new(vec![column], bits).unwrap(), rows, seed)
    }

    fn with(lineage: Lineage, rows: usize, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let tags = (0..rows).map(|_| MarkTag::new(rng.next_u32() >> 8, lineage.bits()).unwrap());
        let tags = tags.collect();
        let held = table(&lineage, rows, &mut rng);
        Self {
            lineage,
            tags,
            held,
            rng,
        }
    }

    pub(crate) fn dataset(&self) -> DatasetKey {
        master().dataset(NAME)
    }

    /// What the recipient with this number gets in its flow with this number.
    pub(crate) fn delivery(&self, recipient: usize, flow: usize) -> Table {
        let suspect = suspect(recipient, flow + 1);
        let dataset = self.dataset();
        let embedder = Embedder::new(
            &self.lineage,
            &dataset,
            &suspect.recipient,
            &suspect.flows[flow],
        );
        let mut table = self.held.clone();
        for (column, cells) in self.lineage.columns().iter().zip(&mut table) {
            let texts = cells.iter().map(AsRef::as_ref);
            for (row, cell) in embedder.mark(column, &self.tags, texts).iter() {
                cells[row] = cell.into();
            }
        }
        table
    }

    /// The first `rows` rows, all columns in their order.
    pub(crate) fn leak(&self, table: &Table, rows: usize) -> Leak {
        let cells = table.iter().map(|column| column[..rows].to_vec());
        Leak::new(self.tags[..rows].to_vec(), cells.collect()).unwrap()
    }

    /// With the columns known by name.
    pub(crate) fn trace(&self, leak: &Leak) -> Trace {
        let known: Vec<_> = (0..leak.width()).map(Some).collect();
        let readings = assignments(&self.lineage, leak, &known).unwrap();
        self.trace_as(leak, &readings)
    }

    pub(crate) fn trace_as(&self, leak: &Leak, readings: &[Assignment]) -> Trace {
        Trace::new(&self.lineage, &self.dataset(), leak, readings)
    }
}

pub(crate) fn master() -> MasterKey {
    MasterKey::from_bytes([9; 32])
}

/// Keys of the recipient with this number and of its flows.
pub(crate) fn suspect(recipient: usize, flows: usize) -> Suspect {
    let flow = |flow| master().flow(NAME, &format!("flow-{recipient}-{flow}"));
    Suspect {
        recipient: master().recipient(NAME, &format!("recipient-{recipient}")),
        flows: (0..flows).map(flow).collect(),
    }
}

pub(crate) fn suspects(recipients: usize, flows: usize) -> Vec<Suspect> {
    (0..recipients)
        .map(|recipient| suspect(recipient, flows))
        .collect()
}

fn table(lineage: &Lineage, rows: usize, rng: &mut ChaCha20Rng) -> Table {
    let mut cell = |name: &str| match name {
        "score" => (rng.next_u32() % 1001).to_string(),
        "aum" => format!("{}.5", 1000 + rng.next_u32() % 9_000_000),
        _ => VALUES[(rng.next_u32() % 5) as usize].into(),
    };
    let columns = lineage.columns().iter();
    columns
        .map(|column| (0..rows).map(|_| cell(column.name()).into()).collect())
        .collect()
}
