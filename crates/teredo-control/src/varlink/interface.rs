//! The interfaces and their descriptions.

/// The daemon's interface.
pub const INTERFACE: &str = "org.teredo.Client";

/// Its description, as `GetInterfaceDescription` gives it.
pub const DESCRIPTION: &str = include_str!("org.teredo.Client.varlink");

/// The interface that every Varlink service has.
pub const SERVICE_INTERFACE: &str = "org.varlink.service";

/// Its description.
pub const SERVICE_DESCRIPTION: &str = include_str!("org.varlink.service.varlink");
