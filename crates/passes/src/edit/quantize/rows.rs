use super::{RowsForm, finite, scale_of, standard, to_int8};
use crate::PassError;
use refit_graph::{Attribute, DType, Graph, HostTensor, Node, OpName, Patch, ValueId};
use std::collections::HashMap;

/// The domain of ONNX Runtime's own operators.
pub(super) const ONNX_RUNTIME: &str = "com.microsoft";

/// Quantized matrix products; activations that several of them read are quantized once.
pub(super) struct Products {
    form: RowsForm,
    /// Zero point of activations.
    middle: ValueId,
    one: ValueId,
    steps: ValueId,
    tiny: ValueId,
    /// Activation -> its u8 form and the scale of each row.
    activations: HashMap<ValueId, (ValueId, ValueId)>,
    /// Weight -> its s8 form and the scale of each column.
    weights: HashMap<ValueId, (ValueId, ValueId)>,
}

impl Products {
    pub(super) fn new(patch: &mut Patch, form: RowsForm) -> Self {
        let mut scalar =
            |name: &str, value: f32| patch.initializer(name, HostTensor::from_f32(&[], &[value]), false);
        let one = scalar("int8.one", 1.0);
        let steps = scalar("int8.steps", 127.0);
        // A row of zeros must not divide by zero.
        let tiny = scalar("int8.tiny", 1e-12);
        let middle = patch.initializer("int8.middle", HostTensor::from_u8(&[], &[128]), false);
        Self { form, middle, one, steps, tiny, activations: HashMap::new(), weights: HashMap::new() }
    }

    /// Replaces one `MatMul` by its int8 form.
    pub(super) fn quantize(
        &mut self,
        patch: &mut Patch,
        graph: &Graph,
        node: &Node,
        weight: ValueId,
    ) -> Result<(), PassError> {
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
            return Err(PassError::refused("a matrix product lacks its input or output"));
        };
        let (rows, row_scale) = self.activation(patch, graph, x);
        let (columns, column_scale) = self.weight(patch, graph, weight)?;
        let name = |part: &str| format!("{}.{part}", graph.value(y).name);
        let columns = match self.form {
            RowsForm::OnnxRuntime => {
                let op = OpName { domain: ONNX_RUNTIME.to_owned(), name: "MatMulIntegerToFloat".to_owned() };
                let product = [rows, columns, self.one, column_scale, self.middle];
                patch.node(op, &name("columns"), &product, [])
            }
            RowsForm::Standard => {
                let product = [rows, columns, self.middle];
                let integers = standard(patch, "MatMulInteger", &name("integers"), &product);
                let to = [("to", Attribute::Int(DType::F32.to_onnx().into()))];
                let floats = patch.node(OpName::standard("Cast"), &name("floats"), &[integers], to);
                standard(patch, "Mul", &name("columns"), &[floats, column_scale])
            }
        };
        let result = standard(patch, "Mul", &name("int8"), &[columns, row_scale]);
        patch.replace(y, result);
        Ok(())
    }

    /// `x` as u8 around 128, and the scale `[.., 1]` of its rows.
    fn activation(&mut self, patch: &mut Patch, graph: &Graph, x: ValueId) -> (ValueId, ValueId) {
        if let Some(done) = self.activations.get(&x) {
            return *done;
        }
        let name = |part: &str| format!("{}.{part}", graph.value(x).name);
        let magnitude = standard(patch, "Abs", &name("magnitude"), &[x]);
        let last = [("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(1))];
        let largest = patch.node(OpName::standard("ReduceMax"), &name("largest"), &[magnitude], last);
        let largest = standard(patch, "Max", &name("largest_above_zero"), &[largest, self.tiny]);
        let scale = standard(patch, "Div", &name("row_scale"), &[largest, self.steps]);
        let inverse = standard(patch, "Div", &name("row_inverse"), &[self.steps, largest]);
        let scaled = standard(patch, "Mul", &name("scaled"), &[x, inverse]);
        let inputs = [scaled, self.one, self.middle];
        let quantized = standard(patch, "QuantizeLinear", &name("uint8"), &inputs);
        self.activations.insert(x, (quantized, scale));
        (quantized, scale)
    }

    /// A weight `[K, N]` as s8, and the scale `[N]` of its columns.
    fn weight(
        &mut self,
        patch: &mut Patch,
        graph: &Graph,
        weight: ValueId,
    ) -> Result<(ValueId, ValueId), PassError> {
        if let Some(done) = self.weights.get(&weight) {
            return Ok(*done);
        }
        let (values, [inputs, outputs]) = finite(graph, weight)?;
        let mut largest = vec![0f32; outputs];
        for row in values.chunks_exact(outputs) {
            for (largest, value) in largest.iter_mut().zip(row) {
                *largest = largest.max(value.abs());
            }
        }
        let scales: Vec<f32> = largest.into_iter().map(scale_of).collect();
        let integers: Vec<i8> = values
            .chunks_exact(outputs)
            .flat_map(|row| row.iter().zip(&scales).map(|(value, scale)| to_int8(*value, *scale)))
            .collect();
        let name = &graph.value(weight).name;
        let integers = HostTensor::from_i8(&[inputs, outputs], &integers);
        let integers = patch.initializer(&format!("{name}.int8"), integers, false);
        let scales = HostTensor::from_f32(&[outputs], &scales);
        let scales = patch.initializer(&format!("{name}.scale"), scales, false);
        self.weights.insert(weight, (integers, scales));
        Ok((integers, scales))
    }
}
