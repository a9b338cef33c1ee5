//! config.json: no bytes make the reader, the checks or the plan panic, and what is accepted survives writing and
//! reading.

#![no_main]

use hull_jail::plan::{Options, Plan};
use hull_spec::{CheckHost, Process, Resources, Spec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(spec) = Spec::from_slice(bytes) {
        let hosts = [(false, false), (false, true), (true, false), (true, true)];
        let accepted = hosts.map(|(rootless, for_start)| spec.check(&CheckHost { rootless, for_start }).is_ok());
        let written = serde_json::to_vec(&spec).expect("what was read can be written");
        let again = Spec::from_slice(&written).expect("what was written can be read");
        assert_eq!(again, spec);
        // What a start accepts, a look does too.
        assert!(accepted[0] || !accepted[1]);
        if let (true, Some(process)) = (accepted[1], &spec.process) {
            let options = Options { rootfs: "/rootfs".into(), ..Options::default() };
            // Refusals are fine: they come before anything is made.
            let _ = Plan::new(&spec, process, None, options, &mut Vec::new());
        }
    }
    if let Ok(process) = Process::from_slice(bytes) {
        let _ = process.check("process");
    }
    if let Ok(resources) = Resources::from_slice(bytes) {
        let _ = resources.check("");
    }
});
