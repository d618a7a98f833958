//! The W3C's trace context: which trace a request belongs to, and which of its spans is the caller's.

use axum::http::HeaderMap;

/// A request's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub trace: [u8; 16],
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
    /// The span of this request.
    pub span: [u8; 8],
    pub sampled: bool,
}

impl Trace {
    /// Goes on with the caller's trace, or begins one where there is none or it is not well-formed.
    pub fn of(headers: &HeaderMap) -> Self {
        let span = nonzero();
        let given = headers.get("traceparent").and_then(|value| parse(value.to_str().ok()?));
        match given {
            Some((trace, parent, flags)) => {
                Self { trace, parent: Some(parent), span, sampled: flags & 1 == 1 }
            }
            None => Self { trace: nonzero(), parent: None, span, sampled: false },
        }
    }

    /// As a header for whoever is asked next.
    pub fn header(&self) -> String {
        let flags = u8::from(self.sampled);
        format!("00-{}-{}-{flags:02x}", hex::encode(self.trace), hex::encode(self.span))
    }
}

/// Random bytes, not all of them 0.
fn nonzero<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    while bytes == [0; N] {
        rand::fill(&mut bytes[..]);
    }
    bytes
}

/// Trace, parent and flags of a `traceparent`. Versions after 00 may have more behind a dash.
fn parse(text: &str) -> Option<([u8; 16], [u8; 8], u8)> {
    let mut parts = text.trim().split('-');
    let [version] = bytes(parts.next()?)?;
    let (trace, parent) = (bytes(parts.next()?)?, bytes(parts.next()?)?);
    let [flags] = bytes(parts.next()?)?;
    let too_long = version == 0 && parts.next().is_some();
    if version == 0xff || too_long || trace == [0; 16] || parent == [0; 8] {
        return None;
    }
    Some((trace, parent, flags))
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Trace {
        Trace::of(&HeaderMap::from_iter([("traceparent".parse().unwrap(), value.parse().unwrap())]))
    }

    #[test]
    fn a_good_one_is_continued_and_a_bad_one_begun_anew() {
        let trace = of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(hex::encode(trace.trace), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((hex::encode(trace.parent.unwrap()), trace.sampled), ("b7ad6b7169203331".into(), true));
        let next = of(&trace.header());
        assert_eq!((next.trace, next.parent, next.sampled), (trace.trace, Some(trace.span), true));
        assert!(of("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more").parent.is_some());
        for bad in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00",
            "",
        ] {
            assert_eq!(of(bad).parent, None, "{bad}");
        }
    }
}
