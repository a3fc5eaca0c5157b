//! libFuzzer's way into `offpeak_fuzz::exchange`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| offpeak_fuzz::exchange(data));
