use super::{
    PickleError,
    value::{Arena, Storage, TensorView, Value, size},
};
use refit_graph::DType;

/// The names of the outside world that a file of weights may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checkpoint) enum Global {
    OrderedDict,
    /// `_rebuild_tensor(storage, offset, shape, strides)`, the second version with hooks after them.
    Tensor,
    /// The same with a type before its metadata.
    TensorOfType,
    /// `_rebuild_parameter(tensor, requires_grad, hooks)`.
    Parameter,
    /// `_rebuild_from_type_v2(function, type, arguments, state)`.
    FromType,
    /// `torch.Size`.
    Size,
    Device,
    /// A class that is named, but never made.
    Class,
    /// A storage's class, or an element type.
    DType(DType),
    Untyped,
}

/// The global of this name; `None` for all others.
pub(super) fn find(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::Tensor,
        ("torch._utils", "_rebuild_tensor_v3") => Global::TensorOfType,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::Parameter,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::FromType,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Device,
        ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Global::Class,
        ("torch", "UntypedStorage") | ("torch.storage", "UntypedStorage") => Global::Untyped,
        ("torch", name) => Global::DType(element_type(name)?),
        _ => return None,
    })
}

fn element_type(name: &str) -> Option<DType> {
    Some(match name {
        "FloatStorage" | "float32" => DType::F32,
        "DoubleStorage" | "float64" => DType::F64,
        "HalfStorage" | "float16" => DType::F16,
        "BFloat16Storage" | "bfloat16" => DType::BF16,
        "LongStorage" | "int64" => DType::I64,
        "IntStorage" | "int32" => DType::I32,
        "ShortStorage" | "int16" => DType::I16,
        "CharStorage" | "int8" => DType::I8,
        "ByteStorage" | "uint8" => DType::U8,
        "BoolStorage" | "bool" => DType::Bool,
        _ => return None,
    })
}

/// What calling a global gives.
pub(super) fn call(arena: &mut Arena, global: Global, arguments: &[Value]) -> Result<Value, PickleError> {
    let wrong = || PickleError::Damaged(format!("it gives {global:?} the wrong arguments"));
    match (global, arguments) {
        (Global::OrderedDict, []) => {
            arena.dicts.push(Vec::new());
            Ok(Value::Dict(arena.dicts.len() - 1))
        }
        (Global::OrderedDict, [pairs]) => {
            let pairs = arena.sequence(*pairs).ok_or_else(wrong)?;
            let pair = |pair: &Value| match arena.sequence(*pair) {
                Some([key, value]) => Some((*key, *value)),
                _ => None,
            };
            let pairs: Option<Vec<_>> = pairs.iter().map(pair).collect();
            arena.dicts.push(pairs.ok_or_else(wrong)?);
            Ok(Value::Dict(arena.dicts.len() - 1))
        }
        (Global::Tensor, [storage, offset, shape, strides, ..]) => {
            tensor(arena, *storage, [*offset, *shape, *strides], None).ok_or_else(wrong)
        }
        (
            Global::TensorOfType,
            [storage, offset, shape, strides, _, _, Value::Global(Global::DType(dtype)), ..],
        ) => tensor(arena, *storage, [*offset, *shape, *strides], Some(*dtype)).ok_or_else(wrong),
        (Global::Parameter, [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
        (Global::FromType, [Value::Global(inner), Value::Global(_), inner_arguments, _])
            if *inner != Global::FromType =>
        {
            let inner_arguments = arena.sequence(*inner_arguments).ok_or_else(wrong)?.to_vec();
            call(arena, *inner, &inner_arguments)
        }
        (Global::Size, [sizes @ Value::Sequence(_)]) => Ok(*sizes),
        (Global::Device, [Value::Text(_), ..]) => Ok(Value::Opaque),
        _ => Err(wrong()),
    }
}

fn tensor(arena: &mut Arena, storage: Value, place: [Value; 3], dtype: Option<DType>) -> Option<Value> {
    let Value::Storage(storage) = storage else { return None };
    let dtype = dtype.or(arena.storages.get(storage)?.dtype)?;
    let [offset, shape, strides] = place;
    let (shape, strides) = (arena.sizes(shape)?, arena.sizes(strides)?);
    if shape.len() != strides.len() {
        return None;
    }
    arena.tensors.push(TensorView { storage, dtype, offset: size(offset)?, shape, strides });
    Some(Value::Tensor(arena.tensors.len() - 1))
}

/// The storage that a persistent id names: `("storage", class, key, location, length)`, in the form before zip
/// with a view of another storage at its end.
pub(super) fn storage(arena: &mut Arena, id: Value) -> Option<Value> {
    let &[kind, Value::Global(class), key, _location, length, ref view @ ..] = arena.sequence(id)? else {
        return None;
    };
    let dtype = match class {
        Global::DType(dtype) => Some(dtype),
        Global::Untyped => None,
        _ => return None,
    };
    if arena.text(kind) != Some("storage") {
        return None;
    }
    let offset = match view {
        [] | [Value::None] => 0,
        [view] => match arena.sequence(*view)? {
            [_, offset, _] => size(*offset)?,
            _ => return None,
        },
        _ => return None,
    };
    let source = super::StorageSource { key: arena.text(key)?.to_owned(), offset };
    arena.storages.push(Storage { source, dtype, length: size(length)? });
    Some(Value::Storage(arena.storages.len() - 1))
}
