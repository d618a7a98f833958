use crate::{DataType, EngineError, Tensor};

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The value's name in the model.
    pub name: String,
    /// The element type, `None` when it is none that [`Tensor`] carries.
    pub dtype: Option<DataType>,
    /// The size of every axis, `None` where it is known only at run time. Empty also when the model does not tell the
    /// number of axes, so no shape is checked against an empty one.
    pub shape: Vec<Option<usize>>,
}

/// The given tensors in the order of `ports`, checked for name, type and shape: engines answer wrong inputs with
/// anything from a good message to a panic deep inside.
pub fn arrange<'t>(ports: &[Port], given: &[(&str, &'t Tensor)]) -> Result<Vec<&'t Tensor>, EngineError> {
    let other_names = || EngineError::Inputs {
        expected: ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", "),
        given: given.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
    };
    if ports.len() != given.len() {
        return Err(other_names());
    }
    ports
        .iter()
        .map(|port| {
            let (_, tensor) = given.iter().find(|(name, _)| *name == port.name).ok_or_else(other_names)?;
            port.check(tensor)?;
            Ok(*tensor)
        })
        .collect()
}

impl Port {
    fn check(&self, tensor: &Tensor) -> Result<(), EngineError> {
        let right_type = self.dtype.is_none_or(|dtype| dtype == tensor.data().data_type());
        let mut axes = self.shape.iter().zip(tensor.shape());
        let right_shape = self.shape.is_empty()
            || self.shape.len() == tensor.shape().len()
                && axes.all(|(expected, given)| expected.is_none_or(|size| size == *given));
        if right_type && right_shape {
            return Ok(());
        }
        let expected_axes: Vec<String> =
            self.shape.iter().map(|axis| axis.map_or("?".into(), |size| size.to_string())).collect();
        let dtype = self.dtype.map_or("another type", DataType::name);
        Err(EngineError::InputType {
            name: self.name.clone(),
            expected: format!("{dtype} [{}]", expected_axes.join(", ")),
            given: format!("{} {:?}", tensor.data().data_type().name(), tensor.shape()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_inputs_are_named() {
        let port =
            |name: &str| Port { name: name.into(), dtype: Some(DataType::I64), shape: vec![None, Some(2)] };
        let ports = [port("a"), port("b")];
        let right = Tensor::i64([3, 2], vec![0; 6]).unwrap();
        let flat = Tensor::i64([6], vec![0; 6]).unwrap();
        let real = Tensor::f32([3, 2], vec![0.0; 6]).unwrap();

        assert_eq!(arrange(&ports, &[("b", &right), ("a", &right)]).unwrap().len(), 2);
        let message = |given: &[(&str, &Tensor)]| arrange(&ports, given).unwrap_err().to_string();
        assert_eq!(message(&[("a", &right)]), "the model's inputs are [a, b], but [a] were given");
        assert_eq!(
            message(&[("a", &right), ("c", &right)]),
            "the model's inputs are [a, b], but [a, c] were given"
        );
        assert_eq!(
            message(&[("a", &flat), ("b", &right)]),
            r#"input "a" must be int64 [?, 2], but is int64 [6]"#
        );
        assert_eq!(
            message(&[("a", &right), ("b", &real)]),
            r#"input "b" must be int64 [?, 2], but is float32 [3, 2]"#
        );
    }
}
