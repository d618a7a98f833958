//! The memory that a training step will take, told from runs of single rows.

use crate::{AutodiffError, Mode, Program};
use candle_core::Tensor;
use refit_ops::kernels::accumulate;
use std::collections::HashMap;

/// Sizes of all values as functions of the batch and its longest row.
pub struct Footprint<'a> {
    program: &'a Program,
    sizes: Vec<Size>,
    /// The value whose memory a value shares; itself if none.
    memory_of: Vec<usize>,
}

/// Bytes of a value: a polynomial of the sequence length, times the batch if it has one.
#[derive(Clone, Default)]
struct Size {
    /// (sequence length, bytes) of single rows; lengths differ.
    points: Vec<(f64, f64)>,
    per_row: bool,
}

/// One run that sizes are read from.
pub struct Probe {
    /// Rows.
    pub batch: usize,
    /// Longest of them.
    pub sequence: usize,
    /// The inputs of the program.
    pub inputs: HashMap<String, Tensor>,
}

impl Program {
    /// Runs `rows`, single ones with different lengths, and `pair`, two times the first of them, forwards to learn the
    /// size of every value. Three lengths tell a polynomial of second degree, as in attention.
    ///
    /// # Errors
    /// When an operator refuses.
    pub fn footprint(&self, rows: &[Probe], pair: &Probe) -> Result<Footprint<'_>, AutodiffError> {
        let count = self.names.len();
        let mut sizes = vec![Size::default(); count];
        let mut memory_of: Vec<usize> = (0..count).collect();
        for probe in rows {
            let values = self.run_all(&probe.inputs)?;
            for (size, value) in sizes.iter_mut().zip(&values) {
                size.points.push((probe.sequence as f64, bytes(value.as_ref())));
            }
            self.find_shared(&values, &mut memory_of);
        }
        for (size, value) in sizes.iter_mut().zip(&self.run_all(&pair.inputs)?) {
            let once = size.points.first().map_or(0.0, |point| point.1);
            size.per_row = bytes(value.as_ref()) > once;
        }
        Ok(Footprint { program: self, sizes, memory_of })
    }

    fn run_all(&self, inputs: &HashMap<String, Tensor>) -> Result<Vec<Option<Tensor>>, AutodiffError> {
        let mut values = self.bound(inputs)?;
        for step in &self.steps {
            let outputs = self.run(step, &values, Mode::Train { seed: 0 });
            let outputs = outputs.map_err(|error| error.at(self.place(step)))?;
            for (id, output) in step.node.outputs.iter().zip(outputs) {
                if let Some(id) = id {
                    values[id.index()] = Some(output);
                }
            }
        }
        Ok(values)
    }

    fn find_shared(&self, values: &[Option<Tensor>], memory_of: &mut [usize]) {
        for step in &self.steps {
            for output in step.node.outputs.iter().flatten() {
                let Some(made) = &values[output.index()] else { continue };
                let shared = step.node.inputs.iter().flatten().find(|input| {
                    values[input.index()].as_ref().is_some_and(|read| accumulate::share_memory(made, read))
                });
                if let Some(input) = shared {
                    memory_of[output.index()] = memory_of[input.index()];
                }
            }
        }
    }
}

impl Footprint<'_> {
    /// Most bytes that activations and gradients take at a time in one forward and reverse pass over `batch` rows
    /// padded to `sequence`; what operators need while they run is not among them.
    pub fn peak_bytes(&self, batch: usize, sequence: usize) -> usize {
        let program = self.program;
        let sizes: Vec<f64> = self.sizes.iter().map(|size| size.bytes(batch, sequence)).collect();
        let made_by_run: Vec<bool> = {
            let mut made = vec![false; sizes.len()];
            for id in program.steps.iter().flat_map(|step| step.node.outputs.iter().flatten()) {
                made[id.index()] = true;
            }
            made
        };
        let mut run = Simulation {
            sizes: &sizes,
            memory_of: &self.memory_of,
            counted: &made_by_run,
            held: vec![0; sizes.len()],
            alive: vec![false; sizes.len()],
            gradients: vec![false; sizes.len()],
            bytes: 0.0,
            peak: 0.0,
        };
        for (index, step) in program.steps.iter().enumerate() {
            step.node.outputs.iter().flatten().for_each(|id| run.hold(id.index()));
            program.dead_in_training(index, step).for_each(|id| run.free(id.index()));
        }
        for output in program.outputs.iter().filter(|id| program.live[id.index()]) {
            run.add_gradient(output.index());
        }
        for (range, again) in program.reversed_segments() {
            if again {
                let border = |id: usize| program.segments.as_ref().is_some_and(|s| s.border[id]);
                for step in &program.steps[range.clone()] {
                    step.node.outputs.iter().flatten().for_each(|id| run.hold(id.index()));
                    let dead = step.dead_after_training.iter().filter(|id| !border(id.index()));
                    dead.for_each(|id| run.free(id.index()));
                }
            }
            for step in program.steps[range].iter().rev() {
                let reached = step.node.outputs.iter().flatten().any(|id| run.gradients[id.index()]);
                if reached && !step.wanted.is_empty() {
                    for again in &step.again {
                        program.steps[*again]
                            .node
                            .outputs
                            .iter()
                            .flatten()
                            .for_each(|id| run.hold(id.index()));
                    }
                    let picked = step.node.output(0).filter(|_| step.by_rows);
                    if let Some(picked) = picked {
                        // At most as many rows as were picked.
                        run.grow(run.sizes[picked.index()]);
                    }
                    for (input, wanted) in step.node.inputs.iter().zip(&step.wanted) {
                        if let (Some(id), true) = (input, *wanted && picked.is_none()) {
                            run.add_gradient(id.index());
                        }
                    }
                }
                for id in step.node.outputs.iter().flatten() {
                    run.free(id.index());
                    run.drop_gradient(id.index());
                }
            }
        }
        run.peak as usize
    }
}

impl Size {
    /// Lagrange's polynomial through the points.
    fn bytes(&self, batch: usize, sequence: usize) -> f64 {
        let at = sequence as f64;
        let mut sum = 0.0;
        for (index, (place, bytes)) in self.points.iter().enumerate() {
            let others = self.points.iter().enumerate().filter(|(other, _)| *other != index);
            sum += bytes * others.map(|(_, (other, _))| (at - other) / (place - other)).product::<f64>();
        }
        sum.max(0.0) * if self.per_row { batch as f64 } else { 1.0 }
    }
}

/// Memory as a step goes on.
struct Simulation<'a> {
    sizes: &'a [f64],
    memory_of: &'a [usize],
    /// Values that the run makes: parameters and inputs are there before.
    counted: &'a [bool],
    /// How many living values share a value's memory.
    held: Vec<usize>,
    alive: Vec<bool>,
    gradients: Vec<bool>,
    bytes: f64,
    peak: f64,
}

impl Simulation<'_> {
    fn hold(&mut self, value: usize) {
        let memory = self.memory_of[value];
        if std::mem::replace(&mut self.alive[value], true) || !self.counted[memory] {
            return;
        }
        self.held[memory] += 1;
        if self.held[memory] == 1 {
            self.grow(self.sizes[memory]);
        }
    }

    fn free(&mut self, value: usize) {
        let memory = self.memory_of[value];
        if !std::mem::replace(&mut self.alive[value], false) || !self.counted[memory] {
            return;
        }
        self.held[memory] -= 1;
        if self.held[memory] == 0 {
            self.bytes -= self.sizes[memory];
        }
    }

    fn add_gradient(&mut self, value: usize) {
        if !std::mem::replace(&mut self.gradients[value], true) {
            self.grow(self.sizes[value]);
        }
    }

    fn drop_gradient(&mut self, value: usize) {
        if std::mem::replace(&mut self.gradients[value], false) {
            self.bytes -= self.sizes[value];
        }
    }

    fn grow(&mut self, bytes: f64) {
        self.bytes += bytes;
        self.peak = self.peak.max(self.bytes);
    }
}

fn bytes(value: Option<&Tensor>) -> f64 {
    value.map_or(0.0, |tensor| (tensor.elem_count() * tensor.dtype().size_in_bytes()) as f64)
}
