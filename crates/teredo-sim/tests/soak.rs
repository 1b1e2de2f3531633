//! A few of the random worlds of the soak, so that every test run sees some.

#[allow(dead_code, reason = "the soak itself uses all of it")]
#[path = "../examples/soak/scenario.rs"]
mod scenario;

//= API-77, SEC-11: nothing unsolicited is ever delivered to a host that did not allow it
#[test]
fn random_worlds_keep_what_is_promised() {
    for seed in 0..40 {
        let first = scenario::run(seed, true).unwrap_or_else(|failure| {
            panic!("seed {seed}: {}\n{}", failure.what, failure.log);
        });
        let again = scenario::run(seed, false).ok().map(|outcome| outcome.trace);
        assert_eq!(again, Some(first.trace), "seed {seed}");
    }
}
