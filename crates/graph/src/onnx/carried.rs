use super::proto;
use crate::ValueId;
use std::collections::BTreeMap;

/// What a file says around its graph and refit does not look into: producer, functions, training
/// information. Kept for the round trip.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carried {
    /// The model's message without graph, operator sets and metadata.
    pub(super) model: proto::ModelProto,
}

/// What a file says in one graph and refit does not look into.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CarriedGraph {
    pub(super) doc_string: Option<String>,
    pub(super) metadata_props: Vec<proto::StringStringEntryProto>,
    pub(super) quantization_annotation: Vec<proto::TensorAnnotation>,
    /// Inputs in the file's order, those included that have a default value (an initializer).
    pub(super) input_order: Vec<ValueId>,
    /// Descriptions of values that say more than a [`crate::Fact`] can hold.
    pub(super) value_infos: BTreeMap<ValueId, proto::ValueInfoProto>,
    /// Sparse constants.
    pub(crate) sparse: BTreeMap<ValueId, proto::SparseTensorProto>,
    /// Rest of the nodes (documentation, overload, device placement) by their first output.
    pub(super) nodes: BTreeMap<ValueId, proto::NodeProto>,
}

impl CarriedGraph {
    /// Constants that only the file format knows: defined, but not among the initializers.
    pub(crate) fn sparse_values(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.sparse.keys().copied()
    }

    /// Follows a renumbering of the graph's values; entries of values that are gone go too.
    pub(crate) fn renumber(&mut self, new: &[Option<ValueId>]) {
        let id = |old: ValueId| new.get(old.index()).copied().flatten();
        self.input_order = self.input_order.iter().filter_map(|old| id(*old)).collect();
        self.value_infos = std::mem::take(&mut self.value_infos)
            .into_iter()
            .filter_map(|(old, info)| Some((id(old)?, info)))
            .collect();
        self.sparse = std::mem::take(&mut self.sparse)
            .into_iter()
            .filter_map(|(old, tensor)| Some((id(old)?, tensor)))
            .collect();
        self.nodes = std::mem::take(&mut self.nodes)
            .into_iter()
            .filter_map(|(old, node)| Some((id(old)?, node)))
            .collect();
    }
}
