use refit_graph::{Attribute, HostTensor};

/// An application of an operator to small inputs, for the test sweeps.
#[derive(Debug, Clone, Default)]
pub struct Problem {
    /// What is special about it.
    pub what: &'static str,
    /// Inputs, absent ones too.
    pub inputs: Vec<Option<HostTensor>>,
    /// Attributes of the node.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Version of the operator set; 0 stands for the newest one that is known.
    pub opset: i64,
    /// Number of outputs; 0 stands for one.
    pub outputs: usize,
    /// Training mode (dropout).
    pub seed: Option<u64>,
}

impl Problem {
    /// A problem without inputs yet.
    pub fn new(what: &'static str) -> Self {
        Self { what, ..Self::default() }
    }

    /// Appends a float32 input with elements between -1 and 1 that look random and are all different.
    pub fn random(self, shape: &[usize]) -> Self {
        self.random_in(shape, -1.0, 1.0)
    }

    /// Appends a float32 input with elements between `low` and `high`.
    pub fn random_in(mut self, shape: &[usize], low: f32, high: f32) -> Self {
        let count: usize = shape.iter().product();
        let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(self.inputs.len() as u64 + 1);
        let values: Vec<f32> = (0..count)
            .map(|_| {
                state = crate::kernels::random::mix(state);
                low + (high - low) * ((state >> 40) as f32 / (1u32 << 24) as f32)
            })
            .collect();
        self.inputs.push(Some(HostTensor::from_f32(shape, &values)));
        self
    }

    /// Appends a float32 input with these elements.
    pub fn floats(mut self, shape: &[usize], values: &[f32]) -> Self {
        self.inputs.push(Some(HostTensor::from_f32(shape, values)));
        self
    }

    /// Appends an int64 input.
    pub fn integers(mut self, shape: &[usize], values: &[i64]) -> Self {
        self.inputs.push(Some(HostTensor::from_i64(shape, values)));
        self
    }

    /// Appends an absent input.
    pub fn absent(mut self) -> Self {
        self.inputs.push(None);
        self
    }

    /// Sets an attribute.
    pub fn attribute(mut self, name: &'static str, value: Attribute) -> Self {
        self.attributes.push((name, value));
        self
    }

    /// Sets an integer attribute.
    pub fn int(self, name: &'static str, value: i64) -> Self {
        self.attribute(name, Attribute::Int(value))
    }

    /// Sets a list of integers.
    pub fn ints(self, name: &'static str, values: &[i64]) -> Self {
        self.attribute(name, Attribute::Ints(values.to_vec()))
    }

    /// Sets a float attribute.
    pub fn float(self, name: &'static str, value: f32) -> Self {
        self.attribute(name, Attribute::Float(value))
    }

    /// Sets the version of the operator set.
    pub fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// Sets the number of outputs.
    pub fn outputs(mut self, outputs: usize) -> Self {
        self.outputs = outputs;
        self
    }

    /// Makes it a training step with this seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}
