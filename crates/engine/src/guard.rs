use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs `work`, turning a panic inside it into `Err` with the panic's message.
///
/// Engines run code and models written elsewhere, and one request must never take the process down. Whatever `work`
/// was changing may be half changed after an error: the caller must not go on using it unless it knows better.
pub fn without_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| panic_message(payload.as_ref()))
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    format!("internal error: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(without_panic(|| 7), Ok(7));
        let number = 3;
        assert_eq!(
            without_panic(|| -> () { panic!("bad shape {number}") }),
            Err("internal error: bad shape 3".into())
        );
        assert_eq!(without_panic(|| -> () { panic!("plain") }), Err("internal error: plain".into()));
    }
}
