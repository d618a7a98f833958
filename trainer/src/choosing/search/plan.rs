//! What a search does next, decided from what was done: pure functions.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use refit_spec::{Domain, SearchMethod, SearchSpec, Setting};

/// The settings of one trial, by key.
pub type Settings = Vec<(String, Setting)>;

/// Draws of settings that were all tried before, after which the space counts as exhausted.
const REDRAWS: usize = 200;

/// The settings of the next trial after those that were `tried`: first the spec as it is, so that the best is
/// never worse than that, then draws. `None` when all trials are done, or (nearly)
/// every combination of a finite space was tried.
pub fn next(spec: &SearchSpec, tried: &[Settings]) -> Option<Settings> {
    if tried.len() >= spec.trials {
        return None;
    }
    if tried.is_empty() {
        return Some(Vec::new());
    }
    let mut random = ChaCha8Rng::seed_from_u64(spec.seed);
    random.set_stream(tried.len() as u64);
    let mut draw =
        || spec.space.iter().map(|(key, domain)| (key.clone(), draw(domain, &mut random))).collect();
    (0..REDRAWS).map(|_| draw()).find(|settings: &Settings| !tried.contains(settings))
}

fn draw(domain: &Domain, random: &mut ChaCha8Rng) -> Setting {
    let share = random.random::<f64>();
    match domain {
        Domain::Log(low, high) => {
            let value = (low.ln() + share * (high.ln() - low.ln())).exp();
            Setting::Number(readable(value).clamp(*low, *high))
        }
        Domain::Uniform(low, high) => {
            Setting::Number(readable(low + share * (high - low)).clamp(*low, *high))
        }
        Domain::Integer(low, high) => {
            let count = high.abs_diff(*low) as f64 + 1.0;
            Setting::Integer(low.saturating_add((share * count) as i64).min(*high))
        }
        Domain::Choice(values) => {
            values[((share * values.len() as f64) as usize).min(values.len() - 1)].clone()
        }
    }
}

/// Three significant digits: what a person would write, and as good.
fn readable(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// The epochs after which trials are compared, those of the last rung excepted: there is nothing left to stop.
pub fn rungs(spec: &SearchSpec, epochs: usize) -> Vec<usize> {
    if spec.method == SearchMethod::Random {
        return Vec::new();
    }
    std::iter::successors(Some(spec.min_epochs), |rung| rung.checked_mul(spec.reduction))
        .take_while(|rung| *rung < epochs)
        .collect()
}

/// Why a trial stops at a rung with this `value`, when `earlier` are the values of the trials that reached the
/// rung before it; `None` when it goes on.
///
/// Of the n trials at a rung, itself included, the best ceil(n / reduction) go on: the stopping form of
/// asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), in which nothing waits and no trial is
/// taken up again. A value that is no number is the worst.
pub fn stops(spec: &SearchSpec, higher_is_better: bool, value: f64, earlier: &[f64]) -> Option<String> {
    let loss = |value: f64| match (value.is_nan(), higher_is_better) {
        (true, _) => f64::INFINITY,
        (false, true) => -value,
        (false, false) => value,
    };
    let better = earlier.iter().filter(|other| loss(**other) < loss(value)).count();
    let trials = earlier.len() + 1;
    let go_on = trials.div_ceil(spec.reduction);
    (better >= go_on).then(|| {
        format!(
            "{better} of the {} trials before it were better at this rung, and the best {go_on} go on",
            earlier.len()
        )
    })
}

/// The best of `values` with its index, the first of equals; a trial without a value cannot be it.
pub fn best(higher_is_better: bool, values: &[Option<f64>]) -> Option<(usize, f64)> {
    let known = values.iter().enumerate().filter_map(|(index, value)| Some((index, (*value)?)));
    let known = known.filter(|(_, value)| !value.is_nan());
    known.reduce(|best, next| {
        let better = if higher_is_better { next.1 > best.1 } else { next.1 < best.1 };
        if better { next } else { best }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(trials: usize, space: &[(&str, Domain)]) -> SearchSpec {
        SearchSpec {
            method: SearchMethod::Halving,
            trials,
            reduction: 3,
            min_epochs: 1,
            seed: 7,
            space: space.iter().map(|(key, domain)| ((*key).to_owned(), domain.clone())).collect(),
        }
    }

    fn all(spec: &SearchSpec) -> Vec<Settings> {
        let mut tried = Vec::new();
        while let Some(settings) = next(spec, &tried) {
            tried.push(settings);
        }
        assert_eq!(tried.remove(0), Vec::new(), "the first is the spec as it is");
        tried
    }

    #[test]
    fn draws_lie_in_their_ranges_and_spread_over_them() {
        let spec = spec(
            401,
            &[
                ("a", Domain::Log(1e-5, 1e-2)),
                ("b", Domain::Uniform(-1.0, 1.0)),
                ("c", Domain::Integer(2, 4)),
                ("d", Domain::Choice(vec![Setting::Boolean(true), Setting::Boolean(false)])),
            ],
        );
        let tried = all(&spec);
        assert_eq!(tried.len(), 400);
        assert_eq!(tried, all(&spec), "a seed fixes every trial");
        let number = |settings: &Settings, key: usize| match settings[key].1 {
            Setting::Number(number) => number,
            _ => panic!("no number"),
        };
        let decade = |low: f64| tried.iter().filter(|s| (low..low * 10.0).contains(&number(s, 0))).count();
        for low in [1e-5, 1e-4, 1e-3] {
            assert!((95..175).contains(&decade(low)), "{low}: {}", decade(low));
        }
        assert!(tried.iter().all(|s| (1e-5..=1e-2).contains(&number(s, 0))));
        let below = tried.iter().filter(|s| number(s, 1) < 0.0).count();
        assert!((160..240).contains(&below), "{below}");
        for value in 2..=4 {
            let found = tried.iter().filter(|s| s[2].1 == Setting::Integer(value)).count();
            assert!((95..175).contains(&found), "{value}: {found}");
        }
    }

    #[test]
    fn a_finite_space_is_tried_once() {
        let choices = |count: i64| Domain::Choice((0..count).map(Setting::Integer).collect());
        let tried = all(&spec(50, &[("a", choices(3)), ("b", choices(2))]));
        assert_eq!(tried.len(), 6);
        assert!(next(&spec(50, &[]), &[Vec::new()]).is_none(), "an empty space has one point");
    }

    #[test]
    fn rungs_multiply_and_end_before_the_last_epoch() {
        for (min_epochs, reduction, epochs, expected) in [
            (1, 3, 9, vec![1, 3]),
            (1, 3, 10, vec![1, 3, 9]),
            (2, 2, 9, vec![2, 4, 8]),
            (1, 3, 1, vec![]),
            (5, 3, 4, vec![]),
        ] {
            let spec = SearchSpec { min_epochs, reduction, ..spec(1, &[]) };
            assert_eq!(rungs(&spec, epochs), expected, "{min_epochs} {reduction} {epochs}");
        }
        assert!(rungs(&SearchSpec { method: SearchMethod::Random, ..spec(1, &[]) }, 100).is_empty());
    }

    #[test]
    fn the_best_third_goes_on() {
        let spec = spec(9, &[]);
        for (value, earlier, goes_on) in [
            (0.1, &[][..], true),
            (0.5, &[0.6], false),
            (0.6, &[0.6], true),
            (0.7, &[0.6, 0.8], false),
            (0.7, &[0.6, 0.8, 0.1], true),
            (0.7, &[0.6, 0.8, 0.75], false),
            (f64::NAN, &[0.6], false),
            (0.2, &[f64::NAN, f64::NAN], true),
        ] {
            let why = stops(&spec, true, value, earlier);
            assert_eq!(why.is_none(), goes_on, "{value} after {earlier:?}: {why:?}");
            let negated: Vec<f64> = earlier.iter().map(|value| -value).collect();
            assert_eq!(stops(&spec, false, -value, &negated).is_none(), goes_on, "less is better");
        }
    }

    #[test]
    fn the_first_of_the_best_is_chosen() {
        assert_eq!(best(true, &[Some(0.1), None, Some(0.4), Some(0.4), Some(f64::NAN)]), Some((2, 0.4)));
        assert_eq!(best(false, &[Some(0.1), None, Some(0.4)]), Some((0, 0.1)));
        assert_eq!(best(true, &[None, Some(f64::NAN)]), None);
    }
}
