//! libFuzzer's way into `offpeak_fuzz::rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| offpeak_fuzz::rules(data));
