//! state.json: no bytes make the reader panic, and what is read survives writing and reading.

#![no_main]

use hull_runtime::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(state) = State::from_slice(bytes) else { return };
    let written = serde_json::to_vec(&state).expect("what was read can be written");
    let again = State::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("again"), written);
});
