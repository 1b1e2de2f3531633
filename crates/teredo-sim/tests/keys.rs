//! A private server: who has a key is served, who has none is not.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::time::Duration;

use teredo_proto::keys::{Algorithm, Identifier, Secret, SharedKey};
use teredo_proto::role::{OfflineReason, State};
use teredo_proto::server::{Clients, KnownClient};
use teredo_proto::{DropReason, Event};
use teredo_sim::{HostId, NatConfig, Place, World};

use common::{SECOND, ping, qualify};

fn secret(name: &str, key: &[u8]) -> Secret {
    let identifier = Identifier::new(name.as_bytes()).unwrap();
    Secret { identifier, key: SharedKey::new(Algorithm::HmacSha1, key).unwrap() }
}

/// The key of a client of this name.
fn own_key(name: &str) -> [u8; 16] {
    let mut key = [7; 16];
    key[..name.len()].copy_from_slice(name.as_bytes());
    key
}

/// A server that knows `laptop`, and `phone`, which is to get a new key.
fn private_server(world: &mut World) -> HostId {
    let clients = [("laptop", false), ("phone", true)].map(|(name, is_renewal_due)| KnownClient {
        secret: secret(name, &own_key(name)),
        is_renewal_due,
    });
    let clients = Clients::new(clients.into()).unwrap();
    world.add_server_with(|config| config.clients = Some(clients))
}

fn client(world: &mut World, secret: Option<Secret>) -> HostId {
    let nat = world.add_nat(NatConfig::pr());
    world.add_client_with(nat, |config| config.secret = secret)
}

fn state_in(event: Event) -> Option<State> {
    if let Event::StateChanged(state) = event { Some(state) } else { None }
}

//= S-RX-05, C-SEC-09: those with keys reach each other and the native Internet, through refreshes
#[test]
fn clients_with_keys_have_all_of_it_and_others_nothing() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let server = private_server(&mut world);
        world.add_relay(Place::Internet);
        let native = world.add_native_host();
        let laptop = client(&mut world, Some(secret("laptop", &own_key("laptop"))));
        let phone = client(&mut world, Some(secret("phone", &own_key("phone"))));
        let bare = client(&mut world, None);
        let liar = client(&mut world, Some(secret("laptop", &own_key("phone"))));
        let unknown = client(&mut world, Some(secret("tablet", &own_key("laptop"))));
        qualify(&mut world, &[laptop, phone]);
        assert!(ping(&mut world, laptop, phone, SECOND).is_some(), "{}", world.log_text());
        assert!(ping(&mut world, laptop, native, SECOND).is_some(), "{}", world.log_text());
        assert_eq!(world.run_for(Duration::from_secs(600)), Ok(()));
        for host in [laptop, phone] {
            assert_eq!(world.state(host), Some(State::Qualified));
        }
        for host in [bare, liar, unknown] {
            let silence = State::Offline(OfflineReason::NoAnswer);
            let mut states = world.events(host).filter_map(|(_, event)| state_in(event));
            assert!(states.all(|state| state == State::Probe || state == silence));
            assert!(!world.is_qualified(host));
        }
        let told = |host, told| world.events(host).filter(|(_, event)| *event == told).count();
        let renewals = [laptop, phone].map(|host| told(host, Event::KeyRenewal(true)));
        assert_eq!(renewals, [0, 1]);
        for reason in [DropReason::UnknownIdentifier, DropReason::WrongMac] {
            assert!(world.dropped(server, reason) > 0, "{reason:?}");
        }
    }
}
