//! The library as its own user: the example, as a program.

use std::process::Command;

#[test]
fn the_example_survives_a_kill_and_says_what_it_says_without() {
    // Beside the folder of this test's program.
    let me = std::env::current_exe().unwrap();
    let pi = me.parent().and_then(|deps| deps.parent()).unwrap().join("examples/pi");
    let ran = Command::new(&pi).output();
    let ran =
        ran.unwrap_or_else(|e| panic!("{}: {e} (`cargo test` without --test builds it)", pi.display()));
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}");
    assert!(
        told.contains("Killed(Worker(Worker(2)))") && told.contains("Died(Worker(Worker(2))"),
        "{told}"
    );
    // Counted by one process, once, when this was written: the darts are the same everywhere.
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "62834911 hits: pi is 3.14174555\n");
}
