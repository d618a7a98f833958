//! Activation checkpointing (Chen et al. 2016, arXiv:1604.06174): the forward run keeps only what crosses the borders of
//! segments, and the reverse pass computes a segment again when it comes to it.
//!
//! A border lies where as few values as possible carry a gradient across: after a layer of a transformer or a block of a
//! residual network it is one. Dropout draws from the seed of the step and the node, so the second run of a segment
//! gives the bits of the first, and so do the gradients.

use crate::plan::Step;
use crate::{Activations, AutodiffError, Program};
use refit_graph::ValueId;
use std::ops::Range;

/// Fewest nodes of a segment: shorter ones keep more than they save.
const FEWEST_STEPS: usize = 4;
/// Fewest borders that are worth it.
const FEWEST_BORDERS: usize = 3;
/// Most values with a gradient that may cross a border.
const MOST_CROSSING: usize = 4;

/// Where a program is cut.
pub(crate) struct Segments {
    /// Consecutive ranges of steps, all steps together. The last one keeps its activations.
    pub ranges: Vec<Range<usize>>,
    /// Values that a later segment than their own reads.
    pub border: Vec<bool>,
}

impl Program {
    /// Keeps activations at the borders of segments only, from now on. Returns the number of segments; with one there
    /// is nothing to save, because no part of the graph can be cut off.
    pub fn recompute_activations(&mut self) -> usize {
        let segments = plan(&self.steps, &self.live);
        let count = segments.as_ref().map_or(1, |segments| segments.ranges.len());
        self.segments = segments;
        count
    }

    /// What may be freed once `step`, the `index`th, has run forwards in training.
    pub(crate) fn dead_in_training<'a>(
        &'a self,
        index: usize,
        step: &'a Step,
    ) -> impl Iterator<Item = ValueId> + 'a {
        let segments = self.segments.as_ref();
        let is_last = segments.and_then(|s| s.ranges.last()).is_none_or(|last| last.contains(&index));
        let dead = if is_last { &step.dead_after_training } else { &step.dead_after_evaluation };
        dead.iter().copied().filter(move |id| segments.is_none_or(|segments| !segments.border[id.index()]))
    }

    /// Ranges of steps in the order of the reverse pass, each with whether it has to run again first.
    pub(crate) fn reversed_segments(&self) -> Vec<(Range<usize>, bool)> {
        match &self.segments {
            None => vec![(0..self.steps.len(), false)],
            Some(segments) => {
                let last = segments.ranges.len() - 1;
                let again = |(index, range): (usize, &Range<usize>)| (range.clone(), index != last);
                segments.ranges.iter().enumerate().rev().map(again).collect()
            }
        }
    }

    /// Runs a segment again from what crossed its border.
    pub(crate) fn recompute(
        &self,
        range: Range<usize>,
        activations: &mut Activations,
    ) -> Result<(), AutodiffError> {
        let Some(segments) = &self.segments else { return Ok(()) };
        for step in &self.steps[range] {
            self.make_again(step, activations)?;
            for id in step.dead_after_training.iter().filter(|id| !segments.border[id.index()]) {
                activations.values[id.index()] = None;
            }
        }
        Ok(())
    }

    /// Runs a step again, where something that it makes is gone.
    pub(crate) fn make_again(&self, step: &Step, activations: &mut Activations) -> Result<(), AutodiffError> {
        let values = &mut activations.values;
        if step.node.outputs.iter().flatten().all(|id| values[id.index()].is_some()) {
            return Ok(());
        }
        let outputs = self.run(step, values, activations.mode).map_err(|error| error.at(self.place(step)))?;
        for (id, output) in step.node.outputs.iter().zip(outputs) {
            if let Some(id) = id
                && values[id.index()].is_none()
            {
                values[id.index()] = Some(output);
            }
        }
        Ok(())
    }
}

fn plan(steps: &[Step], live: &[bool]) -> Option<Segments> {
    let mut made_by = vec![None; live.len()];
    let mut read_last = vec![None; live.len()];
    for (index, step) in steps.iter().enumerate() {
        for id in step.node.inputs.iter().flatten() {
            read_last[id.index()] = Some(index);
        }
        for id in step.node.outputs.iter().flatten() {
            made_by[id.index()] = Some(index);
        }
    }
    // How many values with a gradient cross from step i to step i + 1.
    let mut crossing = vec![0isize; steps.len() + 1];
    for value in 0..live.len() {
        if let (true, Some(made), Some(read)) = (live[value], made_by[value], read_last[value]) {
            crossing[made] += 1;
            crossing[read] -= 1;
        }
    }
    let mut crossed = 0;
    let crossing: Vec<usize> = crossing
        .iter()
        .map(|change| {
            crossed += change;
            usize::try_from(crossed).unwrap_or(0)
        })
        .collect();
    let ranges = (1..=MOST_CROSSING).map(|most| cut(&crossing[..steps.len()], most));
    let ranges = ranges.into_iter().find(|ranges| ranges.len() > FEWEST_BORDERS)?;
    let segment_of = |step: usize| ranges.iter().position(|range| range.contains(&step));
    let border = (0..live.len())
        .map(|value| match (made_by[value], read_last[value]) {
            (Some(made), Some(read)) => segment_of(made) != segment_of(read),
            _ => false,
        })
        .collect();
    Some(Segments { ranges, border })
}

/// Cuts where at least one value and at most `most` cross.
fn cut(crossing: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for (index, count) in crossing.iter().enumerate() {
        let end = index + 1;
        if (1..=most).contains(count) && end - start >= FEWEST_STEPS && end < crossing.len() {
            ranges.push(start..end);
            start = end;
        }
    }
    ranges.push(start..crossing.len());
    ranges
}
