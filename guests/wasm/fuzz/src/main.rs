//! From annotations to an instance: whatever they say and whatever the module is, nothing panics, what is refused is
//! named, and what runs keeps to its limits.
//!
//! `wasm SECONDS [SEED]`: tries for that long what a generator of modules makes of random bytes, or one seed alone, that
//! of a failure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use hull_guest::wasm::BootMessage;
use hull_spec::Spec;
use wasm_smith::Config;

/// What is being tried.
static SEED: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let (Some(Ok(seconds)), seed) = (numbers.next(), numbers.next().and_then(Result::ok)) else {
        eprintln!("usage: wasm SECONDS [SEED]");
        std::process::exit(2);
    };
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("failed with seed {}", SEED.load(Ordering::Relaxed));
        usual(info);
    }));
    if let Some(seed) = seed {
        attempt_seed(seed);
        return;
    }
    let begun = Instant::now();
    let first = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    let (mut tried, mut instances) = (0_u64, 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        instances += u64::from(attempt_seed(first.wrapping_add(tried)).is_some());
        tried += 1;
    }
    println!("{tried} tried, {instances} instances made");
    assert!(instances > 0, "no module came so far as to be instantiated");
}

/// Bytes of any length up to some thousands, made of a seed (splitmix64).
fn attempt_seed(seed: u64) -> Option<()> {
    SEED.store(seed, Ordering::Relaxed);
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let length = next() % 1000;
    let bytes: Vec<u8> = (0..length).flat_map(|_| next().to_le_bytes()).collect();
    attempt(&mut Unstructured::new(&bytes))
}

/// What annotations are tried.
const NAMES: &[&str] = &[
    "fuel", "instances", "memories", "memory", "table-elements", "tables", "http.listen", "http.requests", "http.timeout",
    "fule", "",
];

/// Enough for what a start function may do, and soon over.
const FUEL: u64 = 100_000;

/// A limit, of any size, that is sometimes no number.
fn value(u: &mut Unstructured<'_>) -> Option<String> {
    Some(match u.int_in_range(0..=9).ok()? {
        0 => String::arbitrary(u).ok()?,
        1 => u64::arbitrary(u).ok()?.to_string(),
        2 => (u32::arbitrary(u).ok()?).to_string(),
        _ => (u16::arbitrary(u).ok()?).to_string(),
    })
}

/// Whether an instance was made.
fn attempt(u: &mut Unstructured<'_>) -> Option<()> {
    let mut spec = Spec::default();
    for _ in 0..u.int_in_range(0..=3).ok()? {
        let name = u.choose(NAMES).ok()?;
        spec.annotations.insert(format!("dev.hull.wasm.{name}"), value(u)?);
    }
    let guest = hull_guest::find("wasm").expect("it is built in");
    // A mount namespace is asked for first; what it says otherwise is of annotations.
    spec.linux = Some(serde_json::from_str(r#"{"namespaces": [{"type": "mount"}]}"#).expect("it is right"));
    if let Err(refused) = guest.check(&spec) {
        let named = spec.annotations.keys().any(|key| refused.0.contains(key));
        assert!(named, "{} names none of {:?}", refused.0, spec.annotations);
        return None;
    }
    let text = guest.message(&spec, &String::arbitrary(u).ok()?);
    let mut boot: BootMessage = serde_json::from_str(&text).expect("the engine reads what it is told");
    let mut settings = guest.settings(&spec);
    let module = match u.int_in_range(0..=7).ok()? {
        0 => u.bytes(u.len()).ok()?.to_vec(),
        _ => {
            let config = Config {
                // Nobody would have what it imports.
                max_imports: 0,
                max_memories: 3,
                max_tables: 4,
                allow_start_export: true,
                memory64_enabled: true,
                gc_enabled: true,
                exceptions_enabled: true,
                tail_call_enabled: true,
                threads_enabled: false,
                ..Config::default()
            };
            let module = wasm_smith::Module::new(config, u).ok()?;
            // A start function may loop.
            boot.limits.fuel = Some(boot.limits.fuel.unwrap_or(FUEL).min(FUEL));
            settings = vec![hull_guest::wasm::COUNTED];
            module.to_bytes()
        }
    };
    // More than a fuzzer has is refused by no limit but the host's.
    const MOST: usize = 256 << 20;
    boot.limits.memory = Some(boot.limits.memory.unwrap_or(MOST).min(MOST));
    let bytes = hull_wasm::trial(&boot, &settings, &module).ok()?;
    assert!(Some(bytes) <= boot.limits.memory, "{bytes} bytes of {:?}", boot.limits);
    Some(())
}
