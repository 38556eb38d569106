//! Scales for a plan's parts, and the noise itself. Both are OpenDP's.

use counterfoil_policy::measure::{Noise, NoisyPart, Part, Plan, Tally};
use opendp::combinators::ConcentratedMeasure as _;
use opendp::core::Measurement;
use opendp::domains::{AtomDomain, VectorDomain};
use opendp::measurements::{make_gaussian, make_laplace};
use opendp::measures::{MaxDivergence, ZeroConcentratedDivergence};
use opendp::metrics::{L1Distance, L2Distance};

type Counts = VectorDomain<AtomDomain<i64>>;
type Laplace = Measurement<Counts, L1Distance<i64>, MaxDivergence, Vec<i64>>;
type Gaussian = Measurement<Counts, L2Distance<i64>, ZeroConcentratedDivergence, Vec<i64>>;

/// OpenDP refused what was asked of it. Its own words are about scales and never about data, yet stay in the broker's log.
#[derive(Debug, thiserror::Error)]
#[error("no noise could be made: {0}")]
pub(crate) struct Unnoised(String);

impl From<opendp::error::Error> for Unnoised {
    fn from(error: opendp::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// The noise of each part of each query of a plan, and of the minimum.
pub(crate) struct Noises {
    minimum: PartNoise,
    parts: Vec<Vec<PartNoise>>,
}

/// Noise of one scale.
struct PartNoise {
    scale: f64,
    mechanism: Mechanism,
}

enum Mechanism {
    Laplace(Laplace),
    Gaussian(Gaussian),
}

/// All noised numbers of a flow.
pub(crate) struct Noised {
    pub(crate) minimum: NoisyPart,
    pub(crate) parts: Vec<Vec<NoisyPart>>,
}

impl Noises {
    /// Scales such that the plan's cost holds.
    ///
    /// Laplace: each part by its own epsilon. Gaussian: all parts of the flow are composed as zCDP (rho adds up: Bun and Steinke,
    /// Concentrated differential privacy, 2016, lemma 2.3), and OpenDP's conversion to (epsilon, delta) of their sum stays within the
    /// sum of their epsilons, of which each part's rho is its share.
    pub(crate) fn of(plan: &Plan) -> Result<Self, Unnoised> {
        let rho = match plan.delta() {
            Some(delta) => {
                let epsilon = plan.gaussian_epsilon().to_f64_below();
                largest_rho(epsilon, delta.decimal().to_f64_below())?
            }
            None => 0.0,
        };
        let all = plan.gaussian_epsilon().to_f64();
        let noise = |part: &Part| match part.noise {
            Noise::Laplace => laplace(part.sensitivity, part.epsilon.to_f64_below()),
            Noise::Gaussian => {
                // Rounded down thrice over, so that the shares do not add up to more than the whole.
                let share = (part.epsilon.to_f64_below() / all).next_down();
                gaussian(part.sensitivity, (rho * share).next_down())
            }
        };
        let parts = plan.queries().iter().map(|planned| {
            let parts = planned.parts().iter().map(noise);
            parts.collect::<Result<Vec<_>, _>>()
        });
        Ok(Self {
            minimum: laplace(1, plan.minimum_cost().epsilon.to_f64_below())?,
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// The count that decides on the minimum, noised.
    pub(crate) fn minimum(&self, tally: &Tally) -> Result<NoisyPart, Unnoised> {
        self.minimum.add(&[tally.exact().matched])
    }

    /// Every number of every query, noised. The minimum was drawn before, once.
    pub(crate) fn add(&self, tally: &Tally, minimum: NoisyPart) -> Result<Noised, Unnoised> {
        let exact = tally.exact();
        let parts = self.parts.iter().zip(exact.counts).map(|(noises, counts)| {
            let parts = noises.iter().zip(counts);
            parts
                .map(|(noise, numbers)| noise.add(numbers))
                .collect::<Result<Vec<_>, _>>()
        });
        Ok(Noised {
            minimum,
            parts: parts.collect::<Result<_, _>>()?,
        })
    }
}

impl PartNoise {
    fn add(&self, numbers: &[i64]) -> Result<NoisyPart, Unnoised> {
        let numbers = numbers.to_vec();
        Ok(NoisyPart {
            scale: self.scale,
            numbers: match &self.mechanism {
                Mechanism::Laplace(laplace) => laplace.invoke(&numbers)?,
                Mechanism::Gaussian(gaussian) => gaussian.invoke(&numbers)?,
            },
        })
    }
}

/// A count to which one person adds 1 at most, with discrete Laplace noise.
pub(crate) fn noised(count: i64, epsilon: f64) -> Result<i64, Unnoised> {
    let noised = laplace(1, epsilon)?.add(&[count])?;
    let first = noised.numbers.first().copied();
    first.ok_or_else(|| Unnoised("no number came".into()))
}

fn domain() -> Counts {
    VectorDomain::new(AtomDomain::default())
}

/// Sensitivities are at most 2^39: bounds of 2^38 steps, and the distance between two.
fn signed(sensitivity: u64) -> Result<i64, Unnoised> {
    i64::try_from(sensitivity).map_err(|error| Unnoised(error.to_string()))
}

/// Discrete Laplace noise of the least scale with which one person changes the chances by e^epsilon at most.
fn laplace(sensitivity: u64, epsilon: f64) -> Result<PartNoise, Unnoised> {
    let sensitivity = signed(sensitivity)?;
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let first = sensitivity as f64 / epsilon;
    let make = |scale| -> Result<Laplace, Unnoised> {
        Ok(make_laplace(domain(), L1Distance::default(), scale, None)?)
    };
    let within = |noise: &Laplace| Ok(noise.map(&sensitivity)? <= epsilon);
    let (scale, noise) = least(first, make, within)?;
    Ok(PartNoise {
        scale,
        mechanism: Mechanism::Laplace(noise),
    })
}

/// Discrete Gaussian noise of the least scale with which one person costs rho at most.
fn gaussian(sensitivity: u64, rho: f64) -> Result<PartNoise, Unnoised> {
    let sensitivity = signed(sensitivity)?;
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let first = sensitivity as f64 / (2.0 * rho).sqrt();
    let make = |scale| -> Result<Gaussian, Unnoised> {
        Ok(make_gaussian(domain(), L2Distance::default(), scale, None)?)
    };
    let within = |noise: &Gaussian| Ok(noise.map(&sensitivity)? <= rho);
    let (scale, noise) = least(first, make, within)?;
    Ok(PartNoise {
        scale,
        mechanism: Mechanism::Gaussian(noise),
    })
}

/// Goes up from a scale that is right but for rounding until OpenDP's map agrees.
fn least<N>(
    first: f64,
    make: impl Fn(f64) -> Result<N, Unnoised>,
    within: impl Fn(&N) -> Result<bool, Unnoised>,
) -> Result<(f64, N), Unnoised> {
    /// Rounding is off by a few units in the last place: one to invert, one to compare.
    const STEPS_MAX: u32 = 64;
    let mut scale = first;
    for _ in 0..STEPS_MAX {
        let noise = make(scale)?;
        if within(&noise)? {
            return Ok((scale, noise));
        }
        scale = scale.next_up();
    }
    Err(Unnoised(format!(
        "no scale near {first} is within the cost"
    )))
}

/// The largest rho, to a relative 2^-40, of which OpenDP's conversion says that it is within epsilon at delta.
fn largest_rho(epsilon: f64, delta: f64) -> Result<f64, Unnoised> {
    let within = |rho: f64| -> Result<bool, Unnoised> {
        Ok(ZeroConcentratedDivergence::convert(rho)?.epsilon(delta)? <= epsilon)
    };
    // rho-zCDP never implies less than rho; and epsilon-DP always more than what is looked for.
    let (mut low, mut high) = (0.0, epsilon);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if within(middle)? {
            low = middle;
        } else {
            high = middle;
        }
        if high - low < low * 2_f64.powi(-40) {
            break;
        }
    }
    if low > 0.0 {
        Ok(low)
    } else {
        Err(Unnoised(format!(
            "epsilon {epsilon} at delta {delta} leaves no rho"
        )))
    }
}

#[cfg(test)]
mod tests;
