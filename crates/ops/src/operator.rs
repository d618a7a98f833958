use crate::{OpError, Problem, RowGradient};
use candle_core::{Device, Tensor};
use refit_graph::{DType, Dim, Fact, HostTensor, Node, OpName};

/// One operator: its name, shape rule, forward, reverse rule and test problems.
///
/// Booleans are held as `u8` and `int8` as `i16`, because candle has neither; the element type that the
/// graph gives a value comes from [`Operator::infer`].
pub trait Operator: Sync {
    /// Domain and name.
    fn name(&self) -> OpName;

    /// Facts of the outputs. What is not known stays unknown; an error means that the graph is wrong.
    ///
    /// # Errors
    /// When no run could succeed: ranks or sizes that cannot fit, missing inputs, bad attributes.
    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError>;

    /// The outputs. Absent inputs are `None`. Outputs may share memory with inputs.
    ///
    /// # Errors
    /// When shapes, types or attributes do not fit, or an index is out of range.
    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError>;

    /// Positions of inputs that are read on the host (shapes, axes), wherever the others lie.
    fn host_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// Which forward values [`Operator::vjp`] reads when it makes the `wanted` gradients; `None` if the
    /// operator has no reverse rule.
    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        None
    }

    /// Whether making the outputs again costs next to nothing beside the products that read them. Then they are not kept
    /// for those products' reverse rules where the inputs are kept anyway.
    fn is_cheap(&self) -> bool {
        false
    }

    /// Whether a gradient can reach input `index` at all. Indices, shapes and conditions say no.
    fn differentiable(&self, _index: usize) -> bool {
        true
    }

    /// What a training step leaves behind besides gradients: output `o` is what the constant at input `i` is
    /// from then on, for each `(i, o)` (running statistics).
    fn updates(&self) -> &'static [(usize, usize)] {
        &[]
    }

    /// The vector-Jacobian product: gradients of the wanted inputs, `None` for the others.
    ///
    /// # Errors
    /// When the operator has no reverse rule, or a tensor operation fails.
    fn vjp(&self, _site: &Site, _back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        Err(OpError::NotDifferentiable { op: self.name(), why: "it has none".to_owned() })
    }

    /// Whether the node picks rows of input 0, an embedding table, so that [`Operator::row_vjp`] can say which.
    fn picks_rows(&self, _site: &Site) -> bool {
        false
    }

    /// The gradient of input 0 as that of the rows that were picked, on the CPU.
    ///
    /// # Errors
    /// When the operator picks no rows, or an index is out of range.
    fn row_vjp(&self, _site: &Site, _back: &Backward) -> Result<RowGradient, OpError> {
        Err(OpError::NotDifferentiable { op: self.name(), why: "it picks no rows".to_owned() })
    }

    /// Small problems for the test sweeps (gradients, shape rule).
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// Where and how an operator is applied.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The node with its attributes.
    pub node: &'a Node,
    /// Version of the operator set that the node belongs to.
    pub opset: i64,
    /// Where tensors lie.
    pub device: &'a Device,
    /// In training: the seed of this node in this step. `None` when evaluating.
    pub seed: Option<u64>,
    /// Element types of the outputs, as far as inference found them: storage does not tell `bool` from
    /// `uint8`, or `int8` from `int16`.
    pub types: &'a [Option<DType>],
}

impl<'a> Site<'a> {
    /// An evaluation on the CPU.
    pub fn new(node: &'a Node, opset: i64) -> Self {
        Self { node, opset, device: &Device::Cpu, seed: None, types: &[] }
    }

    /// The element type of output `index`.
    ///
    /// # Errors
    /// When inference did not find it.
    pub fn output_type(&self, index: usize) -> Result<DType, OpError> {
        let known = self.types.get(index).copied().flatten();
        known.ok_or_else(|| self.refuse(format!("the element type of its output {index} is not known")))
    }

    /// The error for inputs that do not fit.
    pub fn refuse(&self, why: impl Into<String>) -> OpError {
        OpError::Inputs { op: self.node.op.clone(), why: why.into() }
    }

    /// Input `index`, which must be there.
    ///
    /// # Errors
    /// When it is absent.
    pub fn required<'t, T>(&self, inputs: &'t [Option<T>], index: usize) -> Result<&'t T, OpError> {
        inputs
            .get(index)
            .and_then(Option::as_ref)
            .ok_or_else(|| OpError::MissingInput { op: self.node.op.clone(), index })
    }
}

/// What shape inference knows of a node's inputs.
#[derive(Debug, Clone, Default)]
pub struct Known<'a> {
    /// A fact an input; `None` for absent ones.
    pub facts: Vec<Option<&'a Fact>>,
    /// The elements of inputs that are constants.
    pub constants: Vec<Option<&'a HostTensor>>,
}

impl<'a> Known<'a> {
    /// The fact of input `index`; an unknown one if it is absent.
    pub fn fact(&self, index: usize) -> Fact {
        self.facts.get(index).copied().flatten().cloned().unwrap_or_default()
    }

    /// Whether input `index` is there.
    pub fn has(&self, index: usize) -> bool {
        self.facts.get(index).is_some_and(Option::is_some)
    }

    /// Element type of input `index`.
    pub fn dtype(&self, index: usize) -> Option<DType> {
        self.facts.get(index).copied().flatten()?.dtype
    }

    /// The elements of input `index`, if it is a small integer tensor of which each is known or has a
    /// place at least.
    pub fn elements(&self, index: usize) -> Option<Vec<Element>> {
        if let Some(numbers) = self.integers(index) {
            return Some(numbers.into_iter().map(Element::Number).collect());
        }
        let of_dim = |dim: &Dim| match dim {
            Dim::Known(size) => i64::try_from(*size).map_or(Element::Dim(Dim::Unknown), Element::Number),
            other => Element::Dim(other.clone()),
        };
        Some(self.facts.get(index).copied().flatten()?.elements.as_ref()?.iter().map(of_dim).collect())
    }

    /// The integers of input `index` if it is a constant.
    pub fn integers(&self, index: usize) -> Option<Vec<i64>> {
        self.constants.get(index).copied().flatten()?.to_i64()
    }
}

/// One element of a small integer tensor, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// A number; a size when it is not negative.
    Number(i64),
    /// A size that is named, or nothing.
    Dim(Dim),
}

impl Element {
    /// The element as a size; a negative number is none, and stays unknown.
    pub fn dim(&self) -> Dim {
        match self {
            Self::Number(number) => usize::try_from(*number).map_or(Dim::Unknown, Dim::Known),
            Self::Dim(dim) => dim.clone(),
        }
    }
}

/// Positions of forward values that a reverse rule reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads {
    /// Inputs whose elements are read (their shapes are always known).
    pub inputs: Vec<usize>,
    /// Outputs whose elements are read.
    pub outputs: Vec<usize>,
}

impl Reads {
    /// These inputs.
    pub fn inputs(inputs: &[usize]) -> Option<Self> {
        Some(Self { inputs: inputs.to_vec(), outputs: Vec::new() })
    }

    /// The first output.
    pub fn output() -> Option<Self> {
        Some(Self { inputs: Vec::new(), outputs: vec![0] })
    }

    /// Shapes alone.
    pub fn nothing() -> Option<Self> {
        Some(Self::default())
    }
}

/// What a reverse rule is given.
#[derive(Debug)]
pub struct Backward<'a> {
    /// Forward inputs: those that [`Reads`] named, `None` for the others.
    pub inputs: &'a [Option<Tensor>],
    /// Shapes of all forward inputs; empty for absent ones.
    pub input_shapes: &'a [Vec<usize>],
    /// Types of all forward inputs; float32 for absent ones.
    pub input_types: &'a [candle_core::DType],
    /// Forward outputs: those that [`Reads`] named.
    pub outputs: &'a [Option<Tensor>],
    /// Gradients of the outputs; `None` where nothing downstream depends on an output.
    pub gradients: &'a [Option<Tensor>],
    /// Which inputs want a gradient.
    pub wanted: &'a [bool],
}

impl Backward<'_> {
    /// Whether input `index` wants a gradient.
    pub fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }
}
