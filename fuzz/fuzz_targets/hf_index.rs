#![no_main]

libfuzzer_sys::fuzz_target!(init: tril_fuzz::begin("hf_index"), |bytes: &[u8]| tril_fuzz::run(bytes));
