//! What the label column holds, by task.

use refit_preprocess::characters;
use refit_spec::Task;

use super::row::Row;

/// The labels of the declared set that a cell holds.
pub fn labels(task: Task, cell: &str) -> Vec<String> {
    match task {
        Task::TextClassification => vec![cell.to_owned()],
        Task::MultiLabelClassification => several(cell),
        Task::TokenClassification => words(cell),
        Task::Regression | Task::QuestionAnswering | Task::Embedding => Vec::new(),
    }
}

/// `a;b`, or a JSON list.
pub fn several(cell: &str) -> Vec<String> {
    list(cell).unwrap_or_else(|| {
        cell.split(';').map(str::trim).filter(|part| !part.is_empty()).map(String::from).collect()
    })
}

/// Words or tags: separated by white space, or a JSON list.
pub fn words(cell: &str) -> Vec<String> {
    let listed = list(cell)
        .map(|words| words.iter().flat_map(|word| word.split_whitespace()).map(String::from).collect());
    listed.unwrap_or_else(|| cell.split_whitespace().map(String::from).collect())
}

fn list(cell: &str) -> Option<Vec<String>> {
    cell.starts_with('[').then(|| serde_json::from_str(cell).ok()).flatten()
}

/// Fills in what follows from the cells; the sentence that comes back says why a row cannot be used.
pub(super) fn complete(task: Task, row: &mut Row, start: Option<&str>) -> Option<String> {
    match task {
        Task::Regression => match row.label.parse::<f64>() {
            Ok(number) if number.is_finite() => None,
            _ => Some(format!("{:?} is no number", row.label)),
        },
        Task::TokenClassification => {
            let (words, tags) = (words(&row.text).len(), words(&row.label).len());
            (words != tags).then(|| format!("{words} words have {tags} tags"))
        }
        Task::QuestionAnswering => match answer_place(row, start) {
            Ok(place) => {
                row.answer_start = Some(place);
                None
            }
            Err(why) => Some(why),
        },
        Task::TextClassification | Task::MultiLabelClassification | Task::Embedding => None,
    }
}

/// The character where the first right answer begins.
fn answer_place(row: &Row, start: Option<&str>) -> Result<usize, String> {
    let answers = several_answers(&row.label);
    let answer = answers.first().ok_or("it has no answer")?;
    match start {
        None => match row.text.find(answer.as_str()) {
            Some(bytes) => Ok(row.text[..bytes].chars().count()),
            None => Err(format!("the answer {answer:?} does not stand in the text")),
        },
        Some(start) => {
            let place: usize =
                start.trim().parse().map_err(|_| format!("the answer's start {start:?} is no number"))?;
            let there = characters(&row.text, place, place + answer.chars().count());
            if there == *answer {
                Ok(place)
            } else {
                Err(format!("at character {place} there is {there:?}, not {answer:?}"))
            }
        }
    }
}

/// The right answers: one, or a JSON list.
pub fn several_answers(cell: &str) -> Vec<String> {
    list(cell).unwrap_or_else(|| vec![cell.to_owned()])
}
