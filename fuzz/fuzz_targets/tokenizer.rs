#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = refit_tests::fuzz::read_tokenizer(bytes);
});
