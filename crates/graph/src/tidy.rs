//! Keeping a graph tidy: dead nodes, topological order, numbering.

use crate::{Graph, GraphError, Node, NodeId, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

impl Graph {
    pub(crate) fn ids_by_name(&self) -> HashMap<String, ValueId> {
        let values = self.values.iter().enumerate();
        values.map(|(index, value)| (value.name.clone(), ValueId(index as u32))).collect()
    }

    /// Forgets what the file that this graph was read from said beside it: documentation, annotations,
    /// and which constants a caller may override.
    pub fn forget_file(&mut self) {
        let sparse = std::mem::take(&mut self.carried).sparse;
        self.carried.sparse = sparse;
    }

    /// Names every node after its first output: unique, as some engines want it.
    pub fn name_nodes_after_outputs(&mut self) {
        for node in &mut self.nodes {
            if let Some(output) = node.outputs.iter().flatten().next() {
                node.name = self.values[output.index()].name.clone();
            }
        }
    }

    /// Forgets values that nothing defines or reads any more and numbers the rest anew. Every
    /// [`ValueId`] that was taken before becomes invalid.
    pub fn compact(&mut self) {
        let mut used = vec![false; self.values.len()];
        let nodes = self.nodes.iter();
        let of_nodes = nodes.flat_map(|node| node.inputs.iter().chain(&node.outputs)).flatten();
        let others = self.inputs.iter().chain(&self.outputs).chain(&self.captures);
        for id in of_nodes.chain(others).chain(self.initializers.keys()) {
            used[id.index()] = true;
        }
        for id in self.carried.sparse_values() {
            used[id.index()] = true;
        }
        let mut next = 0;
        let number = |used: &bool| {
            next += u32::from(*used);
            used.then(|| ValueId(next - 1))
        };
        let new: Vec<Option<ValueId>> = used.iter().map(number).collect();
        let renumber = |id: &mut ValueId| *id = new[id.index()].unwrap_or(*id);
        for node in &mut self.nodes {
            node.inputs.iter_mut().chain(&mut node.outputs).flatten().for_each(renumber);
        }
        self.inputs.iter_mut().chain(&mut self.outputs).chain(&mut self.captures).for_each(renumber);
        self.initializers = std::mem::take(&mut self.initializers)
            .into_iter()
            .filter_map(|(id, initializer)| Some((new[id.index()]?, initializer)))
            .collect();
        self.carried.renumber(&new);
        let mut keep = used.iter();
        self.values.retain(|_| *keep.next().unwrap_or(&false));
    }
}

impl Graph {
    /// Drops nodes and constants that no output depends on. Inputs stay.
    pub(crate) fn remove_dead(&mut self) {
        let names = self.ids_by_name();
        let producers = self.producers();
        let mut live_nodes = vec![false; self.nodes.len()];
        let mut live_values = vec![false; self.values.len()];
        let mut queue = self.outputs.clone();
        while let Some(value) = queue.pop() {
            if std::mem::replace(&mut live_values[value.index()], true) {
                continue;
            }
            let Some(producer) = producers[value.index()] else { continue };
            if std::mem::replace(&mut live_nodes[producer.index()], true) {
                continue;
            }
            let node = &self.nodes[producer.index()];
            queue.extend(node.inputs.iter().flatten());
            queue.extend(node.captured_names().iter().filter_map(|name| names.get(name)));
        }
        let mut live = live_nodes.iter();
        self.nodes.retain(|_| *live.next().unwrap_or(&false));
        self.initializers.retain(|id, _| live_values[id.index()]);
    }

    pub(crate) fn remove_inputs(&mut self, unwanted: &BTreeSet<ValueId>) -> Result<(), GraphError> {
        let consumers = self.consumers();
        for id in unwanted {
            if !consumers[id.index()].is_empty() || self.outputs.contains(id) {
                let what = format!("input \"{}\" is still read", self.value(*id).name);
                return Err(GraphError::Patch { what });
            }
        }
        self.inputs.retain(|id| !unwanted.contains(id));
        Ok(())
    }

    pub(crate) fn rename(&mut self, renamed: &BTreeMap<ValueId, String>) -> Result<(), GraphError> {
        if renamed.is_empty() {
            return Ok(());
        }
        let mut live = vec![false; self.values.len()];
        let produced = self.nodes.iter().flat_map(|node| node.outputs.iter().flatten());
        for id in produced.chain(&self.inputs).chain(&self.captures).chain(self.initializers.keys()) {
            live[id.index()] = true;
        }
        let captured: HashSet<String> = self.nodes.iter().flat_map(Node::captured_names).collect();
        for (id, name) in renamed {
            if captured.contains(&self.value(*id).name) {
                let what = format!("\"{}\" is read by an inner graph under this name", self.value(*id).name);
                return Err(GraphError::Patch { what });
            }
            if let Some(holder) = self.find(name).filter(|holder| holder != id) {
                if live[holder.index()] && !renamed.contains_key(&holder) {
                    let what = format!("the name \"{name}\" is taken");
                    return Err(GraphError::Patch { what });
                }
                self.values[holder.index()].name = self.free_name(name);
            }
            self.values[id.index()].name = name.clone();
        }
        Ok(())
    }

    fn free_name(&self, name: &str) -> String {
        let names: HashSet<&str> = self.values.iter().map(|value| value.name.as_str()).collect();
        let mut number = 1;
        while names.contains(format!("{name}_{number}").as_str()) {
            number += 1;
        }
        format!("{name}_{number}")
    }

    /// Brings the nodes into topological order, keeping the present order where it is free.
    pub(crate) fn sort(&mut self) -> Result<(), GraphError> {
        let producers = self.producers();
        let names: HashMap<&str, ValueId> = self
            .values
            .iter()
            .enumerate()
            .map(|(index, value)| (value.name.as_str(), ValueId(index as u32)))
            .collect();
        let mut state = vec![Visit::New; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        for root in 0..self.nodes.len() {
            let mut stack = vec![(root, false)];
            while let Some((index, done)) = stack.pop() {
                if done {
                    state[index] = Visit::Done;
                    order.push(index);
                    continue;
                }
                match state[index] {
                    Visit::Done => continue,
                    Visit::Open => {
                        let what = format!("{} reads its own result", self.describe(NodeId(index as u32)));
                        return Err(GraphError::Patch { what });
                    }
                    Visit::New => state[index] = Visit::Open,
                }
                stack.push((index, true));
                let node = &self.nodes[index];
                let captured = node.captured_names();
                let reads = node
                    .inputs
                    .iter()
                    .flatten()
                    .copied()
                    .chain(captured.iter().filter_map(|name| names.get(name.as_str()).copied()));
                for value in reads {
                    if let Some(producer) = producers[value.index()]
                        && state[producer.index()] != Visit::Done
                    {
                        stack.push((producer.index(), false));
                    }
                }
            }
        }
        let mut position = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            position[*old] = new;
        }
        let mut nodes: Vec<(usize, Node)> = std::mem::take(&mut self.nodes)
            .into_iter()
            .enumerate()
            .map(|(old, node)| (position[old], node))
            .collect();
        nodes.sort_by_key(|(position, _)| *position);
        self.nodes = nodes.into_iter().map(|(_, node)| node).collect();
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    New,
    Open,
    Done,
}
