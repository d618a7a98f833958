/// What is asked of a model: a text, with a second one where the task reads two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input<'a> {
    /// The text.
    pub text: &'a str,
    /// The second text of a pair, or the question about the text.
    pub pair: Option<&'a str>,
}

impl<'a> From<&'a str> for Input<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, pair: None }
    }
}

impl<'a> From<&'a String> for Input<'a> {
    fn from(text: &'a String) -> Self {
        Self { text, pair: None }
    }
}

impl<'a> From<&'a &str> for Input<'a> {
    fn from(text: &'a &str) -> Self {
        Self { text, pair: None }
    }
}

impl<'a> From<&Input<'a>> for Input<'a> {
    fn from(input: &Input<'a>) -> Self {
        *input
    }
}
