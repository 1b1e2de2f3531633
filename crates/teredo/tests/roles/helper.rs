//! A client that does everything through its helper.

use serde_json::json;
use teredo_wire::TeredoAddress;

use crate::client::{address, client, relay};
use crate::internet::{Internet, RELAY_V6, SERVER, with_namespaces};
use crate::keys::{KEY, file};
use crate::running::Running;

//= X-R-02: on real packets, the address is one at the helper and as good as any
#[test]
fn everything_goes_through_the_helper() {
    with_namespaces("helper::everything_goes_through_the_helper", || {
        let internet = Internet::new();
        let helped = file(&internet.server, "helped", &format!("laptop hmac-sha256 {KEY}\n"));
        let (place, port) = (SERVER.to_string(), "3600");
        let _server = Running::start(
            &internet.server,
            &["server", "--address", &place, "--helper", &helped, "--helper-port", port],
        );
        let _relay = relay(&internet, &[]);
        let key = file(&internet.client, "laptop.key", KEY);
        let endpoint = format!("{SERVER}:{port}");
        let with = |helper| {
            let secret = ["--helper-identifier", "laptop", "--helper-key-file", &key];
            let kind = ["--helper-algorithm", "hmac-sha256"];
            let options = ["--helper", helper, "--helper-for", "all"];
            client(&internet, &[&options[..], &secret, &kind].concat())
        };

        let helped = with(&endpoint);
        let qualified = helped.wait_for("qualified");
        assert_eq!(qualified["mapped"], json!(endpoint));
        let embedded = TeredoAddress::parse(address(&qualified)).unwrap();
        assert_eq!(embedded.mapped.to_string(), endpoint);
        assert_eq!(internet.client.ping(RELAY_V6), 1, "the first ping is lost");
        helped.interrupt();

        let (status, said) = with("10.0.0.1").wait();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("helper address 10.0.0.1 is not a public one"), "{said}");
    });
}
