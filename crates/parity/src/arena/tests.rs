use super::*;
use crate::digest::Digest;
use crate::limits::{CHUNK_PAGES, MAX_SINGLE_PAGES};
use offload::rng::Rng;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const MODEL_PAGES: u32 = 150;

/// Those that work here. What does not must say why: see `what_is_missing_says_why`.
fn here() -> Vec<Mechanism> {
    Mechanism::available().into_iter().filter(|(_, works)| works.is_ok()).map(|(m, _)| m).collect()
}

fn digest_of(shadow: &Shadow) -> Digest {
    let image: Vec<_> = (0..shadow.pages()).map(|index| *shadow.page(index)).collect();
    Digest::of_image(&image)
}

fn image(shadow: &Shadow) -> Vec<u8> {
    (0..shadow.pages()).flat_map(|index| *shadow.page(index)).collect()
}

#[test]
fn what_is_missing_says_why() {
    for (mechanism, works) in Mechanism::available() {
        if matches!(mechanism, Mechanism::Protect | Mechanism::Compare) {
            assert!(works.is_ok(), "{works:?}");
        }
        let mut out = std::io::stderr();
        match works {
            Ok(()) => writeln!(out, "{mechanism}: tested").unwrap(),
            Err(e) => {
                assert!(e.to_string().starts_with(mechanism.name()), "{e}");
                let named = matches!(
                    e,
                    Error::NotPermitted { .. } | Error::Unsupported { .. } | Error::PageSize { .. }
                );
                assert!(named, "{e:?}");
                writeln!(out, "NOT TESTED: {e}").unwrap();
            }
        }
    }
    assert!(here().contains(&Mechanism::best()));
}

#[test]
fn names_are_read_back() {
    for mechanism in Mechanism::ALL {
        assert_eq!(mechanism.to_string().parse::<Mechanism>().unwrap(), mechanism);
    }
    let error = "fork".parse::<Mechanism>().unwrap_err().to_string();
    assert!(Mechanism::ALL.iter().all(|mechanism| error.contains(mechanism.name())), "{error}");
}

#[test]
fn sizes_have_bounds() {
    for pages in [0, (MAX_ARENA_BYTES / PAGE_BYTES) as u32 + 1, u32::MAX] {
        assert!(matches!(Shadow::new(pages), Err(Error::Size { .. })), "{pages}");
    }
    let (mut live, other) = (Live::new(2, Mechanism::Compare).unwrap(), Shadow::new(3).unwrap());
    assert!(matches!(live.dirty_pages(&other), Err(Error::Pages { pages: 2, given: 3 })));
    assert!(matches!(live.freeze(&other, Frozen::default()), Err(Error::Pages { .. })));
    assert!(matches!(live.restore(&other, &[]), Err(Error::Pages { .. })));
    let shadow = Shadow::new(2).unwrap();
    assert!(matches!(live.restore(&shadow, &[2]), Err(Error::Pages { pages: 2, given: 2 })));
}

#[test]
fn only_what_was_written_is_dirty() {
    for mechanism in here() {
        let (mut live, mut shadow) = (Live::new(3000, mechanism).unwrap(), Shadow::new(3000).unwrap());
        let mut spare = Frozen::with_room(10).unwrap();
        let pages = [0, 63, 64, 65, 1000, 1001, 2047, 2999];
        for round in 1..4 {
            assert_eq!(live.dirty_pages(&shadow).unwrap(), 0, "{mechanism}");
            pages.iter().for_each(|&page| live.bytes_mut()[page as usize * PAGE_BYTES + round] = 1);
            assert_eq!(live.dirty_pages(&shadow).unwrap(), 8, "{mechanism}");
            let frozen = live.freeze(&shadow, spare).unwrap();
            assert_eq!(frozen.pages(), pages, "{mechanism}");
            let diff = shadow.advance(frozen);
            assert_eq!(diff.pages(), pages);
            for (n, (index, change)) in diff.iter().enumerate() {
                assert_eq!((index, change), (pages[n], diff.page(n)));
                assert!(change.iter().enumerate().all(|(at, byte)| *byte == u8::from(at == round)));
            }
            spare = diff.into_spare();
        }
    }
}

#[test]
fn what_is_written_back_is_no_change() {
    for mechanism in here() {
        let (mut live, mut shadow) = (Live::new(4, mechanism).unwrap(), Shadow::new(4).unwrap());
        for page in 0..4 {
            live.bytes_mut()[page * PAGE_BYTES] = 7;
        }
        live.bytes_mut()[0] = 0;
        live.bytes_mut()[2 * PAGE_BYTES] = 0;
        let frozen = live.freeze(&shadow, Frozen::default()).unwrap();
        let diff = shadow.advance(frozen);
        assert_eq!(diff.pages(), [1, 3], "{mechanism}");
        assert_eq!(image(&shadow), live.bytes());
        assert_eq!(shadow.digest(), diff.digest());
        let frozen = live.freeze(&shadow, diff.into_spare()).unwrap();
        assert!(shadow.advance(frozen).is_empty());
    }
}

#[test]
fn a_buffer_serves_again_and_again() {
    let (mut live, mut shadow) = (Live::new(64, Mechanism::Compare).unwrap(), Shadow::new(64).unwrap());
    let mut spare = Frozen::with_room(64).unwrap();
    let mut places = std::collections::BTreeSet::new();
    for value in 1..10 {
        live.bytes_mut().fill(value);
        let diff = shadow.advance(live.freeze(&shadow, spare).unwrap());
        places.insert(diff.page(0).as_ptr());
        spare = diff.into_spare();
    }
    assert_eq!(places.len(), 1);
}

#[test]
fn a_rebuilt_image_is_put_back_whole() {
    let mut rng = Rng::from_seed(5);
    for mechanism in here() {
        let (mut live, mut shadow) = (Live::new(700, mechanism).unwrap(), Shadow::new(700).unwrap());
        live.bytes_mut().fill(9);
        for index in (0..700).filter(|index| index % 3 != 0) {
            let mut page = [0; PAGE_BYTES];
            rng.fill(&mut page);
            shadow.replace_page(index, &[1; PAGE_BYTES]);
            shadow.replace_page(index, &page);
        }
        assert_eq!(shadow.digest(), digest_of(&shadow));
        let all: Vec<u32> = (0..700).rev().chain([3, 3]).collect();
        live.restore(&shadow, &all).unwrap();
        assert_eq!(live.bytes(), image(&shadow), "{mechanism}");
        assert_eq!(live.dirty_pages(&shadow).unwrap(), 0, "{mechanism}");
        live.bytes_mut()[5] = 1;
        assert_eq!(live.freeze(&shadow, Frozen::default()).unwrap().pages(), [0], "{mechanism}");
    }
}

#[test]
fn arenas_do_not_disturb_each_other() {
    let mut arenas: Vec<(Live, Shadow)> = Vec::new();
    for round in 0..6u8 {
        for mechanism in here() {
            // Dropped in another order than they were made, so that addresses and slots are used again.
            if round >= 3 {
                arenas.remove(usize::from(round) % 2 * 2);
            }
            let pages = 1 + u32::from(round) * 40;
            arenas.push((Live::new(pages, mechanism).unwrap(), Shadow::new(pages).unwrap()));
        }
        for (n, (live, shadow)) in arenas.iter_mut().enumerate() {
            let page = n % shadow.pages() as usize;
            live.bytes_mut()[page * PAGE_BYTES + usize::from(round)] = round + 1;
            let frozen = live.freeze(shadow, Frozen::default()).unwrap();
            assert_eq!(frozen.pages(), [page as u32], "{}", live.mechanism());
            shadow.advance(frozen);
            assert_eq!(image(shadow), live.bytes());
        }
    }
}

/// Stops threads, so that a test that fails ends.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Threads count up words of their own and one that is everybody's, and say how far they are before a freeze
/// begins: whatever was said must be in it.
#[test]
fn no_write_is_lost_while_threads_go_on() {
    const PAGES: u32 = 150;
    const THREADS: usize = 4;
    for mechanism in here() {
        let (mut live, mut shadow) = (Live::new(PAGES, mechanism).unwrap(), Shadow::new(PAGES).unwrap());
        let stop = AtomicBool::new(false);
        let said: Vec<Vec<AtomicU64>> =
            (0..THREADS).map(|_| (0..PAGES).map(|_| AtomicU64::new(0)).collect()).collect();
        let mut shared = live.share();
        thread::scope(|scope| {
            let stopping = Stop(&stop);
            for (thread, said) in said.iter().enumerate() {
                let (words, stop) = (shared.atomics(), &stop);
                scope.spawn(move || {
                    let mut rng = Rng::from_seed(thread as u64);
                    while !stop.load(Ordering::Relaxed) {
                        let page = rng.below(u64::from(PAGES)) as usize;
                        let word = &words[page * PAGE_BYTES / 8 + 1 + thread];
                        words[page * PAGE_BYTES / 8].fetch_add(1, Ordering::Relaxed);
                        let value = word.load(Ordering::Relaxed) + 1;
                        word.store(value, Ordering::Relaxed);
                        said[page].store(value, Ordering::Release);
                    }
                });
            }
            let mut spare = Frozen::default();
            for round in 0..4000 {
                let due: Vec<Vec<u64>> = said
                    .iter()
                    .map(|said| said.iter().map(|n| n.load(Ordering::Acquire)).collect())
                    .collect();
                let frozen = shared.freeze(&shadow, spare).unwrap();
                spare = shadow.advance(frozen).into_spare();
                for page in 0..PAGES as usize {
                    let words = shadow.page(page as u32).as_chunks().0;
                    let word = |n: usize| u64::from_ne_bytes(words[n]);
                    let sum: u64 = (0..THREADS).map(|thread| due[thread][page]).sum();
                    assert!(word(0) >= sum, "{mechanism}, round {round}, page {page}");
                    for thread in 0..THREADS {
                        let (taken, due) = (word(1 + thread), due[thread][page]);
                        assert!(
                            taken >= due,
                            "{mechanism}, round {round}, page {page}: {taken} < {due}"
                        );
                    }
                }
                assert!(shared.dirty_pages(&shadow).unwrap() <= PAGES);
            }
            drop(stopping);
        });
        shadow.advance(live.freeze(&shadow, Frozen::default()).unwrap());
        assert_eq!(image(&shadow), live.bytes(), "{mechanism}");
        assert_eq!(shadow.digest(), digest_of(&shadow));
        let written: u64 = said.iter().flatten().map(|n| n.load(Ordering::Relaxed)).sum();
        let counted = |page| u64::from_ne_bytes(shadow.page(page).as_chunks().0[0]);
        assert_eq!((0..PAGES).map(counted).sum::<u64>(), written, "{mechanism}");
    }
}

#[test]
fn an_image_advances_in_another_thread() {
    for mechanism in here() {
        let (mut live, mut shadow) = (Live::new(100, mechanism).unwrap(), Shadow::new(100).unwrap());
        live.bytes_mut().fill(1);
        let frozen = live.freeze(&shadow, Frozen::default()).unwrap();
        let (shadow, diff) = thread::scope(|scope| {
            let advance = scope.spawn(move || {
                let diff = shadow.advance(frozen);
                (shadow, diff)
            });
            live.bytes_mut()[..50 * PAGE_BYTES].fill(2);
            advance.join().unwrap()
        });
        assert_eq!(diff.pages().len(), 100);
        assert!(image(&shadow).iter().all(|byte| *byte == 1));
        assert_eq!(live.dirty_pages(&shadow).unwrap(), 50, "{mechanism}");
    }
}

/// What happens to an arena.
#[derive(Clone, Debug)]
enum Step {
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
    /// Freezes, advances, commits.
    Checkpoint,
    /// Freezes, and throws the copy away.
    Discard,
    /// Rolls back to the checkpoint, or to the one before where that is not undone yet.
    Restore {
        undo: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop::collection::vec(0u8..3, 1..3 * PAGE_BYTES);
    let at = 0..MODEL_PAGES as usize * PAGE_BYTES;
    prop_oneof![
        6 => (at, bytes).prop_map(|(at, bytes)| Step::Write { at, bytes }),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Discard),
        2 => any::<bool>().prop_map(|undo| Step::Restore { undo }),
    ]
}

fn run(mechanism: Mechanism, steps: &[Step]) -> Result<(), Error> {
    let (mut live, mut shadow) = (Live::new(MODEL_PAGES, mechanism)?, Shadow::new(MODEL_PAGES)?);
    let mut model = vec![0; live.bytes().len()];
    let (mut taken, mut before) = (model.clone(), None);
    let (mut diff, mut sum) = (Diff::default(), Digest::default());
    for step in steps {
        match step {
            Step::Write { at, bytes } => {
                let end = model.len().min(at + bytes.len());
                model[*at..end].copy_from_slice(&bytes[..end - at]);
                live.bytes_mut()[*at..end].copy_from_slice(&bytes[..end - at]);
            }
            Step::Checkpoint => {
                diff = shadow.advance(live.freeze(&shadow, diff.into_spare())?);
                let changed = |(old, new): &(&[u8], &[u8])| old != new;
                let pages = taken.chunks(PAGE_BYTES).zip(model.chunks(PAGE_BYTES));
                let pages = (0..).zip(pages).filter(|(_, page)| changed(page));
                assert!(diff.pages().iter().copied().eq(pages.map(|(index, _)| index)));
                sum = sum.plus(diff.digest());
                before = Some(std::mem::replace(&mut taken, model.clone()));
                assert_eq!(live.dirty_pages(&shadow)?, 0);
            }
            Step::Discard => {
                let frozen = live.freeze(&shadow, Frozen::default())?;
                live.restore(&shadow, frozen.pages())?;
                model.clone_from(&taken);
            }
            Step::Restore { undo } => {
                let mut also = [].as_slice();
                if let Some(before) = undo.then(|| before.take()).flatten() {
                    shadow.toggle(&diff);
                    sum = sum.plus(diff.digest());
                    also = diff.pages();
                    taken = before;
                }
                live.restore(&shadow, also)?;
                model.clone_from(&taken);
                assert_eq!(live.dirty_pages(&shadow)?, 0);
            }
        }
        assert_eq!(live.bytes(), model);
        assert_eq!(image(&shadow), taken);
        assert_eq!(shadow.digest(), sum);
        let differ = model.chunks(PAGE_BYTES).zip(taken.chunks(PAGE_BYTES)).filter(|(a, b)| a != b);
        assert!(live.dirty_pages(&shadow)? >= differ.count() as u32);
    }
    assert_eq!(sum, digest_of(&shadow));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_mechanism_is_the_model(steps in prop::collection::vec(step(), 1..25)) {
        for mechanism in here() {
            run(mechanism, &steps).unwrap();
        }
    }
}

/// What the kernel itself writes is noticed too, or refused.
#[test]
fn system_calls_write_where_no_signal_is_needed() {
    for mechanism in here() {
        let (mut live, shadow) = (Live::new(8, mechanism).unwrap(), Shadow::new(8).unwrap());
        let (mut near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.write_all(&[1; 10]).unwrap();
        let read = near.read(&mut live.bytes_mut()[3 * PAGE_BYTES..][..10]);
        if matches!(mechanism, Mechanism::UserfaultSignal | Mechanism::Protect) {
            assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EFAULT), "{mechanism}");
            assert_eq!(live.dirty_pages(&shadow).unwrap(), 0, "{mechanism}");
        } else {
            assert_eq!(read.unwrap(), 10, "{mechanism}");
            let frozen = live.freeze(&shadow, Frozen::default()).unwrap();
            assert_eq!(frozen.pages(), [3], "{mechanism}");
        }
    }
}

#[test]
fn runs_cover_pages_and_leave_gaps_out() {
    let runs = |pages: &[u32]| spans(pages).collect::<Vec<_>>();
    assert_eq!(runs(&[]), []);
    assert_eq!(runs(&[7, 7 + 65]), [7..8, 72..73]);
    assert_eq!(runs(&[0, 1, 65, 130, 131]), [0..66, 130..132]);
}

// What cannot be tried in this process, as it would kill it or starve other tests, is tried in one of its own.

/// The variable that says what a child is to do.
const CHILD: &str = "OFFLOAD_ARENA_CHILD";

fn child(what: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "arena::tests::as_a_child", "--test-threads=1", "--nocapture"]);
    command.env(CHILD, what).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn as_a_child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (name, argument) = what.split_once(' ').unwrap_or((&what, ""));
    match name {
        "segfault" => fault(argument, libc::SIGSEGV),
        "bus" => fault(argument, libc::SIGBUS),
        "default" => default(argument.parse().unwrap()),
        "overflow" => drop(overflowing(argument)),
        "ignored" => ignored(argument),
        "handled" => handled(argument),
        "crowd" => crowd(),
        "full" => full(),
        "sandboxed" => sandboxed(argument.parse().unwrap()),
        "hungry" => hungry(argument.parse().unwrap()),
        _ => unreachable!("{what}"),
    }
}

fn lines_of_child(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Arenas whose mechanism has handlers; their handlers have run.
fn arenas_with_handlers() -> Vec<Live> {
    let mut arenas = Vec::new();
    for mechanism in here() {
        let mut live = Live::new(4, mechanism).unwrap();
        live.bytes_mut().fill(1);
        arenas.push(live);
    }
    arenas
}

/// A fault outside of all arenas, or a signal that is sent.
fn fault(how: &str, signal: i32) {
    let arenas = arenas_with_handlers();
    let place = match (how, signal) {
        ("sent", _) => {
            // SAFETY: raising a signal is what is tested.
            unsafe { libc::raise(signal) };
            return;
        }
        (_, libc::SIGSEGV) => std::ptr::without_provenance_mut(64),
        _ => {
            // SAFETY: a mapping of a file of no bytes, chosen by the kernel, in which every access is a SIGBUS.
            unsafe {
                let file = libc::memfd_create(c"empty".as_ptr(), 0);
                let access = libc::PROT_READ | libc::PROT_WRITE;
                libc::mmap(std::ptr::null_mut(), 1, access, libc::MAP_SHARED, file, 0).cast::<u8>()
            }
        }
    };
    // SAFETY: none; the process dies of it, which is what is tested.
    unsafe { place.write_volatile(1) };
    drop(arenas);
}

fn overflowing(depth: &str) -> u64 {
    let arenas = arenas_with_handlers();
    #[expect(unconditional_recursion, reason = "until the stack is full")]
    fn deeper(n: u64) -> u64 {
        std::hint::black_box([n; 100]);
        deeper(n + 1) + 1
    }
    deeper(depth.len() as u64) + arenas.len() as u64
}

#[test]
fn faults_elsewhere_kill_with_their_signal() {
    for (what, signal) in [
        ("segfault real", libc::SIGSEGV),
        ("bus real", libc::SIGBUS),
        ("default 11", libc::SIGSEGV),
        ("default 7", libc::SIGBUS),
        ("overflow", libc::SIGABRT),
    ] {
        let output = child(what);
        assert_eq!(output.status.signal(), Some(signal), "{what}: {}", lines_of_child(&output));
        if what == "overflow" {
            assert!(lines_of_child(&output).contains("has overflowed its stack"));
        }
    }
}

/// A signal that is sent where nobody handles it. (Rust's own handler swallows the first.)
fn default(signal: i32) {
    // SAFETY: to have a signal handled as in a new process.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    fault("sent", signal);
}

/// A signal that was ignored when it was sent is so still; a fault kills.
fn ignored(how: &str) {
    // SAFETY: to ignore a signal.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_IGN) };
    fault("sent", libc::SIGSEGV);
    fault(how, libc::SIGSEGV);
}

static HANDLED: AtomicBool = AtomicBool::new(false);

extern "C" fn other_handler(_: i32) {
    HANDLED.store(true, Ordering::Relaxed);
}

fn handled(_: &str) {
    let handler = other_handler as *const () as usize;
    // SAFETY: the handler stores an atomic.
    unsafe { libc::signal(libc::SIGSEGV, handler) };
    fault("sent", libc::SIGSEGV);
    assert!(HANDLED.load(Ordering::Relaxed));
    // Ours is still in place behind it.
    arenas_with_handlers();
}

#[test]
fn who_handled_faults_before_still_does() {
    let output = child("ignored real");
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{}", lines_of_child(&output));
    for what in ["ignored sent", "handled"] {
        let output = child(what);
        assert!(output.status.success(), "{what}: {}", lines_of_child(&output));
    }
}

/// More pages that are no neighbours than the kernel has mappings for, in several arenas.
fn crowd() {
    let pages = 2 * MAX_SINGLE_PAGES + 3 * CHUNK_PAGES;
    let mut arenas: Vec<_> = (0..3)
        .map(|_| (Live::new(pages, Mechanism::Protect).unwrap(), Shadow::new(pages).unwrap()))
        .collect();
    for (live, shadow) in &mut arenas {
        live.bytes_mut().chunks_mut(2 * PAGE_BYTES).for_each(|pair| pair[0] = 1);
        assert!(live.dirty_pages(shadow).unwrap() >= pages / 2);
    }
    for (live, shadow) in &mut arenas {
        let diff = shadow.advance(live.freeze(shadow, Frozen::default()).unwrap());
        assert!(diff.pages().iter().copied().eq((0..pages).step_by(2)));
        assert_eq!(image(shadow), live.bytes());
        live.bytes_mut()[PAGE_BYTES] = 1;
        assert_eq!(live.dirty_pages(shadow).unwrap(), 1);
        // Rolling back has to let as many be written as were.
        shadow.toggle(&diff);
        live.restore(shadow, diff.pages()).unwrap();
        assert!(live.bytes().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn mprotect_does_not_run_out_of_mappings() {
    let output = child("crowd");
    assert!(output.status.success(), "{}", lines_of_child(&output));
}

/// A sandbox that refuses userfaultfd with this error.
fn sandboxed(errno: u32) {
    let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // Load the number of the call; if it is this one, refuse it; else allow it. From linux/bpf_common.h and
    // linux/seccomp.h.
    let mut program = [
        filter(0x20, 0, 0, 0),
        filter(0x15, 0, 1, libc::SYS_userfaultfd as u32),
        filter(0x06, 0, 0, 0x0005_0000 | errno),
        filter(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads the program, which is for this thread and those it starts.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0);
    }
    assert_eq!(Mechanism::best(), Mechanism::Protect);
    for (mechanism, works) in Mechanism::available() {
        match (mechanism, works) {
            (Mechanism::Protect | Mechanism::Compare, works) => works.unwrap(),
            (_, Err(Error::NotPermitted { mechanism: which })) if errno == libc::EPERM as u32 => {
                assert_eq!(which, mechanism);
            }
            (_, Err(Error::Unsupported { mechanism: which, .. })) if errno == libc::ENOSYS as u32 => {
                assert_eq!(which, mechanism);
            }
            (mechanism, other) => unreachable!("{mechanism}: {other:?}"),
        }
    }
}

#[test]
fn a_sandbox_is_told_from_an_old_kernel() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let output = child(&format!("sandboxed {errno}"));
        assert!(output.status.success(), "{errno}: {}", lines_of_child(&output));
    }
}

/// As many arenas as the handler's list has room for.
fn full() {
    let arena = || Live::new(1, Mechanism::Protect);
    let mut arenas: Vec<Live> = (0..MAX_SIGNAL_ARENAS).map(|_| arena().unwrap()).collect();
    assert!(matches!(arena(), Err(Error::TooMany)));
    assert!(Live::new(1, Mechanism::Compare).is_ok());
    arenas.iter_mut().for_each(|live| live.bytes_mut().fill(1));
    arenas.remove(7);
    arenas.push(arena().unwrap());
    arenas.iter_mut().for_each(|live| live.bytes_mut().fill(2));
}

#[test]
fn too_many_arenas_are_refused() {
    let output = child("full");
    assert!(output.status.success(), "{}", lines_of_child(&output));
}

/// Lets this process have so many bytes more than it has; `None` for as many as it likes.
fn allow(more: Option<u64>) {
    let size = || {
        let size = std::fs::read_to_string("/proc/self/statm").unwrap();
        size.split_whitespace().next().unwrap().parse::<u64>().unwrap() * PAGE_BYTES as u64
    };
    let most = more.map_or(libc::RLIM_INFINITY, |more| size() + more);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: it reads the limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

/// A freeze for which there is no memory leaves everything dirty.
fn hungry(mechanism: Mechanism) {
    const PAGES: u32 = 16 << 10;
    let (mut live, mut shadow) = (Live::new(PAGES, mechanism).unwrap(), Shadow::new(PAGES).unwrap());
    live.bytes_mut().fill(1);
    allow(Some(16 << 20));
    let refused = |result: Result<(), Error>| assert!(matches!(result, Err(Error::OutOfMemory { .. })));
    refused(Shadow::new(PAGES).map(drop));
    refused(Live::new(PAGES, mechanism).map(drop));
    refused(Frozen::with_room(PAGES).map(drop));
    refused(live.freeze(&shadow, Frozen::default()).map(drop));
    assert_eq!(live.dirty_pages(&shadow).unwrap(), PAGES);
    allow(None);
    shadow.advance(live.freeze(&shadow, Frozen::default()).unwrap());
    assert_eq!(image(&shadow), live.bytes());
}

#[test]
fn without_memory_nothing_is_lost() {
    for mechanism in here() {
        let output = child(&format!("hungry {mechanism}"));
        assert!(output.status.success(), "{mechanism}: {}", lines_of_child(&output));
    }
}
