//! Rows by class, each bar parted by split.

use super::open;
use crate::report::ClassBalance;
use crate::report::html::{Escaped, count, shortened};

const LEFT: f64 = 150.0;
const SPAN: f64 = 400.0;
const ROW: f64 = 26.0;
const TOP: f64 = 34.0;

pub(crate) fn balance(classes: &[ClassBalance]) -> String {
    let most =
        classes.iter().map(|class| class.train + class.validation + class.test).max().unwrap_or(0).max(1);
    let mut svg =
        open(LEFT + SPAN + 190.0, TOP + ROW * classes.len() as f64 + 8.0, "Rows by class and split");
    for (index, name) in ["train", "validation", "test"].iter().enumerate() {
        let x = LEFT + 110.0 * index as f64;
        svg += &format!(
            "<rect class=\"series-{} fill\" x=\"{x:.1}\" y=\"8\" width=\"12\" height=\"12\" rx=\"2\"/><text class=\"tick\" x=\"{:.1}\" y=\"18\">{name}</text>\n",
            index + 1,
            x + 18.0
        );
    }
    for (index, class) in classes.iter().enumerate() {
        svg += &bar(class, TOP + ROW * index as f64, most);
    }
    svg + "</svg>\n"
}

fn bar(class: &ClassBalance, y: f64, most: u64) -> String {
    let mut svg = format!(
        "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\"><title>{}</title>{}</text>\n",
        LEFT - 8.0,
        y + 13.0,
        Escaped(&class.label),
        Escaped(&shortened(&class.label, 20))
    );
    let mut x = LEFT;
    for (index, (split, rows)) in
        [("train", class.train), ("validation", class.validation), ("test", class.test)]
            .into_iter()
            .enumerate()
    {
        let width = SPAN * rows as f64 / most as f64;
        if rows > 0 {
            svg += &format!(
                "<rect class=\"series-{} fill\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"18\" rx=\"2\"><title>{}, {split}: {}</title></rect>\n",
                index + 1,
                (width - 2.0).max(1.0),
                Escaped(&class.label),
                count(rows)
            );
        }
        x += width;
    }
    svg + &format!(
        "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{} / {} / {}</text>\n",
        x + 6.0,
        y + 13.0,
        count(class.train),
        count(class.validation),
        count(class.test)
    )
}
