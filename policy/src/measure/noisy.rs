//! What leaves the broker: noised whole numbers, and with which noise.

use serde::{Deserialize, Serialize};

use super::budget::Cost;
use super::plan::Plan;
use crate::text::FlowId;

/// The plaintext of a measure flow's delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noisy {
    /// Version of this format: 1.
    pub format: u32,
    /// The flow.
    pub flow: FlowId,
    /// The count of common customers with which the minimum was decided.
    pub minimum: NoisyPart,
    /// For each query, for each of its parts.
    pub parts: Vec<Vec<NoisyPart>>,
    /// What the recipient can still spend after this flow.
    pub left: Cost,
}

/// Whole numbers with noise of one scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoisyPart {
    /// The scale: of discrete Laplace, or the parameter sigma of the discrete Gaussian.
    pub scale: f64,
    /// The numbers.
    pub numbers: Vec<i64>,
}

/// A delivery that does not answer what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answers do not fit the queries: {0}")]
pub struct Misfit(&'static str);

impl Noisy {
    /// Reads a delivery and compares its shape with what was asked.
    ///
    /// # Errors
    /// [`Misfit`].
    pub fn read(json: &[u8], flow: FlowId, plan: &Plan) -> Result<Self, Misfit> {
        let noisy: Self = serde_json::from_slice(json)
            .map_err(|_| Misfit("they are not JSON of this version's form"))?;
        noisy.check(flow, plan)?;
        Ok(noisy)
    }

    fn check(&self, flow: FlowId, plan: &Plan) -> Result<(), Misfit> {
        if self.format != 1 || self.flow != flow {
            return Err(Misfit("they are of another version or flow"));
        }
        let shapes = plan.queries().iter().map(|planned| planned.parts());
        let fits = self.parts.len() == shapes.len()
            && self.parts.iter().zip(shapes).all(|(got, wanted)| {
                got.len() == wanted.len()
                    && got
                        .iter()
                        .zip(wanted)
                        .all(|(got, wanted)| got.numbers.len() == wanted.cells)
            });
        if !fits || self.minimum.numbers.len() != 1 {
            return Err(Misfit("a table has another number of cells"));
        }
        let mut scales = self.parts.iter().flatten().chain([&self.minimum]);
        if scales.all(|part| part.scale.is_finite() && part.scale > 0.0) {
            Ok(())
        } else {
            Err(Misfit("a scale is none"))
        }
    }
}
