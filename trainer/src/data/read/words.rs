//! Words with tags in CoNLL style: one word a line, its columns separated by blanks or a tab, the word first and the
//! tag last; an empty line ends a sentence. Columns `text` and `label` hold the words and the tags, separated by blanks.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::super::error::{DataError, io};
use super::super::table::{RowSink, TableOptions, TableRow, TableSummary, places};

/// A longer line is no word with its tags; what follows counts as another.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Whether a file's name says that it holds words with tags.
pub fn is_words(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    matches!(extension.as_deref(), Some("conll" | "conllu" | "bio" | "iob" | "iob2" | "txt"))
}

/// Hands over the asked-for columns, sentence by sentence.
///
/// # Errors
/// When the file cannot be read, or a column other than those two is asked for.
pub fn read(
    path: &Path,
    options: &TableOptions<'_>,
    each: &mut dyn FnMut(TableRow) -> Result<(), DataError>,
) -> Result<TableSummary, DataError> {
    let columns = places(path, &options.columns, &["text", "label"])?;
    let mut sink = RowSink::new(path, options.broken_rows, each);
    let mut sentence = Sentence::default();
    let mut lines = BufReader::new(super::open(path)?);
    let (mut bytes, mut number) = (Vec::new(), 0);
    while lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).map_err(io(path))? > 0 {
        number += 1;
        match std::str::from_utf8(&bytes).map(|line| line.trim_start_matches('\u{feff}')) {
            Err(_) => sentence.breaks(number, "it is not UTF-8"),
            Ok(line) => match line.split_whitespace().collect::<Vec<_>>()[..] {
                [] | ["-DOCSTART-", ..] => std::mem::take(&mut sentence).end(&columns, &mut sink)?,
                [_] => sentence.breaks(number, "a word has no tag"),
                [word, .., tag] => sentence.add(number, word, tag),
            },
        }
        bytes.clear();
    }
    sentence.end(&columns, &mut sink)?;
    sink.finish()
}

#[derive(Default)]
struct Sentence {
    line: u64,
    words: Vec<String>,
    tags: Vec<String>,
    broken: Option<(u64, &'static str)>,
}

impl Sentence {
    fn breaks(&mut self, line: u64, why: &'static str) {
        self.broken = self.broken.or(Some((line, why)));
    }

    fn add(&mut self, line: u64, word: &str, tag: &str) {
        if self.words.is_empty() {
            self.line = line;
        }
        self.words.push(word.to_owned());
        self.tags.push(tag.to_owned());
    }

    fn end(self, columns: &[usize], sink: &mut RowSink<'_>) -> Result<(), DataError> {
        if let Some((line, why)) = self.broken {
            return sink.broken(line, why);
        }
        if !self.words.is_empty() {
            let cells = [self.words.join(" "), self.tags.join(" ")];
            return sink.row(self.line, columns.iter().map(|&column| cells.get(column).cloned()).collect());
        }
        Ok(())
    }
}
