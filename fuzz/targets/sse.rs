//! libFuzzer's way into `offpeak_fuzz::sse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| offpeak_fuzz::sse(data));
