//! The time the engine hands to the roles.

use rustix::time::{ClockId, clock_gettime};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds since boot, never going back.
///
/// `CLOCK_BOOTTIME`, not `CLOCK_MONOTONIC`: a NAT forgets its mapping and a server its clients
/// while a laptop sleeps, so the time spent suspended has to count. Sleeping in
/// [`Poller::wait`](crate::epoll::Poller::wait) is measured by the monotonic clock; after a resume
/// the loop therefore wakes late by at most what was left of that one wait.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    // Time since boot is never negative and lasts 584 years in 64 bits.
    now.tv_sec.unsigned_abs() * NANOSECONDS_PER_SECOND + now.tv_nsec.unsigned_abs()
}

/// Nanoseconds between 1970-01-01 and the moment at which the monotonic clock, which stands still
/// while the machine sleeps, began: what turns the kernel's time stamps into dates.
pub fn monotonic_origin_ns() -> i64 {
    let nanoseconds = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec.saturating_mul(NANOSECONDS_PER_SECOND.cast_signed()).saturating_add(now.tv_nsec)
    };
    nanoseconds(ClockId::Realtime).saturating_sub(nanoseconds(ClockId::Monotonic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_and_counts_nanoseconds() {
        let before_ns = now_ns();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let elapsed_ns = now_ns() - before_ns;
        assert!((2_000_000..10_000_000_000).contains(&elapsed_ns), "{elapsed_ns}");
    }
}
