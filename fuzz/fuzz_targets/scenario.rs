#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| teredo_fuzz::run("scenario", bytes));
