use super::Transformer;
use refit_graph::ValueId;

/// Which row of the position table a token gets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Positions {
    /// There is no such table.
    Without,
    /// 0, 1, 2, ... in every text.
    FromZero,
    /// Of the tokens that are not this one (padding) the first gets the row after its id; padding itself
    /// gets the row of its id. What is padded, left or right, thus changes nothing.
    AfterPadding(usize),
}

impl Transformer {
    /// The sum of what is looked up, normalised: float32 `[B, S, embedding]`.
    pub(crate) fn embeddings(&mut self, positions: Positions) -> ValueId {
        let sum = self.looked_up(positions);
        let normed = self.layer_norm("embeddings.LayerNorm", sum, self.sizes.embedding);
        self.dropout("embeddings.dropout", normed, self.sizes.dropout)
    }

    /// The sum of what is looked up: float32 `[B, S, embedding]`.
    pub(crate) fn looked_up(&mut self, positions: Positions) -> ValueId {
        let (ids, sizes) = (self.inputs.ids, self.sizes);
        let width = sizes.embedding;
        let words = self.parameter("embeddings.word_embeddings.weight", &[sizes.vocabulary, width]);
        let types = (sizes.types > 0)
            .then(|| self.parameter("embeddings.token_type_embeddings.weight", &[sizes.types, width]));

        let mut sum = self.standard("Gather", "embeddings.words", &[words, ids]);
        if let Some(types) = types {
            // A single type is that of every token.
            let given = self.inputs.types;
            let kind = given.unwrap_or_else(|| self.integer("embeddings.only_type", 0));
            let types = self.standard("Gather", "embeddings.types", &[types, kind]);
            sum = self.standard("Add", "embeddings.words_and_types", &[sum, types]);
        }
        let rows = match positions {
            Positions::Without => return sum,
            Positions::FromZero => self.first_rows(),
            Positions::AfterPadding(padding) => self.counted_rows(padding),
        };
        self.standard("Add", "embeddings.sum", &[sum, rows])
    }

    fn position_table(&mut self) -> ValueId {
        let shape = [self.sizes.positions, self.sizes.embedding];
        self.parameter("embeddings.position_embeddings.weight", &shape)
    }

    /// Rows 0..sequence of the position table, for the whole batch.
    fn first_rows(&mut self) -> ValueId {
        let table = self.position_table();
        let length = self.sequence("embeddings.sequence", self.inputs.ids);
        let zero = self.integers("embeddings.zero", &[0]);
        self.standard("Slice", "embeddings.positions", &[table, zero, length, zero])
    }

    /// A row for each token: `padding + count` of the tokens up to it that are no padding.
    fn counted_rows(&mut self, padding: usize) -> ValueId {
        let table = self.position_table();
        let padding = self.integer("embeddings.padding", padding as i64);
        let [nothing, once] = [0, 1].map(|count| self.integer("embeddings.count", count));
        let sequence = self.integer("embeddings.sequence_axis", 1);
        let is_padding = self.standard("Equal", "embeddings.is_padding", &[self.inputs.ids, padding]);
        // A Cast to int64 becomes a symbolic dimension in tract, which it cannot add up.
        let tokens = self.standard("Where", "embeddings.tokens", &[is_padding, nothing, once]);
        let counts = self.standard("CumSum", "embeddings.counts", &[tokens, sequence]);
        let counts = self.standard("Mul", "embeddings.counts_of_tokens", &[counts, tokens]);
        let rows = self.standard("Add", "embeddings.position_ids", &[counts, padding]);
        self.standard("Gather", "embeddings.positions", &[table, rows])
    }
}
