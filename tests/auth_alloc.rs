//! Datagrams that nobody with the key has made are refused without an allocation.

use offload::rng::Rng;
use offload::wire::auth::{DatagramInitiator, DatagramResponder, Envelope, peek};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocations of this thread; the test runner's own threads do not disturb it.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes on to `System` unchanged, which keeps the contract; the counter is a
// constant-initialized `Cell` without a destructor, so that counting itself allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `System`, by the calls above and below.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as for `dealloc`; the caller keeps the rest of the contract.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// The same header around a body with one byte changed, as a forger who knows the header sends it.
fn forge<T>(
    true_one: &Envelope<'_>,
    body: &mut [u8],
    i: usize,
    mut open: impl FnMut(&Envelope<'_>) -> T,
) -> T {
    let (place, change) = (i % body.len(), 1 + (i % 255) as u8);
    body[place] ^= change;
    let opened = open(&Envelope { body, ..*true_one });
    body[place] ^= change;
    opened
}

#[test]
fn forged_datagrams_cost_no_memory() {
    let (key, mut rng) = ([7; 32], Rng::from_seed(1));
    assert!(allocations(|| drop(std::hint::black_box(vec![0u8; 9]))) > 0, "the counter counts");
    let mut initiator = DatagramInitiator::new(&key, &mut rng, 5, 1);
    let mut responder = DatagramResponder::new(&key, &mut rng);
    let (mut handshake1, mut handshake2, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    initiator.open_message(&[9; 64], &mut handshake1);
    let open = peek(&handshake1).unwrap();

    let mut body = open.body.to_vec();
    let count = allocations(|| {
        for i in 0..1000 {
            assert!(forge(&open, &mut body, i, |e| responder.read_open(e, &mut plain).is_err()));
        }
        // A longer one than any handshake, and true ones under a header that was changed.
        for wrong in [
            Envelope { body: &[1; 60_000], ..open },
            Envelope { job: 6, ..open },
            Envelope { nonce: 2, ..open },
        ] {
            assert!(responder.read_open(&wrong, &mut plain).is_err());
        }
    });
    assert_eq!((count, plain.capacity()), (0, 0), "forged HANDSHAKE1");

    let mut backend = responder.read_open(&open, &mut plain).unwrap().accept(b"yes", &mut handshake2);
    let accept = peek(&handshake2).unwrap();
    let mut body = accept.body.to_vec();
    let count = allocations(|| {
        for i in 0..1000 {
            assert!(forge(&accept, &mut body, i, |e| initiator.accept(e, &mut plain).is_err()));
        }
    });
    assert_eq!(count, 0, "forged HANDSHAKE2");
    let mut aws = initiator.accept(&accept, &mut plain).unwrap();

    let mut bytes = Vec::new();
    aws.seal(&[3; 1424], &mut bytes);
    plain.reserve(bytes.len());
    let sealed = peek(&bytes).unwrap();
    let mut body = sealed.body.to_vec();
    let count = allocations(|| {
        for i in 0..1000 {
            assert!(forge(&sealed, &mut body, i, |e| backend.open(e, &mut plain).is_err()));
        }
        assert!(backend.open(&sealed, &mut plain).is_ok());
        assert!((0..1000).all(|_| backend.open(&sealed, &mut plain).is_err()));
    });
    assert_eq!(count, 0, "forged and replayed SEALED");

    let count = allocations(|| {
        for i in 0..1000 {
            aws.seal(&[i as u8; 1424], &mut bytes);
            assert!(peek(&bytes).is_ok_and(|e| backend.open(&e, &mut plain).is_ok()));
        }
    });
    assert_eq!(count, 0, "the steady state");
}
