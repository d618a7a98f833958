//! A short run of every fuzz target: the same mutations each time, no panic, and no more memory than the bytes explain.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use refit_tests::fuzz::{Numbers, TARGETS, Target, mutated};
use refit_tests::root;

/// Counts what each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
    static READING: Cell<bool> = const { Cell::new(false) };
}

fn count(change: isize) {
    // A thread that ends may free after its cells are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that reading so many bytes may hold at once. A message of a few bytes can stand for a struct of a few hundred.
fn allowed(bytes: usize) -> isize {
    (8 << 20) + 400 * bytes as isize
}

fn seeds(target: Target) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for folder in ["fuzz/corpus/".to_owned() + target.name, target.more_seeds.to_owned()] {
        if folder.is_empty() {
            continue;
        }
        let entries = fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        files.extend(entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file()));
    }
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("readable")).collect();
    assert!(seeds.len() >= 3, "{}: {} seeds", target.name, seeds.len());
    seeds
}

/// `REFIT_FUZZ_SECONDS` makes it a longer run, from another beginning.
fn budget() -> (usize, Option<Duration>, u64) {
    match std::env::var("REFIT_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => {
            let start = std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64);
            (usize::MAX, Some(Duration::from_secs(seconds)), start)
        }
        None => (6000, None, 20_261_127),
    }
}

/// What a library panics with inside a reader is the reader's business. Printed with a backtrace it would cost more memory
/// than the reader.
fn silence_readers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !READING.get() {
                print(panic);
            }
        }));
    });
}

fn check(target: Target) {
    silence_readers();
    let seeds = seeds(target);
    let (rounds, seconds, start) = budget();
    let mut numbers = Numbers(start);
    let (began, mut read) = (Instant::now(), 0_usize);
    let one = |bytes: &[u8]| {
        MOST.set(HELD.get());
        let before = HELD.get();
        READING.set(true);
        let good = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
        READING.set(false);
        let most = MOST.get() - before;
        let shown = || bytes.escape_ascii().to_string();
        let good = good.unwrap_or_else(|_| panic!("{} panics on: {}", target.name, shown()));
        assert!(most <= allowed(bytes.len()), "{} holds {most} bytes for: {}", target.name, shown());
        good
    };
    let good_seeds = seeds.iter().filter(|seed| one(seed)).count();
    assert!(good_seeds > 0, "{}: no seed can be read", target.name);
    for round in 0..rounds {
        if seconds.is_some_and(|seconds| began.elapsed() > seconds) {
            break;
        }
        let seed = &seeds[round % seeds.len()];
        let bytes = mutated(seed, &seeds[numbers.below(seeds.len())], &mut numbers);
        read += usize::from(one(&bytes));
    }
    eprintln!("{}: {read} of the mutated inputs were read, in {:?}", target.name, began.elapsed());
    // Neither a reader that takes everything nor one that never comes past its first check is tried by this.
    assert!(read > 0, "{}: no mutated input can be read", target.name);
}

fn named(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).expect("a target")
}

#[test]
fn onnx() {
    check(named("onnx"));
}

#[test]
fn checkpoint() {
    check(named("checkpoint"));
}

#[test]
fn tokenizer() {
    check(named("tokenizer"));
}

#[test]
fn spec() {
    check(named("spec"));
}
