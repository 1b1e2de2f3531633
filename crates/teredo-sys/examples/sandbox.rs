//! What the sandbox costs: system calls in and out of it, by turns, each time in a process of its
//! own. `cargo run --release -p teredo-sys --example sandbox`

#![allow(clippy::unwrap_used, reason = "a measurement ends by panicking")]

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use teredo_sys::caps::Capability;
use teredo_sys::sandbox::{Needs, enter};
use teredo_sys::udp::{self, RecvBatch, SendBatch};

const ROUNDS: usize = 21;
const TIME: Duration = Duration::from_millis(250);
const BATCH: usize = 32;
const STEPS: usize = 64;
const MODE: &str = "TEREDO_SANDBOX_EXAMPLE";

fn main() {
    if let Ok(mode) = std::env::var(MODE) {
        if mode == "inside" {
            let capabilities = vec![Capability::NetAdmin];
            let needs = Needs { capabilities, names: true, devices: true, ..Needs::default() };
            println!("{:?}", enter(&needs).unwrap());
        }
        println!("{} {}", singles(), batches());
        return;
    }
    let mut outside = [Vec::new(), Vec::new()];
    let mut inside = outside.clone();
    for round in 0..ROUNDS {
        let mut turns = [("outside", &mut outside), ("inside", &mut inside)];
        turns.rotate_left(round % 2);
        for (mode, rates) in turns {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let output = command.env(MODE, mode).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let rate = text.lines().last().unwrap().split(' ').map(|it| it.parse::<f64>().unwrap());
            rates.iter_mut().zip(rate).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    for (index, what) in ["datagrams one by one", "datagrams in batches"].into_iter().enumerate() {
        let [outside, inside] =
            [&mut outside[index], &mut inside[index]].map(|rates| median(rates));
        println!("{what}: {outside:.0}/s outside, {inside:.0}/s inside, {:.3}", inside / outside);
    }
}

/// Two calls for each.
fn singles() -> f64 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = socket.local_addr().unwrap();
    let mut bytes = [0; 64];
    rate(|| {
        socket.send_to(&bytes, to).unwrap();
        socket.recv(&mut bytes).unwrap()
    }) / 64.0
}

/// Two calls for each batch, as on the fast path.
fn batches() -> f64 {
    let socket = udp::UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let to = socket.local_addr();
    let (mut out, mut into) = (SendBatch::new(BATCH, 2_048), RecvBatch::new(BATCH, 2_048));
    rate(|| {
        for len in 0..BATCH {
            let _ = out.slot();
            // Unequal ones stay single datagrams.
            out.commit(1_200 + len % 2, to, None);
        }
        socket.send_batch(&mut out).unwrap();
        socket.recv_batch(&mut into).unwrap_or(0)
    })
}

/// How much of it there is in a second of processor time: others may use the machine too.
fn rate(mut step: impl FnMut() -> usize) -> f64 {
    let start = spent();
    let mut count = 0;
    loop {
        for _ in 0..STEPS {
            count += step();
        }
        let time = spent() - start;
        if time >= TIME {
            return count as f64 / time.as_secs_f64();
        }
    }
}

fn spent() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
