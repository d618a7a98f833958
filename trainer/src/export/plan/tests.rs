use super::*;
use Precision::Int8;

const RULE: Rule = Rule { max_drop: 0.01, min_speedup: 1.2, least_upper: 0.004 };

fn interval(estimate: f64, half: f64) -> Interval {
    Interval { estimate, lower: estimate - half, upper: estimate + half, confidence: 0.95 }
}

/// A machine on which the form with `kept` layers in float32 has this speed-up and this drop.
struct World<'a> {
    rule: Rule,
    precisions: &'a [Precision],
    layers: usize,
    speedup: &'a dyn Fn(Attempt) -> f64,
    drop: &'a dyn Fn(Attempt) -> Interval,
}

impl World<'_> {
    /// Every step until something is served, as text.
    fn steps(&self) -> String {
        let timed = |precision: &Precision| {
            let attempt = Attempt { precision: *precision, kept: 0 };
            Measured { attempt, speedup: (self.speedup)(attempt), drop: None }
        };
        let mut measured: Vec<Measured> = self.precisions.iter().map(timed).collect();
        let mut ranked = Vec::new();
        let mut steps = Vec::new();
        for _ in 0..100 {
            let step = next(&self.rule, &measured, &ranked);
            let name = |attempt: Attempt| match attempt.kept {
                0 => attempt.precision.to_string(),
                kept => format!("{}-{kept}", attempt.precision),
            };
            match step {
                Step::Judge(attempt) => {
                    steps.push(format!("judge {}", name(attempt)));
                    let form = measured.iter_mut().find(|form| form.attempt == attempt).unwrap();
                    form.drop = Some((self.drop)(attempt));
                }
                Step::Rank(precision) => {
                    steps.push(format!("rank {precision}"));
                    ranked.push((precision, self.layers));
                }
                Step::Try(attempt) => {
                    steps.push(format!("try {}", name(attempt)));
                    assert!(measured.iter().all(|form| form.attempt != attempt), "{steps:?}");
                    let (speedup, drop) = ((self.speedup)(attempt), (self.drop)(attempt));
                    measured.push(Measured { attempt, speedup, drop: Some(drop) });
                }
                Step::Serve(attempt) => {
                    steps.push(format!("serve {}", attempt.map_or("float32".to_owned(), name)));
                    return steps.join(", ");
                }
            }
        }
        panic!("it never ends: {steps:?}");
    }
}

/// Of 16 layers, `hurting` have to stay in float32; each of them costs 0.05 of the speed-up of 2.
fn one_precision(rule: Rule, hurting: usize, half: f64) -> String {
    World {
        rule,
        precisions: &[Int8],
        layers: 16,
        speedup: &|attempt| 2.0 - 0.05 * attempt.kept as f64,
        drop: &|attempt| interval(if attempt.kept >= hurting { 0.0 } else { 0.03 }, half),
    }
    .steps()
}

#[test]
fn layers_that_hurt_stay_in_float32_and_no_more_of_them() {
    for (hurting, steps) in [
        (0, "judge int8, serve int8"),
        (1, "judge int8, rank int8, try int8-1, serve int8-1"),
        (2, "judge int8, rank int8, try int8-1, try int8-2, serve int8-2"),
        (3, "judge int8, rank int8, try int8-1, try int8-2, try int8-4, try int8-3, serve int8-3"),
        (
            6,
            "judge int8, rank int8, try int8-1, try int8-2, try int8-4, try int8-8, try int8-6, try int8-5, serve int8-6",
        ),
        (
            16,
            "judge int8, rank int8, try int8-1, try int8-2, try int8-4, try int8-8, try int8-15, serve float32",
        ),
    ] {
        assert_eq!(one_precision(RULE, hurting, 0.004), steps);
    }
}

#[test]
fn what_the_rows_cannot_show_is_not_searched_for() {
    let few = Rule { least_upper: 0.02, ..RULE };
    assert_eq!(one_precision(few, 0, 0.02), "judge int8, serve float32");
    assert_eq!(one_precision(few, 3, 0.02), "judge int8, serve float32");
}

#[test]
fn the_search_ends_where_it_would_be_too_slow() {
    let fast = Rule { min_speedup: 1.84, ..RULE };
    // With four layers in float32 it is 1.8 times as fast.
    let steps = "judge int8, rank int8, try int8-1, try int8-2, try int8-4, try int8-3, serve float32";
    assert_eq!(one_precision(fast, 4, 0.004), steps);
}

#[test]
fn what_is_no_faster_than_float32_is_never_asked() {
    for speedup in [0.6, 1.0, f64::NAN] {
        let world = World {
            rule: Rule { min_speedup: 0.0, ..RULE },
            precisions: &[Int8],
            layers: 16,
            speedup: &|_| speedup,
            drop: &|_| interval(0.0, 0.0),
        };
        assert_eq!(world.steps(), "serve float32");
    }
}

#[test]
fn verdicts() {
    for (speedup, drop, verdict) in [
        (2.0, Some(interval(0.0, 0.005)), Verdict::Accepted),
        (2.0, Some(interval(0.005, 0.006)), Verdict::NotShown),
        (2.0, Some(interval(0.03, 0.005)), Verdict::Inaccurate),
        (2.0, None, Verdict::NotAsked),
        (1.1, Some(interval(0.0, 0.0)), Verdict::TooSlow),
        (f64::NAN, Some(interval(0.0, 0.0)), Verdict::TooSlow),
        (2.0, Some(interval(f64::NAN, 0.0)), Verdict::Inaccurate),
    ] {
        let form = Measured { attempt: Attempt { precision: Int8, kept: 0 }, speedup, drop };
        assert_eq!(RULE.verdict(&form), verdict, "{form:?}");
    }
}
