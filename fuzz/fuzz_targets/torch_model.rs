#![no_main]

libfuzzer_sys::fuzz_target!(init: tril_fuzz::begin("torch_model"), |bytes: &[u8]| tril_fuzz::run(bytes));
