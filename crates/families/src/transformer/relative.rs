use super::Transformer;
use refit_graph::ValueId;

impl Transformer {
    /// Numbers of the positions of a text of at most `max_length` tokens: i64 `[S]`.
    pub(crate) fn positions(&mut self, prefix: &str, max_length: usize) -> ValueId {
        let name = |part: &str| format!("{prefix}{part}");
        let all: Vec<i64> = (0..max_length as i64).collect();
        let all = self.integers(&name("all_positions"), &all);
        let zero = self.integers(&name("axis"), &[0]);
        // Of the mask, which the trained half of a split model reads anyway.
        let length = self.sequence(&name("sequence"), self.attention_mask());
        self.standard("Slice", &name("positions"), &[all, zero, length, zero])
    }

    /// `of(key - query)` for every pair of positions: i64 `[S, S]`, a row for each query.
    pub(crate) fn of_distances(
        &mut self,
        prefix: &str,
        max_length: usize,
        of: impl Fn(i64) -> i64,
    ) -> ValueId {
        let name = |part: &str| format!("{prefix}{part}");
        let furthest = max_length as i64 - 1;
        let table: Vec<i64> = (-furthest..=furthest).map(of).collect();
        let table = self.integers(&name("buckets"), &table);
        let positions = self.positions(prefix, max_length);
        let [zero, one] = [0, 1].map(|axis| self.integers(&name("axis"), &[axis]));
        let furthest = self.integer(&name("furthest"), furthest);
        let keys = self.standard("Unsqueeze", &name("keys"), &[positions, zero]);
        let queries = self.standard("Unsqueeze", &name("queries"), &[positions, one]);
        let distances = self.standard("Sub", &name("distances"), &[keys, queries]);
        let rows = self.standard("Add", &name("rows"), &[distances, furthest]);
        self.standard("Gather", &name("buckets_of_pairs"), &[table, rows])
    }
}
