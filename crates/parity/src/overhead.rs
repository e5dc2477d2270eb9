//! What checkpoints cost a run that fails now and then: equations (1) to (3) of the paper, after N. H. Vaidya,
//! "Impact of Checkpoint Latency on Overhead Ratio of a Checkpointing Scheme".
//!
//! The paper gives (1), e^(rate (T + O)) (1 - rate T) = 1, without its solution. With x = rate T it says
//! -ln(1 - x) - x = rate O, whose left side is convex and grows from 0: Newton's method finds x from above.

/// What one checkpoint and one failure cost, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// O: what a checkpoint adds to the running time.
    pub overhead_s: f64,
    /// L: from a checkpoint's start until it can be recovered from.
    pub latency_s: f64,
    /// R: from the discovery of a failure until the work goes on from the last checkpoint.
    pub recovery_s: f64,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A rate of failures is above zero.
    #[error("a failure rate of {0} per second: it must be above 0 (1 / mean time between failures)")]
    Rate(f64),
    /// A cost is a time.
    #[error("a cost of {0} s: it must be a time, 0 or more, and an overhead above 0")]
    Cost(f64),
}

/// Equation (1): the seconds of work between checkpoints at which a run ends soonest, T_opt.
///
/// # Errors
/// The rate, in failures per second, or the overhead, in seconds, is not above 0.
pub fn optimal_interval_s(failures_per_s: f64, overhead_s: f64) -> Result<f64, Error> {
    if !(failures_per_s > 0.0 && failures_per_s.is_finite()) {
        return Err(Error::Rate(failures_per_s));
    }
    if !(overhead_s > 0.0 && overhead_s.is_finite()) {
        return Err(Error::Cost(overhead_s));
    }
    let lost = failures_per_s * overhead_s;
    // Of x^2 / 2 = lost, which is above the solution; and below 1, where the logarithm ends.
    let mut x = (2.0 * lost).sqrt().min(1.0 - f64::EPSILON);
    loop {
        let next = x - (-(-x).ln_1p() - x - lost) * (1.0 - x) / x;
        // From above until rounding takes over.
        if !(next < x && next > 0.0) {
            return Ok(x / failures_per_s);
        }
        x = next;
    }
}

/// Equation (2): the seconds that an interval of T_opt seconds of work takes, failures included.
///
/// # Errors
/// As [`optimal_interval_s`]; another cost is below 0.
pub fn expected_interval_s(failures_per_s: f64, costs: Costs) -> Result<f64, Error> {
    let work_s = optimal_interval_s(failures_per_s, costs.overhead_s)?;
    interval_s(failures_per_s, costs, work_s)
}

/// Equation (2) for any seconds of work between checkpoints.
fn interval_s(failures_per_s: f64, costs: Costs, work_s: f64) -> Result<f64, Error> {
    let Costs { overhead_s, latency_s, recovery_s } = costs;
    let times = [overhead_s, latency_s, recovery_s];
    let wrong = times.into_iter().find(|cost| !(*cost >= 0.0 && cost.is_finite()));
    if let Some(wrong) = wrong {
        return Err(Error::Cost(wrong));
    }
    if !(failures_per_s > 0.0 && failures_per_s.is_finite()) {
        return Err(Error::Rate(failures_per_s));
    }
    let again = (failures_per_s * (latency_s - overhead_s + recovery_s)).exp();
    Ok(again * (failures_per_s * (work_s + overhead_s)).exp_m1() / failures_per_s)
}

/// Equation (3): how much longer a run takes than without failures and checkpoints, r; 0.05 is 5 %.
///
/// # Errors
/// As [`expected_interval_s`].
pub fn overhead_ratio(failures_per_s: f64, costs: Costs) -> Result<f64, Error> {
    let work_s = optimal_interval_s(failures_per_s, costs.overhead_s)?;
    ratio_at(failures_per_s, costs, work_s)
}

/// Equation (3) at another interval than T_opt: so many seconds of work between checkpoints.
///
/// # Errors
/// The rate or the work is not above 0; a cost is below 0.
pub fn ratio_at(failures_per_s: f64, costs: Costs, work_s: f64) -> Result<f64, Error> {
    if !(work_s > 0.0 && work_s.is_finite()) {
        return Err(Error::Cost(work_s));
    }
    Ok(interval_s(failures_per_s, costs, work_s)? / work_s - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAPER_RATE: f64 = 6.301e-6;

    fn costs(overhead_s: f64, latency_s: f64, recovery_s: f64) -> Costs {
        Costs { overhead_s, latency_s, recovery_s }
    }

    /// Tables 10 to 12: O, L, R and r as printed, and r as the equations have it.
    #[test]
    fn the_papers_tables_are_had_again_but_for_one_row() {
        let rows = [
            ("10, N+1", costs(420.0, 43.34, 140.2), 0.07482, 0.0748218),
            ("10, proposed", costs(209.0, 32.15, 142.5), 0.05277, 0.0528987),
            ("11, N+1", costs(391.0, 90.0, 190.2), 0.07286, 0.0728601),
            ("11, proposed", costs(183.0, 52.0, 190.2), 0.049993, 0.0499925),
            ("12, N+1", costs(391.0, 90.0, 190.2), 0.07286, 0.0728601),
            ("12, proposed", costs(183.0, 52.0, 190.2), 0.049993, 0.0499925),
        ];
        for (row, costs, printed, computed) in rows {
            let ratio = overhead_ratio(PAPER_RATE, costs).unwrap();
            assert!((ratio - computed).abs() < 5e-8, "table {row}: {ratio}");
            // Half of the last digit that is printed.
            let rounding = if printed == 0.049993 { 5e-7 } else { 5e-6 };
            assert_eq!(
                (ratio - printed).abs() < rounding,
                row != "10, proposed",
                "table {row}: {ratio}"
            );
        }
    }

    #[test]
    fn the_papers_intervals() {
        for (overhead_s, interval_s) in
            [(420.0, 11_267.803), (209.0, 8_006.122), (391.0, 10_881.217), (183.0, 7_499.910)]
        {
            let found = optimal_interval_s(PAPER_RATE, overhead_s).unwrap();
            assert!((found - interval_s).abs() < 5e-4, "{found}");
        }
    }

    #[test]
    fn what_is_no_rate_or_no_time_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(optimal_interval_s(rate, 1.0), Err(Error::Rate(_))));
        }
        for cost in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(optimal_interval_s(1.0, cost), Err(Error::Cost(_))));
            assert!(matches!(overhead_ratio(1.0, costs(1.0, cost, 1.0)), Err(Error::Cost(_))));
            assert!(matches!(overhead_ratio(1.0, costs(1.0, 1.0, cost)), Err(Error::Cost(_))));
        }
        assert!(matches!(optimal_interval_s(1.0, 0.0), Err(Error::Cost(_))));
    }

    #[test]
    fn any_other_interval_costs_more() {
        let costs = costs(183.0, 52.0, 190.2);
        let best = overhead_ratio(PAPER_RATE, costs).unwrap();
        for work_s in [100.0, 5000.0, 7400.0, 7600.0, 20_000.0] {
            assert!(ratio_at(PAPER_RATE, costs, work_s).unwrap() > best, "{work_s}");
        }
        assert!(matches!(ratio_at(PAPER_RATE, costs, 0.0), Err(Error::Cost(_))));
        assert!(matches!(ratio_at(0.0, costs, 1.0), Err(Error::Rate(_))));
    }

    proptest! {
        #[test]
        fn the_interval_solves_equation_1(rate in -12.0f64..1.0, overhead in -6.0f64..4.0) {
            let (rate, overhead) = (10f64.powf(rate), 10f64.powf(overhead));
            let x = rate * optimal_interval_s(rate, overhead).unwrap();
            prop_assert!(x > 0.0 && x < 1.0);
            let lost = -(-x).ln_1p() - x;
            // Near 0 both sides are differences of nearly equal numbers.
            let exact = if x < 1e-3 { x * x / 2.0 + x * x * x / 3.0 + x.powi(4) / 4.0 } else { lost };
            prop_assert!((exact / (rate * overhead) - 1.0).abs() < 1e-6 || x > 1.0 - 1e-9, "{exact}");
        }

        #[test]
        fn less_cost_is_a_lower_ratio(o in 1.0f64..100.0, l in 1.0f64..100.0, r in 1.0f64..100.0) {
            let of = |costs| overhead_ratio(1e-5, costs).unwrap();
            prop_assert!(of(costs(o / 2.0, l, r)) < of(costs(o, l, r)));
            prop_assert!(of(costs(o, l / 2.0, r)) < of(costs(o, l, r)));
            prop_assert!(of(costs(o, l, r / 2.0)) < of(costs(o, l, r)));
        }
    }
}
