//! libFuzzer's way into `offpeak_fuzz::result_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| offpeak_fuzz::result_line(data));
