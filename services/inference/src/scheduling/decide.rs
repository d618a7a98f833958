//! How a free thread computes what waits: alone or together, on one thread or on all.
//!
//! The first text in line always goes. Others join it only when that shortens the waiting of all texts in line, by what
//! was measured, lets none miss its limit, and overtakes none twice: so batches form under load and where they pay, and
//! nowhere else. All threads work on one text only while nothing else is there to do.

use super::curve::{Curve, Pace, WORTHWHILE};

/// A text in line, the first one first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Waiting {
    pub tokens: usize,
    /// Seconds since its request came in.
    pub waited: f64,
    /// Whether it can share a run: a text that is read in several windows cannot.
    pub can_share: bool,
    /// Runs that took texts from behind it.
    pub overtaken: usize,
}

/// So often a text may be overtaken: what shortens the waiting of all on average must not be at the cost of few.
const MOST_OVERTAKEN: usize = 1;

/// What else goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Runs under way on other threads.
    pub running: usize,
    /// Texts that wait, those of this line included.
    pub waiting: usize,
    /// Threads that compute.
    pub workers: usize,
}

/// What is run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Places in the line, the first one first.
    pub texts: Vec<usize>,
    pub threads: usize,
}

/// Decides for one free thread; `limit` is the seconds that a request may take. An empty line has no decision.
pub(crate) fn decide(pace: &Pace, line: &[Waiting], load: Load, limit: f64) -> Option<Decision> {
    let (first, curve) = (line.first()?, &*pace.curve);
    if load.running == 0 && load.waiting <= 1 {
        let threads = pace.threads;
        let alone = curve.seconds(1, first.tokens, 1);
        let wide = curve.seconds(1, first.tokens, threads);
        let pays = alone.zip(wide).is_some_and(|(alone, wide)| wide < WORTHWHILE * alone);
        return Some(Decision { texts: vec![0], threads: if pays { threads } else { 1 } });
    }
    let alone = Decision { texts: vec![0], threads: 1 };
    if !first.can_share {
        return Some(alone);
    }
    let barrier = line.iter().skip(1).position(|text| text.overtaken >= MOST_OVERTAKEN);
    let line = &line[..barrier.map_or(line.len(), |place| place + 2)];
    // Of all that waits, this thread will have to do its share.
    let in_line = load.waiting.div_ceil(load.workers.max(1)).max(line.len());
    let nearest = by_nearness(line);
    let gains = (2..=nearest.len().min(pace.largest_batch)).filter_map(|size| {
        let mut texts = nearest[..size].to_vec();
        texts.sort_unstable();
        let gain = gain(curve, line, &texts, in_line, limit)?;
        (gain > 0.0).then_some((gain, texts))
    });
    let best = gains.max_by(|(one, _), (other, _)| one.total_cmp(other));
    Some(best.map_or(alone, |(_, texts)| Decision { texts, threads: 1 }))
}

/// The first text, and those that can share its run, those of the nearest length first.
fn by_nearness(line: &[Waiting]) -> Vec<usize> {
    let mut others: Vec<usize> = (1..line.len()).filter(|&place| line[place].can_share).collect();
    // A stable sort: of equal lengths the one that waits longer joins.
    others.sort_by_key(|&place| line[place].tokens.abs_diff(line[0].tokens));
    std::iter::once(0).chain(others).collect()
}

/// Seconds of waiting, summed over all in line, that a common run of `texts` saves against running all one by one as
/// they stand. `None` when it takes a text over the limit that would keep it otherwise, or when nothing is known.
fn gain(curve: &Curve, line: &[Waiting], texts: &[usize], in_line: usize, limit: f64) -> Option<f64> {
    let longest = texts.iter().map(|&place| line[place].tokens).max()?;
    let common = curve.seconds(texts.len(), longest, 1)?;
    // When the last one is done, one by one and with the common run first.
    let (mut plain, mut ours, mut saved) = (0.0, common, 0.0);
    let mut replaced = 0.0;
    for (place, text) in line.iter().enumerate() {
        let alone = curve.seconds(1, text.tokens, 1)?;
        plain += alone;
        let done = if texts.contains(&place) {
            replaced += alone;
            common
        } else {
            ours += alone;
            ours
        };
        let late = |seconds: f64| text.waited + seconds > limit;
        if late(done) && !late(plain) {
            return None;
        }
        saved += plain - done;
    }
    let behind = (in_line - line.len()) as f64;
    (common < WORTHWHILE * replaced).then_some(saved + behind * (plain - ours))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::curve::Point, *};

    /// Milliseconds by texts and threads for runs of 10 and 100 tokens.
    fn pace(rows: &[(usize, usize, f64, f64)]) -> Pace {
        let points = rows.iter().flat_map(|&(texts, threads, short, long)| {
            [(10, short), (100, long)].map(|(tokens, ms)| Point { texts, tokens, threads, seconds: ms / 1e3 })
        });
        let curve = Curve::new(points.collect());
        let (largest_batch, threads) = (curve.largest_worthwhile_batch(), curve.worthwhile_threads());
        Pace { curve: Arc::new(curve), largest_batch, threads: threads.unwrap_or(1) }
    }

    /// As a CPU: a batch costs what its texts cost.
    fn cpu() -> Pace {
        pace(&[(1, 1, 1.0, 10.0), (4, 1, 4.0, 40.0), (8, 1, 8.1, 83.0), (1, 2, 1.1, 6.0)])
    }

    /// As a small model or a GPU: what is long or many costs little more.
    fn gpu() -> Pace {
        pace(&[(1, 1, 1.0, 1.6), (4, 1, 1.2, 2.5), (8, 1, 1.5, 4.0)])
    }

    fn line(tokens: &[usize]) -> Vec<Waiting> {
        let waiting = |&tokens: &usize| Waiting { tokens, waited: 0.0, can_share: true, overtaken: 0 };
        tokens.iter().map(waiting).collect()
    }

    fn busy(waiting: usize) -> Load {
        Load { running: 1, waiting, workers: 2 }
    }

    fn check(pace: &Pace, line: &[Waiting], load: Load, limit: f64, expected: (&[usize], usize)) {
        let decision = decide(pace, line, load, limit).unwrap();
        assert_eq!((&decision.texts[..], decision.threads), expected, "{line:?} {load:?}");
    }

    #[test]
    fn a_lone_text_has_all_threads_where_that_is_quicker() {
        let idle = Load { running: 0, waiting: 1, workers: 2 };
        check(&cpu(), &line(&[100]), idle, 1.0, (&[0], 2));
        check(&cpu(), &line(&[10]), idle, 1.0, (&[0], 1));
        check(&gpu(), &line(&[100]), idle, 1.0, (&[0], 1));
        // Something else runs, or waits.
        check(&cpu(), &line(&[100]), busy(1), 1.0, (&[0], 1));
        check(&cpu(), &line(&[100]), Load { running: 0, waiting: 2, workers: 2 }, 1.0, (&[0], 1));
    }

    #[test]
    fn texts_join_where_that_shortens_the_waiting_of_all() {
        check(&gpu(), &line(&[10; 4]), busy(8), 1.0, (&[0, 1, 2, 3], 1));
        check(&gpu(), &line(&[10; 12]), busy(24), 1.0, (&[0, 1, 2, 3, 4, 5, 6, 7], 1));
        check(&cpu(), &line(&[10; 8]), busy(64), 1.0, (&[0], 1));
        // Those of the nearest length; padding ten tokens to a hundred would cost more than it saves.
        check(&gpu(), &line(&[10, 100, 10, 12]), busy(8), 1.0, (&[0, 2, 3], 1));
    }

    #[test]
    fn nobody_is_made_late() {
        let mut texts = line(&[10; 8]);
        // 1.5 ms for eight are too much for the first, 1.2 ms for four are not.
        texts[0].waited = 0.0987;
        check(&gpu(), &texts, busy(16), 0.1, (&[0, 1, 2, 3, 4], 1));
        texts[0].waited = 0.09895;
        check(&gpu(), &texts, busy(16), 0.1, (&[0], 1));
        // Who is late anyway does not hold up the others.
        texts[0].waited = 0.2;
        check(&gpu(), &texts, busy(16), 0.1, (&[0, 1, 2, 3, 4, 5, 6, 7], 1));
    }

    #[test]
    fn nobody_is_overtaken_again() {
        let mut texts = line(&[10, 100, 10, 10]);
        check(&gpu(), &texts, busy(8), 1.0, (&[0, 2, 3], 1));
        // Itself it may join, and those before it.
        texts[1].overtaken = 1;
        check(&gpu(), &texts, busy(8), 1.0, (&[0, 1], 1));
        let mut texts = line(&[10; 4]);
        texts[2].overtaken = 1;
        check(&gpu(), &texts, busy(8), 1.0, (&[0, 1, 2], 1));
    }

    #[test]
    fn what_cannot_share_runs_alone() {
        let mut texts = line(&[10; 4]);
        check(&Pace { largest_batch: 1, ..gpu() }, &texts, busy(8), 1.0, (&[0], 1));
        texts[1].can_share = false;
        check(&gpu(), &texts, busy(8), 1.0, (&[0, 2, 3], 1));
        texts[0].can_share = false;
        check(&gpu(), &texts, busy(8), 1.0, (&[0], 1));
        check(&pace(&[]), &line(&[10; 4]), busy(8), 1.0, (&[0], 1));
        assert_eq!(decide(&gpu(), &[], busy(0), 1.0), None);
    }

    /// By the curve, whatever is decided takes no longer for all in line than one by one.
    #[test]
    fn it_is_never_slower_than_no_batching() {
        let paces = [cpu(), gpu(), pace(&[(1, 1, 1.0, 9.0), (4, 1, 2.0, 40.0), (16, 1, 20.0, 90.0)])];
        for (seed, pace) in (0..300).zip(paces.iter().cycle()) {
            let curve = &pace.curve;
            let tokens: Vec<usize> =
                (0..seed % 17 + 1).map(|place| 5 + (seed * 31 + place * 47) % 120).collect();
            let (mut texts, mut ours, mut clock) = (line(&tokens), 0.0, 0.0);
            while !texts.is_empty() {
                let decision = decide(pace, &texts, busy(texts.len()), 10.0).unwrap();
                let longest = decision.texts.iter().map(|&place| texts[place].tokens).max().unwrap();
                clock += curve.seconds(decision.texts.len(), longest, 1).unwrap();
                ours += clock * decision.texts.len() as f64;
                for &place in decision.texts.iter().rev() {
                    texts.remove(place);
                }
            }
            let (mut plain, mut clock) = (0.0, 0.0);
            for &tokens in &tokens {
                clock += curve.seconds(1, tokens, 1).unwrap();
                plain += clock;
            }
            assert!(ours <= plain + 1e-9, "{ours} against {plain} for {tokens:?}");
        }
    }
}
