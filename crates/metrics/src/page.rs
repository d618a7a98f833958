use std::fmt::Write;

use crate::MetricFamily;

/// The section of a page of Markdown that lists what one service tells.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Its heading, of the second level.
    pub title: &'a str,
    /// The command that writes it.
    pub command: &'a str,
    /// What it lists, in this order.
    pub families: &'a [MetricFamily],
}

impl Section<'_> {
    /// `page` with this section in the place of the one with the same heading; `None` where it has none.
    pub fn in_page(&self, page: &str) -> Option<String> {
        let heading = format!("## {}\n", self.title);
        let start = if page.starts_with(&heading) { 0 } else { page.find(&format!("\n{heading}"))? + 1 };
        let body = start + heading.len();
        let rest = page[body..].find("\n## ").map_or("", |end| &page[body + end..]);
        Some(format!("{}{heading}\n{}{rest}", &page[..start], self.body()))
    }

    fn body(&self) -> String {
        let mut text = format!(
            "<!-- Generated from what the service registers: change the help texts there, then run\n     \
             REFIT_REGENERATE=1 {} -->\n\n| metric | type | labels | |\n|---|---|---|---|\n",
            self.command
        );
        for MetricFamily { name, kind, labels, help } in self.families {
            let labels = labels.join(", ");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {} |", help.replace('|', "\\|"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_its_like() {
        let family = MetricFamily {
            name: "texts_total".into(),
            kind: "counter",
            labels: vec!["model".into(), "reason".into()],
            help: "Texts by reason: a|b.".into(),
        };
        let section = Section { title: "One", command: "make list", families: &[family] };
        let made = "## One\n\n<!-- Generated from what the service registers: change the help texts there, then run\n     \
                    REFIT_REGENERATE=1 make list -->\n\n| metric | type | labels | |\n|---|---|---|---|\n| \
                    `texts_total` | counter | model, reason | Texts by reason: a\\|b. |\n";
        let page = |one: &str| format!("# Page\n\n{one}\n## Two\n\nrest\n");
        assert_eq!(section.in_page(&page("## One\n\nold\n")), Some(page(made)));
        assert_eq!(section.in_page(&page(made)), Some(page(made)));
        // At either end of a page.
        assert_eq!(section.in_page("## One\n"), Some(made.to_owned()));
        assert_eq!(section.in_page("## Two\n\n## One\nold\n").unwrap(), format!("## Two\n\n{made}"));
        assert_eq!(section.in_page("## One and more\n"), None);
    }
}
