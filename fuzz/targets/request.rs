//! libFuzzer's way into `offpeak_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| offpeak_fuzz::request(data));
